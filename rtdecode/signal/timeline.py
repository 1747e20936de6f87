"""The segments of one stream, and where in them a marker lies."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from rtdecode.contracts import Verdict
from rtdecode.signal.alignment import SETTLE_S, START_S
from rtdecode.signal.bridging import GapPolicy, between
from rtdecode.signal.quality import Holder
from rtdecode.signal.ring import LeftRingError, NotYetError
from rtdecode.signal.segment import Chunk, Segment
from rtdecode.signal.steps import Steps
from rtdecode.signal.trust import LAG_S, SHIFT_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from rtdecode.contracts import SignalContract
    from rtdecode.signal.markers import Marker

# Room in the rings for an onset that has yet to settle: in time of the stamps, and in the stream's own.
_MARGIN_S = 4 * SETTLE_S
_OWN_MARGIN_S = START_S + SHIFT_S + LAG_S
_MARGIN_SAMPLES = 10

_TOLERANCE_S = 0.002
_SIGMAS = 3.0

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
    uncertainty_us
        Standard error of that sample's time, microseconds; 0 where the marker tells its sample.
    since
        When one could first know.
    """

    segment: Segment
    sample: int
    residual_us: float
    uncertainty_us: float
    since: Point


@dataclass(frozen=True, slots=True)
class NoPlace:
    """Why an onset lies nowhere in the samples held, and when one could first know."""

    verdict: Verdict
    reason: str
    since: Point


class Piece(NamedTuple):
    """Samples that belong together.

    Parameters
    ----------
    chunk
        The samples.
    is_jump
        Whether a new segment begins with them.
    is_bridge
        Whether they were put in for lost ones.
    """

    chunk: Chunk
    is_jump: bool = False
    is_bridge: bool = False


