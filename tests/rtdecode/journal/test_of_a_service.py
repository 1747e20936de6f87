from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import pyxdf
from index_decoder import index_manifest, write_index_decoder
from lab import Lab, listen

from rtdecode.config import JournalSettings, ServeConfig
from rtdecode.contracts import EmbeddingMessage
from rtdecode.errors import UserError
from rtdecode.journal.messages import read_lines
from rtdecode.journal.reader import Fed, RecordedSession
from rtdecode.service import Service

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, 100)))
    return tmp_path / "d.onnx"


def with_journal(config: ServeConfig, folder: Path, **journal: object) -> ServeConfig:
    return config.model_copy(update={"journal": JournalSettings(folder=folder, **journal)})


def test_a_session_is_a_folder_with_all_that_came_in_and_went_out(
    lab: Lab, decoder: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(with_journal(lab.config(decoder), tmp_path / "journal")))
        heard = listen(stack, service, "embedding")
        service.connect()
        lab.mark(10, "é")
        lab.send(50)
        lab.send(150)
        embedding = next(r.message for r in heard if isinstance(r.message, EmbeddingMessage))
        status = service.status()
        assert status.dropped["journal"] == 0
        assert "journal" in status.queues
    (folder,) = (tmp_path / "journal").iterdir()
    about = json.loads((folder / "session.json").read_text(encoding="utf-8"))
    assert about["boot_id"] == embedding.boot_id
    assert about["decoders"][0]["file_sha256"] == embedding.decoder_sha256
    assert about["configuration"]["streams"][0]["lsl"]["source_id"] == lab.source_id
    messages = [line.received.message for line in read_lines(folder / "messages.jsonl")]
    assert embedding in messages
    assert messages[-1].kind == "status"
    assert messages[-1].state == "stopped"

    session = RecordedSession(folder)
    entries = [entry for entry, _ in session.entries()]
    assert session.is_complete
    fed = [entry for entry in entries if isinstance(entry, Fed)]
    assert sum(len(chunk.stamps) for chunk in fed) == 200

    streams, _ = pyxdf.load_xdf(folder / "recording.xdf", dejitter_timestamps=False)
    named = {stream["info"]["name"][0]: stream for stream in streams}
    assert named["amplifier"]["info"]["channel_format"] == ["float32"]
    assert named["amplifier"]["time_series"][:, 0].tolist() == list(range(200))
    assert named["amplifier"]["time_stamps"][0] == pytest.approx(lab.start)
    assert named["amplifier"]["footer"]["info"]["sample_count"] == ["200"]
    assert named["experiment"]["time_series"] == [["é"]]
    assert named["amplifier-arrivals"]["time_series"][:, 1].sum() == 200


def test_a_journal_that_cannot_be_written_is_said_before_anything_starts(
    lab: Lab, decoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write"),
        Service(with_journal(lab.config(decoder), tmp_path / "file")),
    ):
        pass
