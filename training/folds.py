"""Cross-validation folds that do not leak: which trials are held out together, and what goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from training.ridge import Fold

_MAX_PURGED = 0.4
"""Trials of held-out stimuli are purged from the training side where that costs less than this share."""

_CATEGORIES_PER_FOLD = 4
"""Stimuli are category labels where there are fewer of them than this a fold: too few to hold some out."""

_SEED = 0


@dataclass(frozen=True)
class FoldPlan:
    """Folds, and the rule that made them.

    Parameters
    ----------
    rule
        In words, for the manifest.
    folds
        Training and validation rows of each fold. Each trial is validated once; a purged trial is in neither
        part of that fold.
    """

    rule: str
    folds: tuple[Fold, ...]


def plan_folds(trials: pd.DataFrame, n_samples: int, n_folds: int = 5) -> FoldPlan:
    """Choose folds by what the trials are.

    - Few stimuli with many repeats (category labels): by run, because every stimulus is on both sides anyway.
      With a single run, by time.
    - Windows that overlap in time: contiguous stretches of time, and training trials whose window overlaps a
      validation window are purged. Training trials of held-out stimuli are purged too while that costs less
      than 40 % of the training trials of every fold.
    - Windows that do not overlap: by stimulus.

    Parameters
    ----------
    trials
        Table of a TrialSet, see :data:`replay.trials.COLUMNS`; every trial has a stimulus.
    n_samples
        Length of the window at the native rate, in which ``onset_sample`` counts.
    n_folds
        At most so many folds.

    Raises
    ------
    ValueError
        If a trial has no stimulus, or fewer than two folds are asked for.
    UserError
        If there are too few trials to hold some out.
    """
    if n_folds < 2:
        raise ValueError("cross-validation needs at least 2 folds")
    if trials["stimulus_id"].isna().any():
        raise ValueError("folds need the stimulus of every trial")
    plan = _plan(trials, n_samples, min(n_folds, len(trials))) if len(trials) else None
    if plan is None or any(len(part) == 0 for fold in plan.folds for part in fold):
        raise UserError(
            f"{len(trials)} training trials are too few for cross-validation: "
            "record more, or give one penalty only"
        )
    return plan


def _plan(trials: pd.DataFrame, n_samples: int, n_folds: int) -> FoldPlan:
    n_stimuli = trials["stimulus_id"].nunique()
    if n_stimuli < min(_CATEGORIES_PER_FOLD * n_folds, len(trials) / 2):
        if trials.groupby(["subject", "session", "run"]).ngroups > 1:
            return _by_run(trials, n_folds)
        return _by_time(trials, n_samples, n_folds, why=f"{n_stimuli} category labels in a single run")
    if _overlapping(trials, n_samples):
        return _by_time(trials, n_samples, n_folds, why="windows overlap")
    return _by_stimulus(trials, n_folds)


def _by_run(trials: pd.DataFrame, n_folds: int) -> FoldPlan:
    run = trials.groupby(["subject", "session", "run"], sort=False).ngroup().to_numpy()
    n_runs = int(run.max()) + 1
    n_folds = min(n_folds, n_runs)
    return FoldPlan(f"by run: {n_runs} runs in {n_folds} folds", _complements(run * n_folds // n_runs))


def _by_stimulus(trials: pd.DataFrame, n_folds: int) -> FoldPlan:
    stimulus, names = trials["stimulus_id"].factorize(sort=True)
    order = np.random.default_rng(_SEED).permutation(len(names))
    counts = np.bincount(stimulus, minlength=len(names))
    # Largest groups first, each into the emptiest fold; the shuffle decides between equals.
    order = order[np.argsort(-counts[order], kind="stable")]
    n_folds = min(n_folds, len(names))
    fold_of_stimulus = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(n_folds, dtype=np.int64)
    for index in order:
        fold_of_stimulus[index] = filled.argmin()
        filled[fold_of_stimulus[index]] += counts[index]
    return FoldPlan(
        f"by stimulus: {len(names)} stimuli in {n_folds} folds", _complements(fold_of_stimulus[stimulus])
    )


def _by_time(trials: pd.DataFrame, n_samples: int, n_folds: int, why: str) -> FoldPlan:
    fold = _contiguous(trials, n_folds)
    stimulus = trials["stimulus_id"].to_numpy()
    run = trials.groupby(["subject", "session", "run"], sort=False).ngroup().to_numpy()
    onset = trials["onset_sample"].to_numpy()
    bordered = []
    for train, validation in _complements(fold):
        near = _touches(run[train], onset[train], run[validation], onset[validation], n_samples)
        bordered.append((train[~near], validation))
    without_repeats = tuple(
        (train[~np.isin(stimulus[train], stimulus[validation])], validation) for train, validation in bordered
    )
    cost = max(
        1 - len(pure) / max(len(train), 1)
        for (train, _), (pure, _) in zip(bordered, without_repeats, strict=True)
    )
    rule = f"by time ({why}): {len(bordered)} contiguous folds, border purged"
    if cost < _MAX_PURGED:
        rule += f", held-out stimuli purged ({100 * cost:.0f} % of the training trials at most)"
        return FoldPlan(rule, without_repeats)
    rule += f", held-out stimuli not purged (it would cost {100 * cost:.0f} % of the training trials)"
    return FoldPlan(rule, tuple(bordered))


def _contiguous(trials: pd.DataFrame, n_folds: int) -> np.ndarray:
    """Fold of each trial: the k-th stretch of each subject's recording time."""
    fold = np.empty(len(trials), dtype=np.int64)
    for rows in trials.groupby("subject").indices.values():
        in_time = rows[np.argsort(trials["recorded_s"].to_numpy()[rows], kind="stable")]
        fold[in_time] = np.arange(len(rows)) * n_folds // len(rows)
    return np.unique(fold, return_inverse=True)[1]


def _touches(
    run: np.ndarray, onset: np.ndarray, other_run: np.ndarray, other_onset: np.ndarray, n_samples: int
) -> np.ndarray:
    """Mask of the windows ``(n,)`` that share a sample with one of the other windows."""
    near = np.zeros(len(run), dtype=bool)
    for index in np.unique(other_run):
        others = np.sort(other_onset[other_run == index])
        here = np.flatnonzero(run == index)
        # The first other onset that is later than this window's start less its length must not be in reach.
        following = np.searchsorted(others, onset[here] - n_samples, side="right")
        reach = np.append(others, np.iinfo(np.int64).max)[following]
        near[here] = reach < onset[here] + n_samples
    return near


def _overlapping(trials: pd.DataFrame, n_samples: int) -> bool:
    for _, onsets in trials.groupby(["subject", "session", "run"])["onset_sample"]:
        if (np.diff(np.sort(onsets.to_numpy())) < n_samples).any():
            return True
    return False


def _complements(fold: np.ndarray) -> tuple[Fold, ...]:
    return tuple((np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1))
