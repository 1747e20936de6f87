from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtdecode.errors import UserError
from training.evaluate import evaluate, leave_one_out, mean_scores
from training.fit import LinearSettings, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.trials import TrialSet
    from training.targets import Targets

    MakeTrials = Callable[..., TrialSet]
    MakeTargets = Callable[..., Targets]

SETTINGS = LinearSettings(penalties=(1.0, 100.0), folds=3)


def test_retrieval_is_over_all_test_stimuli_and_those_alone(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(100)
    trials = make_trials(targets, [f"i{k}" for k in range(100)] + ["i99", "nothing"])
    decoder = fit(trials.select(np.arange(80)), targets, SETTINGS).decoder
    scores = evaluate(decoder, trials.select(np.arange(80, 102)), targets)
    assert (scores.n_test, scores.n_gallery) == (21, 20)
    assert scores.top5 is not None
    assert scores.top1 > 0.5
    assert scores.top1 <= scores.top5
    assert scores.pearson > 0.8
    assert scores.auc is None
    assert scores.numbers().keys() == {"pearson", "top1", "top5", "median_rank"}


def test_two_stimuli_are_told_apart_by_their_contrast(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(2)
    runs = [str(k // 20) for k in range(80)]
    trials = make_trials(targets, ["i0", "i1"] * 40, runs=runs, noise=20.0)
    folds = list(leave_one_out(trials, targets, SETTINGS))
    assert [name for name, _ in folds] == ["s/0", "s/1", "s/2", "s/3"]
    for _, scores in folds:
        assert scores.contrast == ("i0", "i1")
        assert scores.auc is not None
        assert 0.6 < scores.auc <= 1.0
        assert scores.top5 is None
        assert scores.n_test == 20
    mean = mean_scores([scores for _, scores in folds])
    assert mean["auc"] == pytest.approx(np.mean([scores.auc for _, scores in folds]))
    assert "top5" not in mean


def test_a_decoder_is_not_scored_in_another_space(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(30)
    trials = make_trials(targets, [f"i{k}" for k in range(30)])
    decoder = fit(trials, targets, SETTINGS).decoder
    with pytest.raises(UserError, match="another space"):
        evaluate(decoder, trials, make_targets(30, encoder="another"))


def test_what_cannot_be_scored_is_told(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(30)
    trials = make_trials(targets, [f"i{k}" for k in range(30)])
    decoder = fit(trials, targets, SETTINGS).decoder
    with pytest.raises(UserError, match="1 test trials"):
        evaluate(decoder, trials.select([0]), targets)
    with pytest.raises(UserError, match="at least two; the recordings have 1"):
        list(leave_one_out(trials, targets, SETTINGS))
