"""Jumps of stamps: where one lies far from where those before it lead to expect it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

EVEN_S = 1.0
"""How long steps have been even before they tell a single lost sample, seconds of the stream's own time.

Longer than the chunks of usual senders: within a chunk steps are often even, and from one to the next not.
"""

HICCUP_S = 0.02
"""How long a sender may be held up without that being taken for lost samples, likewise."""

_FEWEST_EVEN = 50
_EVEN_PERIODS = 0.05
_WHOLE_PERIODS = 0.02


class Steps:
    """Tells which stamps jump, whatever their chunks.

    A jump is a step that differs from the sample period by more than a gap. Where all steps of the last
    :data:`EVEN_S` were within a twentieth of a period, it is also a step of a whole number of periods from
    2 on: so many samples but one were lost. It is whole where it is as near to that number as twice the
    largest deviation, or a fiftieth of a period where that is more. A sender that was held up stamps its
    samples late by any amount: that is no jump, but steps are not even any more. It may happen to be a whole
    number of periods, so no more is told at once than that a single sample is lost, or less than
    :data:`HICCUP_S`.

    Parameters
    ----------
    rate_hz
        Nominal rate.
    gap_s
        How far a stamp may lie from where the one before it leads to expect it. Never less than half a
        sample period.
    speed
        How many times as fast as real time the stamps run.
    """

    def __init__(self, rate_hz: float, gap_s: float, *, speed: float = 1.0) -> None:
        self._period_s = 1.0 / (rate_hz * speed)
        self._most_s = max(gap_s, 0.5 * self._period_s)
        self._even_s = _EVEN_PERIODS * self._period_s
        self._most_lost = max(1.5, HICCUP_S * rate_hz)
        self._enough = max(_FEWEST_EVEN, math.ceil(EVEN_S * rate_hz))
        self._before = math.nan
        self._n_even = 0
        self._largest_s = 0.0  # of the deviations of even steps

    def jumps(self, stamps: Iterable[float]) -> list[int]:
        """Tell which of the next stamps jump; the first of all does.

        Parameters
        ----------
        stamps
            Of samples in order. Plain numbers: chunks are short, and each call of an array's method on the
            live path costs more than several of these.
        """
        before, period_s, even_s = self._before, self._period_s, self._even_s
        n_even, largest_s = self._n_even, self._largest_s
        found = []
        for index, stamp in enumerate(stamps):
            off = stamp - before - period_s
            before = stamp
            if -largest_s <= off <= largest_s:
                n_even += 1
            elif -even_s <= off <= even_s:
                n_even += 1
                largest_s = abs(off)
            elif not abs(off) <= self._most_s:  # so that a stamp that is no number is a jump
                found.append(index)
            elif not self._is_whole(off, largest_s):
                n_even, largest_s = 0, 0.0
            elif n_even >= self._enough and off < self._most_lost * period_s:
                found.append(index)
        self._before, self._n_even, self._largest_s = before, n_even, largest_s
        return found

    def _is_whole(self, off_s: float, largest_s: float) -> bool:
        n_lost = off_s / self._period_s
        tolerance = max(_WHOLE_PERIODS, 2.0 * largest_s / self._period_s)
        return 0.5 < n_lost < math.inf and abs(n_lost - round(n_lost)) <= tolerance
