"""Decoders of several kinds on the same trials, side by side, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rtdecode.errors import UserError
from training.evaluate import Judged, judge
from training.fit import Fitted, split_hash, with_targets
from training.metrics import auc, pearson, top_k
from training.model import fit_model
from training.statistics import bootstrap_interval

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from replay.trials import TrialSet
    from training.deep.fit import DeepFitted
    from training.deep.settings import FmriModel, MeegModel
    from training.fit import LinearSettings
    from training.model import FittedDecoder
    from training.targets import Targets

    Rows = np.ndarray
    Score = Callable[[Rows], float]

_FEWEST_IMAGES = 20
"""With fewer stimuli these are categories: to draw them would tell nothing, trials are drawn singly."""

_N_SAMPLES = 500


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Comparison:
    """How decoders did on the same test trials.

    Parameters
    ----------
    scores
        By decoder and score; a deep decoder's heads are decoders of their own.
    gains
        By decoder other than linear: its scores minus those of the linear one on the same trials.
    n_test
        Test trials, those of all parts together.
    drawn
        What the intervals are over, in words.
    parts
        What was fitted on and scored for each part of the split.
    """

    scores: Mapping[str, Mapping[str, Interval]]
    gains: Mapping[str, Mapping[str, Interval]]
    n_test: int
    drawn: str
    parts: tuple[Mapping[str, Any], ...]

    def summary(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def compare(
    trials: TrialSet,
    targets: Targets,
    parts: Sequence[tuple[str, np.ndarray, np.ndarray]],
    models: Mapping[str, LinearSettings | MeegModel | FmriModel],
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Fit each model on each part's training trials, and score it on its test trials.

    Parameters
    ----------
    trials
        All.
    targets
        Embeddings by stimulus.
    parts
        Name, mask of the training trials and mask of the test trials ``(n,)``.
    models
        By name; one of them is ``linear``.
    folder
        Where the fits of deep decoders are kept.
    progress
        Called with the fits done and the fits there are.

    Raises
    ------
    UserError
        See :func:`training.model.fit_model`; or if there are fewer than two test trials.
    """
    answers: dict[str, list[Judged]] = {}
    told, stimuli = [], []
    for index, (name, train, test) in enumerate(parts):
        held_out, _ = with_targets(trials.select(test), targets)
        shown = held_out.trials["stimulus_id"].tolist()
        if len(shown) < 2:
            raise UserError(f"{len(shown)} test trials have a target in {name}: check the split")
        stimuli += shown
        for number, (kind, model) in enumerate(models.items()):
            place = None if folder is None else folder / f"{kind}-{index}"
            fitted = fit_model(trials.select(train), targets, model, place)
            for head, decoder in _decoders(kind, fitted).items():
                answers.setdefault(head, []).append(judge(decoder.predict(held_out), shown, targets, decoder))
            if progress is not None:
                progress(index * len(models) + number + 1, len(parts) * len(models))
        told.append(
            {
                "name": name,
                "n_train": len(fitted.trials),
                "n_test": len(shown),
                "split_sha256": split_hash(fitted.trials.trials),
                "test_sha256": split_hash(held_out.trials),
            }
        )
    scores = {kind: _scores(_together(parts_of)) for kind, parts_of in answers.items()}
    n, images = len(stimuli), np.unique(stimuli, return_inverse=True)[1]
    few = int(images.max()) + 1 < _FEWEST_IMAGES
    groups = np.arange(n) if few else images
    gains = {
        kind: {name: _gain(score, scores["linear"][name]) for name, score in found.items()}
        for kind, found in scores.items()
        if kind != "linear"
    }
    return Comparison(
        scores=_intervals(scores, groups),
        gains=_intervals(gains, groups),
        n_test=n,
        drawn="test trials" if few else "test images, with all their trials",
        parts=tuple(told),
    )


def _decoders(kind: str, fitted: Fitted | DeepFitted) -> dict[str, FittedDecoder]:
    if isinstance(fitted, Fitted):
        return {kind: fitted.decoder}
    decoder = fitted.decoder
    return {f"{kind}, {head.name}": decoder.with_head_first(head.name) for head in decoder.heads}


def _together(parts: Sequence[Judged]) -> Judged:
    """All parts' trials, each with the gallery of its part."""
    margins = [part.margin for part in parts if part.margin is not None]
    return Judged(
        predictions=np.concatenate([part.predictions for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        ranks=np.concatenate([part.ranks for part in parts]),
        n_gallery=min(part.n_gallery for part in parts),
        margin=np.concatenate(margins) if len(margins) == len(parts) else None,
        positive=np.concatenate([part.positive for part in parts]),
    )


def _scores(judged: Judged) -> dict[str, Score]:
    """Scores of any trials, by their row numbers; higher is better."""
    found: dict[str, Score] = {
        "pearson": lambda rows: pearson(judged.predictions[rows], judged.truth[rows]),
        "top1": lambda rows: top_k(judged.ranks[rows], 1),
    }
    if judged.n_gallery > 5:
        found["top5"] = lambda rows: top_k(judged.ranks[rows], 5)
    if (margin := judged.margin) is not None:
        found["auc"] = lambda rows: _area(margin[rows], judged.positive[rows])
    return found


def _area(margin: np.ndarray, positive: np.ndarray) -> float:
    """Area under the curve; NaN where trials that were drawn are all of one kind."""
    return float("nan") if positive.all() or not positive.any() else auc(margin, positive)


def _gain(score: Score, of_linear: Score) -> Score:
    return lambda rows: score(rows) - of_linear(rows)


def _intervals(
    scores: Mapping[str, Mapping[str, Score]], groups: np.ndarray
) -> dict[str, dict[str, Interval]]:
    everyone = np.arange(len(groups))
    return {
        kind: {
            name: Interval(score(everyone), *bootstrap_interval(score, groups, n_samples=_N_SAMPLES))
            for name, score in found.items()
        }
        for kind, found in scores.items()
    }
