"""Runs of an fMRI study in BIDS: the events, the volumes and the sidecar that share one name."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replay.datasets.onsets import onset_markers
from replay.datasets.report import Kind
from replay.recordings.nifti import check_nifti

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replay.datasets.survey import Survey, Table
    from replay.datasets.volume_files import VolumeFiles
    from replay.recordings import Recording

_SAME_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class Volumes:
    """What the volumes of a study are called, and how many there are.

    Parameters
    ----------
    task
        Of the runs; runs of other tasks are passed over.
    step_s
        Seconds from one volume to the next.
    n_volumes
        Volumes of a run; None where that was not the same for all.
    folder
        Where the folders of subjects are, relative to the copy's root; tables are always in the root.
    suffix
        What follows the number of the run in a file's name.
    """

    task: str
    step_s: float
    n_volumes: int | None = None
    folder: str = ""
    suffix: str = "bold"


class BidsRun:
    """Files of one run; any may be missing.

    Parameters
    ----------
    survey
        Reads them, and keeps what is wrong with them.
    volumes
        What they are called.
    subject, session, run
        Labels, as in the files' names.
    """

    def __init__(self, survey: Survey, volumes: Volumes, subject: str, session: str, run: str) -> None:
        self.survey = survey
        self.volumes = volumes
        self.subject = subject
        self.session = session
        self.run = run
        folder = f"sub-{subject}/ses-{session}/func"
        stem = f"sub-{subject}_ses-{session}_task-{volumes.task}_run-{run}"
        self.events = survey.root / folder / f"{stem}_events.tsv"
        self.sidecar = survey.root / folder / f"{stem}_bold.json"
        self.bold = survey.root / volumes.folder / folder / f"{stem}_{volumes.suffix}.nii.gz"

    @property
    def has_signal(self) -> bool:
        """Whether the volumes are there; a link to what was not fetched is not."""
        return self.bold.is_file()

    def table(self, needed: Sequence[str]) -> Table | None:
        """Events with an onset; None, and told, where they cannot be read."""
        table = self.survey.table(self.events, ["onset", *needed])
        if table is not None and table.ends_within_row:
            self.survey.tell(self.events, Kind.TRUNCATED, f"{len(table.rows):,} rows, and one in part")
        return table

    def onsets_s(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Seconds from the first volume; NaN, and told, where a cell is no such number."""
        onsets = pd.to_numeric(rows["onset"], errors="coerce").to_numpy(dtype=np.float64)
        strange = ~np.isfinite(onsets) | (onsets < 0)
        self.survey.tell_cells(
            self.events, rows["onset"], pd.Series(strange, index=rows.index), "onset is no onset"
        )
        if (n_back := int(np.sum(np.diff(onsets[~strange]) <= 0))) > 0:
            self.survey.tell(self.events, Kind.ODD, f"onsets not later than the one before: {n_back:,}")
        return np.where(strange, np.nan, onsets)

    def signal_s(self, onsets_s: NDArray[np.float64]) -> float | None:
        """Seconds of signal, by the header of the volumes; None, and told, where that is absent or damaged.

        Parameters
        ----------
        onsets_s
            Of the events; those that come after the volumes are told.
        """
        found = self.survey.attempt(self.bold, partial(check_nifti, self.bold, 4))
        if found is None:
            return None
        n_volumes, told_s, step_s = found[0][3], found[1], self.volumes.step_s
        if not math.isnan(told_s) and abs(told_s - step_s) > _SAME_STEP_S:
            self.survey.tell(self.bold, Kind.ODD, f"a volume each {told_s:g} s, not {step_s:g} s")
        n_beyond = int(np.sum(onsets_s >= n_volumes * step_s))
        published = self.volumes.n_volumes
        if n_beyond:
            self.survey.tell(
                self.bold,
                Kind.TRUNCATED,
                f"{n_volumes:,} volumes end at {n_volumes * step_s:g} s, before {n_beyond:,} of "
                f"{len(onsets_s):,} events",
            )
        elif published is not None and n_volumes != published:
            kind = Kind.TRUNCATED if n_volumes < published else Kind.ODD
            self.survey.tell(self.bold, kind, f"{n_volumes:,} volumes where {published:,} were published")
        return n_volumes * step_s

    def check_sidecar(self) -> None:
        """Tell where there is a sidecar and it says another repetition time."""
        if not self.sidecar.is_file():
            return
        said = self.survey.json(self.sidecar)
        if said is not None and said.get("RepetitionTime") != self.volumes.step_s:
            self.survey.tell(
                self.sidecar,
                Kind.ODD,
                f"RepetitionTime is {str(said.get('RepetitionTime'))[:80]!r}, not {self.volumes.step_s:g}",
            )

    def recording(self, files: VolumeFiles, rows: pd.DataFrame, labels: Sequence[str]) -> Recording:
        """Open the volumes, with markers at those nearest to the onsets of these rows.

        Rows without an onset, or with one outside the volumes, are left out. Markers keep what lies between
        an onset and its volume.

        Raises
        ------
        UserError
            If they cannot be opened.
        """
        recording = files.recording(self.bold)
        markers = onset_markers(recording, self.onsets_s(rows), labels, keep_residuals=True)
        return replace(recording, markers=markers, subject=self.subject, session=self.session, run=self.run)


def list_runs(survey: Survey, volumes: Volumes, subject: str, session: str) -> list[BidsRun]:
    """Runs of a session of which a table or volumes are there, by number; a missing folder is told."""
    place = f"sub-{subject}/ses-{session}/func"
    tables = survey.root / place
    names = survey.names(tables if tables.parent.is_dir() else tables.parent)
    if volumes.folder:
        names |= frozenset(path.name for path in (survey.root / volumes.folder / place).glob("*.nii.gz"))
    stem = f"sub-{subject}_ses-{session}_task-{volumes.task}_run-"
    ending = rf"(?:events\.tsv|{re.escape(volumes.suffix)}\.nii\.gz)"
    found = (re.fullmatch(rf"{re.escape(stem)}(\d+)_{ending}", name) for name in names)
    runs = sorted({match[1] for match in found if match}, key=int)
    return [BidsRun(survey, volumes, subject, session, run) for run in runs]


def check_signals(runs: Sequence[BidsRun], onsets_s: Sequence[NDArray[np.float64]]) -> float | None:
    """Seconds of the signals of a subject's runs; None, and told once, where none is there.

    Parameters
    ----------
    runs
        Of one subject.
    onsets_s
        Of the events of each.
    """
    if not runs:
        return None
    if any(run.has_signal for run in runs):
        told = [run.signal_s(onsets) for run, onsets in zip(runs, onsets_s, strict=True)]
        return sum(signal_s for signal_s in told if signal_s is not None)
    survey, volumes = runs[0].survey, runs[0].volumes
    n_links = sum(run.bold.is_symlink() for run in runs)
    text = f"all {n_links} are links to content that is not here" if n_links else "none is there"
    subject = survey.root / volumes.folder / f"sub-{runs[0].subject}"
    advice = f"fetch it: datalad get {subject.name}, beside it" if n_links else None
    files = subject / "ses-*" / "func" / f"*_task-{volumes.task}_*_{volumes.suffix}.nii.gz"
    survey.tell(files, Kind.MISSING, f"no signal: {text}", advice)
    return None
