from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from index_decoder import index_channels

from rtdecode.alarms import Alarms
from rtdecode.bus.envelope import Envelope
from rtdecode.connection import StreamFacts
from rtdecode.contracts import AlarmMessage, MarkerMessage, Verdict
from rtdecode.errors import UserError
from rtdecode.journal import writer, xdf
from rtdecode.journal.events import Admitted, Connected, Disconnected, Lost
from rtdecode.journal.messages import read_lines, write_line
from rtdecode.journal.reader import Entry, Fed, RecordedSession
from rtdecode.journal.session import Session
from rtdecode.journal.tail import Tail
from rtdecode.journal.writer import Journal
from rtdecode.signal.markers import Marker
from rtdecode.sources.base import StreamDescription

if TYPE_CHECKING:
    from pathlib import Path

SESSION = Session(
    started="2026-01-01T12:00:00.000+00:00",
    host="here",
    boot_id="b",
    processor="p",
    versions={},
    simulated=False,
    configuration={},
    decoders=(),
)
VALUES = {
    "float32": np.dtype("f4"),
    "int16": np.dtype("i2"),
    "double64": np.dtype("f8"),
    "int64": np.dtype("i8"),
}


class Desk:
    """A journal, a clock that stands, and the alarms that were told."""

    def __init__(self, root: Path, most_entries: int = 1000) -> None:
        self.told: list[AlarmMessage] = []
        self.alarms = Alarms(self.told.append, lambda: False)
        self.journal = Journal(root, most_entries, self, self.alarms)

    def now(self) -> float:
        return 100.0

    def entries(self) -> list[Entry]:
        self.session = RecordedSession(self.journal.folder)
        return [entry for entry, _ in self.session.entries()]


def facts(value_format: str = "double64", scale: float = 1.0) -> StreamFacts:
    source = StreamDescription(
        name="amplifier",
        type="EEG",
        source_id="a",
        hostname="lab",
        rate_hz=256.0,
        channels=index_channels(),
        scale=(scale,) * 3,
        value_format=value_format,
    )
    return StreamFacts(channels=index_channels(), rate_hz=256.0, host="lab", source=source)


def chunk(n: int, first: int = 0) -> tuple[np.ndarray, np.ndarray, float, float]:
    stamps = np.arange(first, first + n) / 256
    return np.column_stack([stamps] * 3), stamps, 0.25, float(stamps[-1])


def marker(label: str = "a") -> Marker:
    return Marker(source="m", label=label, stamp=1.0, time=1.25, arrival=1.5, host="lab")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    value_format=st.sampled_from(sorted(VALUES)),
    scale=st.sampled_from([1.0, 1e-6, 1e-9, 1e-15, 0.1]),
)
def test_what_is_read_back_is_to_the_bit_what_the_engine_was_told(
    tmp_path: Path, data: st.DataObject, value_format: str, scale: float
) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    desk.journal.connected("eeg", facts(value_format, scale))
    fed = []
    for n in data.draw(st.lists(st.integers(0, 40), max_size=5)):
        sent = data.draw(npst.arrays(VALUES[value_format], (n, 3)))
        samples = sent.astype(np.float64)
        if scale != 1:  # as a source does it
            with np.errstate(over="ignore", under="ignore"):
                samples *= np.full(3, scale)
        stamps = data.draw(npst.arrays(np.float64, n, elements=st.floats(-1e12, 1e12)))
        offset_s, arrival = data.draw(st.floats(-1e9, 1e9)), data.draw(st.floats(0, 1e9))
        desk.journal.fed("eeg", samples, stamps, offset_s, arrival)
        fed.append(Fed("eeg", samples, stamps, offset_s, arrival))
    desk.journal.disconnected("eeg", Verdict.GAP, "gone")
    desk.journal.stop()
    connected, *chunks, disconnected = desk.entries()
    assert isinstance(connected, Connected)
    assert connected.facts().channels == index_channels()
    assert disconnected == Disconnected(stream="eeg", verdict=Verdict.GAP, reason="gone")
    for wrote, read in zip(fed, chunks, strict=True):
        assert isinstance(read, Fed)
        assert (read.stream, read.offset_s, read.arrival) == (wrote.stream, wrote.offset_s, wrote.arrival)
        np.testing.assert_array_equal(read.stamps, wrote.stamps)
        np.testing.assert_array_equal(read.samples, wrote.samples)
    assert desk.session.is_complete


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(label=st.text(), time=st.floats(allow_nan=False, allow_infinity=False))
def test_markers_come_back_as_they_were(tmp_path: Path, label: str, time: float) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    told = Marker(source="é", label=label, stamp=time, time=time / 3, arrival=time / 7, sample=5, host="lab")
    desk.journal.admitted(told, "eeg")
    desk.journal.stop()
    (read,) = desk.entries()
    assert isinstance(read, Admitted)
    assert (read.marker(), read.stream) == (told, "eeg")


