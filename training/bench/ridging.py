"""``rtdecode bench ridge``: ridge regression beside himalaya and scikit-learn, in time and memory."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from replay.processes import Process, folder_for_logs
from rtdecode.machine import versions
from rtdecode.output import check_writable, write_file
from training.bench.solvers import RUN, Solved, Solver, sizes
from training.bench.table import progress, ridge_tables
from training.bench.usage import machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGES = ("rtdecode", "numpy", "scipy", "scikit-learn", "himalaya", "torch")
"""Whose versions belong to a result."""

_LOOK_S = 0.2

_PRIMAL = {"himalaya": 3.0, "sklearn": 1.7}
_DUAL = {"himalaya": 1.5, "sklearn": 1.0}
"""How many times as fast as these ours must be, with more samples than features and with fewer."""

_CURVE = 3.0
_OVERHEAD = 1.15


@dataclass(frozen=True, slots=True)
class RidgeSettings:
    """What is measured; as the command's options."""

    n: int = 8000
    p: int = 1700
    targets: int = 1024
    rounds: int = 3
    curve: bool = True


def report(settings: RidgeSettings, json_path: Path | None) -> bool:
    """Measure, show progress and the table, and write the numbers; returns whether all held."""
    if json_path is not None:
        check_writable(json_path)
    with folder_for_logs("rtdecode-ridge-") as folder, progress("made-up data: time and memory") as bar:
        result = measure(settings, folder, bar)
    console = Console()
    for table in ridge_tables(result):
        console.print(table)
    if json_path is not None:
        write_file(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return all(bar["held"] for bar in result["bars"].values())


def measure(
    settings: RidgeSettings, folder: Path, bar: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Let each solver have its turn, by turns, each time in a fresh process.

    Himalaya has two backends for processors; the faster one, by its first turn, counts.

    Returns
    -------
    dict
        See ``docs/benchmarks.md``.
    """
    backends = (Solver.HIMALAYA, Solver.HIMALAYA_TORCH)
    solvers = [Solver.OURS, *backends, Solver.SKLEARN]
    if settings.curve:
        solvers += [Solver.CURVE, Solver.CURVE_SKLEARN]
    runs: dict[Solver, list[Solved]] = {solver: [] for solver in solvers}
    moved = bar("solve", 1 + settings.rounds * (len(solvers) - 1))
    done = 0
    for _ in range(settings.rounds):
        for solver, found in runs.items():
            found.append(_apart(solver, settings, folder))
            done += 1
            moved(done)
        if len(set(backends) & set(runs)) > 1:
            del runs[max(backends, key=lambda one: runs[one][0].seconds)]
    (himalaya,) = set(backends) & set(runs)
    return _result(settings, runs, himalaya)


def _apart(solver: Solver, settings: RidgeSettings, folder: Path) -> Solved:
    arguments = [solver.value, *map(str, (settings.n, settings.p, settings.targets)), str(folder / RUN)]
    with Process(["bench", "ridge-once", *arguments], folder / f"{solver}.log") as process:
        while not process.ended(_LOOK_S):
            pass
        process.wait_for_end()
    return Solved(**json.loads((folder / RUN).read_bytes()))


def _result(settings: RidgeSettings, runs: dict[Solver, list[Solved]], himalaya: Solver) -> dict[str, Any]:
    found = {solver: _summary(of) for solver, of in runs.items()}
    ours = found[Solver.OURS]
    others = {"himalaya": found[himalaya], "sklearn": found[Solver.SKLEARN]}
    ratio = {name: one["seconds"] / ours["seconds"] for name, one in others.items()}
    peak_mb = {"rtdecode": ours["peak_mb"], **{name: one["peak_mb"] for name, one in others.items()}}
    bars = {}
    for name, least in (_PRIMAL if settings.n >= settings.p else _DUAL).items():
        bars[f"at least {least:g} times as fast as {name}"] = {
            "held": ratio[name] >= least,
            "found": f"{ratio[name]:.2f} times",
        }
    bars["no more memory than either"] = {
        "held": peak_mb["rtdecode"] <= min(one["peak_mb"] for one in others.values()),
        "found": ", ".join(f"{name} {mb:.0f} MiB" for name, mb in peak_mb.items()),
    }
    result: dict[str, Any] = {"ratio": ratio, "peak_mb": peak_mb}
    if settings.curve:
        curve, loop = found[Solver.CURVE], found[Solver.CURVE_SKLEARN]
        over_own = float(np.median([run.cpu_s / run.own_cpu_s for run in runs[Solver.CURVE]]))
        result["curve"] = {
            "sizes": sizes(settings.n),
            "over_sklearn_loop": loop["seconds"] / curve["seconds"],
            "over_own": over_own,
        }
        bars[f"curve at least {_CURVE:g} times as fast as a loop of scikit-learn"] = {
            "held": result["curve"]["over_sklearn_loop"] >= _CURVE,
            "found": f"{result['curve']['over_sklearn_loop']:.1f} times",
        }
        bars[f"curve at most {_OVERHEAD:g} of its factorisations and validations"] = {
            "held": over_own <= _OVERHEAD,
            "found": f"{over_own:.2f} (processor time)",
        }
    return {
        **result,
        "bars": bars,
        "solvers": {solver.value: one for solver, one in found.items()},
        "himalaya_backend": "torch" if himalaya is Solver.HIMALAYA_TORCH else "numpy",
        "settings": asdict(settings),
        "machine": machine(),
        "versions": versions(*PACKAGES),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _summary(runs: list[Solved]) -> dict[str, Any]:
    return {
        "seconds": float(np.median([run.seconds for run in runs])),
        "runs_s": [run.seconds for run in runs],
        "cpu_s": float(np.median([run.cpu_s for run in runs])),
        "peak_mb": max(run.peak_mb for run in runs),
        "penalties": runs[0].penalties,
    }
