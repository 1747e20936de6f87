"""A copy of BOLD5000, in either form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.bold5000.about import (
    ABOUT,
    ACCESSION,
    BETAS_SOURCE,
    NO_PLACE,
    PUBLISHED,
    SOURCE,
    Published,
)
from replay.datasets.bold5000.betas import BetasSubject
from replay.datasets.bold5000.images import repeated, stimulus
from replay.datasets.bold5000.runs import RunsSubject, volumes
from replay.datasets.dataset import About, Content, Dataset, Form, Selection, Variant, stimulus_table
from replay.datasets.openneuro import openneuro_version, tell_strange_subjects
from replay.datasets.report import Kind, Report
from replay.datasets.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Bold5000(Dataset):
    """BOLD5000: volumes as OpenNeuro gives them, or responses as KiltHub does.

    Parameters
    ----------
    about
        What was published.
    published
        What each subject has.
    """

    def __init__(self, about: About = ABOUT, published: Published = PUBLISHED) -> None:
        super().__init__(about)
        self.published = published

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from its tables, lists and headers; no volume is read."""
        form = self.variant(root, variant)
        survey = self._survey(root, form)
        names = survey.names(root)
        version = ""
        if form.form is Form.CONTINUOUS:
            version = openneuro_version(survey, ACCESSION, self.about, form.signs[0])
            tell_strange_subjects(survey, self.about, names)
        found = []
        n_tables = n_signals = 0
        for subject in subjects:
            looked_at = self._subject(survey, subject, form)
            if looked_at.is_there(names):
                report, n_read, n_whole = looked_at.report()
                found.append(report)
                n_tables, n_signals = n_tables + n_read, n_signals + n_whole
                for fault in self.about.known_faults:
                    if subject in fault.subjects:
                        survey.tell(looked_at.place, Kind.KNOWN, fault.text, fault.rule)
            progress()
        for fault in self.about.known_faults:
            if not fault.subjects and (form.form is Form.BETAS or fault is not NO_PLACE):
                survey.tell(root, Kind.KNOWN, fault.text, fault.rule)
        what = f"{form.name} BIDS {ACCESSION}{version}" if form.form is Form.CONTINUOUS else form.name
        lists = "event tables" if form.form is Form.CONTINUOUS else "lists of images"
        return self.report(
            survey, f"{what} ({lists}: {n_tables or 'none'}, signals: {n_signals or 'none'})", found, subjects
        )

    def open(self, root: Path, selection: Selection) -> Content:
        """Open one recording a run, or of responses one a session."""
        form = self.variant(root, selection.variant)
        survey = self._survey(root, form)
        opened = [
            self._subject(survey, subject, form).read(selection.mask_of(subject))
            for subject in selection.subjects
        ]
        test = repeated(part.shown for part in opened)
        return Content(
            variant=form,
            recordings=tuple(recording for part in opened for recording in part.recordings),
            stimuli=stimulus_table(stimulus(image, test) for part in opened for image in part.shown),
            files=tuple(file for part in opened for file in part.files),
            remarks=tuple(remark for part in opened for remark in part.remarks),
        )

    def _survey(self, root: Path, form: Variant) -> Survey:
        return Survey(root, f"get it again from {BETAS_SOURCE if form.form is Form.BETAS else SOURCE}")

    def _subject(self, survey: Survey, subject: str, form: Variant) -> RunsSubject | BetasSubject:
        n_sessions = self.about.n_sessions[self.about.subjects.index(subject)]
        if form.form is Form.BETAS:
            return BetasSubject(self.about, self.published, survey, subject, n_sessions)
        where = volumes(form.name, self.about, self.published)
        return RunsSubject(self.about, self.published, survey, subject, n_sessions, where)
