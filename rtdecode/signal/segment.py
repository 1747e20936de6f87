"""One unbroken stretch of a stream: its front end, its ring, its clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdecode.signal.alignment import Alignment, SampleClock
from rtdecode.signal.bridging import Bridges
from rtdecode.signal.clock_shifts import set_clock
from rtdecode.signal.front_end import FrontEnd
from rtdecode.signal.quality import Screening
from rtdecode.signal.ring import LeftRingError, NotYetError, Ring

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtdecode.contracts import SignalContract
    from rtdecode.signal.markers import Marker


@dataclass(frozen=True, slots=True)
class Chunk:
    """Samples as they came from the source, channels picked and in the decoder's order.

    The arrays are kept, not copied: nobody may change them afterwards.

    Parameters
    ----------
    samples : array of shape (n, n_channels), float64
        SI units.
    stamps : array of shape (n,), float64
        Seconds, in the clock of the sender.
    times : array of shape (n,), float64
        The same in our clock, with the configured delay applied.
    arrival
        When the chunk reached us, in our clock.
    held : array of shape (n, n_channels), bool, optional
        Where a number was put in the place of what was none; None for nowhere.
    """

    samples: npt.NDArray[np.float64]
    stamps: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64]
    arrival: float
    held: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if not len(self.samples) == len(self.stamps) == len(self.times):
            raise ValueError(
                f"a chunk of {len(self.samples)} samples, {len(self.stamps)} stamps, {len(self.times)} times"
            )

    def part(self, start: int, stop: int) -> Chunk:
        """Take samples ``start`` to ``stop - 1`` of this chunk."""
        if start == 0 and stop == len(self.times):
            return self
        rows = slice(start, stop)
        held = None if self.held is None else self.held[rows]
        return Chunk(self.samples[rows], self.stamps[rows], self.times[rows], self.arrival, held)


class Segment:
    """A stretch without a gap, filtered and kept in a ring; samples are counted from its first.

    Samples that were put in for lost ones count like any other.

    Parameters
    ----------
    index
        Which segment of its stream this is, from 0.
    origin
        Number of samples of the stream that were received before it.
    signal
        Channels, rate and front end.
    capacity
        Number of samples kept.
    max_peak_to_peak : array of shape (n_channels,), optional
        Beyond this a channel is out of range, SI units.
    speed
        How many times as fast as real time the stamps run.
    """

    def __init__(
        self,
        index: int,
        origin: int,
        signal: SignalContract,
        capacity: int,
        *,
        max_peak_to_peak: npt.NDArray[np.float64] | None = None,
        speed: float = 1.0,
    ) -> None:
        n_channels = len(signal.channels)
        self.index = index
        self.origin = origin
        self.warmup_samples = signal.warmup_samples
        self.ended = False
        self.shift_s = 0.0
        """How far the clock that stamped it is off (:class:`~rtdecode.signal.clock_shifts.ClockShifts`)."""
        self.ring = Ring(capacity, n_channels)
        self.bridges = Bridges()
        self.screening = Screening(
            [channel.name for channel in signal.channels], signal.rate_hz, capacity, max_peak_to_peak
        )
        self._front_end = FrontEnd(signal.front_end, n_channels, signal.rate_hz)
        self._clock = SampleClock(signal.rate_hz, capacity, speed=speed)
        self._provenance = _Provenance(capacity)

    @property
    def end(self) -> int:
        """Number of samples that have come so far, those included that were put in."""
        return self.ring.end

    @property
    def n_received(self) -> int:
        """Number of samples that were really received."""
        return self.ring.end - self.bridges.n_samples

    @property
    def trusted(self) -> int:
        """Number of samples that belong to this segment beyond doubt (:class:`SampleClock`)."""
        return self._clock.trusted

    @property
    def first(self) -> int:
        """The first sample that can be trusted, once any are: before it, losses might not show."""
        return self._clock.first

    @property
    def is_begun(self) -> bool:
        """Whether it has gone on for so long that any samples are trusted, or will not go on."""
        return self.ended or self._clock.begun

    def known(self, samples: int) -> int:
        """How many samples had to come before the first ``samples`` were trusted."""
        return self._clock.known(samples)

    def append(self, chunk: Chunk, *, is_bridge: bool = False) -> int:
        """Filter and keep the next samples, which may have been put in for lost ones.

        Returns
        -------
        int
            How many were taken: fewer than all where the segment is over, and the others belong to the next.
        """
        filtered = self._front_end.process(chunk.samples)
        taken = self._clock.append(chunk.times)
        if not taken:
            return 0
        chunk = chunk.part(0, taken)
        if is_bridge:
            self.bridges.add(self.end, self.end + taken, self.ring.first)
        self.ring.append(filtered[:taken])
        self.screening.append(chunk.samples, chunk.held, is_bridge=is_bridge)
        self._provenance.append(chunk)
        return taken

    def finish(self) -> None:
        """Say that no more samples will come."""
        self.ended = True
        self._clock.finish()

    def covers(self, marker: Marker) -> bool:
        """Whether a marker lies in this segment, or may come to lie in it."""
        if marker.sample is None:
            return self._clock.covers(marker.time)
        return self.origin <= marker.sample and not self.precedes(marker)

    def precedes(self, marker: Marker) -> bool:
        """Whether this segment has ended, and a marker lies after its last sample."""
        if marker.sample is None:
            return self._clock.precedes(marker.time)
        return self.ended and marker.sample >= self.origin + self.n_received

    def doubt(self, marker: Marker, *, follows: bool) -> str:
        """Why a marker's time means nothing in this segment so far; empty where it does.

        Parameters
        ----------
        marker
            One that tells its sample is never in doubt.
        follows
            Whether its sender's clock was set with the stream's.
        """
        return set_clock(self.shift_s) if self.shift_s and marker.sample is None and not follows else ""

    def locate(self, marker: Marker) -> Alignment:
        """Find the sample of a marker's onset; it may lie outside where the marker itself is a sample.

        Raises
        ------
        OutsideError, NotYetError, LeftRingError
            As for :meth:`SampleClock.nearest`.
        """
        if marker.sample is None:
            return self._clock.nearest(marker.time)
        received = marker.sample - self.origin
        if received >= self.n_received:
            raise NotYetError("the marker's sample has not come")
        sample = self.bridges.place(received)
        onset = sample + marker.shift
        if onset < 0 or (self.ended and onset >= self.trusted):
            return Alignment(onset, math.nan, 0.0, sample + 1)
        _, time, _ = self.provenance(onset)
        return Alignment(onset, (marker.time - time) * 1e6, 0.0, max(onset, sample) + 1)

    def provenance(self, sample: int) -> tuple[float, float, float]:
        """Stamp in the sender's clock, time in our clock, and arrival of one sample, seconds."""
        return self._provenance.of(sample)


class _Provenance:
    """Where the newest samples came from, chunk by chunk: to write it down for each would cost more.

    Parameters
    ----------
    capacity
        Number of samples that it is remembered of.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._end = 0
        self._ends: deque[int] = deque()
        self._chunks: deque[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], float]] = deque()

    def append(self, chunk: Chunk) -> None:
        """Take the next samples."""
        self._end += len(chunk.times)
        self._ends.append(self._end)
        self._chunks.append((chunk.stamps, chunk.times, chunk.arrival))
        while self._ends[0] <= self._end - self._capacity:
            self._ends.popleft()
            self._chunks.popleft()

    def of(self, sample: int) -> tuple[float, float, float]:
        """Stamp, time and arrival of a sample.

        Raises
        ------
        NotYetError
            It has not come yet.
        LeftRingError
            It is no longer remembered.
        """
        if sample >= self._end:
            raise NotYetError(f"sample {sample} asked for, {self._end} have come")
        if sample < self._end - self._capacity:  # whatever the chunks
            raise LeftRingError(f"sample {sample} asked for, it is no longer remembered")
        at = bisect_right(self._ends, sample)
        stamps, times, arrival = self._chunks[at]
        back = sample - self._ends[at]
        return float(stamps[back]), float(times[back]), arrival
