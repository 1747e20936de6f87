"""Display delay: when the screen really lit up, against the markers that announced it.

Pure functions of samples and stamps. A photodiode on a patch of the screen that turns bright with each
stimulus gives a signal of two levels; what counts is the moment of its rising edges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EARLIEST_S, LATEST_S = -0.1, 0.5
"""A flash is looked for from so long before its marker to so long after."""

_SHORTEST_DARK_S = 0.03
"""Darkness shorter than this is the screen's own flicker inside one flash."""

_CLEAR = 6.0
"""Distance of the two levels, in robust SDs around them, from which there are flashes at all."""

_CLUSTER_S = 0.04
_TOLERANCE_S = 0.05


@dataclass(frozen=True, slots=True)
class Flashes:
    """Rising edges of a photodiode.

    Parameters
    ----------
    times : array of shape (n_flashes,)
        When the signal crossed half of its height, seconds, interpolated between samples.
    dark, light
        The two levels.
    contrast
        Distance of the levels in robust SDs; below 6 there are no flashes to speak of, and ``times`` is
        empty.
    """

    times: NDArray[np.float64]
    dark: float
    light: float
    contrast: float


@dataclass(frozen=True, slots=True)
class DisplayTiming:
    """Delay from markers to flashes.

    Parameters
    ----------
    delays_s : array of shape (n_matched,)
        Of the markers that have a flash, in order of time.
    n_missing
        Markers without a flash.
    n_extra
        Flashes without a marker.
    """

    delays_s: NDArray[np.float64]
    n_missing: int
    n_extra: int

    @property
    def median_s(self) -> float:
        """Median delay: what to write into ``[markers] delay_s``."""
        return float(np.median(self.delays_s))

    @property
    def sd_s(self) -> float:
        """Standard deviation of the delay."""
        return float(self.delays_s.std())

    def percentile_s(self, q: float) -> float:
        """Percentile ``q`` (0…100) of the delay."""
        return float(np.percentile(self.delays_s, q))


def find_flashes(values: NDArray[np.float64], times: NDArray[np.float64]) -> Flashes:
    """Rising edges of a two-level signal, whatever its offset and scale.

    The threshold that splits the values best (Otsu 1979) gives two groups, their medians the levels. An edge
    must come from below a quarter of the height and pass three quarters, so that noise around the middle
    makes none; its time is where the signal last crossed half of the height on its way up.

    Parameters
    ----------
    values, times : arrays of shape (n_samples,)
        The photodiode's channel, in any unit, and the samples' times in seconds.
    """
    known = np.isfinite(values)
    values, times = values[known], times[known]
    dark, light, contrast = _levels(values)
    if contrast < _CLEAR:
        return Flashes(np.empty(0), dark, light, contrast)
    height = light - dark
    level = np.zeros(values.size, dtype=np.int8)
    level[values < dark + 0.25 * height] = -1
    level[values > dark + 0.75 * height] = 1
    decided = np.flatnonzero(level)
    rises = np.flatnonzero((level[decided][1:] == 1) & (level[decided][:-1] == -1))
    last_dark, first_light = decided[rises], decided[rises + 1]
    lights = decided[level[decided] == 1]
    before = np.searchsorted(lights, first_light) - 1  # the last bright sample before each rise
    lit_until = np.where(before >= 0, times[lights[before]], -np.inf)
    new = times[first_light] - lit_until > _SHORTEST_DARK_S
    half = dark + 0.5 * height
    edges = [
        _crossing(values[a : b + 1], times[a : b + 1], half)
        for a, b in zip(last_dark[new], first_light[new], strict=True)
    ]
    return Flashes(np.array(edges, dtype=np.float64), dark, light, contrast)


def _levels(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Dark level, light level, and their distance in robust SDs."""
    low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0.0, 0.0)
    if not high > low:
        return float(low), float(high), 0.0
    counts, edges = np.histogram(values, bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    weight = np.cumsum(counts)[:-1]
    weighted = np.cumsum(counts * centres)
    other = counts.sum() - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * other * (weighted[:-1] / weight - (weighted[-1] - weighted[:-1]) / other) ** 2
    # Empty bins between the groups score alike: the middle of them is the threshold.
    best = np.flatnonzero(between >= np.nanmax(between) * (1 - 1e-9))
    threshold = edges[1 + int(np.median(best))]
    is_light = values > threshold
    dark, light = float(np.median(values[~is_light])), float(np.median(values[is_light]))
    spread = 1.4826 * float(np.median(np.abs(values - np.where(is_light, light, dark))))
    return dark, light, (light - dark) / max(spread, 1e-12 * (light - dark))


def _crossing(values: NDArray[np.float64], times: NDArray[np.float64], half: float) -> float:
    below = int(np.flatnonzero(values < half)[-1])
    fraction = (half - values[below]) / (values[below + 1] - values[below])
    return float(times[below] + fraction * (times[below + 1] - times[below]))


def match_flashes(markers: NDArray[np.float64], flashes: NDArray[np.float64]) -> DisplayTiming:
    """Give each marker its flash.

    The delay that most pairs of marker and flash have in common is found first (of two that are as common, as
    with strictly regular markers, the one nearer to zero); each marker then takes the flash nearest to where
    that delay puts it, within 50 ms, and each flash is taken once.

    Parameters
    ----------
    markers : array of shape (n_markers,)
        Times of the markers, seconds.
    flashes : array of shape (n_flashes,)
        Times of the flashes, in the same clock.
    """
    markers, flashes = np.sort(markers), np.sort(flashes)
    first = np.searchsorted(flashes, markers + EARLIEST_S)
    last = np.searchsorted(flashes, markers + LATEST_S)
    pairs = [flashes[a:b] - marker for marker, a, b in zip(markers, first, last, strict=True)]
    differences = np.sort(np.concatenate([np.empty(0), *pairs]))
    if not differences.size:
        return DisplayTiming(np.empty(0), markers.size, flashes.size)
    common = _most_common(differences)
    owner: dict[int, tuple[float, float]] = {}  # flash -> (distance from where it should be, delay)
    for marker in markers:
        nearest = int(np.abs(flashes - marker - common).argmin())
        delay = float(flashes[nearest] - marker)
        distance = abs(delay - common)
        if distance <= _TOLERANCE_S and (nearest not in owner or distance < owner[nearest][0]):
            owner[nearest] = (distance, delay)
    delays = np.array([owner[flash][1] for flash in sorted(owner)])
    return DisplayTiming(delays, markers.size - delays.size, flashes.size - delays.size)


def _most_common(differences: NDArray[np.float64]) -> float:
    """Median of the fullest 40 ms of sorted differences."""
    ends = np.searchsorted(differences, differences + _CLUSTER_S, side="right")
    n = ends - np.arange(differences.size)
    fullest = np.flatnonzero(n >= 0.9 * n.max())
    centres = [float(np.median(differences[start : ends[start]])) for start in fullest]
    return min(centres, key=abs)
