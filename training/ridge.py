"""Exact ridge regression for many penalties at once.

Everything here solves, with X and Y centred and in float64,

    W = argmin ||Y - X W||^2 + lambda ||W||^2

through one eigendecomposition of the smaller Gram matrix, X'X = V diag(s) V' (primal, n_samples >=
n_features) or XX' = U diag(s) U' (dual):

    W = V diag(1 / (s + lambda)) V'X'Y      or      W = X'U diag(1 / (s + lambda)) U'Y,

so that one more penalty costs one more rescaling (Hastie, Tibshirani and Friedman, *The Elements of
Statistical Learning*, sections 3.4.1 and 18.3.5). Cross-validation computes the Gram matrix once: that of a
fold's training samples is a part of it (dual), or what remains after the samples left out (primal).
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import linalg
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Fold = tuple[np.ndarray, np.ndarray]
"""Row numbers of the training and of the validation samples."""

_BLOCK_BYTES = 32 * 2**20
"""Data are read, and turned into float64, in blocks of about this size."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Eigendecomposition of a Gram matrix, and the targets in its basis.

    Parameters
    ----------
    values : array of shape (k,)
        Eigenvalues s, not negative; k = min(n_samples, n_features).
    vectors : array of shape (k, k)
        V (primal) or U (dual), one eigenvector a column.
    targets : array of shape (k, n_targets)
        V'X'Y (primal) or U'Y (dual).
    """

    values: np.ndarray
    vectors: np.ndarray
    targets: np.ndarray


def decompose(gram: np.ndarray, moments: np.ndarray) -> Spectrum:
    """Eigendecomposition that serves all penalties.

    Parameters
    ----------
    gram : array of shape (k, k)
        X'X (primal) or XX' (dual) of centred data; its content is destroyed.
    moments : array of shape (k, n_targets)
        X'Y (primal) or Y (dual) of centred data.
    """
    values, vectors = linalg.eigh(gram, overwrite_a=True, check_finite=False, driver="evd")
    return Spectrum(np.maximum(values, 0.0), vectors, vectors.T @ moments)


def solve(spectrum: Spectrum, penalties: float | np.ndarray) -> np.ndarray:
    """Solution at one penalty, or at one a target: vectors @ diag(1 / (s + lambda)) @ targets.

    Parameters
    ----------
    spectrum
        From :func:`decompose`.
    penalties : float or array of shape (n_targets,)

    Returns
    -------
    array of shape (k, n_targets)
        Weights W (primal), or dual weights C, with W = X'C.
    """
    return spectrum.vectors @ (spectrum.targets / (spectrum.values[:, None] + penalties))


def squared_errors(
    spectrum: Spectrum, projection: np.ndarray, targets: np.ndarray, penalties: np.ndarray
) -> np.ndarray:
    """Squared prediction error of each target at each penalty, summed over samples.

    Parameters
    ----------
    spectrum
        From :func:`decompose`, of the training samples.
    projection : array of shape (n_samples, k)
        The validation samples in the eigenbasis, X_val V (primal) or X_val X'U (dual), with X_val centred by
        the mean of the training samples.
    targets : array of shape (n_samples, n_targets)
        Their targets, centred by the mean of the training targets.
    penalties : array of shape (n_penalties,)

    Returns
    -------
    array of shape (n_penalties, n_targets)
    """
    errors = np.empty((len(penalties), targets.shape[1]))
    for index, penalty in enumerate(penalties):
        error = (projection / (spectrum.values + penalty)) @ spectrum.targets
        error -= targets
        errors[index] = np.einsum("ij,ij->j", error, error)
    return errors


def feature_gram(x: np.ndarray) -> np.ndarray:
    """X'X of centred data, (n_features, n_features), for ``x`` of shape (n_samples, n_features)."""
    gram = np.zeros((x.shape[1], x.shape[1]))
    for _, block in row_blocks(x, x.mean(axis=0, dtype=np.float64)):
        gram += block.T @ block
    return gram


def sample_gram(x: np.ndarray) -> np.ndarray:
    """XX' of centred data, (n_samples, n_samples), for ``x`` of shape (n_samples, n_features)."""
    gram = np.zeros((x.shape[0], x.shape[0]))
    for _, block in _column_blocks(x, x.mean(axis=0, dtype=np.float64)):
        gram += block @ block.T
    return gram


