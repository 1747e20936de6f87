"""When each sample of a replayed recording is due, and which samples leave together. Pure; no clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.recordings.recording import Recording

BREAK_S = 1.0
"""Pause that stands for a break of the recording, and between two rounds of a looped one.

Most formats do not keep how long a break was; this is long enough for every receiver to see it.
"""

_LONGEST_BURST_S = 0.5
_FEWEST_BURSTS = 3
_FEWEST_FOR_A_LINE = 3


class Schedule(Protocol):
    """Stamps and groups of a recording's samples.

    ``edges``, shape ``(n_groups + 1,)``: group ``g`` is samples ``edges[g]`` to ``edges[g + 1]``.
    """

    @property
    def edges(self) -> NDArray[np.int64]:
        """First sample of each group, and the number of samples at the end."""
        ...

    def offsets(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """Stamps of these samples of round ``lap``, shape ``(n,)``: seconds from the first sample of all."""
        ...

    @property
    def speed(self) -> float:
        """How many times as fast as recorded."""
        ...

    def times(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """When they were truly taken, likewise: what a marker on such a sample is stamped with."""
        ...


@dataclass(frozen=True, eq=False, slots=True)
class Grid:
    """A regular grid, in chunks of equal length.

    The stamp of grid point ``i`` is ``i / rate_hz``, computed and not added up, so that it never drifts. A
    break of the recording skips :data:`BREAK_S` of points.

    Parameters
    ----------
    rate_hz
        Rate of the grid: the recording's times the speed.
    n_samples
        Number of samples of the recording.
    segment_starts : array of shape (n_segments,)
        First sample of each segment.
    break_samples
        Grid points skipped at each break.
    edges, speed
        See :class:`Schedule`.
    """

    rate_hz: float
    n_samples: int
    segment_starts: NDArray[np.int64]
    break_samples: int
    edges: NDArray[np.int64]
    speed: float

    @classmethod
    def of(cls, recording: Recording, chunk_size: int, speed: float) -> Self:
        """Schedule a recording ``speed`` times as fast as it was recorded."""
        starts = np.asarray(recording.segment_starts, dtype=np.int64)
        bounds = [*starts.tolist(), recording.n_samples]
        edges = [np.arange(first, end, chunk_size, dtype=np.int64) for first, end in pairwise(bounds)]
        return cls(
            rate_hz=recording.rate_hz * speed,
            n_samples=recording.n_samples,
            segment_starts=starts,
            break_samples=round(BREAK_S * recording.rate_hz),
            edges=np.concatenate([*edges, [recording.n_samples]]),
            speed=speed,
        )

    def offsets(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """See :class:`Schedule`."""
        breaks = np.searchsorted(self.segment_starts, samples, side="right") - 1
        breaks += lap * len(self.segment_starts)
        points = samples + lap * self.n_samples + breaks * self.break_samples
        stamps: NDArray[np.float64] = points / self.rate_hz
        return stamps

    def times(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """See :class:`Schedule`."""
        return self.offsets(samples, lap)


@dataclass(frozen=True, eq=False, slots=True)
class Original:
    """The recording's own stamps, in the bursts that they show.

    They scatter about the times at which samples were truly taken. The straight line through the stamps of a
    segment is as near to those as one gets.

    Where the step between two stamps is off the sampling interval by more than half of it, a burst ended.
    Bursts that happened to follow each other at the regular interval cannot be told apart; such a run is cut
    at the commonest length, or, where no length is common, into chunks.

    Parameters
    ----------
    stamps : array of shape (n_samples,)
        Seconds since the first sample, as they will be sent.
    taken : array of shape (n_samples,)
        When each sample was taken, by the line, seconds since the first stamp.
    lap_s
        Seconds from the first sample to the first sample of the next round.
    edges, speed
        See :class:`Schedule`.
    """

    stamps: NDArray[np.float64]
    taken: NDArray[np.float64]
    lap_s: float
    edges: NDArray[np.int64]
    speed: float

    @classmethod
    def of(cls, recording: Recording, chunk_size: int, speed: float) -> Self:
        """Schedule a recording ``speed`` times as fast as it was recorded.

        Raises
        ------
        UserError
            If the recording has no stamps.
        """
        if recording.stamps is None:
            raise UserError(
                f"{recording.name} keeps no original stamps (only XDF and CSV do); replay it on the grid"
            )
        interval_s = 1 / recording.rate_hz
        off = np.abs(np.diff(recording.stamps) - interval_s) > interval_s / 2
        bursts = np.concatenate([[0], np.flatnonzero(off) + 1, [recording.n_samples]])
        length = _common_length(np.diff(bursts), round(_LONGEST_BURST_S * recording.rate_hz)) or chunk_size
        pieces = [np.arange(first, end, length) for first, end in pairwise(bursts.tolist())]
        stamps = (recording.stamps - recording.stamps[0]) / speed
        bounds = [*recording.segment_starts, recording.n_samples]
        return cls(
            stamps=stamps,
            taken=np.concatenate([_line(stamps[first:end]) for first, end in pairwise(bounds)]),
            lap_s=float(np.max(stamps)) + BREAK_S / speed,
            edges=np.concatenate([*pieces, [recording.n_samples]]).astype(np.int64),
            speed=speed,
        )

    def offsets(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """See :class:`Schedule`."""
        return self.stamps[samples] + lap * self.lap_s

    def times(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """See :class:`Schedule`."""
        return self.taken[samples] + lap * self.lap_s


def _line(stamps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Straight line through stamps, at each of them."""
    if len(stamps) < _FEWEST_FOR_A_LINE:
        return stamps
    numbers = np.arange(len(stamps), dtype=np.float64) - 0.5 * (len(stamps) - 1)
    mean = float(np.mean(stamps))
    slope = float(np.sum(numbers * (stamps - mean)) / np.sum(numbers * numbers))
    return mean + slope * numbers


def _common_length(lengths: NDArray[np.int64], longest: int) -> int | None:
    """Commonest burst length (the shortest of several), if it is common at all."""
    if not len(lengths):
        return None
    values, counts = np.unique(lengths, return_counts=True)
    commonest = int(np.argmax(counts))
    if counts[commonest] < _FEWEST_BURSTS or values[commonest] > longest:
        return None
    return int(values[commonest])
