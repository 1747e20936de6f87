"""What is sent in about a second of a replay: which samples and markers, stamped how, and when. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from replay.layout import Layout

Stream = Literal["signal", "markers"]


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Samples in the order in which they are sent; all times are seconds after the first sample was due.

    Parameters
    ----------
    lap
        Round of the replay, from 0.
    start, stop
        Stretch of the recording that they are from.
    sample : array of shape (n,), int64
        Which sample of the recording each one is.
    chunk : array of shape (n,), int64
        Samples with the same number leave together.
    time, stamp, due : arrays of shape (n,), float64
        When each was truly taken, what its stamp says, and when it is sent.
    """

    lap: int
    start: int
    stop: int
    sample: NDArray[np.int64]
    chunk: NDArray[np.int64]
    time: NDArray[np.float64]
    stamp: NDArray[np.float64]
    due: NDArray[np.float64]

    def keep(self, rows: NDArray[np.bool_]) -> Self:
        """Leave out the samples that are not in ``rows``."""
        return type(self)(
            self.lap,
            self.start,
            self.stop,
            self.sample[rows],
            self.chunk[rows],
            self.time[rows],
            self.stamp[rows],
            self.due[rows],
        )


@dataclass(frozen=True, eq=False, slots=True)
class Marks:
    """Markers of one round, likewise.

    Parameters
    ----------
    lap
        Round of the replay.
    number : array of shape (n,), int64
        Which marker of the recording each one is.
    sample : array of shape (n,), int64
        Sample of the recording on which it truly lies.
    time, stamp, due : arrays of shape (n,), float64
        As for :class:`Batch`.
    """

    lap: int
    number: NDArray[np.int64]
    sample: NDArray[np.int64]
    time: NDArray[np.float64]
    stamp: NDArray[np.float64]
    due: NDArray[np.float64]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Those rows alone, in that order; a row may be taken twice."""
        return type(self)(
            self.lap, self.number[rows], self.sample[rows], self.time[rows], self.stamp[rows], self.due[rows]
        )


@dataclass(frozen=True, slots=True)
class Outage:
    """A stream goes away and comes back.

    Parameters
    ----------
    stream
        Which one.
    begin, end
        Seconds after the first sample was due.
    layout
        With which channels the signal comes back.
    """

    stream: Stream
    begin: float
    end: float
    layout: Layout

    def covers(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the stream is away then."""
        away: NDArray[np.bool_] = (times >= self.begin) & (times < self.end)
        return away
