"""Putting samples in where a stream lost a few, so that its segment can go on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rtdecode.signal.ring import LeftRingError

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class GapPolicy:
    """What becomes of a jump of the stamps.

    Parameters
    ----------
    fill
        ``"drop"``: nothing is put in. ``"mark"``: the last sample is held. ``"interpolate"``: a straight line
        leads to the next one.
    max_samples
        Most samples that are put in at once.
    """

    fill: Literal["drop", "mark", "interpolate"] = "drop"
    max_samples: int = 50

    def n_lost(self, step_s: float, period_s: float) -> int:
        """How many samples to put in where a stamp lies so far after the one before; 0 where none may be."""
        if self.fill == "drop" or not 0 < step_s < (self.max_samples + 2) * period_s:
            return 0
        n_lost = round(step_s / period_s) - 1
        return n_lost if n_lost <= self.max_samples else 0

    def values(
        self, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], n: int
    ) -> npt.NDArray[np.float64]:
        """Samples to put in, of shape ``(n, n_channels)``, between two of shape ``(n_channels,)``."""
        if self.fill == "mark":
            return np.repeat(before[None], n, axis=0)
        return between(before, after, n)


def between(
    before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], n: int
) -> npt.NDArray[np.float64]:
    """Points on a straight line: ``n`` rows, equally far from each other and from both ends."""
    share = np.arange(1, n + 1)[:, None] / (n + 1)
    return before + share * (after - before)


@dataclass(frozen=True, slots=True)
class _Bridge:
    """Samples ``start`` to ``stop - 1`` of a segment were put in; ``n_before``: how many before those."""

    start: int
    stop: int
    n_before: int

    @property
    def n_after(self) -> int:
        return self.n_before + self.stop - self.start


class Bridges:
    """Which samples of one segment were put in.

    Only as much is remembered as the samples that are still held need.
    """

    def __init__(self) -> None:
        self._bridges: deque[_Bridge] = deque()
        self._forgotten = False

    @property
    def n_samples(self) -> int:
        """How many there are so far."""
        return self._bridges[-1].n_after if self._bridges else 0

    def add(self, start: int, stop: int, first_held: int) -> None:
        """Note that samples ``start`` to ``stop - 1`` were put in, and forget what lies before those held."""
        self._bridges.append(_Bridge(start, stop, self.n_samples))
        # The last one before those held tells how many came before them.
        while len(self._bridges) > 1 and self._bridges[1].stop <= first_held:
            self._bridges.popleft()
            self._forgotten = True

    def count(self, start: int, stop: int) -> int:
        """How many of samples ``start`` to ``stop - 1``, all of them still held, were put in."""
        return sum(max(0, min(stop, one.stop) - max(start, one.start)) for one in self._bridges)

    def place(self, received: int) -> int:
        """Sample of the segment that is the n-th one, from 0, of those that were really received.

        Raises
        ------
        LeftRingError
            It lies before the samples that are still held.
        """
        for one in reversed(self._bridges):
            if received >= one.start - one.n_before:
                return received + one.n_after
        if self._forgotten:
            raise LeftRingError("the sample is no longer held")
        return received
