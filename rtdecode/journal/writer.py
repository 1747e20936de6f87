"""The journal of a running service: takes what happens without ever waiting, and writes it on its own thread.

The threads that feed and those that publish put references into a bounded queue; the journal's thread turns
them into bytes and appends these to two files. What a disk does not take is kept and tried again, up to a
limit; beyond it, entries are dropped, counted, and missed in the recording by a note.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from rtdecode.contracts import AlarmCode
from rtdecode.journal import xdf
from rtdecode.journal.messages import write_line
from rtdecode.journal.session import MESSAGES_FILE, RECORDING_FILE, make_folder
from rtdecode.journal.tail import Tail
from rtdecode.journal.transcript import Transcript
from rtdecode.output import cannot_write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from rtdecode.alarms import Alarms
    from rtdecode.connection import StreamFacts
    from rtdecode.contracts import Verdict
    from rtdecode.journal.session import Session
    from rtdecode.signal.markers import Marker
    from rtdecode.sources.base import Clock

_log = logging.getLogger(__name__)

_LOOK_S = 0.1
"""How often the thread looks for entries: few at a time, so that it never holds the interpreter for long."""

_FLUSH_S = 0.25
_FLUSH_BYTES = 1 << 20
_SYNC_S = 5.0
_BOUNDARY_S = 10.0
_RETRY_S = 2.0
_SLOW_S = 2.0
_STOP_S = 30.0

_WAITING_BYTES = 128 << 20
"""Samples and messages that may wait in the queue, beside the limit of entries."""

_KEPT_BYTES = 32 << 20
"""Bytes that may wait for a disk that takes none, before entries stay in the queue."""


_Entry = tuple["Callable[..., None]", tuple[Any, ...], int]
"""What to do on the journal's thread, with which arguments, and how many bytes these hold."""


