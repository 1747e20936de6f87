"""How good decoded embeddings are: correlation, retrieval, contrasts; and how good they could be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from rtdecode.similarity import TIE, ranks, standardise, unit_length

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    found = np.empty(len(predictions), dtype=np.int64)
    for rows, cosines in _cosines(predictions, gallery, mean, sd):
        found[rows] = ranks(cosines, np.asarray(truth)[rows])
    return found


def top_k(found: np.ndarray, k: int) -> float:
    """Share of trials whose image is among the best ``k``, of ranks ``(n,)``; see :func:`truth_ranks`."""
    return float(np.mean(found <= k))


def top_k_of_size(found: np.ndarray, n_gallery: int, size: int, k: int) -> float:
    """Top-k of the same decoder in a smaller gallery, on average over all galleries of that size.

    With r - 1 of the other n_gallery - 1 images above the true one, the number of them among size - 1 drawn
    without replacement is hypergeometric. No gallery is drawn, and none is lucky.

    Parameters
    ----------
    found : array of shape (n,)
        Ranks in the whole gallery, see :func:`truth_ranks`.
    n_gallery
        Its size.
    size
        That of the smaller one, with the true image in it.
    k
        Ranks that count as found.

    Raises
    ------
    ValueError
        If ``size`` is not between 1 and ``n_gallery``.
    """
    if not 1 <= size <= n_gallery:
        raise ValueError(f"galleries of {size} out of {n_gallery} images")
    above = stats.hypergeom(n_gallery - 1, np.asarray(found) - 1, size - 1)
    return float(np.mean(above.cdf(k - 1)))


def pairwise_accuracy(found: np.ndarray, n_gallery: int) -> float:
    """Chance that the true image beats another one of the gallery, of ranks (n,); 0.5 is chance."""
    if n_gallery < 2:
        raise ValueError("pairs need a gallery of two or more images")
    return float(np.mean((n_gallery - np.asarray(found)) / (n_gallery - 1)))


def ranks_within(
    predictions: np.ndarray,
    gallery: np.ndarray,
    truth: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    categories: Sequence[str],
) -> tuple[np.ndarray, np.ndarray]:
    """Rank of each trial's true image among the gallery's images of the same category, from 1.

    Parameters
    ----------
    predictions, gallery, truth, mean, sd
        See :func:`truth_ranks`.
    categories : sequence of n_gallery str
        What each image of the gallery shows.

    Returns
    -------
    ranks : array of shape (n,), int
    sizes : array of shape (n,), int
        Images of that category; chance of a first rank is one over it.
    """
    names, truth = np.asarray(categories), np.asarray(truth, np.intp)
    found, sizes = np.empty((2, len(predictions)), dtype=np.int64)
    for rows, cosines in _cosines(predictions, gallery, mean, sd):
        fellows = names[truth[rows]][:, None] == names
        own = np.take_along_axis(cosines, truth[rows, None], axis=1)
        found[rows] = np.count_nonzero(fellows & (cosines >= own - TIE), axis=1)
        sizes[rows] = np.count_nonzero(fellows, axis=1)
    return found, sizes


def hubness(
    predictions: np.ndarray, gallery: np.ndarray, mean: np.ndarray, sd: np.ndarray, k: int = 5
) -> float:
    """Skewness over the gallery of how often an image is among the best k: hubs are answers to anything.

    Radovanovic, Nanopoulos and Ivanovic 2010, *Hubs in space*, Journal of Machine Learning Research 11.
    0 where all images are answered equally often.
    """
    times = np.zeros(len(gallery), dtype=np.int64)
    for _, cosines in _cosines(predictions, gallery, mean, sd):
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        times += np.bincount(best.ravel(), minlength=len(gallery))
    return float(stats.skew(times)) if np.ptp(times) else 0.0


def mean_over_repetitions(
    values: np.ndarray, stimulus_ids: Sequence[str], k: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Average k showings of each stimulus, drawn at random; stimuli with fewer are left out.

    Of predictions, this is a decoder that is asked k times; of inputs before decoding, one that hears less
    noise. For linear decoders both are the same.

    Parameters
    ----------
    values : array of shape (n, ...)
        Predictions or windows.
    stimulus_ids : sequence of n str
        What each trial showed.
    k
        How many.
    rng
        Draws them.

    Returns
    -------
    means : array of shape (n_stimuli, ...)
    stimulus_ids : list of n_stimuli str
        In the order in which they first appear.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(stimulus_ids):
        rows.setdefault(name, []).append(row)
    kept = {name: rng.permutation(shown)[:k] for name, shown in rows.items() if len(shown) >= k}
    means = [values[np.sort(chosen)].mean(axis=0) for chosen in kept.values()]
    return np.array(means).reshape(len(kept), *values.shape[1:]), list(kept)


def noise_ceiling(responses: np.ndarray, stimulus_ids: Sequence[str], k: int = 1) -> np.ndarray:
    """Share of the variance of k averaged responses that their stimulus can explain, of each channel.

    Allen et al. 2022, *A massive 7T fMRI dataset*, Nature Neuroscience 25, methods: with the noise variance
    s^2 the mean over stimuli of the variance over repetitions of standardised responses, and ncsnr =
    sqrt(max(1 - s^2, 0)) / s, the ceiling is ncsnr^2 / (ncsnr^2 + 1 / k).

    Parameters
    ----------
    responses : array of shape (n, n_channels)
    stimulus_ids : sequence of n str
        What each trial showed; those shown once tell nothing.
    k
        Repetitions that are averaged before decoding.

    Returns
    -------
    array of shape (n_channels,)
        From 0 to 1.

    Raises
    ------
    ValueError
        If no stimulus was shown twice.
    """
    spread = responses.std(axis=0)
    standard = (responses - responses.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    names = np.asarray(stimulus_ids)
    again = [rows for name in dict.fromkeys(stimulus_ids) if len(rows := np.flatnonzero(names == name)) > 1]
    if not again:
        raise ValueError("a noise ceiling needs stimuli that were shown twice or more")
    noise = np.mean([standard[rows].var(axis=0, ddof=1) for rows in again], axis=0)
    signal = np.maximum(1.0 - noise, 0.0)
    ceiling: np.ndarray = np.divide(
        signal, signal + noise / k, out=np.zeros_like(signal), where=(signal > 0) & (spread > 0)
    )
    return ceiling


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


def _cosines(
    predictions: np.ndarray, gallery: np.ndarray, mean: np.ndarray, sd: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Similarity of predictions to all images (n_block, n_gallery), with the rows that a block holds."""
    predictions = unit_length(standardise(predictions, mean, sd))
    gallery = unit_length(standardise(gallery, mean, sd))
    for start in range(0, len(predictions), _BLOCK):
        rows = slice(start, start + _BLOCK)
        yield rows, predictions[rows] @ gallery.T


def _check(predictions: np.ndarray, targets: np.ndarray) -> None:
    if predictions.shape != targets.shape or predictions.ndim != 2 or len(predictions) < 2:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape}: both (n, dim), n at least 2"
        )
