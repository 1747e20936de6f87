"""A recorded session, read back in the order in which it happened, a chunk at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.errors import UserError
from rtdecode.journal import xdf
from rtdecode.journal.events import Connected, Event, Stopped, read_event
from rtdecode.journal.session import MESSAGES_FILE, RECORDING_FILE, Session
from rtdecode.journal.transcript import EVENTS_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

_BUFFERED = 1 << 20


@dataclass(frozen=True, slots=True)
class Fed:
    """A chunk that the engine was fed; see :meth:`rtdecode.engine.Engine.feed`."""

    stream: str
    samples: npt.NDArray[np.float64]
    stamps: npt.NDArray[np.float64]
    offset_s: float
    arrival: float


Entry = Fed | Event


class RecordedSession:
    """The folder of a session.

    Parameters
    ----------
    folder
        As the journal wrote it.

    Attributes
    ----------
    about : Session
        Under which circumstances it was recorded.
    n_bytes : int
        Length of the recording.
    is_complete : bool
        Whether the recording was ended in an orderly way; known once it was read to its end.

    Raises
    ------
    UserError
        If it is no session, or its description is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.about = Session.load(folder)
        self.folder = folder
        self.messages = folder / MESSAGES_FILE
        self._path = folder / RECORDING_FILE
        self.is_complete = False
        try:
            self.n_bytes = self._path.stat().st_size
        except OSError as error:
            raise UserError(f"cannot read {self._path}: {error.strerror}") from error

    @property
    def table(self) -> Path | None:
        """Copy of the stimulus table, if markers were mapped by one."""
        return None if self.about.table is None else self.folder / self.about.table

    def entries(self) -> Iterator[tuple[Entry, int]]:
        """Everything that decided what the engine did, in order, and how many bytes were read for it.

        A recording that ends in the middle of a chunk, as a crash leaves it, is read up to there.

        Raises
        ------
        UserError
            If it cannot be read, or is damaged.
        """
        reader = _EntryReader()
        try:
            with self._path.open("rb", buffering=_BUFFERED) as file:
                if file.read(len(xdf.MAGIC)) != xdf.MAGIC:
                    raise self._damaged(0, "it does not begin as an XDF file")
                at = len(xdf.MAGIC)
                for chunk in xdf.chunks(file):
                    entry = reader.read(chunk.tag, chunk.content)
                    at = chunk.end
                    if isinstance(entry, Stopped):
                        self.is_complete = True
                    elif entry is not None:
                        yield entry, at
        except ValueError as error:
            raise self._damaged(at, str(error)) from error
        except OSError as error:
            raise UserError(f"cannot read {self._path}: {error.strerror}") from error

    def _damaged(self, at: int, reason: str) -> UserError:
        first_line = reason.partition("\n")[0]
        return UserError(
            f"{self._path} is damaged at byte {at} ({first_line}); restore it from a complete copy"
        )


@dataclass(frozen=True, slots=True)
class _Signal:
    """How the samples of a connection lie in the file."""

    stream: str
    dtype: np.dtype[np.void]
    scale: npt.NDArray[np.float64] | None

    def samples(self, values: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
        """The very numbers that the engine was fed."""
        samples = np.array(values, np.float64)
        if self.scale is not None:
            samples *= self.scale
        return samples


class _EntryReader:
    """Turns chunks into entries; it remembers what streams were announced."""

    def __init__(self) -> None:
        self._events: int | None = None
        self._signals: dict[int, _Signal] = {}
        self._signal_of: dict[int, int] = {}
        self._arrived: dict[int, tuple[float, float]] = {}

    def read(self, tag: int, content: bytes) -> Entry | None:
        """Read a chunk; None for those that only other programs read.

        Raises
        ------
        ValueError
            If it is none of ours.
        """
        if tag not in (xdf.STREAM_HEADER, xdf.SAMPLES):
            return None
        if len(content) < 4:
            raise ValueError("a chunk without a stream")
        number = int.from_bytes(content[:4], "little")
        if tag == xdf.STREAM_HEADER:
            # The first stream of a recording of ours.
            if self._events is None and f"<name>{EVENTS_NAME}</name>".encode() in content:
                self._events = number
            return None
        n, after = xdf.read_length(content, 4)
        if number == self._events:
            return self._event(content, after)
        if number in self._signal_of:
            row = np.frombuffer(content, xdf.sample_dtype("double64", 2), 1, after)[0]
            self._arrived[self._signal_of[number]] = float(row["stamp"]), float(row["values"][0])
        elif number in self._signals:
            return self._fed(number, n, content[after:])
        return None

    def _event(self, content: bytes, at: int) -> Event:
        length, after = xdf.read_length(content, at + 9)
        text = content[after:]
        if length != len(text):
            raise ValueError(f"a text of {len(text)} bytes where {length} were announced")
        event = read_event(text.decode("utf-8"))
        if isinstance(event, Connected):
            n_channels = len(event.channels)
            if event.value_format not in xdf.DTYPES or len(event.scale) not in (0, n_channels):
                raise ValueError("a connection whose samples cannot be read")
            scale = np.array(event.scale) if event.scale else None
            self._signals[event.signal] = _Signal(
                event.stream, xdf.sample_dtype(event.value_format, n_channels), scale
            )
            self._signal_of[event.arrivals] = event.signal
        return event

    def _fed(self, number: int, n: int, content: bytes) -> Fed:
        signal = self._signals[number]
        if len(content) != n * signal.dtype.itemsize:
            raise ValueError(f"{len(content)} bytes where {n} samples were announced")
        rows = np.frombuffer(content, signal.dtype, n)
        if number not in self._arrived:
            raise ValueError("samples of which nobody knows when they came")
        arrival, offset_s = self._arrived.pop(number)
        return Fed(signal.stream, signal.samples(rows["values"]), rows["stamp"].copy(), offset_s, arrival)
