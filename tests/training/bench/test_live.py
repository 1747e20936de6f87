from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from index_decoder import index_manifest, write_index_decoder

from rtdecode.errors import UserError
from training.bench.live import LiveSettings, measure, report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

_PERCENTILES = ["p50", "p95", "p99", "max"]


def run(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rtdecode", "bench", "live", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("live")
    write_index_decoder(folder / "d.onnx", index_manifest(window=(-10, 40)))
    done = run(
        *("--decoder", folder / "d.onnx", "--streams", 2, "--seconds", 1.5, "--markers-per-second", 4),
        *("--warmup-trials", 2, "--json", folder / "live.json"),
    )
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "live.json").read_text()), done.stdout


def test_every_trial_is_answered_at_its_sample(measured: tuple[dict[str, Any], str]) -> None:
    result, _ = measured
    assert result["n"] == 12
    assert result["warmup_trials"] == 4
    assert (result["drops"], result["misplaced"], result["lost_messages"], result["n_open"]) == (0, 0, 0, 0)
    assert result["verdicts"] == {"emitted": 16}


def test_the_sums_are_told_apart_and_add_up(measured: tuple[dict[str, Any], str]) -> None:
    result, _ = measured
    latency = result["latency_ms"]
    assert list(latency) == ["structural", "inference", "bare_inference", "compute", "overhead"]
    for one in (*latency.values(), *result["stages_ms"].values()):
        assert list(one) == _PERCENTILES
        assert 0 < one["p50"] <= one["p95"] <= one["p99"] <= one["max"]
    assert latency["structural"]["p50"] == pytest.approx(1e3 * 40 / 256)
    assert latency["compute"]["max"] >= latency["overhead"]["max"]
    assert sum(one["max"] for one in result["stages_ms"].values()) >= latency["overhead"]["max"]


def test_the_service_s_use_of_the_machine_is_told(measured: tuple[dict[str, Any], str]) -> None:
    result, _ = measured
    assert result["rss_mb"] > 10
    assert result["cpu_share_without_inference"] < result["cpu_share"]
    assert result["machine"]["cores"] > 0
    assert {"python", "rtdecode", "pylsl"} <= set(result["versions"])


def test_it_says_that_all_is_simulated_and_what_was_discarded(measured: tuple[dict[str, Any], str]) -> None:
    result, shown = measured
    assert result["simulated"] is True
    assert "SIMULATED" in shown
    assert "discarded" in shown


def test_peer_and_floor_decode_the_same_trials(tmp_path: Path) -> None:
    pytest.importorskip("mne_lsl")
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(-10, 40)))
    done = run(
        *("--decoder", tmp_path / "d.onnx", "--seconds", 1, "--warmup-trials", 1, "--peer", "mne-lsl"),
        *("--floor", "--json", tmp_path / "live.json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "live.json").read_text())
    peer = result["peer"]
    assert (peer["n"], peer["drops"]) == (5, 0)
    assert list(peer["latency_ms"]) == _PERCENTILES
    assert result["ratio_p50"] == pytest.approx(
        peer["latency_ms"]["p50"] / result["latency_ms"]["overhead"]["p50"]
    )
    assert "mne-lsl" in done.stdout
    floor = result["floor"]
    assert (floor["n"], floor["drops"]) == (5, 0)
    assert list(floor["latency_ms"]) == _PERCENTILES
    assert result["ratio_to_floor_p50"] == pytest.approx(
        result["latency_ms"]["overhead"]["p50"] / floor["latency_ms"]["p50"]
    )
    assert "bare loop" in done.stdout


def test_peer_and_floor_take_one_stream(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one stream"):
        measure(LiveSettings(peer="mne-lsl", streams=2), tmp_path, lambda *_: lambda _: None)
    with pytest.raises(UserError, match="one stream"):
        measure(LiveSettings(floor=True, streams=2), tmp_path, lambda *_: lambda _: None)


def test_channels_of_a_decoder_cannot_be_chosen(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "d.onnx")
    with pytest.raises(UserError, match="leave out --channels"):
        measure(LiveSettings(decoder=tmp_path / "d.onnx", channels=3), tmp_path, lambda *_: lambda _: None)


def test_the_log_that_an_error_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fail(_: LiveSettings, folder: Path, __: object) -> None:
        folders.append(folder)
        raise UserError(f"rtdecode serve was not ready; see {folder / 'serve.log'}")

    monkeypatch.setattr("training.bench.live.measure", fail)
    with pytest.raises(UserError, match=r"see .*serve\.log"):
        report(LiveSettings(), None)
    folders[0].rmdir()
