"""Ridge regression on nested subsets of the samples, in one pass.

The subset of size m is the first m rows, and folds are fixed before subsetting, so that both nest. What a
subset adds to the one before is accumulated once: products of rows with rows (dual) or of features with
features (primal), kept apart by which folds train on the rows. The Gram matrix of any fold of any subset is a
sum of those parts. What remains for each size is its own eigendecompositions and validations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from training import ridge as ridges

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor

    from training.ridge import Fold, Ridge, Spectrum


def learning_curve(
    x: np.ndarray,
    y: np.ndarray,
    sizes: Sequence[int],
    folds: Sequence[Fold],
    penalties: Sequence[float] | np.ndarray,
    *,
    per_target: bool = True,
) -> Iterator[tuple[int, Ridge]]:
    """Fit on growing subsets, each with penalties chosen by cross-validation within the subset.

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
        In the order in which subsets take them. May be memory-mapped: in the primal each row is added up
        once, and read again for each subset in which a fold validates on it.
    y : array of shape (n_samples, n_targets)
    sizes
        Of the subsets, ascending.
    folds : sequence of (training rows, validation rows)
        On all samples; those of a subset are what lies in it.
    penalties, per_target
        See :class:`training.ridge.Ridge`.

    Yields
    ------
    size
    ridge
        Fitted on the first ``size`` samples.

    Raises
    ------
    ValueError
        If the sizes do not ascend, there are no so many samples, or a fold of the smallest subset is empty.
    """
    if not sizes or sorted(set(sizes)) != list(sizes) or sizes[0] < 2 or sizes[-1] > len(x):
        raise ValueError(f"sizes {list(sizes)} must ascend from 2 or more to {len(x)} or fewer")
    if any(len(part[part < sizes[0]]) == 0 for fold in folds for part in fold):
        raise ValueError(f"a subset of {sizes[0]} samples leaves a fold empty: begin with a larger one")
    if not folds:
        raise ValueError("penalties are chosen on folds: give some")
    n_features = x.shape[1]
    dual = [size for size in sizes if size < n_features]
    primal = [size for size in sizes if size >= n_features]
    n_jobs = 1 + len(folds)
    # Pools end before anything is yielded: meanwhile linear algebra is the caller's, on all cores.
    if dual:
        with ridges.side_by_side(n_jobs):
            gram = ridges.sample_gram(x[: dual[-1]])
        for size in dual:
            with ridges.side_by_side(n_jobs) as pool:
                ridge = ridges.Ridge(penalties, per_target=per_target)
                _fit_dual(pool, ridge, x, y, gram, folds, size)
            yield size, ridge
        del gram
    if primal:
        sums = _Sums(x, y, folds, primal[0])
        for size in primal:
            with ridges.side_by_side(n_jobs) as pool:
                sums.extend(size)
                ridge = ridges.Ridge(penalties, per_target=per_target)
                _fit_primal(pool, ridge, sums, len(folds))
            yield size, ridge


def _fit_dual(
    pool: Executor,
    ridge: Ridge,
    x: np.ndarray,
    y: np.ndarray,
    gram: np.ndarray,
    folds: Sequence[Fold],
    size: int,
) -> None:
    """Fit on the first ``size`` samples, whose products are a corner of ``gram``."""
    x, mean = x[:size], y[:size].mean(axis=0, dtype=np.float64)
    centred = y[:size] - mean
    inside = gram[:size, :size].copy()
    ridges.centre_gram(inside)
    whole = pool.submit(ridges.decompose, inside, centred)
    within = [(train[train < size], validation[validation < size]) for train, validation in folds]
    ridge.choose(
        list(pool.map(lambda fold: ridges.fold_errors_dual(centred, gram, ridge.penalties, fold), within))
    )
    ridge.weights = ridges.feature_moments(x, ridges.solve(whole.result(), ridge.chosen))
    ridge.intercept = mean - x.mean(axis=0, dtype=np.float64) @ ridge.weights


def _fit_primal(pool: Executor, ridge: Ridge, sums: _Sums, n_folds: int) -> None:
    """Fit on the samples that have been added up."""
    whole = pool.submit(sums.spectrum)
    ridge.choose(list(pool.map(lambda fold: sums.fold_errors(fold, ridge.penalties), range(n_folds))))
    spectrum, mean, y_mean = whole.result()
    ridge.weights = ridges.solve(spectrum, ridge.chosen)
    ridge.intercept = y_mean - mean @ ridge.weights


class _Sums:
    """Sums and products of samples, kept apart by which folds train on them.

    Parameters
    ----------
    x, y, folds
        See :func:`learning_curve`.
    size
        Of the smallest subset: all is centred by its mean first, so that what is subtracted later costs no
        digits.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray, folds: Sequence[Fold], size: int) -> None:
        self._x, self._y, self._folds = x, y, folds
        self._size = 0
        self._origin = x[:size].mean(axis=0, dtype=np.float64)
        self._y_origin = y[:size].mean(axis=0, dtype=np.float64)
        trained = np.zeros((len(x), len(folds)), dtype=bool)
        for index, (train, _) in enumerate(folds):
            trained[train, index] = True
        self._patterns, self._pattern = np.unique(trained, axis=0, return_inverse=True)
        self._parts = [_Part(x.shape[1], y.shape[1]) for _ in self._patterns]

    def extend(self, size: int) -> None:
        """Take in the samples up to ``size``."""
        new = self._pattern[self._size : size]
        for index, part in enumerate(self._parts):
            rows = self._size + np.flatnonzero(new == index)
            for chunk in ridges.row_chunks(rows, self._x.shape[1]):
                part.add(self._x[chunk] - self._origin, self._y[chunk] - self._y_origin)
        self._size = size

    def spectrum(self, fold: int | None = None) -> tuple[Spectrum, np.ndarray, np.ndarray]:
        """Decompose what a fold trains on, or everything; also the means of x and y."""
        parts = [
            part
            for part, trained in zip(self._parts, self._patterns, strict=True)
            if part.n and (fold is None or trained[fold])
        ]
        n = sum(part.n for part in parts)
        gram, moments = np.zeros_like(parts[0].gram), np.zeros_like(parts[0].moments)
        total, y_total = np.zeros(gram.shape[0]), np.zeros(moments.shape[1])
        for part in parts:
            gram += part.gram
            moments += part.moments
            total += part.total
            y_total += part.y_total
        shift, y_shift = total / n, y_total / n
        gram -= np.outer(total, shift)
        moments -= np.outer(total, y_shift)
        return ridges.decompose(gram, moments), self._origin + shift, self._y_origin + y_shift

    def fold_errors(self, fold: int, penalties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Errors and reference of one fold, see :func:`training.ridge.fold_errors_primal`."""
        spectrum, mean, y_mean = self.spectrum(fold)
        validation = self._folds[fold][1]
        validation = validation[validation < self._size]
        return ridges.validation_errors(
            spectrum, self._x[validation], self._y[validation] - y_mean, mean, penalties
        )


class _Part:
    """Sums over samples that the same folds train on."""

    def __init__(self, n_features: int, n_targets: int) -> None:
        self.n = 0
        self.gram = np.zeros((n_features, n_features))
        self.moments = np.zeros((n_features, n_targets))
        self.total = np.zeros(n_features)
        self.y_total = np.zeros(n_targets)

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        self.n += len(x)
        self.gram += x.T @ x
        self.moments += x.T @ y
        self.total += x.sum(axis=0)
        self.y_total += y.sum(axis=0)
