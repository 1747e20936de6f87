"""Real fMRI: the category of a block, each of twelve runs decoded by a fit on the other eleven."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from training.cli import train

pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path


def test_blocks_of_eight_categories_are_told_apart_without_any_image(haxby_config: Path) -> None:
    def run(command: str) -> tuple[str, dict]:  # type: ignore[type-arg]
        path = haxby_config.with_name(f"{command}.json")
        result = CliRunner().invoke(train, [command, str(haxby_config), "--json", str(path)])
        if result.exception:
            raise result.exception
        return result.output, json.loads(path.read_text())

    output, prepared = run("prepare")
    assert (prepared["n_trials"], prepared["left_out"]) == (96, {})
    assert "images" not in output
    _, scores = run("evaluate")
    assert [fold["held_out"] for fold in scores["folds"]] == [str(run) for run in range(1, 13)]
    assert {fold["n_gallery"] for fold in scores["folds"]} == {8}
    assert scores["top1"] >= 0.65
    _, fitted = run("fit")
    assert fitted["scores"]["parity_max_abs_diff_sd"] <= 1e-4