class Journal:
    """Records a session; a recorder for the engine, and a listener to the bus.

    Until it is started, entries wait.

    Parameters
    ----------
    root
        Each session gets a folder of its own in it.
    most_entries
        Entries that may wait for the disk.
    clock
        Stamps what has no stamp of its own.
    alarms
        Told when the disk is full or too slow, and when it is no longer.
    """

    def __init__(self, root: Path, most_entries: int, clock: Clock, alarms: Alarms) -> None:
        self._root = root
        self._most_entries = most_entries
        self._clock = clock
        self._alarms = alarms
        self._transcript = Transcript()
        # Appending to it and taking from it need no lock. Each counter of bytes has one writer: whoever holds
        # the engine's lock, or the broker's, and the journal's thread.
        self._entries: deque[_Entry] = deque()
        self._fed_bytes = self._said_bytes = self._taken_bytes = 0
        self._lock = threading.Lock()  # guards what is counted of the dropped entries
        self._dropped = 0
        self._missing = 0  # of the recording, since it was last noted there
        self._noted = 0  # of the recording, by notes that are not on the disk yet
        self._seen_dropped = 0
        self._fault = self._failure = ""
        self._busy_since: float | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def n_waiting(self) -> int:
        """Entries in the queue."""
        return len(self._entries)

    @property
    def n_dropped(self) -> int:
        """Entries that were thrown away so far."""
        return self._dropped

    def start(self, session: Session, table: Path | None) -> None:
        """Make the session's folder and files, and start to write.

        Parameters
        ----------
        session
            What the folder's file says.
        table
            The stimulus table, of which the folder gets a copy.

        Raises
        ------
        UserError
            If they cannot be made; what was made of them is removed.
        """
        self._session = session
        self.folder = make_folder(self._root, session, table)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            self._recording = Tail(self.folder / RECORDING_FILE)
            stack.callback(self._recording.close)
            self._messages = Tail(self.folder / MESSAGES_FILE)
            stack.callback(self._messages.close)
            self._recording.pending += self._transcript.begin(session.started)
            try:
                self._recording.write()
            except OSError as error:
                raise cannot_write(self.folder / RECORDING_FILE, error) from error
            self._thread.start()
            stack.pop_all()

    def stop(self) -> None:
        """Write what waits, close the streams and the files; a second call does nothing.

        What the disk does not take, or not in time, is counted in the log, and in the recording where that
        has room for it; such a recording has no end.
        """
        if self._stop.is_set():
            return
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)
        reason, n_missing = self._failure or self._fault, self._dropped
        if self._thread.is_alive():
            reason = reason or f"the disk is too slow, it took more than {_STOP_S:g} s for the last entries"
            n_missing += len(self._entries) + self._recording.n_pending + self._messages.n_pending
        if reason:
            _log.warning(
                "the journal in %s is not complete: %s; %d entries are missing",
                self.folder,
                reason,
                n_missing,
            )

    def discard(self) -> None:
        """Stop, and remove the session's folder: nothing was recorded that anybody would look for."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def check(self) -> None:
        """Raise or clear the alarm; to be called each second, by a thread that the disk cannot hold up."""
        busy_since, dropped = self._busy_since, self._dropped
        if self._failure:
            text = (
                f"the journal has ended: {self._failure} ({self._root}); restart the service: decoding goes "
                "on, but nothing more is recorded"
            )
            self._alarms.begin(AlarmCode.JOURNAL, "journal", text)
        elif self._fault:
            text = (
                f"the journal cannot be written: {self._fault} ({self._root}); make room there: decoding "
                "goes on, but what no longer fits into memory is not recorded"
            )
            self._alarms.begin(AlarmCode.JOURNAL, "journal", text)
        elif dropped > self._seen_dropped or (
            busy_since is not None and time.monotonic() - busy_since > _SLOW_S
        ):
            text = (
                f"the journal falls behind ({dropped} entries dropped so far): the disk of {self._root} is "
                "too slow; put [journal] folder on a faster one"
            )
            self._alarms.begin(AlarmCode.JOURNAL, "journal", text)
        else:
            text = f"the journal is written again; {dropped} entries are missing in it"
            self._alarms.end(AlarmCode.JOURNAL, "journal", text)
        self._seen_dropped = dropped

    # --- told by the engine, under its lock -----------------------------------------------------------

    def connected(self, stream_id: str, facts: StreamFacts) -> None:
        """A stream was connected."""
        # Without the news of a connection nothing that follows it could be written.
        self._put((self._write_connected, (stream_id, facts, self._clock.now()), 0), is_vital=True)

    def fed(
        self, stream_id: str, samples: np.ndarray, stamps: np.ndarray, offset_s: float, arrival: float
    ) -> None:
        """A chunk is about to be taken."""
        # Once a chunk, on the thread whose latency counts: the plain case is written out here.
        self._fed_bytes += samples.nbytes
        entry = self._write_fed, (stream_id, samples, stamps, offset_s, arrival), samples.nbytes
        if not self._missing and self._is_calm():
            self._entries.append(entry)
        elif not self._put(entry):
            self._fed_bytes -= samples.nbytes

    def admitted(self, marker: Marker, stream_id: str | None) -> None:
        """A marker was put before the gate."""
        self._put((self._write, (self._transcript.admitted, marker, stream_id), 0))

    def advanced(self, stream_id: str, now: float) -> None:
        """A stream was advanced, and that had an effect."""
        self._put((self._write, (self._transcript.advanced, stream_id, now), 0))

    def disconnected(self, stream_id: str, verdict: Verdict, reason: str) -> None:
        """A stream was disconnected."""
        arguments = self._transcript.disconnected, stream_id, verdict, reason, self._clock.now()
        self._put((self._write, arguments, 0), is_vital=True)

    def declared_bad(self, stream_id: str, channels: tuple[str, ...]) -> None:
        """Channels of a stream were declared bad, from its next chunk on."""
        arguments = self._transcript.declared_bad, stream_id, channels, self._clock.now()
        self._put((self._write, arguments, 0), is_vital=True)

    # --- told by others -------------------------------------------------------------------------------

    def measured(self, name: str, host: str, offset_s: float) -> None:
        """The clock of a source was measured: add ``offset_s`` to its stamps to be in ours."""
        self._put((self._write, (self._transcript.measured, name, host, self._clock.now(), offset_s), 0))

    def said(self, frames: Sequence[bytes]) -> None:
        """A message left the bus; told behind the broker's lock."""
        n_bytes = sum(map(len, frames))
        self._said_bytes += n_bytes
        if not self._put((self._write_message, (frames,), n_bytes)):
            self._said_bytes -= n_bytes

    def _is_calm(self) -> bool:
        """Whether the queue is not even half full."""
        waiting_bytes = self._fed_bytes + self._said_bytes - self._taken_bytes
        return 2 * len(self._entries) < self._most_entries and 2 * waiting_bytes < _WAITING_BYTES

    def _put(self, entry: _Entry, *, is_vital: bool = False) -> bool:
        """Queue an entry, or drop it where the queue is full; whether it was queued.

        Without the vital ones nothing that follows could be read, so there is more room for them.
        """
        waiting_bytes = self._fed_bytes + self._said_bytes - self._taken_bytes
        most = 2 * self._most_entries if is_vital else self._most_entries
        if len(self._entries) >= most or (waiting_bytes > _WAITING_BYTES and not is_vital):
            self._drop(entry)
            return False
        with self._lock:
            lost, self._missing = self._missing, 0
        if lost:
            self._entries.append((self._note, (lost, self._clock.now()), 0))
        self._entries.append(entry)
        if not self._is_calm():
            self._wake.set()
        return True

    def _drop(self, entry: _Entry) -> None:
        """Count an entry that will not be written."""
        do, arguments, _ = entry
        with self._lock:
            if do == self._note:  # those that it counts were counted as dropped before
                self._missing += arguments[0]
                return
            self._dropped += 1
            if do != self._write_message:
                self._missing += 1

    # --- the journal's own thread ---------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._record()
            self._finish()
        except BaseException as error:  # a dead journal must be seen, and decoding go on
            _log.exception("the journal's thread has ended")
            self._failure = str(error).partition("\n")[0] or type(error).__name__
            self._most_entries = 0  # from here on all is dropped, and counted
            self._give_up()
        finally:
            self._close()

    def _record(self) -> None:
        flushed = synced = bounded = time.monotonic()
        while not self._stop.is_set():
            self._wake.wait(_LOOK_S)
            self._wake.clear()
            self._take(_KEPT_BYTES)
            now = time.monotonic()
            if now - bounded >= _BOUNDARY_S:
                self._recording.pending += xdf.boundary()
                bounded = now
            n_pending = len(self._recording.pending) + len(self._messages.pending)
            due_s = _RETRY_S if self._fault else _FLUSH_S
            if now - flushed >= due_s or (n_pending >= _FLUSH_BYTES and not self._fault):
                self._flush()
                flushed = now
            if now - synced >= _SYNC_S and not self._fault:
                with contextlib.suppress(OSError):  # what it could say, the next write says
                    self._sync()
                synced = now

    def _take(self, most_bytes: int) -> None:
        """Turn what waits into bytes, until so many are pending."""
        while self._entries and len(self._recording.pending) + len(self._messages.pending) < most_bytes:
            entry = self._entries.popleft()
            do, arguments, n_bytes = entry
            self._taken_bytes += n_bytes
            try:
                do(*arguments)
            except Exception:  # one entry must not end the journal
                _log.exception("an entry of the journal could not be written")
                self._drop(entry)
            time.sleep(0)  # the engine's threads go first

    def _write(self, transcribe: Callable[..., bytes], *arguments: Any) -> None:
        self._recording.add(transcribe(*arguments))

    def _write_fed(self, *arguments: Any) -> None:
        self._recording.add(self._transcript.fed(*arguments))

    def _write_message(self, frames: Sequence[bytes]) -> None:
        self._messages.add(write_line(frames))

    def _note(self, n_missing: int, at: float) -> None:
        self._recording.pending += self._transcript.lost(n_missing, at)
        self._noted += n_missing

    def _write_connected(self, stream_id: str, facts: StreamFacts, at: float) -> None:
        self._write(self._transcript.connected, stream_id, facts, at)
        if facts.simulated and not self._session.simulated:
            self._session = self._session.model_copy(update={"simulated": True})
            self._session.save(self.folder)

    def _flush(self) -> None:
        self._busy_since = time.monotonic()
        fault = ""
        for tail in (self._recording, self._messages):
            try:
                tail.write()
            except OSError as error:
                fault = error.strerror or str(error)
        if not self._recording.pending:
            self._noted = 0
        self._fault = fault
        self._busy_since = None

    def _sync(self) -> None:
        self._recording.sync()
        self._messages.sync()

    def _finish(self) -> None:
        self._flush()
        while self._entries and not self._fault:
            self._take(_FLUSH_BYTES)  # little by little: a disk that gets full takes all or nothing
            self._flush()
        if not self._fault:
            try:
                self._sync()
            except OSError as error:  # some network disks only say here that they are full
                self._fault = f"{error.strerror or error}, and what was written last may be missing too"
        fault = self._fault
        if fault:
            self._give_up()
        if self._missing:
            self._note(self._missing, self._clock.now())
        if not fault:
            self._recording.pending += self._transcript.end(self._clock.now())
        self._flush()
        with contextlib.suppress(OSError):
            self._sync()
        self._fault = fault or self._fault

    def _give_up(self) -> None:
        """Count what is not on the disk, and let go of it."""
        with self._lock:
            self._dropped += self._recording.n_pending + self._messages.n_pending
            self._missing += self._recording.n_pending + self._noted
        self._noted = 0
        self._recording.clear()
        self._messages.clear()
        while self._entries:
            entry = self._entries.popleft()
            self._taken_bytes += entry[2]
            self._drop(entry)

    def _close(self) -> None:
        self._recording.close()
        self._messages.close()
