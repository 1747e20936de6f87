"""Which image each trial showed: ``sourcedata/sample_attributes_P?.csv``, all trials of a subject."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from replay.datasets.dataset import Stimulus
from replay.datasets.report import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from replay.datasets.survey import Survey

SPLITS = {"exp": "train", "test": "test"}
CATCH = "catch"
COLUMNS = ("image_path", "trial_type", "session_nr", "run_nr", "things_image_nr")
_IMAGE = re.compile(r"(?:.*/)?(([^\\/.:][^\\/:]*)_[0-9a-z]+)\.jpg")


@dataclass(frozen=True, slots=True)
class Attributes:
    """Trials of a subject, in the order in which they were shown.

    Parameters
    ----------
    stimuli
        What each showed; None for a catch trial.
    numbers
        THINGS number of each image; None for a catch trial.
    runs
        Session and run of each, as the files' names have them.
    """

    stimuli: tuple[Stimulus | None, ...]
    numbers: tuple[int | None, ...]
    runs: tuple[tuple[str, str], ...]

    def by_number(self) -> dict[int, Stimulus]:
        """Images by their THINGS number."""
        pairs = zip(self.numbers, self.stimuli, strict=True)
        return {number: one for number, one in pairs if number is not None and one is not None}


def attributes_path(root: Path, subject: str) -> Path:
    """Where the table of a subject is."""
    return root / "sourcedata" / f"sample_attributes_P{subject[-1]}.csv"


def read_attributes(survey: Survey, subject: str) -> Attributes | None:
    """Read the table of a subject; None, and told, where it cannot be read."""
    path = attributes_path(survey.root, subject)
    table = survey.table(path, COLUMNS)
    if table is None:
        return None
    stimuli: list[Stimulus | None] = []
    numbers: list[int | None] = []
    runs: list[tuple[str, str]] = []
    strange = 0
    for image, kind, *cells in table.rows[list(COLUMNS)].itertuples(index=False):
        session, run, number = (whole(cell) for cell in cells)
        found = _IMAGE.fullmatch(image)
        if kind not in (*SPLITS, CATCH) or session is None or run is None:
            strange += 1
            continue
        is_shown = kind in SPLITS
        if is_shown and (found is None or number is None):
            strange += 1
            continue
        runs.append((f"{session:02d}", f"{run:02d}"))
        numbers.append(number if is_shown else None)
        stimuli.append(
            Stimulus(found[1], f"{found[2]}/{found[1]}.jpg", found[2], SPLITS[kind])
            if is_shown and found is not None
            else None
        )
    if strange:
        survey.tell(path, Kind.ODD, f"says in {strange:,} rows nothing of session, run and image")
        return None
    return Attributes(tuple(stimuli), tuple(numbers), tuple(runs))


def whole(cell: str) -> int | None:
    """Whole number of a cell such as ``24812.0``; None where there is none."""
    number = pd.to_numeric(cell, errors="coerce")
    return int(number) if 0 <= number < 1e9 and number == int(number) else None
