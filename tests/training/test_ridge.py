from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.ridge import (
    Ridge,
    feature_gram,
    feature_moments,
    fold_errors_dual,
    fold_errors_primal,
    sample_gram,
)

SHAPES = [(80, 12), (30, 90), (40, 40)]
PENALTIES = np.logspace(-1, 4, 6)


def _problem(n: int, p: int, n_targets: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) * rng.uniform(0.5, 2, size=p) + rng.normal(size=p) * 5
    y = x[:, : p // 2] @ rng.normal(size=(p // 2, n_targets)) + rng.normal(size=(n, n_targets)) * 4 + 3
    return x, y


def _folds(n: int, k: int = 4, purged: int = 0, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    order = np.random.default_rng(seed).permutation(n)
    return [(np.setdiff1d(order, part)[purged:], part) for part in np.array_split(order, k)]


@pytest.mark.parametrize(("n", "p"), SHAPES)
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 1e5])
def test_weights_agree_with_scikit_learn(n: int, p: int, penalty: float) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs the extra 'bench'")
    x, y = _problem(n, p)
    ours = Ridge([penalty]).fit(x, y)
    theirs = linear_model.Ridge(alpha=penalty, solver="svd").fit(x, y)
    np.testing.assert_allclose(ours.weights, theirs.coef_.T, rtol=1e-6, atol=1e-6 * abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_cross_validation_agrees_with_scikit_learn_fold_by_fold(n: int, p: int) -> None:
    linear_model = pytest.importorskip("sklearn.linear_model", reason="needs the extra 'bench'")
    x, y = _problem(n, p)
    folds = _folds(n, purged=3)
    expected = np.zeros((len(PENALTIES), y.shape[1]))
    for index, penalty in enumerate(PENALTIES):
        for train, validation in folds:
            model = linear_model.Ridge(alpha=penalty, solver="svd").fit(x[train], y[train])
            expected[index] += ((model.predict(x[validation]) - y[validation]) ** 2).sum(axis=0)
    centred = y - y.mean(axis=0)
    grams = feature_gram(x), feature_moments(x, centred)
    primal = [fold_errors_primal(x, centred, *grams, PENALTIES, fold) for fold in folds]
    dual = [fold_errors_dual(centred, sample_gram(x), PENALTIES, fold) for fold in folds]
    np.testing.assert_allclose(sum(errors for errors, _ in primal), expected, rtol=1e-6)
    np.testing.assert_allclose(sum(errors for errors, _ in dual), expected, rtol=1e-6)
    for (_, reference), (_, same) in zip(primal, dual, strict=True):
        np.testing.assert_allclose(reference, same)

    per_target = Ridge(PENALTIES).fit(x, y, folds)
    np.testing.assert_array_equal(per_target.chosen, PENALTIES[expected.argmin(axis=0)])
    shared = Ridge(PENALTIES, per_target=False).fit(x, y, folds)
    np.testing.assert_array_equal(shared.chosen, PENALTIES[expected.sum(axis=1).argmin()])
    for model in (per_target, shared):
        for target, penalty in enumerate(model.chosen):
            alone = linear_model.Ridge(alpha=penalty, solver="svd").fit(x, y[:, target])
            np.testing.assert_allclose(
                model.weights[:, target], alone.coef_, rtol=1e-6, atol=1e-6 * abs(alone.coef_).max()
            )


@settings(max_examples=30, deadline=None)
@given(
    data=st.data(),
    n=st.integers(4, 25),
    p=st.integers(1, 25),
    n_targets=st.integers(1, 4),
    penalty=st.floats(1e-2, 1e4),
)
def test_any_shape_solves_the_normal_equations(
    data: st.DataObject, n: int, p: int, n_targets: int, penalty: float
) -> None:
    numbers = st.floats(-10, 10, width=32)
    x = data.draw(hnp.arrays(np.float32, (n, p), elements=numbers))
    y = data.draw(hnp.arrays(np.float64, (n, n_targets), elements=numbers))
    model = Ridge([penalty]).fit(x, y)
    assert model.weights.shape == (p, n_targets)
    centred = x - x.mean(axis=0, dtype=np.float64)
    left = centred.T @ centred @ model.weights + penalty * model.weights
    np.testing.assert_allclose(left, centred.T @ (y - y.mean(axis=0)), atol=1e-7 * n * 100)
    np.testing.assert_allclose(model.predict(x).mean(axis=0), y.mean(axis=0), atol=1e-8)


def test_single_precision_input_is_solved_in_double_precision() -> None:
    x, y = _problem(60, 20)
    single = x.astype(np.float32)
    a, b = Ridge([1.0]).fit(single, y), Ridge([1.0]).fit(single.astype(np.float64), y)
    np.testing.assert_allclose(a.weights, b.weights, rtol=1e-10)


def test_r2_is_that_of_the_pooled_validation_predictions() -> None:
    x, y = _problem(80, 12)
    folds = _folds(80)
    model = Ridge(PENALTIES).fit(x, y, folds)
    assert model.r2 is not None
    residual, total = 0.0, 0.0
    for train, validation in folds:
        part = Ridge(PENALTIES[2:3]).fit(x[train], y[train])
        residual = residual + ((y[validation] - part.predict(x[validation])) ** 2).sum(axis=0)
        total = total + ((y[validation] - y[train].mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(model.r2[2], 1 - residual / total)


@pytest.mark.parametrize(("n", "p"), SHAPES)
def test_penalties_for_means_are_chosen_by_the_errors_of_means(n: int, p: int) -> None:
    x, y = _problem(n, p)
    folds = [
        (np.setdiff1d(np.arange(n), part), part) for part in np.array_split(np.arange(n).reshape(-1, 5), 3)
    ]
    folds = [(train, part.ravel()) for train, part in folds]
    expected, spread = np.zeros((len(PENALTIES), 5)), np.zeros(5)
    for train, validation in folds:
        inside, outside = x[validation].reshape(-1, 5, p).mean(1), y[validation].reshape(-1, 5, 5).mean(1)
        spread += ((outside - y[train].mean(axis=0)) ** 2).sum(axis=0)
        for index, penalty in enumerate(PENALTIES):
            part = Ridge([penalty]).fit(x[train], y[train])
            expected[index] += ((part.predict(inside) - outside) ** 2).sum(axis=0)
    model = Ridge(PENALTIES).fit(x, y, folds, together=5)
    np.testing.assert_allclose(model.r2, 1 - expected / spread, rtol=1e-6)
    np.testing.assert_array_equal(model.chosen, PENALTIES[expected.argmin(axis=0)])


def test_a_penalty_at_the_edge_of_the_grid_is_told() -> None:
    rng = np.random.default_rng(1)
    x, noise = rng.normal(size=(60, 10)), rng.normal(size=(60, 3))
    folds = _folds(60)
    upper = Ridge([1e-3, 1e-2, 1e-1]).fit(x, noise, folds).edge_warning()
    assert upper is not None
    assert "largest penalty, 0.1, was chosen for 3 of 3 targets" in upper
    exact = x @ rng.normal(size=(10, 3))
    lower = Ridge([1.0, 10.0], per_target=False).fit(x, exact, folds).edge_warning()
    assert lower is not None
    assert "smallest penalty, 1, was chosen for all targets" in lower
    assert Ridge([1e-9, 1e-3, 1.0, 30.0, 1e9]).fit(*_problem(60, 10), folds).edge_warning() is None


def test_a_target_that_never_varies_is_predicted_by_its_mean() -> None:
    x, y = _problem(40, 10)
    y[:, 1] = 7.0
    model = Ridge(PENALTIES).fit(x, y, _folds(40))
    np.testing.assert_allclose(model.predict(x)[:, 1], 7.0)
    assert model.r2 is not None
    assert np.isnan(model.r2[:, 1]).all()
    assert np.isfinite(model.weights).all()


@pytest.mark.parametrize("penalties", [[], [0.0, 1.0], [-1.0], [np.nan], [np.inf]])
def test_penalties_that_have_no_unique_solution_are_refused(penalties: list[float]) -> None:
    with pytest.raises(ValueError, match="positive, finite"):
        Ridge(penalties)


def test_a_choice_without_folds_is_refused() -> None:
    with pytest.raises(ValueError, match="no folds"):
        Ridge(PENALTIES).fit(*_problem(20, 5))
