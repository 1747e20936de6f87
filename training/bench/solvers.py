"""Ridge regression with a penalty a target, by us, by himalaya and by scikit-learn; and curves over sizes."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from training import ridge
from training.bench.usage import peak_rss_mb
from training.learning_curve import learning_curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.ridge import Fold

N_FOLDS = 5
PENALTIES = np.logspace(0, 6, 20)
N_SIZES = 10
_RANK = 60

RUN = "run.json"
"""File that says what a solver took."""


class Solver(StrEnum):
    """Who solves what; himalaya by each of its backends for processors, curves by us and in a loop."""

    OURS = "rtdecode"
    HIMALAYA = "himalaya"
    HIMALAYA_TORCH = "himalaya-torch"
    SKLEARN = "sklearn"
    CURVE = "curve"
    CURVE_SKLEARN = "curve-sklearn"


@dataclass(frozen=True, slots=True)
class Solved:
    """What a solver took.

    Parameters
    ----------
    seconds, cpu_s
        On the clock, and of all cores together.
    peak_mb
        Most memory that was resident, MiB, beyond what the imports and the data took.
    own_cpu_s
        Of a curve by us, processor time of its eigendecompositions and validations; else 0.
    penalties
        Geometric mean of the penalties that were chosen.
    """

    seconds: float
    cpu_s: float
    peak_mb: float
    own_cpu_s: float
    penalties: float


def problem(n: int, p: int, n_targets: int) -> tuple[np.ndarray, np.ndarray, list[Fold]]:
    """Samples with a low-rank signal in coloured noise, and folds.

    Returns
    -------
    x : array of shape (n, p), float64
    y : array of shape (n, n_targets), float64
    folds : list of (training rows, validation rows)
        Interleaved, so that each nested subset has its share of all.
    """
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n, _RANK))
    x = rng.standard_normal((n, p))
    x *= np.linspace(2.0, 0.5, p)
    x += latent @ rng.standard_normal((_RANK, p)) / np.sqrt(_RANK)
    y = latent @ rng.standard_normal((_RANK, n_targets)) / np.sqrt(_RANK)
    y += 2.0 * rng.standard_normal((n, n_targets))
    part = np.arange(n) % N_FOLDS
    return x, y, [(np.flatnonzero(part != k), np.flatnonzero(part == k)) for k in range(N_FOLDS)]


def sizes(n: int) -> list[int]:
    """Sizes of nested subsets, evenly spaced on a logarithmic scale from n/32 to n."""
    return [int(size) for size in np.unique(np.geomspace(n / 32, n, N_SIZES).round())]


def solve_once(solver: Solver, n: int, p: int, n_targets: int) -> Solved:
    """Solve a problem in this process; imports and the making of data do not count."""
    run = _ways()[solver]()
    x, y, folds = problem(n, p, n_targets)
    before_mb = peak_rss_mb()
    cpu_s, began = time.process_time(), time.perf_counter()
    penalties, own_cpu_s = run(x, y, folds)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    return Solved(
        seconds, cpu_s, peak_rss_mb() - before_mb, own_cpu_s, float(np.exp(np.mean(np.log(penalties))))
    )


def _ways() -> dict[Solver, Callable[[], Any]]:
    return {
        Solver.OURS: lambda: _ours,
        Solver.HIMALAYA: lambda: _himalaya("numpy"),
        Solver.HIMALAYA_TORCH: lambda: _himalaya("torch"),
        Solver.SKLEARN: _sklearn,
        Solver.CURVE: lambda: _curve,
        Solver.CURVE_SKLEARN: _curve_sklearn,
    }


def _ours(x: np.ndarray, y: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, float]:
    return ridge.Ridge(PENALTIES).fit(x, y, folds).chosen, 0.0


def _himalaya(backend: str) -> Any:
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidgeCV
    from himalaya.ridge import RidgeCV

    arrays = set_backend(backend)
    if backend == "torch":
        import torch

        torch.set_num_threads(os.cpu_count() or 1)

    def run(x: np.ndarray, y: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, float]:
        made = (RidgeCV if len(x) >= x.shape[1] else KernelRidgeCV)(
            alphas=PENALTIES, cv=folds, fit_intercept=True
        )
        made.fit(arrays.asarray(x), arrays.asarray(y))
        return np.asarray(arrays.to_numpy(made.best_alphas_)), 0.0

    return run


def _sklearn() -> Any:
    from sklearn.linear_model import RidgeCV

    def run(x: np.ndarray, y: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, float]:  # noqa: ARG001
        return np.asarray(RidgeCV(alphas=PENALTIES, alpha_per_target=True).fit(x, y).alpha_), 0.0

    return run


def _curve(x: np.ndarray, y: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, float]:
    """Fit a curve, with clocks around what each size cannot do without."""
    own = _Clock()
    with ExitStack() as clocked:
        for name in ("decompose", "squared_errors"):
            function = getattr(ridge, name)
            setattr(ridge, name, own.around(function))
            clocked.callback(setattr, ridge, name, function)
        chosen = [fitted.chosen for _, fitted in learning_curve(x, y, sizes(len(x)), folds, PENALTIES)]
    return chosen[-1], own.cpu_s


def _curve_sklearn() -> Any:
    from sklearn.linear_model import RidgeCV

    def run(x: np.ndarray, y: np.ndarray, folds: list[Fold]) -> tuple[np.ndarray, float]:
        chosen = 1.0
        for size in sizes(len(x)):
            within = [tuple(part[part < size] for part in fold) for fold in folds]
            chosen = RidgeCV(alphas=PENALTIES, cv=within).fit(x[:size], y[:size]).alpha_
        return np.array([chosen]), 0.0

    return run


class _Clock:
    """Adds up the processor time of calls, whatever thread they are on."""

    def __init__(self) -> None:
        self.cpu_s = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.thread_time()
            result = function(*args, **kwargs)
            self.cpu_s += time.thread_time() - began
            return result

        return timed
