"""Real EEG: faces against houses, each of four runs decoded by a fit on the other three."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from training.cli import train

if TYPE_CHECKING:
    from pathlib import Path


def test_faces_are_told_from_houses_in_a_run_that_was_not_fitted_on(n170_config: Path) -> None:
    def run(command: str) -> tuple[str, dict]:  # type: ignore[type-arg]
        path = n170_config.with_name(f"{command}.json")
        result = CliRunner().invoke(train, [command, str(n170_config), "--json", str(path)])
        if result.exception:
            raise result.exception
        return result.output, json.loads(path.read_text())

    _, prepared = run("prepare")
    assert prepared["n_trials"] + sum(prepared["left_out"].values()) == 781
    assert set(prepared["left_out"]) <= {"warming_up", "end"}
    assert sum(prepared["left_out"].values()) < 20

    output, scores = run("evaluate")
    aucs = [fold["auc"] for fold in scores["folds"]]
    assert [fold["held_out"] for fold in scores["folds"]] == ["1", "2", "3", "4"]
    assert all(fold["contrast"] == ["face", "house"] for fold in scores["folds"])
    assert scores["auc"] == pytest.approx(np.mean(aucs))
    assert scores["auc"] >= 0.63
    assert min(aucs) > 0.55
    assert f"{scores['auc']:.3f}" in output

    _, fitted = run("fit")
    assert fitted["fold_rule"] == "by run: 4 runs in 4 folds"
    assert fitted["scores"]["parity_max_abs_diff_sd"] <= 1e-4
