"""Raw fMRI runs in BIDS: the events, the volumes and the sidecar that share one name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replay.datasets.report import Kind
from replay.datasets.volume_files import volume_markers
from replay.recordings.nifti import check_nifti

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.survey import Survey, Table
    from replay.datasets.volume_files import VolumeFiles
    from replay.recordings import Recording

_SAME_STEP_S = 1e-3


class BidsRun:
    """Files of one run.

    Parameters
    ----------
    survey
        Reads them, and keeps what is wrong with them.
    folder
        Where they lie, ``…/func``.
    stem
        What their names have in common: ``sub-01_ses-things01_task-things_run-01``.
    """

    def __init__(self, survey: Survey, folder: Path, stem: str) -> None:
        self.survey = survey
        self.events = folder / f"{stem}_events.tsv"
        self.bold = folder / f"{stem}_bold.nii.gz"
        self.sidecar = folder / f"{stem}_bold.json"

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
        if strange.any():
            first = int(strange.argmax())
            self.survey.tell(
                self.events,
                Kind.ODD,
                f"onset is no onset in {int(strange.sum()):,} of {len(rows):,} rows, "
                f"the first {rows.index[first]:,} ({rows['onset'].iloc[first][:60]!r})",
            )
        if (n_back := int(np.sum(np.diff(onsets[~strange]) <= 0))) > 0:
            self.survey.tell(self.events, Kind.ODD, f"onsets not later than the one before: {n_back:,}")
        return np.where(strange, np.nan, onsets)

    def signal_s(self, step_s: float, onsets_s: NDArray[np.float64]) -> float | None:
        """Seconds of signal, by the header of the volumes; None, and told, where that is absent or damaged.

        Parameters
        ----------
        step_s
            Repetition time as published; others are told.
        onsets_s
            Of the events; those that come after the volumes are told.
        """
        found = self.survey.attempt(self.bold, lambda: check_nifti(self.bold, 4))
        if found is None:
            return None
        n_volumes, told_s = found[0][3], found[1]
        if not math.isnan(told_s) and abs(told_s - step_s) > _SAME_STEP_S:
            self.survey.tell(self.bold, Kind.ODD, f"a volume each {told_s:g} s, not {step_s:g} s")
        n_beyond = int(np.sum(onsets_s >= n_volumes * step_s))
        if n_beyond:
            self.survey.tell(
                self.bold,
                Kind.TRUNCATED,
                f"{n_volumes:,} volumes end at {n_volumes * step_s:g} s, before {n_beyond:,} of "
                f"{len(onsets_s):,} events",
            )
        return n_volumes * step_s

    def check_sidecar(self, step_s: float) -> None:
        """Tell where the sidecar says another repetition time."""
        said = self.survey.json(self.sidecar)
        if said is not None and said.get("RepetitionTime") != step_s:
            self.survey.tell(
                self.sidecar,
                Kind.ODD,
                f"RepetitionTime is {str(said.get('RepetitionTime'))[:80]!r}, not {step_s:g}",
            )

    def recording(self, files: VolumeFiles, rows: pd.DataFrame, labels: Sequence[str]) -> Recording:
        """Open the volumes, with markers at the onsets of these rows.

        Raises
        ------
        UserError
            If they cannot be opened.
        """
        return volume_markers(files.recording(self.bold), self.onsets_s(rows).tolist(), labels)
