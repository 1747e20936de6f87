"""A copy of THINGS-MEG: checked, and opened raw or as the released epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.dataset import About, Content, Dataset, Form, Selection, stimulus_table
from replay.datasets.openneuro import openneuro_version
from replay.datasets.report import Kind, Report
from replay.datasets.things_meg.about import ABOUT, ACCESSION, DROPPED, MALFUNCTION, N_CATCH, N_PARTS, N_RUNS
from replay.datasets.things_meg.attributes import attributes_path, read_attributes
from replay.datasets.things_meg.released import ReleasedSubject
from replay.datasets.things_meg.runs import RawSubject
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replay.datasets.things_meg.attributes import Attributes
    from replay.recordings import Recording


class ThingsMeg(Dataset):
    """THINGS-MEG as OpenNeuro gives it: raw BIDS, and the authors' epochs.

    Parameters
    ----------
    about
        What was published.
    n_runs
        Runs of a session.
    n_parts
        Files of a subject's epochs.
    n_catch
        Catch trials of a subject.
    """

    def __init__(
        self, about: About = ABOUT, n_runs: int = N_RUNS, n_parts: int = N_PARTS, n_catch: int = N_CATCH
    ) -> None:
        super().__init__(about)
        self.n_runs = n_runs
        self.n_parts = n_parts
        self.n_catch = n_catch

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from its tables, headers and sidecars; no signal is read."""
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; name the one that holds {ACCESSION}")
        survey = self.survey(root)
        raw_form, *_ = self.about.variants
        there = next((one for one in self.about.variants if self.holds(root, one)), raw_form)
        version = openneuro_version(survey, ACCESSION, self.about, there.signs[0])
        form = self.variant(root, variant)
        raw = form.form is Form.CONTINUOUS
        found = []
        for subject in subjects:
            attributes = read_attributes(survey, subject)
            folder = root / f"sub-{subject}"
            released = ReleasedSubject(self.about, survey, subject, self.n_parts, self.n_catch)
            if raw and folder.is_dir():
                found.append(RawSubject(self.about, survey, subject, self.n_runs, self.n_catch).report())
                for fault in (MALFUNCTION, DROPPED):
                    if subject in (fault.subjects or (subject,)):
                        survey.tell(folder, Kind.KNOWN, fault.text, fault.rule)
            elif not raw and any(path.exists() for path in released.files):
                found.append(released.report(attributes))
            progress()
        return self.report(survey, f"{form.name} {ACCESSION}{version}", found, subjects)

    def open(self, root: Path, selection: Selection) -> Content:
        """Open a recording a run; markers are at the optical sensor's samples, catch trials have none."""
        variant = self.variant(root, selection.variant)
        survey = self.survey(root)
        recordings: list[Recording] = []
        files: list[Path] = []
        remarks = ["catch trials have no marker"]
        tables: list[Attributes] = []
        for subject in selection.subjects:
            attributes = read_attributes(survey, subject) or survey.refuse()
            tables.append(attributes)
            files.append(attributes_path(root, subject))
            if variant.form is Form.CONTINUOUS:
                raw = RawSubject(self.about, survey, subject, self.n_runs, self.n_catch)
                for recording, used, remark in raw.read(attributes):
                    recordings.append(recording)
                    files += used
                    remarks += [remark] if remark else []
                if raw.lacking:
                    remarks.append(f"sub-{subject}: not there (session/run): {shorten(raw.lacking)}")
                if subject in DROPPED.subjects:
                    remarks.append(f"{DROPPED.text}: {DROPPED.rule}")
            else:
                released = ReleasedSubject(self.about, survey, subject, self.n_parts, self.n_catch)
                recordings += released.read(attributes)
                files += released.files
        return Content(
            variant=variant,
            recordings=tuple(recordings),
            stimuli=stimulus_table(one for table in tables for one in table.stimuli if one is not None),
            files=tuple(files),
            remarks=tuple(remarks),
        )