def test_the_order_is_that_in_which_the_engine_was_told(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal.connected("eeg", facts())
    desk.journal.start(SESSION, None)
    desk.journal.connected("meg", facts())
    for round_ in range(20):
        desk.journal.fed("eeg", *chunk(5, 5 * round_))
        desk.journal.admitted(marker(str(round_)), None)
        desk.journal.fed("meg", *chunk(3, 3 * round_))
        desk.journal.advanced("eeg", float(round_))
    desk.journal.stop()
    _, _, *rest = desk.entries()
    said = [getattr(one, "stream", None) or getattr(one, "label", None) for one in rest]
    assert said == [word for i in range(20) for word in ("eeg", str(i), "meg", "eeg")]


def test_messages_are_kept_as_they_left_the_bus(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    envelope = Envelope("service", desk.now)
    told = MarkerMessage(
        simulated=True, source="m/\ud800", label="a", stimulus_id=None, fate="accepted", index=0, stamp=1.5
    )
    frames = []
    for index in range(3):
        frames.append(envelope.seal(told.model_copy(update={"source": f"é{index}"})))
        desk.journal.said(frames[-1])
    desk.journal.stop()
    path = desk.journal.folder / "messages.jsonl"
    lines = list(read_lines(path))
    assert [line.received.message.source for line in lines] == ["é0", "é1", "é2"]
    assert path.read_bytes() == b"".join(map(write_line, frames))
    path.write_bytes(path.read_bytes()[:-5])
    assert len(list(read_lines(path))) == 2


def test_a_full_queue_drops_the_newest_counts_it_and_notes_it_in_the_recording(tmp_path: Path) -> None:
    desk = Desk(tmp_path, most_entries=10)
    desk.journal.connected("eeg", facts())
    for index in range(30):
        desk.journal.fed("eeg", *chunk(5, 5 * index))
    desk.journal.disconnected("eeg", Verdict.GAP, "gone")  # never dropped, or nothing after it made sense
    assert (desk.journal.n_dropped, desk.journal.n_waiting) == (21, 12)
    desk.journal.check()
    assert [(alarm.code, alarm.active) for alarm in desk.told] == [("journal", True)]
    assert "too slow" in desk.told[0].text
    desk.journal.start(SESSION, None)
    desk.journal.stop()
    entries = desk.entries()
    assert len(entries) == 12
    assert entries[-2:] == [Lost(n=21), Disconnected(stream="eeg", verdict=Verdict.GAP, reason="gone")]
    desk.journal.check()
    assert [alarm.active for alarm in desk.told] == [True, False]


def test_large_chunks_are_bounded_by_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_WAITING_BYTES", 1000)
    desk = Desk(tmp_path)
    desk.journal.connected("eeg", facts())
    for _ in range(10):
        desk.journal.fed("eeg", *chunk(10))
    assert desk.journal.n_dropped == 6


def test_samples_that_wait_are_counted_by_the_thread_that_feeds_alone(tmp_path: Path) -> None:
    writers = set()

    class Watched(Journal):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "_fed_bytes":
                writers.add(threading.current_thread())
            super().__setattr__(name, value)

    journal = Watched(tmp_path, 1, Desk(tmp_path), Desk(tmp_path).alarms)
    for _ in range(3):
        journal.fed("eeg", *chunk(5))
    measuring = threading.Thread(target=journal.measured, args=("amplifier", "lab", 0.25))
    measuring.start()
    measuring.join()
    journal.admitted(marker(), None)
    assert (journal.n_waiting, journal.n_dropped) == (1, 4)
    assert journal._fed_bytes == 5 * 3 * 8
    assert writers == {threading.current_thread()}


def test_what_waits_at_the_stop_is_written_however_much_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_KEPT_BYTES", 2000)
    desk = Desk(tmp_path)
    envelope = Envelope("service", desk.now)
    desk.journal.connected("eeg", facts())
    for index in range(300):
        desk.journal.fed("eeg", *chunk(20, 20 * index))
        message = MarkerMessage(
            simulated=False,
            source="m",
            label=str(index),
            stimulus_id=None,
            fate="accepted",
            index=0,
            stamp=1.5,
        )
        desk.journal.said(envelope.seal(message))
    desk.journal.start(SESSION, None)
    desk.journal.stop()
    _, *chunks = desk.entries()
    assert desk.session.is_complete
    assert np.concatenate([one.stamps for one in chunks]).tolist() == (np.arange(6000) / 256).tolist()
    lines = read_lines(desk.journal.folder / "messages.jsonl")
    assert [line.received.message.label for line in lines] == [str(index) for index in range(300)]
    assert (desk.journal.n_waiting, desk.journal.n_dropped) == (0, 0)


class FullDisk:
    """A file on a disk that takes a few bytes of each write, and then no more."""

    def __init__(self, file: object) -> None:
        self.file, self.is_full = file, True
        self.refused = threading.Event()

    def write(self, data: memoryview) -> int:
        if self.is_full:
            self.file.write(data[:7])
            self.refused.set()
            raise OSError(errno.ENOSPC, "No space left on device")
        return self.file.write(data[:5000])

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)


def test_a_full_disk_is_an_alarm_and_what_was_kept_is_written_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_RETRY_S", 0.05)
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    disk = desk.journal._recording._file = FullDisk(desk.journal._recording._file)
    desk.journal.connected("eeg", facts())
    desk.journal.fed("eeg", *chunk(1000))
    assert disk.refused.wait(10)
    pause = threading.Event()
    while not desk.told:
        desk.journal.check()
        pause.wait(0.01)
    assert "No space left on device" in desk.told[0].text
    desk.journal.fed("eeg", *chunk(1000))
    disk.is_full = False
    while len(desk.told) < 2:
        desk.journal.check()
        pause.wait(0.01)
    assert [alarm.active for alarm in desk.told] == [True, False]
    desk.journal.stop()
    _, first, second = desk.entries()
    np.testing.assert_array_equal(first.samples, second.samples)
    assert desk.journal.n_dropped == 0


class SmallDisk(FullDisk):
    """A file on a disk that has room for so many bytes."""

    def __init__(self, file: object, room: int) -> None:
        super().__init__(file)
        self.room = room

    def write(self, data: memoryview) -> int:
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return self.file.write(data)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    room=st.integers(0, 40_000),
    n_chunks=st.integers(0, 100),
    most_entries=st.integers(5, 200),
    flush_bytes=st.sampled_from([500, 5000, 1 << 20]),
)
def test_a_disk_that_is_full_at_the_stop_leaves_an_incomplete_session_that_says_how_much_is_missing(
    tmp_path: Path, room: int, n_chunks: int, most_entries: int, flush_bytes: int
) -> None:
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer._log, "warning", lambda text, *arguments: said.append(text % arguments))
        patch.setattr(writer, "_FLUSH_BYTES", flush_bytes)
        desk = Desk(tmp_path, most_entries)
        desk.journal.start(SESSION, None)
        desk.journal._recording._file = SmallDisk(desk.journal._recording._file, room)
        desk.journal.connected("eeg", facts())
        for index in range(n_chunks):
            desk.journal.fed("eeg", *chunk(20, 20 * index))
        desk.journal.disconnected("eeg", Verdict.GAP, "gone")
        desk.journal.stop()
    entries = desk.entries()
    notes = [entry.n for entry in entries if isinstance(entry, Lost)]
    assert len(entries) - len(notes) + desk.journal.n_dropped == n_chunks + 2
    assert desk.session.is_complete == (not said)
    if said:
        assert f"No space left on device; {desk.journal.n_dropped} entries are missing" in said[-1]
    if not said or desk.journal._recording._file.room > 1000:
        assert sum(notes) == desk.journal.n_dropped


