"""Runs of BOLD5000: one table and one 4-D NIfTI file each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.bids_runs import Volumes, check_signals, list_runs
from replay.datasets.bold5000.about import TASK
from replay.datasets.bold5000.images import find_image, repeated, source_of
from replay.datasets.bold5000.opened import Opened
from replay.datasets.report import Count, Kind, SubjectReport
from replay.datasets.volume_files import VolumeFiles
from replay.recordings.nifti import read_mask
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.bids_runs import BidsRun
    from replay.datasets.bold5000.about import Published
    from replay.datasets.bold5000.images import Image
    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey, Table

_COLUMNS = ("ImgName", "ImgType", "stim_file")
_STEP_TOLERANCE_S = 0.5


def volumes(variant: str, about: About, published: Published) -> Volumes:
    """What the volumes of a variant are called."""
    raw = Volumes(task=TASK, step_s=1 / about.rate_hz, n_volumes=published.n_run_volumes)
    if variant == "raw":
        return raw
    return replace(raw, folder="derivatives/fmriprep", suffix="bold_space-T1w_preproc")


class RunsSubject:
    """The runs of one subject."""

    def __init__(
        self,
        about: About,
        published: Published,
        survey: Survey,
        subject: str,
        n_sessions: int,
        volumes: Volumes,
    ) -> None:
        self.about = about
        self.published = published
        self.survey = survey
        self.subject = subject
        self.sessions = [f"{number:02d}" for number in range(1, n_sessions + 1)]
        self.volumes = volumes
        self.place = survey.root / f"sub-{subject}"

    def is_there(self, names: frozenset[str]) -> bool:
        """Whether the root, which holds these names, has this subject."""
        return self.place.name in names

    def report(self) -> tuple[SubjectReport, int, int]:
        """Say what is there, and how many tables and signals."""
        runs = self._runs()
        tables = [self._check_table(run) for run in runs]
        images = [image for images, _ in tables for image in images or ()]
        onsets_s = [onsets for _, onsets in tables]
        signal_s = check_signals(runs, onsets_s)
        n_runs = self.published.n_runs[self.subject]
        counts = {
            "sessions": Count(found=len({run.session for run in runs}), expected=len(self.sessions)),
            "runs": Count(found=len(runs), expected=n_runs),
            "trials": Count(found=len(images), expected=n_runs * self.published.n_run_trials),
            **image_counts(self.subject, images, self.published, self.about.n_test_images),
        }
        report = SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="s" if images else "",
            last_onset_s=None,
            signal_s=signal_s,
            excluded="",
        )
        n_tables = sum(images is not None for images, _ in tables)
        return report, n_tables, sum(run.has_signal for run in runs)

    def read(self, mask_path: Path | None) -> Opened:
        """Open all runs whose volumes are there.

        Raises
        ------
        UserError
            If there are none, a table cannot be read, or the mask does not fit.
        """
        if mask_path is None:
            raise UserError(f"{self.place}: which voxels are the channels? State a mask (--mask)")
        files = VolumeFiles(read_mask(mask_path), self.about.rate_hz)
        opened = Opened([], [], [mask_path], [])
        n_lost = 0
        for run in self._runs():
            table = run.table(_COLUMNS)
            if table is None:
                self.survey.refuse()
            found = [find_image(*cells) for cells in zip(*_names(table), strict=True)]
            images = [image for image in found if image is not None]
            opened.shown.extend(images)
            if not run.has_signal:
                continue
            rows = table.rows[[image is not None for image in found]]
            recording = run.recording(files, rows, [image.stimulus_id for image in images])
            opened.recordings.append(recording)
            opened.files.extend([run.events, run.bold])
            n_lost += table.n_broken + table.ends_within_row + len(table.rows) - len(recording.markers)
        if not opened.recordings:
            raise UserError(f"{self.place}: no run has volumes here; {self.survey.again}")
        n_missing = self.published.n_runs[self.subject] - len(opened.recordings)
        if n_missing:
            opened.remarks.append(f"sub-{self.subject}: {n_missing} runs are not here, and are left out")
        if n_lost:
            opened.remarks.append(
                f"sub-{self.subject}: {n_lost:,} damaged rows or rows outside the volumes are left out"
            )
        return opened

    def _runs(self) -> list[BidsRun]:
        """All runs in their order; told if some are missing."""
        n_allowed = self.published.n_session_runs
        allowed = " or ".join(map(str, n_allowed))
        listed = []
        for session in self.sessions:
            runs = list_runs(self.survey, self.volumes, self.subject, session)
            there = {int(run.run) for run in runs}
            lacking = [f"{n:02d}" for n in range(1, min(n_allowed) + 1) if n not in there]
            folder = self.place / f"ses-{session}" / "func"
            if runs and lacking:
                text = f"no runs {shorten(lacking)} where {allowed} were published"
                self.survey.tell(folder, Kind.MISSING, text)
            elif runs and len(runs) not in n_allowed:
                self.survey.tell(folder, Kind.ODD, f"{len(runs)} runs where {allowed} were published")
            listed += runs
        return listed

    def _check_table(self, run: BidsRun) -> tuple[list[Image] | None, NDArray[np.float64]]:
        """Images of a table and their onsets; what is odd is told, and None given where it cannot be read."""
        path, tell = run.events, self.survey.tell
        table = run.table(_COLUMNS)
        if table is None:
            return None, np.empty(0)
        rows, n_expected = table.rows, self.published.n_run_trials
        if len(rows) < n_expected and not table.n_broken and not table.ends_within_row:
            tell(path, Kind.TRUNCATED, f"{len(rows)} of {n_expected} rows")
        elif len(rows) > n_expected:
            tell(path, Kind.ODD, f"{len(rows)} rows where {n_expected} were published")
        images = []
        for number, name, kind, file in zip(rows.index, *_names(table), rows["stim_file"], strict=True):
            image = find_image(name, kind)
            if image is None:
                tell(path, Kind.ODD, f"row {number} shows {name[:60]!r}, which is no image")
                continue
            images.append(image)
            for said, is_so in ((kind, image.source == source_of(kind)), (file, name == file)):
                if not is_so:
                    text = f"row {number} has {name[:60]!r} beside {said[:60]!r}"
                    tell(path, Kind.ODD, text, "the name is believed")
        run.check_sidecar()
        onsets_s = run.onsets_s(rows)
        steps = np.diff(onsets_s)
        off = np.abs(steps - self.about.onset_step_s) > _STEP_TOLERANCE_S
        if off.any():
            number = rows.index[off.argmax() + 1]
            text = (
                f"onsets step by {steps[off.argmax()]:g} s at row {number}, not {self.about.onset_step_s:g} s"
            )
            tell(path, Kind.ODD, text)
        return images, onsets_s[np.isfinite(onsets_s)]


def image_counts(
    subject: str, images: list[Image], published: Published, n_repeated: int
) -> dict[str, Count]:
    """Distinct images by their source, and repeated ones; nothing where that was not published."""
    if subject in published.uncounted:
        return {}
    sources = list({image.stimulus_id: image.source for image in images}.values())
    counts = {
        f"images of {source}": Count(found=sources.count(source), expected=expected)
        for source, expected in published.n_images.items()
    }
    counts["repeated images"] = Count(found=len(repeated([images])), expected=n_repeated)
    return counts


def _names(table: Table) -> tuple[list[str], list[str]]:
    return table.rows["ImgName"].tolist(), table.rows["ImgType"].tolist()
