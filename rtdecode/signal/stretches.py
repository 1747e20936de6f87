"""The unbroken stretches of a recording, and the clock of each, as a live stream would have shown them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdecode.signal.alignment import SampleClock
from rtdecode.signal.steps import Steps

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples of a recording without a break.

    Parameters
    ----------
    start
        The first that does not belong to the stretch before.
    origin
        The first that the clock counts: a later one where it took some samples to show that the stretch
        before was over.
    clock
        Says which sample a time means, counted from ``origin``.
    """

    start: int
    origin: int
    clock: SampleClock

    def sample(self, time: float) -> int | None:
        """Find the sample taken nearest to a time, counted from the recording's first; None if there is none.

        It is the one that is found live, but where the stamps do not tell it for certain yet, it is the best
        guess there is.
        """
        if not self.clock.covers(time):
            return None
        sample = self.clock.nearest(time).sample
        return self.origin + sample if 0 <= sample < self.clock.trusted else None


def stretches(stamps: npt.NDArray[np.float64], rate_hz: float, gap_s: float) -> list[Stretch]:
    """Lay a recording out in stretches, by the rules by which a live stream is laid out in segments.

    Parameters
    ----------
    stamps : array of shape (n,)
        When each sample was stamped, seconds.
    rate_hz
        Nominal rate.
    gap_s
        How far a stamp may lie from where the one before it leads to expect it.
    """
    borders = Steps(rate_hz, gap_s).jumps(stamps.tolist())
    found = []
    first = 0
    for stop in [*borders[1:], len(stamps)]:
        start = first
        while first < stop:
            clock = SampleClock(rate_hz, stop - first)
            taken = clock.append(stamps[first:stop])
            clock.finish()
            found.append(Stretch(start, first, clock))
            start = first + clock.trusted if taken < stop - first else stop
            first += taken
    return found
