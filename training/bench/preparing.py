"""``rtdecode bench prepare``: how fast a recording becomes windows, and in how much memory, beside MNE."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from replay.processes import Process, folder_for_logs
from rtdecode.errors import UserError
from rtdecode.machine import versions
from rtdecode.output import check_writable, write_file
from rtdecode.signal.design import attenuation_db
from training.bench.meg_file import N_CHANNELS, RATE_HZ, simulated_meg, write_fif
from training.bench.table import prepare_tables, progress
from training.bench.usage import free_memory_mb, machine
from training.bench.ways import RUN, SIGNAL, Run, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replay.recordings.recording import Recording

PACKAGES = ("rtdecode", "numpy", "scipy", "mne", "pyarrow")
"""Whose versions belong to a result."""

_LOOK_S = 0.5
"""How often is looked whether a process has ended."""

_MNE_COPIES = 2.0
"""How often MNE has the whole recording in memory, in double precision, while it filters."""

_SPARE = 1.2


@dataclass(frozen=True, slots=True)
class PrepareSettings:
    """What is measured, and what must hold; as the command's options."""

    minutes: float = 10.0
    rounds: int = 3
    alone: bool = False
    min_ratio: float = 3.0
    max_rss_gb: float = 1.5


def report(settings: PrepareSettings, json_path: Path | None) -> bool:
    """Measure, show progress and the table, and write the numbers; returns whether all held.

    Raises
    ------
    UserError
        If disk or memory do not suffice, or a process fails.
    """
    if json_path is not None:
        check_writable(json_path)
    said = "SIMULATED recording: time and memory, no decoding"
    with folder_for_logs("rtdecode-prepare-") as folder, progress(said) as bar:
        result = measure(settings, folder, bar)
    console = Console()
    for table in prepare_tables(result):
        console.print(table)
    if json_path is not None:
        write_file(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return all(bar["held"] for bar in result["bars"].values())


def measure(
    settings: PrepareSettings, folder: Path, bar: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Write a recording once, and make windows of it in each way by turns, each time in a fresh process.

    Parameters
    ----------
    settings
        What is measured.
    folder
        For the recording, what is made of it, and logs.
    bar
        Given a title and a total, starts a progress bar and returns what moves it.

    Returns
    -------
    dict
        See ``docs/benchmarks.md``.
    """
    _check_room(settings, folder)
    recording = simulated_meg(settings.minutes)
    path = folder / "meg_raw.fif"
    write_fif(path, recording, bar("write the recording", recording.n_samples))
    ways = [Way.OURS] if settings.alone else list(Way)
    runs: dict[Way, list[Run]] = {way: [] for way in ways}
    moved = bar("make windows", settings.rounds * len(ways))
    for turn in range(settings.rounds * len(ways)):
        way = ways[turn % len(ways)]
        runs[way].append(run_apart(way, path, folder / "output"))
        moved(turn + 1)
    return _result(settings, recording, runs, [part.stat().st_size for part in folder.glob("meg_raw*.fif")])


def _check_room(settings: PrepareSettings, folder: Path) -> None:
    """Refuse what would fill the disk or the memory, which would stop more than this command."""
    n_numbers = 60 * settings.minutes * RATE_HZ * N_CHANNELS
    needed, free = _SPARE * 4 * n_numbers, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{settings.minutes:g} minutes take {needed / 1e9:.1f} GB of disk, {folder.parent} has "
            f"{free / 1e9:.1f}: take fewer --minutes, or set TMPDIR to a folder on a larger disk"
        )
    needed_mb, free_mb = _SPARE * _MNE_COPIES * 8 * n_numbers / 2**20, free_memory_mb()
    if not settings.alone and needed_mb > free_mb:
        raise UserError(
            f"MNE holds the whole recording in memory: {settings.minutes:g} minutes take {needed_mb:.0f} MB, "
            f"and {free_mb:.0f} are free; take fewer --minutes, or --alone to leave MNE out"
        )


def run_apart(way: Way, recording: Path, output: Path) -> Run:
    """Make windows in a process of its own.

    Parameters
    ----------
    way, recording
        As for :func:`training.bench.ways.take`.
    output
        Folder for what comes out: made, and removed.

    Raises
    ------
    UserError
        If the process fails.
    """
    log = output.with_name(f"{way}.log")
    output.mkdir()
    with Process(["bench", "prepare-once", way.value, str(recording), str(output)], log) as process:
        while not process.ended(_LOOK_S):
            pass
        process.wait_for_end()
    run = Run(**json.loads((output / RUN).read_bytes()))
    shutil.rmtree(output)
    return run


def _result(
    settings: PrepareSettings, recording: Recording, runs: dict[Way, list[Run]], file_sizes: Sequence[int]
) -> dict[str, Any]:
    found = {way.value: _summary(of_way) for way, of_way in runs.items()}
    ours = found[Way.OURS.value]
    ratios, cpu_ratios = (
        {name: one[what] / ours[what] for name, one in found.items() if one is not ours}
        for what in ("seconds", "cpu_s")
    )
    max_rss_mb = settings.max_rss_gb * 1e9 / 2**20
    bars = {
        f"at most {settings.max_rss_gb:g} GB ({max_rss_mb:.0f} MiB) resident": {
            "held": ours["peak_rss_mb"] <= max_rss_mb,
            "found": f"{ours['peak_rss_mb']:.0f} MiB",
        }
    }
    if Way.MNE in ratios:
        bars[f"at least {settings.min_ratio:g} times as fast as MNE's defaults"] = {
            "held": ratios[Way.MNE] >= settings.min_ratio,
            "found": f"{ratios[Way.MNE]:.1f} times",
        }
    (step,) = SIGNAL.contract(recording.channels, recording.rate_hz).front_end
    return {
        "simulated": True,
        "bars": bars,
        "ways": found,
        "ratios": ratios,
        "cpu_ratios": cpu_ratios,
        "recording": {
            "minutes": settings.minutes,
            "channels": len(recording.channels),
            "rate_hz": recording.rate_hz,
            "markers": len(recording.markers),
            "files": len(file_sizes),
            "mb": sum(file_sizes) / 2**20,
        },
        "signal": {
            **SIGNAL.model_dump(mode="json", exclude_defaults=True),
            "attenuation_db": attenuation_db([step], recording.rate_hz, (SIGNAL.resample_hz or 0.0) / 2),
        },
        "settings": asdict(settings),
        "machine": machine(),
        "versions": versions(*PACKAGES),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _summary(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "windows": runs[0].windows,
        "seconds": float(np.median([run.seconds for run in runs])),
        "runs_s": [run.seconds for run in runs],
        "cpu_s": float(np.median([run.cpu_s for run in runs])),
        "cpu_share": max(run.cpu_s / run.seconds for run in runs),
        "peak_rss_mb": max(run.peak_rss_mb for run in runs),
        "imports_rss_mb": max(run.imports_rss_mb for run in runs),
    }