class Timeline:
    """Lays the chunks of a stream out in segments; a new one begins wherever the stamps jump, or stay off.

    A stamp that lies far from where the one before it leads to expect it is a jump, at once; where steps are
    even, so is one that shows a single lost sample (:class:`~.steps.Steps`). Stamps that leave the line of
    their segment by less are watched by its clock (:class:`~.alignment.SampleClock`), singly or, where they
    scatter, many together; it ends the segment if they do not come back.

    What is no number never gets further: the last number of its channel is held.
    Where the gap policy allows, a jump forwards is bridged instead, and the segment goes on; not so where a
    clock was set, as nothing was lost then.

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
    policy
        Which gaps are bridged, and by what.
    max_peak_to_peak : array of shape (n_channels,), optional
        Beyond this a channel is out of range, SI units.
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
        policy: GapPolicy | None = None,
        max_peak_to_peak: npt.NDArray[np.float64] | None = None,
        speed: float = 1.0,
        first_segment: int = 0,
    ) -> None:
        self._signal = signal
        self._policy = policy or GapPolicy()
        self._max_peak_to_peak = max_peak_to_peak
        self._holder = Holder(len(signal.channels))
        self._speed = speed
        self._first_segment = first_segment
        self._period_s = 1.0 / (signal.rate_hz * speed)
        self._steps = Steps(signal.rate_hz, gap_s, speed=speed)
        self._block = max(1, round(ring_s * signal.rate_hz))
        margin = math.ceil((_MARGIN_S * speed + _OWN_MARGIN_S) * signal.rate_hz) + _MARGIN_SAMPLES
        self._capacity = reach + margin + self._block
        self._tolerance_us = max(self._period_s, _TOLERANCE_S / speed) * 1e6
        # The running segment and, for markers that come late, the one before it.
        self._segments: list[Segment] = []
        self._n_samples = 0
        self._n_bridged = 0
        self._n_taken = 0  # of the last piece
        self._last_time = math.nan
        self._last: Chunk | None = None  # of one sample
        self._shift_s = 0.0

    @property
    def index(self) -> int:
        """Index of the running segment, or of the one that the first sample will begin."""
        return self._segments[-1].index if self._segments else self._first_segment

    @property
    def is_warm(self) -> bool:
        """Whether the front end of the running segment can be trusted."""
        n_samples = self._segments[-1].end if self._segments else 0
        return n_samples >= self._signal.warmup_samples

    @property
    def n_bridged(self) -> int:
        """How many samples were put in for lost ones."""
        return self._n_bridged

    def pieces(self, chunk: Chunk, shift_s: float = 0.0) -> Iterator[Piece]:
        """Split the next chunk where its stamps jump, and into what fits the rings beside the longest window.

        Parameters
        ----------
        chunk
            The samples.
        shift_s
            How far the clock that stamped the last of them is off: that is noted on each segment that begins
            with one of them, and on the one that runs at the end.

        Yields
        ------
        Piece
            To be appended before the next one is asked for.
        """
        times = chunk.times
        if not len(times):
            return
        self._shift_s = shift_s
        samples, held = self._holder.process(chunk.samples)
        if held is not None:
            chunk = replace(chunk, samples=samples, held=held)
        jumped = self._steps.jumps(times.tolist())
        if jumped or len(times) > self._block:
            yield from self._split(chunk, jumped)
        else:
            yield from self._unbroken(chunk, is_jump=False)
        self._segments[-1].shift_s = shift_s

    def append(self, piece: Piece) -> Segment:
        """Add a piece to the running segment, or to a new one after a jump, and return that."""
        chunk = piece.chunk
        if piece.is_jump:
            index = self._first_segment
            if self._segments:
                self._segments[-1].finish()
                index = self._segments[-1].index + 1
            running = Segment(
                index,
                self._n_samples,
                self._signal,
                self._capacity,
                max_peak_to_peak=self._max_peak_to_peak,
                speed=self._speed,
            )
            running.shift_s = self._shift_s
            self._segments = [*self._segments[-1:], running]
        self._n_taken = self._segments[-1].append(chunk, is_bridge=piece.is_bridge)
        if piece.is_bridge:
            self._n_bridged += self._n_taken
        else:
            self._n_samples += self._n_taken
            self._last_time = float(chunk.times[-1])
            if self._policy.fill != "drop":
                self._last = Chunk(
                    chunk.samples[-1:].copy(),
                    chunk.stamps[-1:].copy(),
                    chunk.times[-1:].copy(),
                    chunk.arrival,
                )
        if self._segments[-1].end > self._block:
            del self._segments[:-1]
        return self._segments[-1]

    def _split(self, chunk: Chunk, jumped: Sequence[int]) -> Iterator[Piece]:
        """Samples that jump at these places, or are more than fit at once."""
        is_jump = 0 in jumped
        for border, next_border in pairwise(sorted({0, *jumped, len(chunk.times)})):
            is_jump = is_jump or border > 0
            if is_jump and (bridge := self._bridge(chunk.part(border, border + 1))):
                is_jump = False
                for part in self._parts(bridge, 0, len(bridge.times)):
                    yield Piece(part, is_bridge=True)
                    if self._n_taken < len(part.times):
                        is_jump = True
                        break
            for part in self._parts(chunk, border, next_border):
                yield from self._unbroken(part, is_jump=is_jump)
                is_jump = False

    def _unbroken(self, chunk: Chunk, *, is_jump: bool) -> Iterator[Piece]:
        """Samples without a jump, and again what the running segment did not take of them."""
        yield Piece(chunk, is_jump)
        while self._n_taken < len(chunk.times):
            chunk = chunk.part(self._n_taken, len(chunk.times))
            yield Piece(chunk, is_jump=True)

    def _parts(self, chunk: Chunk, start: int, stop: int) -> Iterator[Chunk]:
        for first in range(start, stop, self._block):
            yield chunk.part(first, min(first + self._block, stop))

    def _bridge(self, after: Chunk) -> Chunk | None:
        """Samples to put in before one whose stamp has jumped, if the gap is to be bridged."""
        before = self._last
        if before is None or self._shift_s or self._segments[-1].shift_s:
            return None
        n = self._policy.n_lost(float(after.times[0]) - self._last_time, self._period_s)
        if n < 1:
            return None
        return Chunk(
            self._policy.values(before.samples[0], after.samples[0], n),
            between(before.stamps, after.stamps, n)[:, 0],
            between(before.times, after.times, n)[:, 0],
            after.arrival,
        )

    def find(self, marker: Marker, *, follows: bool = False) -> Place | NoPlace | None:
        """Look for a marker in the segments held; None while it cannot be said.

        Parameters
        ----------
        marker
            What to look for.
        follows
            Whether its sender's clock was set with the stream's; else it lies nowhere in segments whose was.
        """
        if not self._segments:
            return None
        oldest, running = self._segments[0], self._segments[-1]
        covering = [segment for segment in self._segments if segment.covers(marker)]
        if len(covering) > 1:
            reason = "the stamps were set back and passed the onset twice"
            return NoPlace(Verdict.GAP, reason, (running.index, 1))
        if covering:
            if doubt := covering[0].doubt(marker, follows=follows):
                # What is late at first may yet come as usual.
                return NoPlace(Verdict.GAP, doubt, (covering[0].index, 1)) if covering[0].is_begun else None
            return self._certain(_place(covering[0], marker))
        if oldest.precedes(marker):
            return NoPlace(Verdict.GAP, "the onset lies in a gap of the stream", (running.index, 1))
        if oldest.index in (0, self._first_segment):
            return _before(oldest, (oldest.index, 1))
        reason = "the onset lies before the data that are still held"
        return NoPlace(Verdict.LATE, reason, (running.index, running.end))

    def _certain(self, place: Place | NoPlace | None) -> Place | NoPlace | None:
        """Refuse a place that is not certain to about a sample, or to 2 ms where that is more.

        Three standard errors must lie within.
        """
        if not isinstance(place, Place) or _SIGMAS * place.uncertainty_us <= self._tolerance_us:
            return place
        error = f"to {place.uncertainty_us / 1e3:.1f} ms" if math.isfinite(place.uncertainty_us) else "at all"
        reason = f"the stamps do not tell the onset's sample yet: its time is not known {error}"
        return NoPlace(Verdict.GAP, reason, place.since)


def _before(segment: Segment, since: Point) -> NoPlace:
    """Answer to an onset that lies before a segment's first sample."""
    if segment.index == 0:
        return NoPlace(Verdict.WARMING_UP, "the onset lies before the stream's first sample", since)
    return NoPlace(Verdict.GAP, "the onset lies before the stream came back", since)


def _place(segment: Segment, marker: Marker) -> Place | NoPlace | None:
    try:
        found = segment.locate(marker)
    except NotYetError:
        return None
    except LeftRingError:
        reason = "the marker came after its data had been overwritten"
        return NoPlace(Verdict.LATE, reason, (segment.index, segment.end))
    since = (segment.index, found.settled)
    # A marker in the data themselves tells its sample even where the delay leads out of the segment.
    if found.sample < 0:
        return _before(segment, since)
    if segment.ended and found.sample >= segment.trusted:
        return NoPlace(Verdict.GAP, "the stream broke off before the onset", (segment.index + 1, 0))
    return Place(segment, found.sample, found.residual_us, found.uncertainty_us, since)
