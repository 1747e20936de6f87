from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtdecode.errors import UserError
from training.compare import compare
from training.evaluate import evaluate
from training.fit import LinearSettings, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    from replay.trials import TrialSet
    from training.targets import Targets

    MakeTrials = Callable[..., TrialSet]
    MakeTargets = Callable[..., Targets]

GOOD = LinearSettings(penalties=(10.0,))
BAD = LinearSettings(penalties=(1e9,), baseline_s=(0.1, 0.15))


def test_decoders_are_scored_on_the_same_trials_and_so_are_their_differences(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(90)
    trials = make_trials(targets, [f"i{k}" for k in range(90)], noise=3.0)
    train = np.arange(90) < 60
    found = compare(trials, targets, [("test", train, ~train)], {"linear": GOOD, "same": GOOD, "worse": BAD})
    expected = evaluate(fit(trials.select(train), targets, GOOD).decoder, trials.select(~train), targets)
    for name in ("pearson", "top1", "top5"):
        score = found.scores["linear"][name]
        assert score.value == pytest.approx(expected.numbers()[name])
        assert score.low <= score.value <= score.high
        assert found.gains["same"][name].low == found.gains["same"][name].high == 0.0
        lost = found.gains["worse"][name]
        assert lost.value == pytest.approx(found.scores["worse"][name].value - score.value)
    assert found.gains["worse"]["pearson"].high < 0
    assert found.n_test == 30
    assert found.drawn.startswith("test images")
    assert found.parts[0]["n_train"] == 60


def test_parts_are_scored_together_and_categories_are_not_drawn(
    make_trials: MakeTrials, make_targets: MakeTargets
) -> None:
    targets = make_targets(2)
    runs = np.repeat(["1", "2", "3"], 20)
    trials = make_trials(targets, ["i0", "i1"] * 30, runs=runs.tolist(), noise=20.0)
    parts = [(run, runs != run, runs == run) for run in ("1", "2", "3")]
    found = compare(trials, targets, parts, {"linear": GOOD})
    assert found.n_test == 60
    assert [part["n_test"] for part in found.parts] == [20, 20, 20]
    assert found.drawn == "test trials"
    auc = found.scores["linear"]["auc"]
    assert 0.5 < auc.low < auc.value < auc.high <= 1
    assert str(auc).startswith(f"{auc.value:.3f} [")


def test_too_few_test_trials_are_told(make_trials: MakeTrials, make_targets: MakeTargets) -> None:
    targets = make_targets(30)
    trials = make_trials(targets, [f"i{k}" for k in range(30)])
    train = np.arange(30) < 29
    with pytest.raises(UserError, match="1 test trials have a target in test"):
        compare(trials, targets, [("test", train, ~train)], {"linear": GOOD})
