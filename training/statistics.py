"""How sure scores are: chance by permutation, intervals by bootstrap, time courses by the largest t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Chance:
    """What a score is where predictions know nothing.

    Parameters
    ----------
    mean
        Over permutations.
    high
        95 % of permutations lie below.
    p
        Chance of the score found, or a better one: (1 + permutations at least as good) / (1 + permutations).
    """

    mean: float
    high: float
    p: float


def permutation_chance(
    score: Callable[[np.ndarray], float], n: int, *, n_permutations: int = 1000, seed: int = 0
) -> Chance:
    """Compare a score with those of shuffled predictions.

    Phipson and Smyth 2010, *Permutation p-values should never be zero*, Statistical Applications in Genetics
    and Molecular Biology 9.

    Parameters
    ----------
    score
        Takes row numbers ``(n,)``: which trial's prediction is scored as the i-th trial's; higher is better.
    n
        Number of trials.
    n_permutations, seed
        How many, and of which chance.
    """
    rng = np.random.default_rng(seed)
    found = score(np.arange(n))
    others = np.array([score(rng.permutation(n)) for _ in range(n_permutations)])
    p = (1 + np.count_nonzero(others >= found)) / (1 + n_permutations)
    return Chance(float(others.mean()), float(np.quantile(others, 0.95)), float(p))


def bootstrap_interval(
    score: Callable[[np.ndarray], float],
    groups: np.ndarray,
    *,
    level: float = 0.95,
    n_samples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a score over trials drawn with replacement, whole groups at a time.

    Repeats of one image are no independent evidence: give each trial its image as its group. An interval over
    people needs people drawn, and below 20 of them the bootstrap promises too much.

    Parameters
    ----------
    score
        Takes row numbers, some of them repeatedly.
    groups : array of shape (n,)
        Trials of one value are drawn together.
    level
        Share of the samples inside.
    n_samples, seed
        How many, and of which chance.
    """
    rng = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(group == index) for index in range(group.max() + 1)]
    drawn = [
        score(np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))]))
        for _ in range(n_samples)
    ]
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class TimeCourse:
    """Which points of a time course are above chance, all of them looked at together.

    Parameters
    ----------
    t : array of shape (n_times,)
        One-sample t over units; 0 where no unit differs from chance.
    p : array of shape (n_times,)
        Corrected for all points: chance that the largest t anywhere is as large.
    onset
        First point of the first ``n_in_row`` points in a row with p at most alpha; None if there are none.
    """

    t: np.ndarray
    p: np.ndarray
    onset: int | None


def max_t(
    scores: np.ndarray,
    *,
    alpha: float = 0.05,
    n_in_row: int = 1,
    n_permutations: int = 1000,
    seed: int = 0,
) -> TimeCourse:
    """Test each point of a time course against chance, by the distribution of the largest t.

    Nichols and Holmes 2002, *Nonparametric permutation tests for functional neuroimaging*, Human Brain
    Mapping 15: under the null hypothesis each unit's whole course might as well have had the other sign.

    Parameters
    ----------
    scores : array of shape (n_units, n_times)
        Score minus chance level of each unit (a subject, or a fold).
    alpha
        Level of the whole course.
    n_in_row
        Points in a row that an onset takes.
    n_permutations, seed
        How many sign patterns, all of them where there are fewer; and of which chance.

    Raises
    ------
    ValueError
        If there are fewer than 3 units.
    """
    n_units = len(scores)
    if n_units < 3:
        raise ValueError(f"{n_units} units: signs tell nothing below 3")
    rng = np.random.default_rng(seed)
    if 2**n_units <= n_permutations + 1:
        numbers = np.arange(2**n_units)
        signs = 1 - 2 * ((numbers[:, None] >> np.arange(n_units)) & 1)
    else:
        drawn = rng.choice((-1, 1), (n_permutations, n_units))
        signs = np.concatenate([np.ones((1, n_units), dtype=int), drawn])
    squares = (scores**2).sum(axis=0)
    t = _t(scores.sum(axis=0), squares, n_units)
    largest = _t(signs @ scores, squares, n_units).max(axis=1)
    p = np.mean(largest[:, None] >= t - 1e-9, axis=0)
    return TimeCourse(t, p, _first_run(p <= alpha, n_in_row))


def onset_interval(
    scores: np.ndarray, *, n_samples: int = 200, level: float = 0.95, seed: int = 0, **test: float
) -> tuple[float, float] | None:
    """Percentile interval of the onset (in points) over units drawn with replacement; None if rarely found.

    Parameters
    ----------
    scores, test
        See :func:`max_t`.
    n_samples, level, seed
        How many, the share of them inside, and of which chance. Samples without an onset count as later than
        all; with more of them than lie outside the interval, its end is infinite.
    """
    rng = np.random.default_rng(seed)
    onsets = []
    for _ in range(n_samples):
        drawn = scores[rng.integers(len(scores), size=len(scores))]
        onset = max_t(drawn, **test).onset  # type: ignore[arg-type]
        onsets.append(np.inf if onset is None else float(onset))
    if np.mean(np.isfinite(onsets)) < 0.5:
        return None
    low, high = np.quantile(onsets, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    return float(low), float(high)


def _t(sums: np.ndarray, squares: np.ndarray, n: int) -> np.ndarray:
    """Student's t of means from sums and sums of squares, which no change of signs changes."""
    mean = sums / n
    variance = np.maximum(squares / n - mean**2, 0.0) * n / (n - 1)
    error = np.sqrt(variance / n)
    t: np.ndarray = np.divide(mean, error, out=np.zeros_like(mean), where=error > 1e-12 * (1 + np.abs(mean)))
    return t


def _first_run(above: np.ndarray, n: int) -> int | None:
    """Where the first ``n`` true values in a row begin."""
    lengths = np.convolve(above.astype(int), np.ones(n, dtype=int), mode="valid")
    starts = np.flatnonzero(lengths == n)
    return int(starts[0]) if len(starts) else None
