"""A copy of DeepRecon or GOD, in either form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.dataset import Content, Dataset, Form, Selection, Variant
from replay.datasets.kamitani.about import ONE_BACK
from replay.datasets.kamitani.responses import ResponsesSubject
from replay.datasets.kamitani.runs import RunsSubject
from replay.datasets.openneuro import openneuro_version
from replay.datasets.report import Kind, Report
from replay.datasets.survey import Survey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replay.datasets.kamitani.about import Study


class Kamitani(Dataset):
    """One of the two studies: raw runs as OpenNeuro gives them, or responses to blocks as figshare does.

    Parameters
    ----------
    study
        Which one.
    """

    def __init__(self, study: Study) -> None:
        super().__init__(study.about)
        self.study = study

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from tables, headers and columns of labels; no signal is read."""
        form = self.variant(root, variant)
        survey = self._survey(root, form)
        names = survey.names(root)
        is_raw = form.form is Form.CONTINUOUS
        version = openneuro_version(survey, self.study.accession, self.about, form.signs[0]) if is_raw else ""
        found = []
        n_tables = n_signals = 0
        for subject in subjects:
            looked_at = self._subject(survey, subject, form)
            if looked_at.is_there(names):
                if isinstance(looked_at, RunsSubject):
                    report, n_read, n_whole = looked_at.report()
                    n_tables, n_signals = n_tables + n_read, n_signals + n_whole
                else:
                    report = looked_at.report()
                found.append(report)
            progress()
        for fault in self.about.known_faults:
            if is_raw or fault is not ONE_BACK:  # of these blocks there are no responses
                survey.tell(root, Kind.KNOWN, fault.text, fault.rule)
        counted = f" (event tables: {n_tables or 'none'}, signals: {n_signals or 'none'})"
        raw = f"raw BIDS {self.study.accession}{version}{counted}"
        return self.report(survey, raw if is_raw else "responses to blocks, bdpy", found, subjects)

    def open(self, root: Path, selection: Selection) -> Content:
        """Open one recording a run."""
        form = self.variant(root, selection.variant)
        survey = self._survey(root, form)
        parts = [
            self._subject(survey, subject, form).read(selection.mask_of(subject))
            for subject in selection.subjects
        ]
        return Content.of(form, parts)

    def _survey(self, root: Path, form: Variant) -> Survey:
        is_raw = form.form is Form.CONTINUOUS
        return Survey(
            root, f"get it again from {self.study.raw_source if is_raw else self.study.blocks_source}"
        )

    def _subject(self, survey: Survey, subject: str, form: Variant) -> RunsSubject | ResponsesSubject:
        if form.form is Form.CONTINUOUS:
            return RunsSubject(self.study, survey, subject)
        return ResponsesSubject(self.study, survey, subject)
