from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.errors import UserError
from training.folds import plan_folds

N_SAMPLES = 100


def _trials(
    onsets: list[int], stimuli: list[str], runs: list[str] | None = None, subjects: list[str] | None = None
) -> pd.DataFrame:
    n = len(onsets)
    return pd.DataFrame(
        {
            "subject": subjects or ["s"] * n,
            "session": [""] * n,
            "run": runs or ["1"] * n,
            "onset_sample": onsets,
            "recorded_s": np.array(onsets) / 100 + 1000 * (np.array([int(r) for r in runs or ["1"] * n])),
            "stimulus_id": pd.array(stimuli, dtype="string"),
        }
    )


def _overlaps(trials: pd.DataFrame) -> np.ndarray:
    """Which windows share a sample, by looking at every pair."""
    names = (trials["subject"] + "/" + trials["run"]).to_numpy()
    onsets = trials["onset_sample"].to_numpy()
    return (names[:, None] == names) & (abs(onsets[:, None] - onsets) < N_SAMPLES)


def _check_partition(trials: pd.DataFrame, folds: tuple[tuple[np.ndarray, np.ndarray], ...]) -> None:
    validated = np.concatenate([validation for _, validation in folds])
    assert sorted(validated) == list(range(len(trials)))
    for train, validation in folds:
        assert not set(train) & set(validation)
        assert len(train)
        assert len(validation)


def test_windows_apart_are_grouped_by_stimulus() -> None:
    rng = np.random.default_rng(0)
    stimuli = [f"image{i}" for i in rng.integers(0, 60, size=200)]
    trials = _trials(list(range(0, 200 * N_SAMPLES, N_SAMPLES)), stimuli)
    plan = plan_folds(trials, N_SAMPLES)
    assert plan.rule.startswith("by stimulus")
    _check_partition(trials, plan.folds)
    for train, validation in plan.folds:
        assert not set(trials["stimulus_id"].iloc[train]) & set(trials["stimulus_id"].iloc[validation])
        assert 30 <= len(validation) <= 50


def test_category_labels_are_held_out_by_run() -> None:
    stimuli = ["face", "house"] * 40
    runs = [str(1 + i // 20) for i in range(80)]
    trials = _trials([60 * (i % 20) for i in range(80)], stimuli, runs)
    plan = plan_folds(trials, N_SAMPLES)
    assert plan.rule == "by run: 4 runs in 4 folds"
    _check_partition(trials, plan.folds)
    for train, validation in plan.folds:
        assert not set(trials["run"].iloc[train]) & set(trials["run"].iloc[validation])


def test_many_runs_are_shared_out_over_the_folds() -> None:
    runs = [str(1 + i // 10) for i in range(120)]
    trials = _trials([200 * (i % 10) for i in range(120)], ["face", "house"] * 60, runs)
    plan = plan_folds(trials, N_SAMPLES, n_folds=5)
    assert plan.rule == "by run: 12 runs in 5 folds"
    _check_partition(trials, plan.folds)


def test_category_labels_in_one_run_are_held_out_by_time() -> None:
    trials = _trials([60 * i for i in range(80)], ["face", "house"] * 40)
    plan = plan_folds(trials, N_SAMPLES)
    assert "single run" in plan.rule
    assert "held-out stimuli not purged" in plan.rule
    _check_partition(trials, plan.folds)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(40, 90), n_stimuli=st.integers(25, 90), n_folds=st.integers(2, 5))
def test_overlapping_windows_never_cross_a_border(
    data: st.DataObject, n: int, n_stimuli: int, n_folds: int
) -> None:
    steps = data.draw(st.lists(st.integers(1, 150), min_size=n, max_size=n))
    runs = sorted(data.draw(st.lists(st.sampled_from(["1", "2"]), min_size=n, max_size=n)))
    subjects = data.draw(st.sampled_from([["a"] * n, ["a"] * (n // 2) + ["b"] * (n - n // 2)]))
    stimuli = [f"i{k}" for k in data.draw(st.lists(st.integers(1, n_stimuli), min_size=n, max_size=n))]
    trials = _trials(list(np.cumsum(steps)), stimuli, runs, subjects)
    trials = trials.iloc[data.draw(st.permutations(range(n)))].reset_index(drop=True)
    try:
        plan = plan_folds(trials, N_SAMPLES, n_folds)
    except UserError:
        return
    _check_partition(trials, plan.folds)
    if not plan.rule.startswith("by time"):
        return
    overlaps = _overlaps(trials)
    stimulus = trials["stimulus_id"].to_numpy()
    purged = "not purged" not in plan.rule
    for train, validation in plan.folds:
        outside = np.setdiff1d(np.arange(n), validation)
        near = overlaps[np.ix_(outside, validation)].any(axis=1)
        repeated = np.array([stimulus[row] in set(stimulus[validation]) for row in outside])
        # Nothing is purged without need, nothing is kept that leaks.
        np.testing.assert_array_equal(train, outside[~(near | (purged & repeated))])


def test_time_folds_are_contiguous_stretches_of_recording() -> None:
    trials = _trials([50 * i for i in range(100)], [f"i{i}" for i in range(100)])
    trials = trials.sample(frac=1, random_state=0).reset_index(drop=True)
    plan = plan_folds(trials, N_SAMPLES)
    assert "windows overlap" in plan.rule
    spans = sorted(
        (trials["onset_sample"].iloc[v].min(), trials["onset_sample"].iloc[v].max()) for _, v in plan.folds
    )
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))


@pytest.mark.parametrize(("repeats", "purged"), [(1, True), (2, True), (10, False)])
def test_repeats_are_purged_only_while_that_is_cheap(repeats: int, purged: bool) -> None:
    # Few repeats, near in time, cost little; every stimulus everywhere would cost everything.
    n = 400
    near = [f"i{i // repeats}" for i in range(n)]
    everywhere = [f"i{i % (n // repeats)}" for i in range(n)]
    trials = _trials([50 * i for i in range(n)], near if purged else everywhere)
    rule = plan_folds(trials, N_SAMPLES).rule
    assert ("held-out stimuli purged (" in rule) == purged
    assert "%" in rule


def test_folds_of_a_given_design_never_change() -> None:
    trials = _trials([200 * i for i in range(120)], [f"i{i % 50}" for i in range(120)])
    a, b = plan_folds(trials, N_SAMPLES), plan_folds(trials.copy(), N_SAMPLES)
    assert a.rule == b.rule
    for (_, first), (_, second) in zip(a.folds, b.folds, strict=True):
        np.testing.assert_array_equal(first, second)


def test_too_few_trials_are_refused_in_words() -> None:
    with pytest.raises(UserError, match="too few"):
        plan_folds(_trials([0], ["a"]), N_SAMPLES)
    with pytest.raises(UserError, match="too few"):
        plan_folds(_trials([0, 10], ["a", "a"]), N_SAMPLES)
