from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

import training.bench.ridging
from training.bench.ridging import RidgeSettings, measure
from training.bench.solvers import Solved, Solver, problem, sizes, solve_once
from training.bench.table import ridge_tables

if TYPE_CHECKING:
    from pathlib import Path

N, P, TARGETS = 320, 20, 4


def test_every_solver_solves_the_same_problem() -> None:
    pytest.importorskip("sklearn", reason="needs the extra 'bench'")
    found = {
        solver: solve_once(solver, N, P, TARGETS) for solver in Solver if solver is not Solver.HIMALAYA_TORCH
    }
    ours = found[Solver.OURS]
    assert found[Solver.HIMALAYA].penalties == pytest.approx(ours.penalties)  # the same folds and targets
    assert found[Solver.CURVE].penalties == pytest.approx(ours.penalties)  # its last point
    for one in found.values():
        assert one.seconds > 0
        assert 1 <= one.penalties <= 1e6
    assert 0 < found[Solver.CURVE].own_cpu_s <= found[Solver.CURVE].cpu_s


def test_subsets_are_nested_and_have_their_share_of_every_fold() -> None:
    assert sizes(8000)[0] == 250
    assert sizes(8000)[-1] == 8000
    _, _, folds = problem(N, P, TARGETS)
    for size in sizes(N):
        shares = [np.count_nonzero(validation < size) for _, validation in folds]
        assert max(shares) - min(shares) <= 1


def test_the_faster_backend_of_himalaya_counts_and_the_other_runs_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seconds = {
        Solver.OURS: 2.0,
        Solver.HIMALAYA: 9.0,
        Solver.HIMALAYA_TORCH: 8.0,
        Solver.SKLEARN: 3.0,
        Solver.CURVE: 4.0,
        Solver.CURVE_SKLEARN: 40.0,
    }
    turns: list[Solver] = []

    def apart(solver: Solver, settings: RidgeSettings, folder: Path) -> Solved:
        turns.append(solver)
        return Solved(seconds[solver], 4.4, 100.0, 4.0, 1e3)

    monkeypatch.setattr(training.bench.ridging, "_apart", apart)
    done: list[int] = []
    result = measure(RidgeSettings(rounds=3), tmp_path, lambda *_: done.append)
    assert result["ratio"] == {"himalaya": 4.0, "sklearn": 1.5}
    assert result["himalaya_backend"] == "torch"
    assert turns.count(Solver.HIMALAYA) == 1
    assert turns.count(Solver.HIMALAYA_TORCH) == turns.count(Solver.OURS) == 3
    assert done[-1] == len(turns) == 16
    assert result["curve"]["over_sklearn_loop"] == 10.0
    assert result["curve"]["over_own"] == pytest.approx(1.1)
    held = {name: bar["held"] for name, bar in result["bars"].items()}
    assert held == {
        "at least 3 times as fast as himalaya": True,
        "at least 1.7 times as fast as sklearn": False,
        "no more memory than either": True,
        "curve at least 3 times as fast as a loop of scikit-learn": True,
        "curve at most 1.15 of its factorisations and validations": True,
    }
    console = Console(file=io.StringIO(), width=120)
    for table in ridge_tables(result):
        console.print(table)
    assert "1.50 times" in console.file.getvalue()
