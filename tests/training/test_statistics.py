from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from training.statistics import bootstrap_interval, max_t, onset_interval, permutation_chance


def test_chance_is_what_shuffled_predictions_reach() -> None:
    truth = np.arange(200) % 4
    chance = permutation_chance(lambda rows: float(np.mean(truth[rows] == truth)), 200, n_permutations=300)
    assert chance.mean == pytest.approx(0.25, abs=0.02)
    assert 0.25 < chance.high < 0.35
    assert chance.p == pytest.approx(1 / 301)


def test_p_values_of_nothing_are_as_often_low_as_they_say() -> None:
    rng = np.random.default_rng(0)
    p = []
    for seed in range(200):
        a, b = rng.normal(size=(2, 20))
        p.append(permutation_chance(lambda r, a=a, b=b: float(a[r] @ b), 20, n_permutations=99, seed=seed).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_bootstrap_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        values = rng.normal(size=60)
        low, high = bootstrap_interval(
            lambda rows, v=values: float(v[rows].mean()), np.arange(60), n_samples=200, seed=seed
        )
        covered += low <= 0 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_repeats_of_an_image_are_drawn_together() -> None:
    """Ten copies of each value tell no more than the values do."""
    values = np.random.default_rng(1).normal(size=30)
    alone = bootstrap_interval(lambda rows: float(values[rows].mean()), np.arange(30))
    copies = np.repeat(values, 10)
    together = bootstrap_interval(lambda rows: float(copies[rows].mean()), np.repeat(np.arange(30), 10))
    assert np.ptp(together) == pytest.approx(np.ptp(alone), rel=0.1)


def test_the_largest_t_holds_the_level_of_a_whole_course() -> None:
    rng = np.random.default_rng(0)
    false = sum(
        max_t(rng.normal(size=(8, 40)), n_permutations=255, seed=seed).onset is not None
        for seed in range(200)
    )
    assert false / 200 < 0.09


def test_an_effect_is_found_where_it_begins() -> None:
    rng = np.random.default_rng(0)
    scores = 0.2 * rng.normal(size=(12, 50))
    scores[:, 20:] += 1.0
    course = max_t(scores, n_in_row=3)
    assert course.onset == 20
    assert (course.p[20:] <= 0.05).all()
    np.testing.assert_allclose(course.t, stats.ttest_1samp(scores, 0).statistic, rtol=1e-9)
    interval = onset_interval(scores, n_samples=50, n_in_row=3, n_permutations=200)
    assert interval is not None
    assert interval[0] <= 20 <= interval[1] <= 22


def test_no_onset_has_no_interval_and_two_units_no_test() -> None:
    rng = np.random.default_rng(0)
    assert onset_interval(rng.normal(size=(6, 10)), n_samples=20, n_permutations=50) is None
    with pytest.raises(ValueError, match="2 units"):
        max_t(rng.normal(size=(2, 10)))