def test_a_disk_that_fails_in_the_end_is_said_and_the_session_is_not_complete(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)

    class RemoteDisk(FullDisk):
        def write(self, data: memoryview) -> int:
            return self.file.write(data)

        def fileno(self) -> int:
            raise OSError(errno.EIO, "Input/output error")

    desk.journal._recording._file = RemoteDisk(desk.journal._recording._file)
    desk.journal.connected("eeg", facts())
    desk.journal.stop()
    assert len(desk.entries()) == 1
    assert not desk.session.is_complete
    assert "not complete: Input/output error" in caplog.messages[-1]


def test_a_journal_whose_thread_ends_by_an_error_is_an_alarm_and_counts_what_it_misses(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    assert desk.journal.is_alive

    class NoMemory(FullDisk):
        def write(self, _data: memoryview) -> int:
            raise MemoryError

    desk.journal._recording._file = NoMemory(desk.journal._recording._file)
    desk.journal.connected("eeg", facts())
    desk.journal.fed("eeg", *chunk(5))
    desk.journal._thread.join(10)
    assert not desk.journal.is_alive
    desk.journal.fed("eeg", *chunk(5, 5))
    desk.journal.admitted(marker(), None)
    assert (desk.journal.n_waiting, desk.journal.n_dropped) == (0, 4)
    desk.journal.check()
    desk.journal.check()
    (alarm,) = desk.told
    assert (alarm.code, alarm.active) == ("journal", True)
    assert "the journal has ended: MemoryError" in alarm.text
    desk.journal.stop()
    assert "not complete: MemoryError; 4 entries are missing" in caplog.messages[-1]
    assert desk.entries() == []
    assert not desk.session.is_complete


def test_a_full_disk_leaves_whole_chunks_behind(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "f")
    tail.pending += b"good"
    tail.write()
    tail._file = FullDisk(tail._file)
    tail.pending += b"does not fit"
    with pytest.raises(OSError, match="No space"):
        tail.write()
    assert (tmp_path / "f").read_bytes() == b"good"
    tail._file.is_full = False
    tail.write()
    tail.close()
    assert (tmp_path / "f").read_bytes() == b"gooddoes not fit"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    desk = Desk(tmp_path / "file")
    with pytest.raises(UserError, match="cannot write"):
        desk.journal.start(SESSION, None)


@pytest.mark.parametrize("fails", ["the table", "the recording", "its first bytes"])
def test_a_journal_that_cannot_start_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    session, table = SESSION, None
    if fails == "the table":
        session, table = SESSION.model_copy(update={"table": "stimuli.csv"}), tmp_path / "gone.csv"
    elif fails == "the recording":
        monkeypatch.setattr(writer, "RECORDING_FILE", "no/such/folder.xdf")
    else:
        monkeypatch.setattr("rtdecode.journal.tail.Tail.write", fail)
    with pytest.raises(UserError, match="cannot write"):
        Desk(tmp_path).journal.start(session, table)
    assert list(tmp_path.iterdir()) == []


def test_a_simulated_stream_makes_the_session_simulated(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    desk.journal.connected("eeg", StreamFacts(channels=index_channels(), rate_hz=256.0, simulated=True))
    desk.journal.stop()
    assert RecordedSession(desk.journal.folder).about.simulated


def test_a_recording_cut_anywhere_is_read_up_to_its_last_complete_chunk(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    desk.journal.connected("eeg", facts())
    for index in range(3):
        desk.journal.fed("eeg", *chunk(2, 2 * index))
        desk.journal.admitted(marker(), None)
    desk.journal.stop()
    whole = desk.entries()
    path = desk.journal.folder / "recording.xdf"
    content = path.read_bytes()
    n_read = []
    for cut in range(4, len(content) + 1):
        path.write_bytes(content[:cut])
        entries = desk.entries()
        assert list(map(str, entries)) == list(map(str, whole[: len(entries)]))
        n_read.append(len(entries))
    assert n_read == sorted(n_read)
    assert set(n_read) == set(range(len(whole) + 1))


def test_a_wrong_length_amid_the_recording_is_no_end_of_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    desk.journal.connected("eeg", facts())
    desk.journal.fed("eeg", *chunk(100))
    desk.journal.stop()
    path = desk.journal.folder / "recording.xdf"
    content = path.read_bytes()
    at = content.rindex(b"\x04", 0, content.index(b"\x03\x00\x02\x00\x00\x00"))
    path.write_bytes(content[: at + 3] + b"\xff" + content[at + 4 :] + xdf.boundary())
    with pytest.raises(UserError, match="wrong length"):
        desk.entries()


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_recording_is_one_line_or_shorter_and_never_something_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    desk = Desk(tmp_path / "s")
    desk.journal.start(SESSION, None)
    desk.journal.connected("eeg", facts())
    desk.journal.fed("eeg", *chunk(2))
    desk.journal.admitted(marker(), None)
    desk.journal.stop()
    path = desk.journal.folder / "recording.xdf"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        desk.entries()
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_a_disk_that_takes_long_is_an_alarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_SLOW_S", 0.1)
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    go_on = threading.Event()

    class SlowDisk(FullDisk):
        def write(self, data: memoryview) -> int:
            assert go_on.wait(30)
            return self.file.write(data)

    desk.journal._recording._file = SlowDisk(desk.journal._recording._file)
    desk.journal.connected("eeg", facts())
    pause = threading.Event()
    while not desk.told:
        desk.journal.check()
        pause.wait(0.01)
    assert "too slow" in desk.told[0].text
    go_on.set()
    while len(desk.told) < 2:
        desk.journal.check()
        pause.wait(0.01)
    desk.journal.stop()
    assert len(desk.entries()) == 1


def test_a_disk_that_is_too_slow_at_the_stop_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "_STOP_S", 0.1)
    desk = Desk(tmp_path)
    desk.journal.start(SESSION, None)
    go_on = threading.Event()

    class SlowDisk(FullDisk):
        def write(self, data: memoryview) -> int:
            assert go_on.wait(30)
            return self.file.write(data)

    desk.journal._recording._file = SlowDisk(desk.journal._recording._file)
    desk.journal.connected("eeg", facts())
    desk.journal.stop()
    assert "1 entries are missing" in caplog.messages[-1]
    assert "too slow" in caplog.messages[-1]
    go_on.set()
    desk.journal._thread.join(10)
    assert len(desk.entries()) == 1
