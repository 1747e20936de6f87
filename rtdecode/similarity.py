"""How alike embeddings are, and the rank of the true one: one rule for live answers and offline scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TIE = 1e-6
"""Cosines that differ by less are equal: single precision tells no more."""


def varies(sd: ArrayLike) -> np.ndarray:
    """Mask ``(dim,)`` of the dimensions that say something, by the SD of the training targets.

    Where it is next to nothing, a float32 divided by it could leave the range of float64 squares.
    """
    mask: np.ndarray = np.asarray(sd) > np.finfo(np.float32).tiny
    return mask


def standardise(embeddings: np.ndarray, mean: ArrayLike, sd: ArrayLike) -> np.ndarray:
    """Embeddings ``(n, dim)``, float64, centred and scaled by the decoder's statistics, never the gallery's.

    A shrunken prediction is so still found, and the answer does not hang on what else is in the gallery.

    Parameters
    ----------
    embeddings : array of shape (n, dim)
    mean, sd : arrays of shape (dim,)
        Of the training targets. A dimension that did not vary says nothing and becomes 0.
    """
    centred = np.asarray(embeddings, np.float64) - np.asarray(mean, np.float64)
    scaled: np.ndarray = np.divide(
        centred, np.asarray(sd, np.float64), out=np.zeros_like(centred), where=varies(sd)
    )
    return scaled


def unit_length(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings ``(n, dim)`` scaled to length 1; those that are 0 stay 0."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: np.ndarray = np.divide(embeddings, length, out=np.zeros_like(embeddings), where=length > 0)
    return unit


def ranks(scores: np.ndarray, truth: ArrayLike) -> np.ndarray:
    """Rank of each trial's true image among the whole gallery, from 1.

    Parameters
    ----------
    scores : array of shape (n, n_gallery)
        Cosines.
    truth : array of shape (n,)
        Gallery column of each trial's image.

    Returns
    -------
    array of shape (n,), int
        Ties count against the decoder: one that always says the same finds nothing.
    """
    own = np.take_along_axis(scores, np.asarray(truth, np.intp)[:, None], axis=1)
    found: np.ndarray = np.count_nonzero(scores >= own - TIE, axis=1)
    return found
