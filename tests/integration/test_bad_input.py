"""What a user can get wrong at the command line: one line that says what to do, exit code 2, nothing left."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from index_decoder import index_channels, write_index_decoder
from pylsl import StreamInfo, StreamOutlet

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """
[[streams]]
id = "eeg"
lsl = {{ source_id = "{source_id}" }}
[[markers.streams]]
source_id = "{source_id}-markers"
[[decoders]]
path = "decoder.onnx"
[bus]
publish_port = {port}
subscribe_port = 0
control_port = 0
[service]
wait_s = 4
{extra}
"""


def rtdecode(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "rtdecode", *map(str, arguments)], capture_output=True, text=True, timeout=90
    )


def complaint(*arguments: str | Path) -> str:
    """The one line that a wrong command says."""
    done = rtdecode(*arguments)
    lines = [line for line in done.stderr.splitlines() if line.startswith("rtdecode: ")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines[0]


@pytest.fixture
def source_id() -> str:
    return f"bad-{uuid.uuid4().hex}"


def write_config(folder: Path, source_id: str = "none", port: int = 0, extra: str = "") -> Path:
    (folder / "serve.toml").write_text(CONFIG.format(source_id=source_id, port=port, extra=extra))
    return folder / "serve.toml"


def outlet(source_id: str, rate_hz: float = 256.0, unit: str = "V") -> StreamOutlet:
    info = StreamInfo("amplifier", "EEG", 3, rate_hz, "float32", source_id)
    channels = info.desc().append_child("channels")
    for channel in index_channels():
        node = channels.append_child("channel")
        for key, value in (("label", channel.name), ("type", "EEG"), ("unit", unit)):
            node.append_child_value(key, value)
    return StreamOutlet(info)


def test_a_missing_configuration(tmp_path: Path) -> None:
    assert "nothing.toml" in complaint("serve", tmp_path / "nothing.toml")


def test_an_unknown_key(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    assert "service.wiat_s: unknown key" in complaint("serve", write_config(tmp_path, extra="wiat_s = 1"))


def test_a_missing_decoder(tmp_path: Path) -> None:
    assert "cannot read decoder" in complaint("serve", write_config(tmp_path))


def test_a_truncated_decoder(tmp_path: Path) -> None:
    (tmp_path / "decoder.onnx").write_bytes(b"\x08\x08not an onnx file")
    assert "not a readable ONNX file" in complaint("inspect", tmp_path / "decoder.onnx")


def test_a_stream_that_never_comes(tmp_path: Path, source_id: str) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    assert "no LSL stream fits" in complaint("serve", write_config(tmp_path, source_id))


def test_a_marker_stream_that_never_comes(tmp_path: Path, source_id: str) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    amplifier = outlet(source_id)
    line = complaint("serve", write_config(tmp_path, source_id))
    assert "no LSL stream fits" in line
    assert f"{source_id}-markers" in line
    assert amplifier is not None


@pytest.mark.parametrize(
    ("rate_hz", "unit", "says"),
    [(512.0, "V", "rate is 512 Hz, the decoder needs 256 Hz"), (256.0, "bananas", "bananas")],
)
def test_a_stream_that_does_not_fit(
    tmp_path: Path, source_id: str, rate_hz: float, unit: str, says: str
) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    streams = (
        outlet(source_id, rate_hz, unit),
        StreamOutlet(StreamInfo("markers", "Markers", 1, 0, "string", f"{source_id}-markers")),
    )
    assert says in complaint("serve", write_config(tmp_path, source_id))
    assert streams


def test_a_port_in_use(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port} is already in use" in complaint("serve", write_config(tmp_path, port=port))


@pytest.mark.parametrize("name", ["missing.fif", "notes.docx", "broken.fif"])
def test_a_recording_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    if not name.startswith("missing"):
        (tmp_path / name).write_bytes(b"nothing that is a recording")
    assert name in complaint("replay", tmp_path / name)


def test_a_folder_that_is_no_gallery(tmp_path: Path) -> None:
    assert "is not a gallery" in complaint("retrieve", "--gallery", tmp_path)


def test_a_replay_through_a_decoder_that_does_not_fit_leaves_nothing(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "decoder.onnx")
    rows = "\n".join(f"{i / 100},{i},0" for i in range(300))
    (tmp_path / "eeg.csv").write_text(f"timestamps,Fz,Marker0\n{rows}\n")
    line = complaint(
        "replay",
        tmp_path / "eeg.csv",
        "--units",
        "uV",
        "--through",
        tmp_path / "decoder.onnx",
        "--out",
        tmp_path / "out",
    )
    assert "channels missing: CH0, CH1, CH2" in line
    assert not list(tmp_path.glob("out*"))
