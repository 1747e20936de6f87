"""How good decoded embeddings are: correlation, retrieval, contrast of prototypes."""

from __future__ import annotations

import numpy as np
from scipy import stats

from rtdecode.similarity import ranks, standardise, unit_length

_BLOCK = 1024
"""Trials that are compared with the gallery at a time."""


def pearson(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Feature-wise Pearson R: each dimension correlated over trials, then the mean over dimensions.

    Parameters
    ----------
    predictions, targets : arrays of shape (n, dim)
        Single trials, in the same order.

    Returns
    -------
    float
        A dimension in which the predictions never vary counts as 0. Dimensions in which the targets never
        vary ask for nothing and are left out; NaN if none is left.
    """
    _check(predictions, targets)
    varies = np.ptp(targets, axis=0) > 0
    if not varies.any():
        return float("nan")
    answers = np.ptp(predictions, axis=0) > 0
    predictions = predictions - predictions.mean(axis=0, dtype=np.float64)
    targets = targets - targets.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(predictions, axis=0) * np.linalg.norm(targets, axis=0)
    products = np.einsum("ij,ij->j", predictions, targets)
    r = np.divide(products, norms, out=np.zeros_like(products), where=answers & varies)
    return float(r[varies].mean())


def truth_ranks(
    predictions: np.ndarray, gallery: np.ndarray, truth: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> np.ndarray:
    """Rank of each trial's true image among the whole gallery, from 1.

    Parameters
    ----------
    predictions : array of shape (n, dim)
    gallery : array of shape (n_gallery, dim)
    truth : array of shape (n,)
        Gallery row of each trial's image.
    mean, sd : arrays of shape (dim,)
        See :func:`rtdecode.similarity.standardise`; similarity is the cosine after it.

    Returns
    -------
    array of shape (n,), int
        See :func:`rtdecode.similarity.ranks`.
    """
    predictions = unit_length(standardise(predictions, mean, sd))
    gallery = unit_length(standardise(gallery, mean, sd))
    found = np.empty(len(predictions), dtype=np.int64)
    for start in range(0, len(predictions), _BLOCK):
        rows = slice(start, start + _BLOCK)
        found[rows] = ranks(predictions[rows] @ gallery.T, np.asarray(truth)[rows])
    return found


def top_k(found: np.ndarray, k: int) -> float:
    """Share of trials whose image is among the best ``k``, of ranks ``(n,)``; see :func:`truth_ranks`."""
    return float(np.mean(found <= k))


def prototype_contrast(
    predictions: np.ndarray, first: np.ndarray, second: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> np.ndarray:
    """Similarity to one prototype minus similarity to another, (n,).

    The similarity is the product of the standardised prediction with the standardised prototype at unit
    length. The prediction keeps its own length, which says how sure the decoder is: fitted on two stimuli it
    moves along one line only, and cosines would all be -1 or 1.

    Parameters
    ----------
    predictions : array of shape (n, dim)
    first, second : arrays of shape (dim,)
        Embeddings of the prototypes.
    mean, sd : arrays of shape (dim,)
        See :func:`rtdecode.similarity.standardise`.
    """
    one, other = unit_length(standardise(np.stack([first, second]), mean, sd))
    contrast: np.ndarray = standardise(predictions, mean, sd) @ (one - other)
    return contrast


def auc(scores: np.ndarray, positive: np.ndarray) -> float:
    """Area under the ROC curve: chance that a positive trial scores above a negative one, ties half.

    Parameters
    ----------
    scores : array of shape (n,)
    positive : bool array of shape (n,)

    Raises
    ------
    ValueError
        If all trials are of one kind.
    """
    n_positive = int(np.count_nonzero(positive))
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        raise ValueError("an AUC needs trials of both kinds")
    order = stats.rankdata(scores)
    above = order[np.asarray(positive, dtype=bool)].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def _check(predictions: np.ndarray, targets: np.ndarray) -> None:
    if predictions.shape != targets.shape or predictions.ndim != 2 or len(predictions) < 2:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape}: both (n, dim), n at least 2"
        )
