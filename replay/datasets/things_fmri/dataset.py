"""THINGS-fMRI as OpenNeuro and figshare give it: raw volumes in BIDS, or a table of betas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.dataset import About, Content, Dataset, Form, Selection, stimulus_table
from replay.datasets.openneuro import openneuro_version, tell_strange_subjects
from replay.datasets.report import Kind, Report, SubjectReport
from replay.datasets.survey import Survey
from replay.datasets.things_fmri.about import (
    ABOUT,
    ACCESSION,
    BETAS_FROM,
    EXPECTED,
    TESTED_TRAINED,
    VOLUMES_FROM,
    Expected,
)
from replay.datasets.things_fmri.betas import BetasSubject
from replay.datasets.things_fmri.raw import RawSubject
from replay.recordings.nifti import read_mask
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replay.datasets.dataset import Stimulus, Variant
    from replay.recordings import Recording


class ThingsFmri(Dataset):
    """THINGS-fMRI."""

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
        """Say what is in a copy, from its tables and headers; no volume and no beta is read."""
        form = self.variant(root, variant)
        survey = _survey(root, form)
        is_raw = form.form is Form.CONTINUOUS
        version = ""
        if is_raw:
            version = openneuro_version(survey, ACCESSION, self.about, form.signs[0])
            names = survey.names(root)
            tell_strange_subjects(survey, self.about, names)
            there = [label for label in subjects if f"sub-{label}" in names]
        else:
            there = [
                label
                for label in subjects
                if any(root.glob(f"betas_csv/sub-{label}_*"))
                or any(root.glob(f"derivatives/ICA-betas/sub-{label}/voxel-metadata/*"))
            ]
        reports, n_tables = [], 0
        for subject in subjects:
            if subject in there and is_raw:
                found = RawSubject(survey, self.about, self.expected, subject).look()
                n_tables += found.n_tables
                reports.append(_report(subject, counts=found.counts, signal_s=found.signal_s))
            elif subject in there:
                counts, responses = BetasSubject(survey, self.about, self.expected, subject).look()
                reports.append(_report(subject, counts=counts, responses=responses))
            progress()
        if reports:
            survey.tell(root, Kind.KNOWN, TESTED_TRAINED.text, TESTED_TRAINED.rule)
        n_signals = sum(one.signal_s is not None for one in reports)
        tables = f"event tables: {n_tables or 'none'}, subjects with signals: {n_signals or 'none'}"
        return self.report(
            survey,
            f"raw BIDS {ACCESSION}{version} ({tables})" if is_raw else "table of betas",
            reports,
            subjects,
        )

    def open(self, root: Path, selection: Selection) -> Content:
        """Open the runs, or sessions of betas, that are there."""
        form = self.variant(root, selection.variant)
        survey = _survey(root, form)
        recordings: list[Recording] = []
        stimuli: list[Stimulus] = []
        files: list[Path] = []
        remarks: list[str] = []
        for label in selection.subjects:
            mask = selection.mask_of(label)
            if form.form is Form.BETAS:
                betas = BetasSubject(survey, self.about, self.expected, label)
                files += [*betas.files, *([] if mask is None else [mask])]
                for recording, shown in betas.recordings(mask):
                    recordings.append(recording)
                    stimuli += shown
                continue
            if mask is None:
                raise UserError(f"{root}: which voxels are the channels? Name a mask (--mask)")
            raw = RawSubject(survey, self.about, self.expected, label)
            files.append(mask)
            n_before = len(recordings)
            for recording, shown, paths in raw.recordings(read_mask(mask)):
                recordings.append(recording)
                stimuli += shown
                files += paths
            n = len(recordings) - n_before
            if not n:
                raise UserError(f"{root}: no run of sub-{label} has both volumes and events; {survey.again}")
            if n < raw.n_runs:
                remarks.append(f"sub-{label}: {n} of {raw.n_runs} runs are there")
        return Content(
            variant=form,
            recordings=tuple(recordings),
            stimuli=stimulus_table(stimuli),
            files=tuple(files),
            remarks=tuple(remarks),
        )


def _survey(root: Path, form: Variant) -> Survey:
    return Survey(root, f"get it again from {BETAS_FROM if form.form is Form.BETAS else VOLUMES_FROM}")


def _report(subject: str, **found: object) -> SubjectReport:
    return SubjectReport(
        subject=subject, onset_unit="", last_onset_s=None, excluded="", **{"signal_s": None, **found}
    )
