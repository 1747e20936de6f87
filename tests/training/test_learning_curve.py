from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

import training.learning_curve
import training.ridge
from training.learning_curve import learning_curve
from training.ridge import Ridge

PENALTIES = np.logspace(-1, 4, 6)


def problem(n: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 2, size=p) + rng.normal(size=p) * 5
    return x, x[:, : p // 2] @ rng.normal(size=(p // 2, 4)) + rng.normal(size=(n, 4)) * 4 + 3


def folds_of(n: int, k: int, purged: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds of rows that lie mixed, each with some rows in neither part."""
    rng = np.random.default_rng(seed)
    part = np.arange(n) % k
    made = []
    for index in range(k):
        train = np.flatnonzero(part != index)
        made.append((np.sort(rng.permutation(train)[purged:]), np.flatnonzero(part == index)))
    return made


@settings(max_examples=15, deadline=None)
@given(p=st.integers(3, 60), purged=st.integers(0, 4), per_target=st.booleans(), seed=st.integers(0, 100))
def test_each_point_is_the_ridge_of_its_subset_alone(
    p: int, purged: int, per_target: bool, seed: int
) -> None:
    x, y = problem(70, p, seed)
    folds = folds_of(70, 4, purged, seed)
    sizes = [16, 25, 48, 70]
    found = list(learning_curve(x, y, sizes, folds, PENALTIES, per_target=per_target))
    assert [size for size, _ in found] == sizes
    for size, ridge in found:
        within = [(train[train < size], validation[validation < size]) for train, validation in folds]
        alone = Ridge(PENALTIES, per_target=per_target).fit(x[:size], y[:size], within)
        np.testing.assert_array_equal(ridge.chosen, alone.chosen)
        np.testing.assert_allclose(ridge.r2, alone.r2, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(ridge.weights, alone.weights, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(ridge.intercept, alone.intercept, rtol=1e-6, atol=1e-6)


def test_each_row_is_multiplied_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"dual": [], "primal": []}
    whole, add = training.ridge.sample_gram, training.learning_curve._Part.add

    def counted_gram(x: np.ndarray) -> np.ndarray:
        rows["dual"].append(len(x))
        return whole(x)

    def counted_add(self: object, x: np.ndarray, y: np.ndarray) -> None:
        rows["primal"].append(len(x))
        add(self, x, y)

    monkeypatch.setattr(training.ridge, "sample_gram", counted_gram)
    monkeypatch.setattr(training.learning_curve._Part, "add", counted_add)
    x, y = problem(90, 30)
    list(learning_curve(x, y, [12, 20, 29, 45, 90], folds_of(90, 5, 3), PENALTIES))
    assert rows["dual"] == [29]  # the corner of all smaller subsets
    assert sum(rows["primal"]) == 90


def test_a_subset_does_not_know_what_comes_later() -> None:
    x, y = problem(60, 10)
    folds = folds_of(60, 4, 0)
    for size in (20, 40):
        changed = x.copy()
        changed[size:] = 1e3
        alone = dict(learning_curve(x, y, [size, 60], folds, PENALTIES))[size]
        other = dict(learning_curve(changed, y, [size, 60], folds, PENALTIES))[size]
        np.testing.assert_array_equal(alone.weights, other.weights)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ([], "must ascend"),
        ([20, 10], "must ascend"),
        ([20, 61], "must ascend"),
        ([3, 60], "leaves a fold empty"),
    ],
)
def test_sizes_that_cannot_be_are_refused(sizes: list[int], text: str) -> None:
    x, y = problem(60, 10)
    with pytest.raises(ValueError, match=text):
        list(learning_curve(x, y, sizes, folds_of(60, 4, 0), PENALTIES))


def test_the_caller_s_linear_algebra_keeps_its_threads() -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    (x, y), before = problem(40, 20), threads()
    curve = learning_curve(x, y, [16, 25, 40], folds_of(40, 4, 0), PENALTIES)
    for _ in curve:
        assert threads() == before
