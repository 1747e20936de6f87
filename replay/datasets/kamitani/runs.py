"""Raw runs: one table and one 4-D NIfTI file each."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replay.datasets.bids_runs import Volumes, check_signals, list_runs
from replay.datasets.dataset import Part
from replay.datasets.kamitani.images import image_name, stimulus
from replay.datasets.report import Count, Kind, SubjectReport
from replay.datasets.volume_files import VolumeFiles
from replay.recordings.nifti import read_mask
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from replay.datasets.bids_runs import BidsRun
    from replay.datasets.kamitani.about import Experiment, Study
    from replay.datasets.survey import Survey

_COLUMNS = ("event_type", "stimulus_id", "stimulus_name")
_SHOWN, _AGAIN = ("1", "stimulus"), "2"
"""Types of events: an image; and the same one again, which only DeepRecon tells apart."""

_STEP_TOLERANCE_S = 0.5


class Shown(NamedTuple):
    """Rows of a table that show an image for the first time in a row.

    Parameters
    ----------
    rows
        Of the table.
    images
        Name of each.
    n_again
        Blocks that showed the image before once more.
    strange
        Number and content of each row that shows something else.
    """

    rows: pd.DataFrame
    images: list[str]
    n_again: int
    strange: list[tuple[int, str]]


class RunsSubject:
    """The raw runs of one subject."""

    def __init__(self, study: Study, survey: Survey, subject: str) -> None:
        self.study = study
        self.survey = survey
        self.subject = subject
        self.place = survey.root / f"sub-{subject}"
        self.volumes = Volumes(
            task="perception", step_s=round(1 / study.about.rate_hz, 6), n_volumes=study.n_volumes
        )

    def is_there(self, names: frozenset[str]) -> bool:
        """Whether the root, which holds these names, has this subject."""
        return self.place.name in names

    def report(self) -> tuple[SubjectReport, int, int]:
        """Say what is there, and how many tables and signals."""
        names = self.survey.names(self.place)
        counts: dict[str, Count] = {}
        all_runs: list[BidsRun] = []
        onsets_s: list[NDArray[np.float64]] = []
        n_tables = 0
        for experiment in self.study.experiments:
            runs = self._runs(experiment, names)
            tables = [self._check_table(run) for run in runs]
            images = [image for shown, _ in tables if shown is not None for image in shown.images]
            n_tables += sum(shown is not None for shown, _ in tables)
            if len(runs) != experiment.n_runs:
                kind = Kind.MISSING if len(runs) < experiment.n_runs else Kind.ODD
                text = f"{len(runs)} runs where {experiment.n_runs} were published"
                self.survey.tell(self.place / f"ses-{experiment.name}*", kind, text)
            split = experiment.split
            if experiment.n_sessions is not None:
                found = len({run.session for run in runs})
                counts[f"{split} sessions"] = Count(found=found, expected=experiment.n_sessions)
            counts |= {
                f"{split} runs": Count(found=len(runs), expected=experiment.n_runs),
                f"{split} trials": Count(
                    found=len(images), expected=experiment.n_images * experiment.n_repetitions
                ),
                f"{split} images": Count(found=len(set(images)), expected=experiment.n_images),
            }
            all_runs += runs
            onsets_s += [onsets for _, onsets in tables]
        report = SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="s" if n_tables else "",
            last_onset_s=None,
            signal_s=check_signals(all_runs, onsets_s),
            excluded="",
        )
        return report, n_tables, sum(run.has_signal for run in all_runs)

    def read(self, mask_path: Path | None) -> Part:
        """Open all runs whose volumes are there.

        Raises
        ------
        UserError
            If there are none, a table cannot be read, or the mask does not fit.
        """
        if mask_path is None:
            raise UserError(f"{self.place}: which voxels are the channels? State a mask (--mask)")
        files = VolumeFiles(read_mask(mask_path), self.study.about.rate_hz)
        opened = Part(files=[mask_path])
        names = self.survey.names(self.place)
        n_lost = n_again = 0
        for experiment in self.study.experiments:
            for run in self._runs(experiment, names):
                if not run.has_signal:
                    continue
                table = run.table(_COLUMNS)
                if table is None:
                    self.survey.refuse()
                shown = find_images(table.rows)
                recording = run.recording(files, shown.rows, shown.images)
                opened.recordings.append(recording)
                opened.stimuli.extend(stimulus(image, experiment) for image in shown.images)
                opened.files.extend([run.events, run.bold])
                n_again += shown.n_again
                n_lost += table.n_broken + table.ends_within_row + len(shown.strange)
                n_lost += len(shown.images) - len(recording.markers)
        if not opened.recordings:
            raise UserError(f"{self.place}: no run has volumes here; {self.survey.again}")
        n_runs = sum(experiment.n_runs for experiment in self.study.experiments)
        for n, what in (
            (n_runs - len(opened.recordings), "runs are not here, and"),
            (n_again, "blocks that show the image before once more"),
            (n_lost, "damaged rows or rows outside the volumes"),
        ):
            if n > 0:
                opened.remarks.append(f"sub-{self.subject}: {n:,} {what} are left out")
        return opened

    def _runs(self, experiment: Experiment, names: frozenset[str]) -> list[BidsRun]:
        """Runs of an experiment, in the sessions that were published, or else in those that are there."""
        if experiment.n_sessions is not None:
            sessions = [f"{experiment.name}{number:02d}" for number in range(1, experiment.n_sessions + 1)]
        else:
            found = (re.fullmatch(rf"ses-({experiment.name}\d+)", name) for name in names)
            sessions = sorted(match[1] for match in found if match)
        return [
            run for session in sessions for run in list_runs(self.survey, self.volumes, self.subject, session)
        ]

    def _check_table(self, run: BidsRun) -> tuple[Shown | None, NDArray[np.float64]]:
        """What a table shows, and the onsets; what is odd is told, and None given where it cannot be read."""
        path, tell = run.events, self.survey.tell
        table = run.table(_COLUMNS)
        if table is None:
            return None, np.empty(0)
        run.check_sidecar()
        shown = find_images(table.rows)
        n_runs = sum(one.n_runs for one in self.study.experiments)
        n_expected = sum(one.n_images * one.n_repetitions for one in self.study.experiments) // n_runs
        n = len(shown.images)
        for number, content in shown.strange:
            tell(path, Kind.ODD, f"row {number} shows {content[:60]!r}, which is no image")
        for number, row in shown.rows.iterrows():
            by_number, by_name = image_name(row["stimulus_id"]), image_name(row["stimulus_name"])
            if by_number != by_name:
                text = f"row {number} has {row['stimulus_id'][:40]!r} beside {row['stimulus_name'][:40]!r}"
                tell(path, Kind.ODD, text, "the name is believed")
        if n != n_expected and not shown.strange and not table.n_broken and not table.ends_within_row:
            kind = Kind.TRUNCATED if n < n_expected else Kind.ODD
            tell(path, kind, f"{n} images, without those shown again, where {n_expected} were published")
        onsets_s = run.onsets_s(table.rows)
        kept = onsets_s[table.rows.index.isin(shown.rows.index)]
        step_s = self.study.about.onset_step_s
        blocks = (kept - kept[:1]) / step_s
        off = np.abs(blocks - np.round(blocks)) * step_s > _STEP_TOLERANCE_S
        if off.any():
            number = int(shown.rows.index[off.argmax()])
            text = f"row {number} does not begin whole blocks of {step_s:g} s after the first one"
            tell(path, Kind.ODD, text)
        return shown, kept[np.isfinite(kept)]


def find_images(rows: pd.DataFrame) -> Shown:
    """Rows of a table that show an image, those left out that show the one before once more."""
    kept, images, strange = [], [], []
    before, n_again = None, 0
    for place, (number, kind, number_text, name) in enumerate(
        zip(rows.index, *(rows[column] for column in _COLUMNS), strict=True)
    ):
        if kind not in (*_SHOWN, _AGAIN):
            before = None
            continue
        image = image_name(name) or image_name(number_text)
        if image is None:
            strange.append((int(number), name))
        elif kind == _AGAIN or image == before:
            n_again += 1
        else:
            kept.append(place)
            images.append(image)
        before = image
    return Shown(rows.iloc[kept], images, n_again, strange)
