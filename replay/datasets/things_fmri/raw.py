"""Raw volumes in BIDS, and the tables of events beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replay.datasets.bids_runs import BidsRun, Volumes, check_signals, list_runs
from replay.datasets.report import Count, Kind
from replay.datasets.things_fmri.about import CATCH, NO_RUN, STEP_S, session_name, stimulus
from replay.datasets.things_fmri.trials import count_trials, tell_both, tell_odd_images, trials_a_run
from replay.datasets.volume_files import VolumeFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.datasets.dataset import About, Stimulus
    from replay.datasets.survey import Survey
    from replay.datasets.things_fmri.about import Expected
    from replay.recordings import Recording
    from replay.recordings.nifti import Mask

_SIDES = {"exp": "train", "test": "test"}
_NEEDED = ("trial_type", "file_path")


@dataclass(frozen=True, slots=True)
class RawCounts:
    """What was counted of a subject, its tables and seconds of signal; None where there is none."""

    counts: dict[str, Count]
    n_tables: int
    signal_s: float | None


class RawSubject:
    """Runs of one subject.

    Parameters
    ----------
    survey
        Reads the copy, and keeps what is wrong.
    about, expected
        What was published.
    subject
        Label.
    """

    def __init__(self, survey: Survey, about: About, expected: Expected, subject: str) -> None:
        self.survey = survey
        self.about = about
        self.expected = expected
        self.subject = subject
        self.n_sessions = about.n_sessions[about.subjects.index(subject)]
        self.volumes = Volumes(task="things", step_s=STEP_S, n_volumes=expected.n_volumes)
        self.missing = {place[1:] for place in expected.missing_runs if place[0] == subject}

    @property
    def n_runs(self) -> int:
        """Runs that were published."""
        return self.n_sessions * self.expected.n_runs - len(self.missing)

    def look(self) -> RawCounts:
        """Count what is in the tables, and look at the headers of the volumes."""
        runs, onsets_s, tables = [], [], []
        for session in range(1, self.n_sessions + 1):
            found = list_runs(self.survey, self.volumes, self.subject, session_name(session))
            self._tell_missing(session, found)
            for run in found:
                rows = self._events(run)
                runs.append(run)
                onsets_s.append(np.empty(0) if rows is None else run.onsets_s(rows))
                run.check_sidecar()
                if rows is not None:
                    self._check_rows(run, rows)
                    tables.append(rows)
        rows = pd.concat(tables) if tables else pd.DataFrame(columns=_NEEDED, dtype=object)
        shown = rows[rows["trial_type"].isin(_SIDES)]
        folder = self.survey.root / f"sub-{self.subject}"
        is_test = shown["trial_type"] == "test"
        tell_both(self.survey, folder, shown["file_path"], is_test)
        if self.subject in NO_RUN.subjects:
            self.survey.tell(folder, Kind.KNOWN, NO_RUN.text, NO_RUN.rule)
        n_catch = int((rows["trial_type"] == "catch").sum())
        if n_catch:
            self.survey.tell(folder, Kind.KNOWN, CATCH.text, CATCH.rule)
        counts = {
            "runs": Count(found=len(tables), expected=self.n_runs),
            **count_trials(self.about, self.expected, shown["file_path"], is_test, len(self.missing)),
            "catch trials": Count(found=n_catch, expected=self.n_runs * self.expected.n_catch),
        }
        return RawCounts(counts, len(tables), check_signals(runs, onsets_s))

    def recordings(self, mask: Mask) -> Iterator[tuple[Recording, list[Stimulus], tuple[Path, ...]]]:
        """Open the runs of which both the volumes and the events are there, with their stimuli and files.

        Raises
        ------
        UserError
            If a file of them is damaged, or the mask does not fit it.
        """
        files = VolumeFiles(mask)
        for session in range(1, self.n_sessions + 1):
            for run in list_runs(self.survey, self.volumes, self.subject, session_name(session)):
                if not run.has_signal or not run.events.is_file():
                    continue
                rows = self._events(run)
                if rows is None:
                    self.survey.refuse()
                shown = rows[rows["trial_type"].isin(_SIDES)]
                shown = shown[tell_odd_images(self.survey, run.events, shown["file_path"])]
                stimuli = [
                    stimulus(image, _SIDES[kind])
                    for image, kind in zip(shown["file_path"], shown["trial_type"], strict=True)
                ]
                recording = run.recording(files, shown, [one.stimulus_id for one in stimuli])
                yield recording, stimuli, (run.events, run.bold)

    def _events(self, run: BidsRun) -> pd.DataFrame | None:
        table = run.table(_NEEDED)
        return None if table is None else table.rows

    def _tell_missing(self, session: int, found: list[BidsRun]) -> None:
        """Tell each run of a session of which nothing is there, where others are."""
        if not found:  # the folder is missing, which was told, or it is empty
            return
        there = {int(run.run) for run in found}
        for number in range(1, self.expected.n_runs + 1):
            if number not in there and (session, number) not in self.missing:
                name = f"sub-{self.subject}_ses-{session_name(session)}_task-things_run-{number:02d}_*"
                self.survey.tell(found[0].events.with_name(name), Kind.MISSING, "is not there")

    def _check_rows(self, run: BidsRun, rows: pd.DataFrame) -> None:
        kinds = rows["trial_type"]
        due = dict(zip(_SIDES, trials_a_run(self.about, self.expected), strict=True))
        due["catch"] = self.expected.n_catch
        found = {kind: int((kinds == kind).sum()) for kind in due}
        if strange := len(rows) - sum(found.values()):
            self.survey.tell(
                run.events, Kind.ODD, f"trial_type is none of {', '.join(due)} in {strange} rows"
            )
        if found != due:
            told = ", ".join(f"{found[kind]} {kind} for {n}" for kind, n in due.items() if found[kind] != n)
            kind = Kind.TRUNCATED if len(rows) < sum(due.values()) else Kind.ODD
            self.survey.tell(run.events, kind, f"{len(rows)} of {sum(due.values())} rows ({told})")
        tell_odd_images(self.survey, run.events, rows.loc[kinds.isin(_SIDES), "file_path"])
