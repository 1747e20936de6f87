from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from index_decoder import index_manifest, write_index_decoder

from rtdecode.contracts import DecoderManifest
from rtdecode.errors import UserError
from rtdecode.inspect import inspect
from rtdecode.signal.design import design_iir

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    steps = [design_iir(256.0, highpass_hz=0.5, lowpass_hz=30.0)]
    write_index_decoder(tmp_path / "d.onnx", index_manifest(front_end=steps))
    return tmp_path / "d.onnx"


def test_it_tells_what_a_lab_must_know(path: Path) -> None:
    done = CliRunner().invoke(inspect, [str(path)])
    assert done.exit_code == 0
    for word in ("SIMULATED", "256 Hz", "CH0 CH1 CH2", "0.5–30 Hz", "retrieval", "sha256"):
        assert word in done.output


def test_it_tells_the_delays_that_training_took_off(tmp_path: Path) -> None:
    manifest = index_manifest()
    delayed = manifest.provenance.model_copy(update={"marker_delay_s": 0.03, "stream_delay_s": 0.0125})
    write_index_decoder(tmp_path / "d.onnx", manifest.model_copy(update={"provenance": delayed}))
    output = CliRunner().invoke(inspect, [str(tmp_path / "d.onnx")]).output
    assert "markers 30 ms, stream 12.5 ms" in output


def test_its_json_is_the_manifest(path: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(inspect, [str(path), "--json", "-"]).output
    CliRunner().invoke(inspect, [str(path), "--json", str(tmp_path / "m.json")])
    written = (tmp_path / "m.json").read_text(encoding="utf-8")
    assert shown == written
    assert DecoderManifest.model_validate_json(written).name == "index"


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read decoder"):
        CliRunner().invoke(inspect, [str(tmp_path / "no.onnx")], catch_exceptions=False)
