"""Samples lost where a segment begins: steps in stamps that no line has been drawn through yet."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_SPLIT_SIGMAS = 4.5
_WHOLE_SIGMAS = 3.0
# In sample periods, or their squares.
_LEAST_GAIN = 0.2
_LARGEST_FALL = 0.2
_WHOLE = 0.15
_MOST_STEPS = 8
# Median distance of two independent normal numbers, in standard deviations.
_MEDIAN_STEP = 0.954


def hides_losses(excess: npt.NDArray[np.float64], period_s: float, undecided: int) -> bool | None:
    r"""Tell whether samples were lost among these; None where that cannot be told yet.

    Lost samples raise all stamps that follow by a sample period each. The stamps are split in two where that
    takes most off their squared distance from their mean, :math:`n_1 n_2 d^2 / (n_1 + n_2)` for parts of
    :math:`n_1` and :math:`n_2` stamps whose means differ by :math:`d`; so are the parts, while it takes off
    more than chance: 4.5 standard deviations, by the median step from a stamp to the next. Samples were
    lost where a part lies a whole number of periods above the one before, as far as can be told, and none
    lies clearly below: a sender that was held up, and stamps that come in bursts, make steps both ways.

    Parameters
    ----------
    excess : array of shape (n,)
        Stamps minus the nominal grid, seconds.
    period_s
        Nominal sample period.
    undecided
        So many at the end may be late for once: a rise among these does not tell yet.

    References
    ----------
    Scott and Knott, A cluster analysis method for grouping means in the analysis of variance, Biometrics 30
    (1974), 507-512 (splitting in two again and again).
    """
    if not np.ptp(excess) >= (1.0 - _WHOLE) * period_s:
        return False
    off = excess / period_s
    noise = float(np.median(np.abs(np.diff(off)))) / _MEDIAN_STEP
    least = max((_SPLIT_SIGMAS * noise) ** 2, _LEAST_GAIN)
    splits = [_best_split(off, 0, len(off))]
    borders = [0, len(off)]
    while (best := max(splits))[0] >= least:
        if len(borders) == _MOST_STEPS + 2:
            return False
        splits.remove(best)
        _, start, at, stop = best
        borders.append(at)
        splits += [_best_split(off, start, at), _best_split(off, at, stop)]
    parts = [off[start:stop] for start, stop in pairwise(sorted(borders))]
    at, first = 0, len(off)
    for part, after in pairwise(parts):
        at += len(part)
        rise = float(np.mean(after) - np.mean(part))
        if rise < -_LARGEST_FALL:
            return False
        tolerance = max(_WHOLE, _WHOLE_SIGMAS * noise * math.sqrt(1 / len(part) + 1 / len(after)))
        if rise > 0.5 and abs(rise - round(rise)) <= tolerance:
            first = min(first, at)
    if len(off) - undecided <= first < len(off):
        return None
    return first < len(off)


def _best_split(off: npt.NDArray[np.float64], start: int, stop: int) -> tuple[float, int, int, int]:
    """Where to split a part in two: what that takes off, the part's start, the split, the part's stop."""
    n = stop - start
    if n < 2:
        return 0.0, start, stop, stop
    part = off[start:stop]
    sums = np.cumsum(part - np.mean(part))[:-1]
    first = np.arange(1, n)
    gains = sums * sums * n / (first * (n - first))
    best = int(np.argmax(gains))
    return float(gains[best]), start, start + best + 1, stop
