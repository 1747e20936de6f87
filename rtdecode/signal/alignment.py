"""Which sample lies nearest to a time: a pure function of the stamps, whatever the chunks they came in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rtdecode.signal.ring import LeftRingError, NotYetError, Ring

SETTLE_S = 0.05
"""How far stamps must have passed a time before the nearest one is chosen, seconds.

Stamps of a burst may step back behind those of the burst before (27 ms in recordings of a Bluetooth headset),
so a nearer one may still follow the first that passes.
"""


class OutsideError(LookupError):
    """The time lies before the segment's first sample, or after the last one of a segment that has ended."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A time expressed as a sample.

    Parameters
    ----------
    sample
        The sample nearest to it, counted from the segment's first.
    residual_us
        Time minus the sample's stamp, microseconds.
    settled
        Number of the segment's samples that had to come before this could be said.
    """

    sample: int
    residual_us: float
    settled: int


class SampleClock:
    """The stamps of one segment, and what they say about when each sample was taken.

    Stamps may jitter, come in bursts and step back a little; a jump beyond that starts a new segment, which
    is not decided here. All times are seconds of one clock.

    Parameters
    ----------
    rate_hz
        Nominal rate; it says how long the first and the last sample last.
    capacity
        Number of stamps remembered.
    settle_s
        How far stamps must have passed a time before the nearest one is chosen.
    """

    def __init__(self, rate_hz: float, capacity: int, settle_s: float = SETTLE_S) -> None:
        self._half_sample_s = 0.5 / rate_hz
        self._settle_s = settle_s
        self._stamps = Ring(capacity, 1, np.float64)
        self._begin = math.inf
        self._latest = -math.inf
        self._ended = False

    @property
    def first(self) -> int:
        """Oldest sample whose stamp is remembered."""
        return self._stamps.first

    @property
    def end(self) -> int:
        """One past the newest sample."""
        return self._stamps.end

    def append(self, stamps: npt.NDArray[np.float64]) -> None:
        """Add the stamps of the next samples, an array of shape ``(n,)``, seconds."""
        if not len(stamps):
            return
        if not self._stamps.end:
            self._begin = float(stamps[0]) - self._half_sample_s
        self._latest = max(self._latest, float(stamps.max()))
        self._stamps.append(stamps[:, None])

    def finish(self) -> None:
        """Say that no more stamps will come: what could still wait is decided on those there are."""
        self._ended = True

    def covers(self, time: float) -> bool:
        """Whether a time lies in the segment, or may come to lie in it.

        The first and the last sample each reach half a sample period outwards. A time that is no number lies
        nowhere.
        """
        return self._begin < time and not self.precedes(time)

    def precedes(self, time: float) -> bool:
        """Whether the segment has ended, and a time lies after its last sample."""
        return self._ended and time > self._latest + self._half_sample_s

    def nearest(self, time: float) -> Alignment:
        """Find the sample with the stamp nearest to a time; of two equally near, the earlier.

        The choice is among the samples up to the first whose stamp passes the time by ``settle_s``, or up to
        the last one of a segment that has ended.

        Raises
        ------
        OutsideError
            The segment does not cover the time.
        NotYetError
            Stamps still to come may be nearer.
        LeftRingError
            Stamps around the time are no longer remembered.
        """
        if self.end and not self.covers(time):
            raise OutsideError("the time lies outside the segment")
        settled = time + self._settle_s <= self._latest
        if not settled and not self._ended:
            raise NotYetError("no stamp has passed the time by enough")
        stamps = self._stamps.view(self.first, self.end)[:, 0]
        if self.first and stamps[0] > time - self._settle_s:
            raise LeftRingError("the stamps around the time are no longer held")
        n = int(np.argmax(stamps >= time + self._settle_s)) + 1 if settled else len(stamps)
        sample = int(np.argmin(np.abs(stamps[:n] - time)))
        residual_s = time - float(stamps[sample])
        return Alignment(self.first + sample, residual_s * 1e6, self.first + n)

    def exact(self, sample: int, time: float) -> Alignment:
        """Align to a sample that is known already, and say how far its stamp lies from the time.

        Raises
        ------
        NotYetError
            The sample has not come yet.
        LeftRingError
            Its stamp is no longer remembered.
        """
        return Alignment(sample, (time - self.stamp(sample)) * 1e6, sample + 1)

    def stamp(self, sample: int) -> float:
        """Stamp of one sample, seconds.

        Raises
        ------
        NotYetError, LeftRingError
            As for :meth:`Ring.view`.
        """
        return float(self._stamps.view(sample, sample + 1)[0, 0])
