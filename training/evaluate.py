"""Scores of a decoder on trials that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from rtdecode.errors import UserError
from training.fit import with_targets
from training.metrics import auc, pearson, prototype_contrast, top_k, truth_ranks
from training.model import fit_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replay.trials import TrialSet
    from training.deep.settings import FmriModel, MeegModel
    from training.fit import LinearSettings
    from training.model import FittedDecoder
    from training.targets import Targets


@dataclass(frozen=True)
class Scores:
    """How well single test trials were decoded.

    Parameters
    ----------
    n_test, n_gallery
        Number of trials, and of images that retrieval chooses from: all stimuli among the test trials.
    pearson
        See :func:`training.metrics.pearson`; NaN where all trials show one stimulus.
    top1, top5, median_rank
        Retrieval over the whole gallery; ``top5`` is None in a gallery of five or fewer.
    auc
        Of the similarity to the first prototype minus that to the second, where there are exactly two
        stimuli; else None.
    contrast
        Those two stimuli, the first one being the positive.
    """

    n_test: int
    n_gallery: int
    pearson: float
    top1: float
    top5: float | None
    median_rank: float
    auc: float | None = None
    contrast: tuple[str, str] | None = None

    def numbers(self) -> dict[str, float]:
        """All scores that exist for these trials, by name."""
        names = ("pearson", "top1", "top5", "median_rank", "auc")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None and np.isfinite(value)}


@dataclass(frozen=True)
class Judged:
    """Predictions of single trials beside the truth.

    Parameters
    ----------
    predictions, truth : arrays of shape (n, dim)
    ranks : array of shape (n,)
        Of the true image in the gallery, from 1.
    n_gallery
        Its size.
    margin : array of shape (n,)
        Similarity to the first of two stimuli minus that to the second; None where there are not two.
    positive : array of shape (n,)
        Whether the first stimulus of the gallery was shown.
    contrast
        The two stimuli.
    """

    predictions: np.ndarray
    truth: np.ndarray
    ranks: np.ndarray
    n_gallery: int
    margin: np.ndarray | None
    positive: np.ndarray
    contrast: tuple[str, str] | None = None


def evaluate(decoder: FittedDecoder, trials: TrialSet, targets: Targets) -> Scores:
    """Score a decoder on test trials.

    Parameters
    ----------
    decoder
        Fitted on other trials.
    trials
        The test trials; those without a target are left out.
    targets
        Embeddings by stimulus, in the space that the decoder was fitted to.

    Raises
    ------
    UserError
        If there are fewer than two test trials, or the targets live in another space.
    """
    if targets.space != decoder.head.space:
        raise UserError(
            "the targets live in another space than the decoder's: use the encoder it was fitted with"
        )
    trials, _ = with_targets(trials, targets)
    if len(trials) < 2:
        raise UserError(f"{len(trials)} test trials have a target: check the split and the marker table")
    predictions = decoder.predict(trials)
    return score(predictions, trials.trials["stimulus_id"].tolist(), targets, decoder)


def score(
    predictions: np.ndarray, stimulus_ids: Sequence[str], targets: Targets, decoder: FittedDecoder
) -> Scores:
    """Score predictions ``(n, dim)`` of trials of these stimuli; see :func:`evaluate`."""
    judged = judge(predictions, stimulus_ids, targets, decoder)
    return Scores(
        n_test=len(predictions),
        n_gallery=judged.n_gallery,
        pearson=pearson(predictions, judged.truth),
        top1=top_k(judged.ranks, 1),
        top5=top_k(judged.ranks, 5) if judged.n_gallery > 5 else None,
        median_rank=float(np.median(judged.ranks)),
        auc=None if judged.margin is None else auc(judged.margin, judged.positive),
        contrast=judged.contrast,
    )


def judge(
    predictions: np.ndarray, stimulus_ids: Sequence[str], targets: Targets, decoder: FittedDecoder
) -> Judged:
    """Compare predictions ``(n, dim)`` with the gallery of all stimuli among these trials."""
    shown = set(stimulus_ids)
    gallery_ids = [name for name in targets.stimulus_ids if name in shown]
    gallery = targets.of(gallery_ids)
    position = {name: index for index, name in enumerate(gallery_ids)}
    truth = np.array([position[name] for name in stimulus_ids])
    mean, sd = np.array(decoder.head.target_mean), np.array(decoder.head.target_sd)
    margin, contrast = None, None
    if len(gallery_ids) == 2:
        contrast = (gallery_ids[0], gallery_ids[1])
        margin = prototype_contrast(predictions, gallery[0], gallery[1], mean, sd)
    return Judged(
        predictions=predictions,
        truth=gallery[truth],
        ranks=truth_ranks(predictions, gallery, truth, mean, sd),
        n_gallery=len(gallery_ids),
        margin=margin,
        positive=truth == 0,
        contrast=contrast,
    )


def leave_one_out(
    trials: TrialSet,
    targets: Targets,
    settings: LinearSettings | MeegModel | FmriModel | None = None,
    by: Literal["run", "session"] = "run",
) -> Iterator[tuple[str, Scores]]:
    """Fit on all runs (or sessions) but one and score that one, for each in turn.

    Yields
    ------
    name
        Of the run or session held out.
    scores

    Raises
    ------
    UserError
        If there is only one.
    """
    for name, mask in held_out_parts(trials, by):
        fitted = fit_model(trials.select(~mask), targets, settings)
        yield name, evaluate(fitted.decoder, trials.select(mask), targets)


def held_out_parts(trials: TrialSet, by: Literal["run", "session"]) -> list[tuple[str, np.ndarray]]:
    """Name and mask ``(n,)`` of each run (or session), to be held out in turn.

    Raises
    ------
    UserError
        If there is only one.
    """
    levels = ["subject", "session", "run"][: {"session": 2, "run": 3}[by]]
    group = trials.trials.groupby(levels, sort=False).ngroup().to_numpy()
    if len(trials) == 0 or group.max() == 0:
        raise UserError(
            f"leaving one {by} out needs at least two; the recordings have {len(np.unique(group))}"
        )
    parts = []
    for index in range(group.max() + 1):
        first = trials.trials.iloc[int(np.argmax(group == index))]
        parts.append(("/".join(str(first[level]) for level in levels if first[level]), group == index))
    return parts


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean over folds of each score that all of them have."""
    numbers = [one.numbers() for one in scores]
    shared = [name for name in numbers[0] if all(name in other for other in numbers)]
    return {name: float(np.mean([one[name] for one in numbers])) for name in shared}
