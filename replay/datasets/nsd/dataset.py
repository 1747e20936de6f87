"""NSD as its bucket gives it: volumes of func1pt8mm and their design tables, or betas.

The channels are the voxels of ``nsdgeneral`` unless a mask is named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.dataset import About, Content, Dataset, Form, Selection, Stimulus, stimulus_table
from replay.datasets.nsd.about import ABOUT, EXPECTED, ONE_BASED, Expected
from replay.datasets.nsd.betas import Betas
from replay.datasets.nsd.design import Design, read_design
from replay.datasets.nsd.runs import Runs
from replay.datasets.nsd_pictures import nsd_pictures, picture_name
from replay.datasets.report import Count, Kind, Report, SubjectReport
from replay.recordings.nifti import read_mask
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.dataset import ReadPicture, Variant
    from replay.datasets.nsd.subject import SubjectFiles
    from replay.datasets.survey import Survey


class Nsd(Dataset):
    """NSD: eight people; test images are the thousand that all of them were to see."""

    def __init__(self, about: About = ABOUT, expected: Expected = EXPECTED) -> None:
        super().__init__(about)
        self.expected = expected

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from its design, tables and headers; no volumes are read but the mask."""
        form = self.variant(root, variant)
        survey = self.survey(root)
        path = _design_path(root)
        design = survey.attempt(path, lambda: self._design(root))
        if design is not None:
            survey.tell(path, Kind.KNOWN, ONE_BASED.text, ONE_BASED.rule)
            self._check_design(survey, design)
            _check_stim_info(survey, design)
        there = [label for label in subjects if any(root.glob(f"*/ppdata/subj{label}"))]
        reports = []
        for subject in subjects:
            if subject in there:
                reports.append(self._report(survey, design, subject, form))
            progress()
        return self.report(survey, f"{form.name} in func1pt8mm", reports, subjects)

    def open(self, root: Path, selection: Selection) -> Content:
        """Open the runs, or sessions of betas, that are there."""
        form = self.variant(root, selection.variant)
        survey = self.survey(root)
        path = _design_path(root)
        design = self._design(root)
        recordings, files, remarks = [], [path], []
        for subject in selection.subjects:
            subject_files = self._files(survey, design, subject, form)
            mask_path = selection.mask_of(subject) or _mask_path(root, subject)
            # Where voxels lie is told by their indices: the files' affines were written for other programs.
            mask = replace(read_mask(mask_path), affine=None)
            found = list(subject_files.recordings(mask))
            if not found:
                raise UserError(f"{root}: no {subject_files.parts} of subj{subject}; {survey.again}")
            if len(found) < subject_files.n_parts:
                remarks.append(
                    f"subj{subject}: {len(found)} of {subject_files.n_parts} {subject_files.parts} are there"
                )
            recordings += [recording for recording, _ in found]
            files += [mask_path, *(path for _, paths in found for path in paths)]
        images = np.unique([int(label) for recording in recordings for label in recording.markers.label])
        return Content(
            variant=form,
            recordings=tuple(recordings),
            stimuli=stimulus_table(
                Stimulus(str(image), picture_name(image), "", "test" if is_test else "train")
                for image, is_test in zip(images.tolist(), design.is_shared(images), strict=True)
            ),
            files=tuple(files),
            remarks=tuple(remarks),
        )

    def pictures(self, source: Path) -> AbstractContextManager[ReadPicture]:
        """Open ``nsd_stimuli.hdf5``, for as long as a block runs."""
        return nsd_pictures(source, self.expected.n_images)

    def _design(self, root: Path) -> Design:
        about = self.about
        return read_design(
            _design_path(root), self.expected.n_images, len(about.subjects), max(about.n_sessions)
        )

    def _n_sessions(self, subject: str) -> int:
        return self.about.n_sessions[self.about.subjects.index(subject)]

    def _files(self, survey: Survey, design: Design, subject: str, form: Variant) -> SubjectFiles:
        kind = Betas if form.form is Form.BETAS else Runs
        return kind(survey, design, self.expected, subject, self._n_sessions(subject))

    def _report(self, survey: Survey, design: Design | None, subject: str, form: Variant) -> SubjectReport:
        mask_path = _mask_path(survey.root, subject)
        mask = survey.attempt(mask_path, lambda: read_mask(mask_path))
        counts: dict[str, Count] = {}
        if (expected := self.expected.voxels.get(subject)) is not None:
            n_voxels = None if mask is None else int(mask.inside.sum())
            counts["voxels"] = Count(found=n_voxels, expected=expected)
            if not counts["voxels"].fits:
                survey.tell(mask_path, Kind.ODD, f"{n_voxels:,} voxels, not {expected:,}")
        signal_s, responses = None, None
        if design is not None:
            found = self._files(survey, design, subject, form).look(
                None if mask is None else mask.inside.shape
            )
            counts |= found.counts | self._trials(design, subject, found.shown)
            signal_s, responses = found.signal_s, found.responses
        return SubjectReport(
            subject=subject,
            counts=counts,
            onset_unit="",
            last_onset_s=None,
            signal_s=signal_s,
            responses=responses,
            excluded="",
        )

    def _trials(self, design: Design, subject: str, shown: list[NDArray[np.int64]]) -> dict[str, Count]:
        """Counts of trials and images, against those of all sessions that were recorded."""
        end = int(design.run_ends[self._n_sessions(subject) - 1, -1])
        due = design.images[int(subject) - 1, :end]
        there = np.concatenate([np.empty(0, np.int64), *shown])
        counts = {}
        for side in ("train", "test"):
            found, expected = (some[design.is_shared(some) == (side == "test")] for some in (there, due))
            counts[f"{side} trials"] = Count(found=len(found), expected=len(expected))
            counts[f"{side} images"] = Count(found=len(np.unique(found)), expected=len(np.unique(expected)))
        return counts

    def _check_design(self, survey: Survey, design: Design) -> None:
        """Tell where it is not the published one."""
        path = _design_path(survey.root)
        ends = design.run_ends[:, -1]
        for n_sessions, expected in self.expected.test_trials.items():
            # the same for all subjects: they saw the shared images in the same trials
            found = int(design.is_shared(design.images[0, : ends[n_sessions - 1]]).sum())
            if found != expected:
                text = f"{found:,} trials of shared images in {n_sessions} sessions, not {expected:,}"
                survey.tell(path, Kind.ODD, text)


def _design_path(root: Path) -> Path:
    return root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"


def _mask_path(root: Path, subject: str) -> Path:
    return root / "nsddata" / "ppdata" / f"subj{subject}" / "func1pt8mm" / "roi" / "nsdgeneral.nii.gz"


def _check_stim_info(survey: Survey, design: Design) -> None:
    """Tell where the table of all images counts otherwise than from 0; it is not needed."""
    path = _design_path(survey.root).with_name("nsd_stim_info_merged.csv")
    if not path.exists():
        return
    table = survey.table(path, ["nsdId", "shared1000"])
    if table is None:
        return
    ids = table.rows["nsdId"].tolist()
    shared = np.flatnonzero(table.rows["shared1000"] == "True")
    if ids != [str(image) for image in range(len(ids))]:
        survey.tell(path, Kind.ODD, "nsdId does not count from 0")
    elif not np.array_equal(shared, np.sort(design.shared)):
        survey.tell(path, Kind.ODD, "shared1000 marks others than sharedix of nsd_expdesign.mat")
