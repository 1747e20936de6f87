"""What it costs to be live, on real fMRI: causal front ends beside ones that know the whole run.

Each run of the study is decoded by a fit on all others. What knows the whole run is made here, for comparison
only, and handed as a recording to the same preparation, fit and scores::

    uv run python tests/benchmarks/price_of_live.py examples/haxby/haxby.toml
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from numpy.polynomial.legendre import legvander
from rich.console import Console
from rich.table import Table

from replay.recordings import array_reader
from rtdecode.signal.design import running_demean, running_detrend, running_zscore
from training.config import TrainConfig
from training.evaluate import leave_one_out, mean_scores
from training.prepare import prepare
from training.targets import one_hot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replay.recordings import Recording
    from replay.trials import TrialSet
    from training.fit import LinearSettings
    from training.prepare import RunningStep

CONTRAST = ("face", "house")
WARMUP_S = 15.0

Samples = np.ndarray
"""Array of shape (n_volumes, n_voxels): a whole run."""


def without_mean(samples: Samples) -> Samples:
    return samples - samples.mean(axis=0)


def without_line(samples: Samples) -> Samples:
    line = legvander(np.linspace(-1, 1, len(samples)), 1)
    return samples - line @ np.linalg.lstsq(line, samples, rcond=None)[0]


def zscored(samples: Samples) -> Samples:
    samples = without_line(samples)
    sd = samples.std(axis=0)
    return samples / np.where(sd > 0, sd, 1.0)


CAUSAL: dict[str, tuple[RunningStep, ...]] = {
    "nothing": (),
    "running_demean, 30 s": (running_demean(30.0, WARMUP_S),),
    "running_demean, 60 s": (running_demean(60.0, WARMUP_S),),
    "running_demean, 300 s": (running_demean(300.0, WARMUP_S),),
    "running_zscore, 300 s": (running_zscore(300.0, WARMUP_S),),
    "running_detrend, 300 s": (running_detrend(300.0, WARMUP_S),),
}
WHOLE_RUN: dict[str, Callable[[Samples], Samples]] = {
    "the run's mean": without_mean,
    "the run's line": without_line,
    "the run's line and SD": zscored,
}


class Study:
    """The study's runs, with a marker at each volume and with one at each block."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        self._config = config
        self._folder = folder
        self._stimuli = config.stimuli()
        self._blocks = config.source().recordings
        every = tuple(entry.model_copy(update={"every_volume": True}) for entry in config.recordings)
        self._volumes = config.model_copy(update={"recordings": every}).source().recordings

    def volumes(
        self, running: Sequence[RunningStep], change: Callable[[Samples], Samples] | None
    ) -> TrialSet:
        return self._prepare(self._volumes, running, change, tmax_s=self._config.signal.tmin_s)

    def blocks(self, running: Sequence[RunningStep], change: Callable[[Samples], Samples] | None) -> TrialSet:
        return self._prepare(self._blocks, running, change, tmax_s=self._config.signal.tmax_s)

    def _prepare(
        self,
        recordings: Sequence[Recording],
        running: Sequence[RunningStep],
        change: Callable[[Samples], Samples] | None,
        tmax_s: float,
    ) -> TrialSet:
        if change is not None:
            runs = [change(recording.read(0, recording.n_samples)) for recording in recordings]
            recordings = [
                replace(recording, reader=array_reader(run))
                for recording, run in zip(recordings, runs, strict=True)
            ]
        settings = self._config.signal.model_copy(update={"running": tuple(running), "tmax_s": tmax_s})
        return prepare(recordings, settings, self._folder, stimuli=self._stimuli)


def accuracy(trials: TrialSet, model: LinearSettings) -> float:
    """Share of trials whose stimulus is found, mean over runs held out in turn."""
    scores = [scores for _, scores in leave_one_out(trials, one_hot(trials.trials["stimulus_id"]), model)]
    return mean_scores(scores)["top1"]


def front_ends(study: Study, model: LinearSettings) -> Table:
    """Accuracy by front end: a contrast and all categories in volumes, all categories in blocks."""
    single = model.model_copy(update={"average_times": False})
    table = Table("subtracted", f"{' or '.join(CONTRAST)}, volumes", "all, volumes", "all, blocks")
    rows = [(name, running, None) for name, running in CAUSAL.items()]
    rows += [(name, (), change) for name, change in WHOLE_RUN.items()]
    for name, running, change in rows:
        volumes = study.volumes(running, change)
        two = volumes.select(volumes.trials["stimulus_id"].isin(CONTRAST).to_numpy(dtype=bool))
        found = [accuracy(two, single), accuracy(volumes, single)]
        found.append(accuracy(study.blocks(running, change), model))
        table.add_row(name, *(f"{share:.3f}" for share in found))
    return table


def models(study: Study, model: LinearSettings) -> Table:
    """Accuracy of blocks by what is fitted, live and knowing the whole run."""
    live = accuracies(study.blocks(CAUSAL["running_demean, 300 s"], None), model)
    whole = accuracies(study.blocks((), WHOLE_RUN["the run's line"]), model)
    table = Table("all, blocks", "live", "whole run")
    for name, share in live.items():
        table.add_row(name, f"{share:.3f}", f"{whole[name]:.3f}")
    return table


def accuracies(trials: TrialSet, model: LinearSettings) -> dict[str, float]:
    changes = {
        "mean of the points, one penalty": {"average_times": True, "per_target": False},
        "mean of the points, a penalty a category": {"average_times": True, "per_target": True},
        "each point its own weights, one penalty": {"average_times": False, "per_target": False},
    }
    return {name: accuracy(trials, model.model_copy(update=change)) for name, change in changes.items()}


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
def main(config: Path) -> None:
    """Print accuracies of the study that CONFIG of rtdecode train describes, its events being blocks."""
    settings = TrainConfig.load(config)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        study = Study(settings, Path(folder) / "trials")
        console.print(front_ends(study, settings.model))
        console.print(models(study, settings.model))


if __name__ == "__main__":
    main()
