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
    shown = set(stimulus_ids)
    gallery_ids = [name for name in targets.stimulus_ids if name in shown]
    gallery = targets.of(gallery_ids)
    position = {name: index for index, name in enumerate(gallery_ids)}
    truth = np.array([position[name] for name in stimulus_ids])
    mean, sd = np.array(decoder.head.target_mean), np.array(decoder.head.target_sd)
    ranks = truth_ranks(predictions, gallery, truth, mean, sd)
    area, contrast = None, None
    if len(gallery_ids) == 2:
        contrast = (gallery_ids[0], gallery_ids[1])
        area = auc(prototype_contrast(predictions, gallery[0], gallery[1], mean, sd), truth == 0)
    return Scores(
        n_test=len(predictions),
        n_gallery=len(gallery_ids),
        pearson=pearson(predictions, gallery[truth]),
        top1=top_k(ranks, 1),
        top5=top_k(ranks, 5) if len(gallery_ids) > 5 else None,
        median_rank=float(np.median(ranks)),
        auc=area,
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
    levels = ["subject", "session", "run"][: {"session": 2, "run": 3}[by]]
    group = trials.trials.groupby(levels, sort=False).ngroup().to_numpy()
    if len(trials) == 0 or group.max() == 0:
        raise UserError(
            f"leaving one {by} out needs at least two; the recordings have {len(np.unique(group))}"
        )
    for index in range(group.max() + 1):
        held_out = trials.select(group == index)
        name = "/".join(
            str(held_out.trials[level].iloc[0]) for level in levels if held_out.trials[level].iloc[0]
        )
        fitted = fit_model(trials.select(group != index), targets, settings)
        yield name, evaluate(fitted.decoder, held_out, targets)


def mean_scores(scores: Sequence[Scores]) -> dict[str, float]:
    """Mean over folds of each score that all of them have."""
    numbers = [one.numbers() for one in scores]
    shared = [name for name in numbers[0] if all(name in other for other in numbers)]
    return {name: float(np.mean([one[name] for one in numbers])) for name in shared}
