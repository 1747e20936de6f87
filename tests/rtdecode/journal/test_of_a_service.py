from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import pyxdf
from lab import Lab, listen

from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import BusSettings, JournalSettings, ServeConfig
from rtdecode.contracts import AlarmCode, AlarmMessage, EmbeddingMessage
from rtdecode.errors import UserError
from rtdecode.journal.events import Admitted
from rtdecode.journal.messages import read_lines
from rtdecode.journal.reader import Fed, RecordedSession
from rtdecode.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


def test_a_service_that_never_was_live_leaves_no_session(lab: Lab, decoder: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bus = BusSettings(publish_port=taken.getsockname()[1], subscribe_port=0, control_port=0)
        config = with_journal(lab.config(decoder), tmp_path).model_copy(update={"bus": bus})
        with pytest.raises(UserError, match="already in use"), Service(config):
            pass
    assert list(tmp_path.iterdir()) == [decoder]
    del lab.experiment  # the amplifier is found, the markers are not
    config = with_journal(lab.config(decoder, wait_s=1), tmp_path)
    with pytest.raises(UserError, match="no LSL stream fits"), Service(config) as service:
        service.connect()
    assert list(tmp_path.iterdir()) == [decoder]


def test_what_came_a_second_before_a_kill_is_on_disk(lab: Lab, decoder: Path, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(
        f"""
        streams = [{{ id = "eeg", lsl = {{ source_id = "{lab.source_id}" }} }}]
        decoders = [{{ path = "{decoder.name}" }}]
        markers.streams = [{{ source_id = "{lab.source_id}-markers" }}]
        bus = {{ publish_port = 0, subscribe_port = 0, control_port = 0 }}
        journal.folder = "journal"
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rtdecode", "serve", str(tmp_path / "serve.toml")],
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stderr is not None
        where = next(line for line in process.stderr if "live: publishing" in line)
        with Subscriber(re.search(r"tcp://[^ ,]+", where).group(), ("embedding",)) as subscriber:
            assert subscriber.wait_joined(10)
            for first in range(0, 2000, 50):
                lab.mark(first, str(first))
                lab.send(50)
            lab.send(100)
            labels = [subscriber.receive(30).message.label for _ in range(40)]
        threading.Event().wait(1.0)  # the very second that the journal may lose
        process.kill()
    (folder,) = (tmp_path / "journal").iterdir()
    session = RecordedSession(folder)
    entries = [entry for entry, _ in session.entries()]
    assert not session.is_complete
    assert sum(len(entry.stamps) for entry in entries if isinstance(entry, Fed)) == 2100
    assert [entry.label for entry in entries if isinstance(entry, Admitted)] == labels
    messages = [line.received.message for line in read_lines(folder / "messages.jsonl")]
    assert [message.label for message in messages if isinstance(message, EmbeddingMessage)] == labels


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def is_of_the_journal(message: object) -> bool:
    return isinstance(message, AlarmMessage) and message.code is AlarmCode.JOURNAL


def test_a_full_disk_is_an_alarm_and_decoding_goes_on(lab: Lab, decoder: Path, small_disk: Path) -> None:
    filler = small_disk / "filler"
    config = with_journal(lab.config(decoder), small_disk / "journal", queue=20)
    with ExitStack() as stack:
        service = stack.enter_context(Service(config))
        heard = (received.message for received in listen(stack, service, "embedding", "alarm"))
        service.connect()
        waiting = threading.Thread(target=service.wait)
        waiting.start()
        stack.callback(waiting.join)
        stack.callback(service.request_stop)
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while file.write(bytes(4096)):
                pass
        lab.send(1000)
        alarm = next(message for message in heard if is_of_the_journal(message))
        assert alarm.active
        assert "No space left on device" in alarm.text
        assert alarm.text in service.status().alarms

        lab.mark(lab.n_samples + 10, "decoded nevertheless")
        lab.send(200)
        embedding = next(message for message in heard if isinstance(message, EmbeddingMessage))
        assert embedding.label == "decoded nevertheless"

        filler.unlink()
        assert not next(message for message in heard if is_of_the_journal(message)).active
        assert alarm.text not in service.status().alarms
    (folder,) = (small_disk / "journal").iterdir()
    session = RecordedSession(folder)
    assert [entry.label for entry, _ in session.entries() if isinstance(entry, Admitted)] == [embedding.label]
    assert session.is_complete
