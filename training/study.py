"""The steps of a study on the command line: what is shown meanwhile, and what is written for machines."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rtdecode.errors import UserError
from rtdecode.output import write_file
from training.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from training.config import TrainConfig

_MISMATCHES_SHOWN = 10

progress_console = Console(stderr=True)


def prepare_study(settings: TrainConfig, json_path: Path | None) -> None:
    """Cut a study's recordings into windows, and tell what came of it.

    Raises
    ------
    UserError
        See :func:`training.prepare.prepare`.
    """
    stimuli = settings.stimuli()
    try:
        if settings.targets.encoder != "one_hot":
            stimuli.pictures()
    except UserError as error:
        remark(f"warning: fit and evaluate will need the images (--images of rtdecode data): {error}")
    source = settings.source()
    for line in source.remarks:
        remark(line)
    with shown_progress("Filtering and cutting") as progress:
        trials = prepare(
            source.recordings,
            settings.signal,
            settings.trials_path,
            stimuli=stimuli,
            ignore=settings.markers.ignore,
            json_key=settings.markers.json_key,
            marker_delay_s=settings.markers.delay_s,
            stream_delay_s=settings.stream_delay_s,
            progress=progress,
            notes={"preparation_sha256": settings.preparation_sha256(source), **source.notes},
        )
    table = Table("run", "trials", "stimuli", title=f"{settings.name}: trials")
    for (subject, session, run), rows in trials.trials.groupby(["subject", "session", "run"], sort=False):
        name = "/".join(part for part in (subject, session, run) if part)
        table.add_row(name, str(len(rows)), str(rows["stimulus_id"].nunique()))
    print_table(table)
    for reason, n in trials.left_out.items():
        remark(f"{n} markers left out: {reason}")
    n_mismatches = trials.extras["mismatches"]
    lines = trials.extras["last_mismatches"][-_MISMATCHES_SHOWN:]
    if n_mismatches > len(lines):
        remark(f"markers and table fell out of step {n_mismatches} times; the last {len(lines)}:")
    for line in lines:
        remark(f"out of step: {line}")
    write_json(
        json_path,
        {
            "trials": str(trials.path),
            "n_trials": len(trials),
            "left_out": dict(trials.left_out),
            "mismatches": n_mismatches,
            "hours": trials.hours,
            "signal_sha256": trials.signal_sha256,
            "simulated": trials.simulated,
        },
    )


@contextmanager
def shown_progress(words: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a bar while the block runs; yields what takes ``(done, total)``."""
    with Progress(console=progress_console, disable=not progress_console.is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_table(table: Table) -> None:
    """Print what a command is for."""
    Console().print(table)


def remark(text: str) -> None:
    """Say something beside the results."""
    progress_console.print(text, markup=False, highlight=False)


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write results for machines, where that is asked for; scores that do not exist become null."""
    if path is None:
        return
    write_file(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
