"""The segments of one stream, and where in them a marker lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import Verdict
from rtdecode.signal.alignment import SETTLE_S
from rtdecode.signal.ring import LeftRingError, NotYetError
from rtdecode.signal.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rtdecode.contracts import SignalContract
    from rtdecode.signal.markers import Marker
    from rtdecode.signal.segment import Chunk

# Room in the rings for the stamps around an onset that has yet to settle.
_MARGIN_S = 4 * SETTLE_S

Point = tuple[int, int]
"""A point of the stream: index of a segment, and how many of its samples had come."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an onset lies.

    Parameters
    ----------
    segment, sample
        The segment, and the sample of it.
    residual_us
        Onset minus that sample's time, microseconds.
    since
        When one could first know.
    """

    segment: Segment
    sample: int
    residual_us: float
    since: Point


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Why an onset lies nowhere in the samples held, and when one could first know."""

    verdict: Verdict
    reason: str
    since: Point


class Timeline:
    """Lays the chunks of a stream out in segments; a new one begins wherever the stamps jump.

    Parameters
    ----------
    signal
        Channels, rate and front end.
    reach
        Number of samples from the first to the last that any window takes around, and including, its onset.
    ring_s
        How long data stay beyond that, seconds of the stream's own time.
    gap_s
        How far a stamp may lie from where the one before it leads to expect it, seconds. Never less than half
        a sample period.
    speed, first_segment
        See :class:`~rtdecode.signal.track.Track`.
    """

    def __init__(
        self,
        signal: SignalContract,
        reach: int,
        ring_s: float,
        gap_s: float,
        *,
        speed: float = 1.0,
        first_segment: int = 0,
    ) -> None:
        self._signal = signal
        self._speed = speed
        self._first_segment = first_segment
        self._period_s = 1.0 / (signal.rate_hz * speed)
        self._gap_s = max(gap_s, 0.5 * self._period_s)
        self._block = max(1, round(ring_s * signal.rate_hz))
        self._capacity = reach + math.ceil(_MARGIN_S * signal.rate_hz * speed) + self._block
        # The running segment and, for markers that come late, the one before it.
        self._segments: list[Segment] = []
        self._n_samples = 0
        self._last_time = 0.0

    @property
    def index(self) -> int:
        """Index of the running segment, or of the one that the first sample will begin."""
        return self._segments[-1].index if self._segments else self._first_segment

    @property
    def is_warm(self) -> bool:
        """Whether the front end of the running segment can be trusted."""
        n_samples = self._segments[-1].end if self._segments else 0
        return n_samples >= self._signal.warmup_samples

    def pieces(self, chunk: Chunk) -> Iterator[tuple[Chunk, bool]]:
        """Split the next chunk where its stamps jump, and into what fits the rings beside the longest window.

        Yields
        ------
        piece
            To be appended before the next one is asked for.
        is_jump
            Whether a new segment begins with it.
        """
        times = chunk.times
        if not len(times):
            return
        steps = np.empty(len(times))
        np.subtract(times[1:], times[:-1], out=steps[1:])
        steps[0] = times[0] - self._last_time
        # Written so that a stamp that is no number is a jump.
        jumps = ~(np.abs(steps - self._period_s) <= self._gap_s)
        jumps[0] |= not self._segments
        borders = [0, *(np.flatnonzero(jumps[1:]) + 1).tolist(), len(times)]
        for border, next_border in pairwise(borders):
            for start in range(border, next_border, self._block):
                stop = min(start + self._block, next_border)
                yield chunk.part(start, stop), start == border and bool(jumps[start])

    def append(self, piece: Chunk, is_jump: bool) -> None:
        """Add a piece to the running segment, or to a new one after a jump."""
        if is_jump:
            index = self._first_segment
            if self._segments:
                self._segments[-1].finish()
                index = self._segments[-1].index + 1
            running = Segment(index, self._n_samples, self._signal, self._capacity, speed=self._speed)
            self._segments = [*self._segments[-1:], running]
        self._segments[-1].append(piece)
        self._n_samples += len(piece.times)
        self._last_time = float(piece.times[-1])
        if self._segments[-1].end > self._block:
            del self._segments[:-1]

    def find(self, marker: Marker) -> Place | NoPlace | None:
        """Look for a marker in the segments held; None while it cannot be said."""
        if not self._segments:
            return None
        oldest, running = self._segments[0], self._segments[-1]
        covering = [segment for segment in self._segments if segment.covers(marker)]
        if len(covering) > 1:
            reason = "the stamps were set back and passed the onset twice"
            return NoPlace(Verdict.GAP, reason, (running.index, 1))
        if covering:
            return _place(covering[0], marker)
        if oldest.precedes(marker):
            return NoPlace(Verdict.GAP, "the onset lies in a gap of the stream", (running.index, 1))
        if oldest.index == 0:
            return NoPlace(Verdict.WARMING_UP, "the onset lies before the stream's first sample", (0, 1))
        if oldest.index == self._first_segment:
            return NoPlace(Verdict.GAP, "the onset lies before the stream came back", (oldest.index, 1))
        reason = "the onset lies before the data that are still held"
        return NoPlace(Verdict.LATE, reason, (running.index, running.end))


def _place(segment: Segment, marker: Marker) -> Place | NoPlace | None:
    try:
        found = segment.locate(marker)
    except NotYetError:
        return None
    except LeftRingError:
        reason = "the marker came after its data had been overwritten"
        return NoPlace(Verdict.LATE, reason, (segment.index, segment.end))
    return Place(segment, found.sample, found.residual_us, (segment.index, found.settled))
