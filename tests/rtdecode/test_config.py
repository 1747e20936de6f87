from __future__ import annotations

from pathlib import Path

import pytest

from rtdecode.config import BusSettings, HealthSettings, JournalSettings, ServeConfig, ServiceSettings
from rtdecode.errors import UserError

MINIMAL = """
[[streams]]
id = "eeg"
lsl = { type = "EEG" }

[[markers.streams]]
type = "Markers"

[[decoders]]
path = "decoder.onnx"
"""


def write(folder: Path, text: str) -> Path:
    (folder / "serve.toml").write_text(text)
    return folder / "serve.toml"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = ServeConfig.load(write(tmp_path, MINIMAL + '[markers]\ntable = "t.csv"\n'))
    assert config.decoders[0].path == tmp_path / "decoder.onnx"
    assert config.markers.table == tmp_path / "t.csv"


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTDECODE_BUS__PUBLISH_PORT", "6001")
    config = ServeConfig.load(write(tmp_path, MINIMAL + "[bus]\npublish_port = 6000\ncontrol_port = 6002\n"))
    assert (config.bus.publish_port, config.bus.control_port) == (6001, 6002)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MINIMAL + "[bus]\nport = 1\n", "bus.port: unknown key"),
        (MINIMAL.replace("lsl = ", "lls = "), "streams.0.lls: unknown key"),
        (MINIMAL.replace('type = "EEG"', ""), "name, type and source_id"),
        (MINIMAL + '[[streams]]\nid = "meg"\nlsl = { type = "MEG" }\n', "must name its stream"),
        (MINIMAL + '[[streams]]\nid = "eeg"\nlsl = { type = "MEG" }\n', "same id"),
        (MINIMAL + 'stream = "meg"\n', "unknown stream 'meg'"),
        (MINIMAL.replace("[[markers.streams]]\n", "[markers]\n"), "unknown key"),
        (MINIMAL + "[quality]\nmax_peak_to_peak = { EGG = 1e-3 }\n", "quality.max_peak_to_peak.EGG"),
        (MINIMAL + '[service]\ngap_policy = "ignore"\n', "service.gap_policy"),
        (MINIMAL.replace('[[markers.streams]]\ntype = "Markers"\n', ""), "give at least one"),
        (MINIMAL + '[[decoders]]\npath = "decoder.onnx"\nstride_ms = 10\n', "toml: decoder "),
        ("[[streams]", "not valid TOML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        ServeConfig.load(write(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_continuous_decoders_need_no_markers(tmp_path: Path) -> None:
    text = MINIMAL.replace('[[markers.streams]]\ntype = "Markers"\n', "") + "stride_ms = 100\n"
    assert ServeConfig.load(write(tmp_path, text)).decoders[0].stride_ms == 100


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read configuration .*examples/serve\.toml"):
        ServeConfig.load(tmp_path / "nothing.toml")


def test_the_documented_example_is_valid_and_tells_the_defaults() -> None:
    example = ServeConfig.load(Path(__file__).parents[2] / "examples" / "serve.toml")
    assert example.bus == BusSettings()
    assert example.service == ServiceSettings()
    assert example.health == HealthSettings()
    assert example.journal == JournalSettings()