def feature_moments(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """X'Y with X centred.

    For dual weights C in place of Y these are the weights, W = X'C.

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
    y : array of shape (n_samples, n_targets)

    Returns
    -------
    array of shape (n_features, n_targets)
    """
    moments = np.empty((x.shape[1], y.shape[1]))
    for columns, block in _column_blocks(x, x.mean(axis=0, dtype=np.float64)):
        moments[columns] = block.T @ y
    return moments


def fold_errors_primal(
    x: np.ndarray,
    y: np.ndarray,
    gram: np.ndarray,
    moments: np.ndarray,
    penalties: np.ndarray,
    fold: Fold,
    together: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Squared validation errors of all penalties in one fold; cheaper where n_samples >= n_features.

    The Gram matrix of the training samples is that of all samples less that of the samples left out.

    Parameters
    ----------
    x : array of shape (n_samples, n_features)
    y : array of shape (n_samples, n_targets)
        Centred.
    gram : array of shape (n_features, n_features)
        From :func:`feature_gram`.
    moments : array of shape (n_features, n_targets)
        From :func:`feature_moments`.
    penalties : array of shape (n_penalties,)
    fold : (training rows, validation rows)
        Rows in neither are left out.
    together
        So many validation rows in a row are predicted as one, by their mean.

    Returns
    -------
    errors : array of shape (n_penalties, n_targets)
    reference : array of shape (n_targets,)
        The same for the mean of the training targets: 1 - errors / reference is R^2.
    """
    train, validation = fold
    inside, inside_moments, total = gram.copy(), moments.copy(), np.zeros(x.shape[1])
    # Centred by the mean of all samples first, so that what is subtracted afterwards costs no digits.
    mean = x.mean(axis=0, dtype=np.float64)
    out = np.setdiff1d(np.arange(len(x)), train)
    for rows, block in row_blocks(x[out], mean):
        inside -= block.T @ block
        inside_moments -= block.T @ y[out[rows]]
        total -= block.sum(axis=0)
    shift, y_shift = total / len(train), y[train].mean(axis=0)
    inside -= np.outer(total, shift)
    inside_moments -= np.outer(total, y_shift)
    return validation_errors(
        decompose(inside, inside_moments),
        _means(x[validation], together),
        _means(y[validation], together) - y_shift,
        mean + shift,
        penalties,
    )


def validation_errors(
    spectrum: Spectrum, x: np.ndarray, targets: np.ndarray, mean: np.ndarray, penalties: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of all penalties on validation samples, primal.

    Parameters
    ----------
    spectrum
        From :func:`decompose`, of the training samples.
    x : array of shape (n_samples, n_features)
    targets : array of shape (n_samples, n_targets)
        Centred by the mean of the training targets.
    mean : array of shape (n_features,)
        Of the training samples.
    penalties : array of shape (n_penalties,)

    Returns
    -------
    errors, reference
        See :func:`fold_errors_primal`.
    """
    errors = np.zeros((len(penalties), targets.shape[1]))
    for rows, block in row_blocks(x, mean):
        errors += squared_errors(spectrum, block @ spectrum.vectors, targets[rows], penalties)
    return errors, np.einsum("ij,ij->j", targets, targets)


def fold_errors_dual(
    y: np.ndarray, gram: np.ndarray, penalties: np.ndarray, fold: Fold, together: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Squared validation errors of all penalties in one fold; cheaper where n_samples < n_features.

    All that the fold needs is a part of the Gram matrix of all samples, ``gram`` of shape (n_samples,
    n_samples) from :func:`sample_gram`. Other parameters and results are those of :func:`fold_errors_primal`.
    """
    train, validation = fold
    inside, across = gram[np.ix_(train, train)], _means(gram[np.ix_(validation, train)], together)
    # (x - m)'(z - m), with m the mean of the training samples, from the products x'z.
    to_mean = inside.mean(axis=0)
    across -= across.mean(axis=1, keepdims=True) + (to_mean - to_mean.mean())
    centre_gram(inside)
    y_shift = y[train].mean(axis=0)
    spectrum = decompose(inside, y[train] - y_shift)
    targets = _means(y[validation], together) - y_shift
    errors = squared_errors(spectrum, across @ spectrum.vectors, targets, penalties)
    return errors, np.einsum("ij,ij->j", targets, targets)


def centre_gram(gram: np.ndarray) -> None:
    """Make products x'z, (n_samples, n_samples), those of samples centred by their mean, in place."""
    to_mean = gram.mean(axis=0)
    gram -= to_mean[:, None] + (to_mean - to_mean.mean())


class Ridge:
    """Ridge regression that chooses its penalty by cross-validation.

    Fitted in the primal or in the dual, whichever is smaller. The intercept is not penalised.

    Parameters
    ----------
    penalties
        The grid of lambda, all positive.
    per_target
        Choose one penalty a target; else the one with the least error summed over targets.

    Attributes
    ----------
    weights : array of shape (n_features, n_targets)
    intercept : array of shape (n_targets,)
    chosen : array of shape (n_targets,)
        Penalty of each target.
    r2 : array of shape (n_penalties, n_targets) or None
        Cross-validated R^2, pooled over folds; NaN for a target that never varies. None where the grid has
        one penalty only.
    """

    def __init__(self, penalties: Sequence[float] | np.ndarray, *, per_target: bool = True) -> None:
        self.penalties = np.unique(np.asarray(penalties, dtype=np.float64))
        if not len(self.penalties) or not np.all(np.isfinite(self.penalties)) or self.penalties[0] <= 0:
            raise ValueError("penalties must be positive, finite numbers, at least one of them")
        self.per_target = per_target
        self.weights = np.empty((0, 0))
        self.intercept = np.empty(0)
        self.chosen = np.empty(0)
        self.r2: np.ndarray | None = None

    def fit(self, x: np.ndarray, y: np.ndarray, folds: Sequence[Fold] = (), together: int = 1) -> Self:
        """Choose the penalties on the folds, then fit on all samples.

        Parameters
        ----------
        x : array of shape (n_samples, n_features)
        y : array of shape (n_samples, n_targets)
        folds : sequence of (training rows, validation rows)
            Not used where the grid has one penalty only.
        together
            Samples whose mean will be predicted: penalties are chosen for means of so many validation rows in
            a row. They are less noisy than single samples and ask for smaller penalties.
        """
        mean = y.mean(axis=0, dtype=np.float64)
        y = y - mean
        dual = x.shape[0] < x.shape[1]
        gram = sample_gram(x) if dual else feature_gram(x)
        moments = y if dual else feature_moments(x, y)

        def fold_errors(fold: Fold) -> tuple[np.ndarray, np.ndarray]:
            if dual:
                return fold_errors_dual(y, gram, self.penalties, fold, together)
            return fold_errors_primal(x, y, gram, moments, self.penalties, fold, together)

        self.chosen = np.full(y.shape[1], self.penalties[0])
        if len(self.penalties) == 1:
            spectrum = decompose(gram, moments)
        elif not folds:
            raise ValueError(f"{len(self.penalties)} penalties to choose from, and no folds to choose on")
        else:
            with side_by_side(1 + len(folds)) as pool:
                whole = pool.submit(decompose, gram.copy(), moments)
                parts = list(pool.map(fold_errors, folds))
                spectrum = whole.result()
            self.choose(parts)
        self.weights = solve(spectrum, self.chosen)
        if dual:
            self.weights = feature_moments(x, self.weights)
        self.intercept = mean - x.mean(axis=0, dtype=np.float64) @ self.weights
        return self

    def choose(self, folds: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Choose penalties by the errors and references of all folds, see :func:`fold_errors_primal`."""
        errors = np.sum([errors for errors, _ in folds], axis=0)
        reference = np.sum([reference for _, reference in folds], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self.r2 = np.where(reference > 0, 1 - errors / reference, np.nan)
        best = errors.argmin(axis=0) if self.per_target else errors.sum(axis=1).argmin()
        self.chosen = np.broadcast_to(self.penalties[best], reference.shape).copy()

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Predictions ``(n_samples, n_targets)`` for ``x`` of shape ``(n_samples, n_features)``."""
        return x @ self.weights + self.intercept

    def edge_warning(self) -> str | None:
        """One line if a chosen penalty lies at the edge of the grid, where a wider grid may do better."""
        if len(self.penalties) < 2:
            return None
        faults = []
        for edge, word in ((self.penalties[0], "smallest"), (self.penalties[-1], "largest")):
            if n := int((self.chosen == edge).sum()):
                of = f"{n} of {len(self.chosen)} targets" if self.per_target else "all targets"
                faults.append(f"the {word} penalty, {edge:g}, was chosen for {of}")
        return f"{' and '.join(faults)}: widen the grid of penalties" if faults else None


@contextmanager
def side_by_side(n_jobs: int) -> Iterator[ThreadPoolExecutor]:
    """Run jobs on all cores, each with single-threaded linear algebra.

    OpenBLAS's own threads wait for each other by spinning, many times in one eigendecomposition: on two cores
    that others use too, one of 1440 x 1440 took 4 to 10 s with two threads and 1.3 s with one.
    """
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(min(n_jobs, os.cpu_count() or 1)) as pool:
        yield pool


def _means(rows: np.ndarray, together: int) -> np.ndarray:
    """Means of each ``together`` rows that follow each other, in float64."""
    if together == 1:
        return rows
    means: np.ndarray = rows.reshape(-1, together, rows.shape[1]).mean(axis=1, dtype=np.float64)
    return means


def row_chunks(rows: np.ndarray, n_features: int) -> Iterator[np.ndarray]:
    """Row numbers, as many at a time as one block of samples holds."""
    step = max(1, _BLOCK_BYTES // (8 * n_features))
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def row_blocks(x: np.ndarray, mean: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of ``x`` in float64, centred, a block at a time."""
    step = max(1, _BLOCK_BYTES // (8 * x.shape[1]))
    for start in range(0, x.shape[0], step):
        rows = slice(start, start + step)
        yield rows, x[rows] - mean


def _column_blocks(x: np.ndarray, mean: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    step = max(1, _BLOCK_BYTES // (8 * x.shape[0]))
    for start in range(0, x.shape[1], step):
        columns = slice(start, start + step)
        yield columns, x[:, columns] - mean[columns]
