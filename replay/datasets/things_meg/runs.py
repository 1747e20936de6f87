"""The raw runs: a CTF folder, an event table and sidecars each."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replay.datasets.report import Count, Kind, SubjectReport
from replay.datasets.things_meg.about import (
    BAD_CHANNEL,
    DROPOUT_S,
    DROPOUTS,
    N_REFERENCES,
    ONSET,
    OTHER_TYPE,
    SHADOW,
)
from replay.datasets.things_meg.attributes import CATCH, SPLITS, Attributes, whole
from replay.recordings import Markers, read_recording
from replay.recordings.ctf import ctf_file, read_header
from replay.recordings.mne_raw import ANNOTATIONS
from rtdecode.contracts import ChannelType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey
    from replay.recordings import Recording

_EVENT_COLUMNS = ("onset", "trial_type", "value", "sample")
_SENSOR = re.compile(r"M[LRZ][A-Z]\d\d-\d+")


@dataclass(frozen=True, slots=True)
class RawRun:
    """One run; any of its files may be missing."""

    subject: str
    session: str
    run: str
    folder: Path

    def file(self, ending: str) -> Path:
        """One of its files."""
        return self.folder / f"sub-{self.subject}_ses-{self.session}_task-main_run-{self.run}_{ending}"

    @property
    def signal(self) -> Path:
        """The CTF folder."""
        return self.file("meg.ds")


@dataclass(slots=True)
class _Shown:
    """What was counted in the tables of a subject's runs."""

    n_tables: int = 0
    numbers: dict[str, list[int]] = field(default_factory=lambda: {kind: [] for kind in SPLITS})
    n_catch: int = 0
    concepts: set[str] = field(default_factory=set)
    last_onset_s: float | None = None
    sensors: list[int] = field(default_factory=list)
    references: list[int] = field(default_factory=list)
    recovered: list[int] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)


class RawSubject:
    """The runs of one subject.

    Parameters
    ----------
    about
        What was published.
    survey
        Reads the copy.
    subject
        Whose.
    n_runs
        Runs of a session.
    n_catch
        Catch trials of all runs.
    """

    def __init__(self, about: About, survey: Survey, subject: str, n_runs: int, n_catch: int) -> None:
        self.about = about
        self.survey = survey
        self.subject = subject
        self.n_catch = n_catch
        n_sessions = about.n_sessions[about.subjects.index(subject)]
        self.sessions = [f"{number:02d}" for number in range(1, n_sessions + 1)]
        self.run_names = [f"{number:02d}" for number in range(1, n_runs + 1)]
        self.folder = survey.root / f"sub-{subject}"
        self.lacking: list[str] = []
        """Session and run of those that :meth:`read` did not find."""

    def report(self) -> SubjectReport:
        """Count what the tables and headers say; no signal is read."""
        shown = _Shown()
        runs: list[RawRun] = []
        for session in self.sessions:
            folder = self._folder(session)
            names = self.survey.names(folder if folder.parent.is_dir() else folder.parent)
            for name in sorted(names):
                if name.startswith("._"):
                    self.survey.tell(folder / name, Kind.KNOWN, SHADOW.text, SHADOW.rule)
            here = [run for run in self._runs(session) if run.file("events.tsv").name in names]
            if names and (missing := [run for run in self.run_names if run not in {one.run for one in here}]):
                pattern = f"sub-{self.subject}_ses-{session}_task-main_run-XX_events.tsv"
                self.survey.tell(folder / pattern, Kind.MISSING, f"none of run {', '.join(missing)}")
            for run in here:
                self._events(run, shown)
                self._channels(run, shown)
                self._sidecar(run)
            runs += here
        if shown.recovered:
            n = f"{min(shown.recovered)} channels of each of {len(shown.recovered)} runs recovered as MEG"
            self.survey.tell(self.folder, Kind.KNOWN, f"{OTHER_TYPE.text}: {n}", OTHER_TYPE.rule)
        if shown.late_s:
            n = f"{1e3 * np.median(shown.late_s):.0f} ms before sample in {len(shown.late_s)} runs"
            self.survey.tell(self.folder, Kind.KNOWN, f"{ONSET.text}: here {n}", ONSET.rule)
        signal_s = self._signals(runs)
        repetitions = Counter(shown.numbers["test"])
        pairs = {
            "runs": (shown.n_tables, len(self.sessions) * len(self.run_names)),
            "train trials": (len(shown.numbers["exp"]), self.about.n_train),
            "train images": (len(set(shown.numbers["exp"])), self.about.n_train),
            "train concepts": (len(shown.concepts), self.about.n_concepts),
            "test trials": (len(shown.numbers["test"]), self.about.n_test),
            "test images": (len(repetitions), self.about.n_test_images),
            "test repetitions": (min(repetitions.values(), default=0), self.about.n_repetitions),
            "catch trials": (shown.n_catch, self.n_catch),
        }
        counts = {
            name: Count(found=found if shown.n_tables else None, expected=expected)
            for name, (found, expected) in pairs.items()
        }
        for name, found_in, n_published in (
            ("MEG channels", shown.sensors, self.about.n_channels or 0),
            ("reference channels", shown.references, N_REFERENCES),
        ):
            counts[name] = Count(found=min(found_in, default=None), expected=n_published)
        return SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="samples",
            last_onset_s=shown.last_onset_s,
            signal_s=signal_s,
            excluded="",
        )

    def read(self, attributes: Attributes) -> Iterator[tuple[Recording, tuple[Path, ...], str]]:
        """Open the runs of which table and signal are there; with their files, and what is to be remarked."""
        images = attributes.by_number()
        for session in self.sessions:
            for run in self._runs(session):
                events, signal = run.file("events.tsv"), run.signal
                if not events.is_file() or not signal.is_dir():
                    self.lacking.append(f"{session}/{run.run}")
                    continue
                table = self.survey.table(events, _EVENT_COLUMNS) or self.survey.refuse()
                recording = read_recording(signal, marker_channel=ANNOTATIONS)
                chosen, n_lost = [], table.n_broken + table.ends_within_row
                for kind, value, sample in table.rows[["trial_type", "value", "sample"]].itertuples(
                    index=False
                ):
                    if kind == CATCH:
                        continue
                    number, at = whole(value), whole(sample)
                    if number is None or number not in images or at is None or at >= recording.n_samples:
                        n_lost += 1
                    elif not _is_dropped(run, at / recording.rate_hz):
                        chosen.append((at, images[number].stimulus_id))
                yield (
                    replace(
                        recording,
                        channels=tuple(
                            one.model_copy(update={"type": ChannelType.MISC})
                            if one.name == BAD_CHANNEL
                            else one
                            for one in recording.channels
                        ),
                        markers=Markers.in_order([at for at, _ in chosen], [label for _, label in chosen]),
                        subject=self.subject,
                        session=session,
                        run=run.run,
                    ),
                    (events, ctf_file(signal, "res4"), ctf_file(signal, "meg4")),
                    f"{events.name}: {n_lost:,} rows that are no image within the signal are left out"
                    if n_lost
                    else "",
                )
        if len(self.lacking) == len(self.sessions) * len(self.run_names):
            self.survey.tell(
                self.folder / "ses-*/meg/*_meg.ds", Kind.MISSING, "no signal with its event table is there"
            )
            self.survey.refuse()

    def _folder(self, session: str) -> Path:
        return self.folder / f"ses-{session}" / "meg"

    def _runs(self, session: str) -> Iterator[RawRun]:
        for run in self.run_names:
            yield RawRun(self.subject, session, run, self._folder(session))

    def _events(self, run: RawRun, shown: _Shown) -> None:
        path = run.file("events.tsv")
        table = self.survey.table(path, _EVENT_COLUMNS)
        if table is None:
            return
        rows = table.rows
        shown.n_tables += 1
        if table.ends_within_row:
            self.survey.tell(path, Kind.TRUNCATED, f"{len(rows):,} rows, and the last one in part")
        samples = pd.to_numeric(rows["sample"], errors="coerce").to_numpy(np.float64)
        strange = ~np.isfinite(samples) | (samples < 0) | (samples != np.floor(samples))
        kinds = rows["trial_type"]
        strange |= ~kinds.isin([*SPLITS, CATCH]).to_numpy(bool)
        numbers = [whole(cell) for cell in rows["value"]]
        is_catch = kinds.eq(CATCH).to_numpy(bool)
        strange |= np.array([number is None for number in numbers], dtype=bool) & ~is_catch
        if strange.any():
            first = int(rows.index[strange.argmax()])
            text = (
                f"no trial type, image number and sample in {int(strange.sum()):,} rows, the first {first:,}"
            )
            self.survey.tell(path, Kind.ODD, text)
        if np.any(np.diff(samples[~strange]) <= 0):
            self.survey.tell(path, Kind.ODD, "samples that are not later than the one before")
        for kind, number in zip(kinds[~strange], np.array(numbers, dtype=object)[~strange], strict=True):
            if kind == CATCH:
                shown.n_catch += 1
            else:
                shown.numbers[kind].append(number)
        if "things_category_nr" in rows:
            shown.concepts |= set(rows["things_category_nr"][~strange & kinds.eq("exp").to_numpy(bool)])
        self._onsets(rows["onset"][~strange], samples[~strange], shown)
        if (~strange).any():
            shown.last_onset_s = float(samples[~strange][-1]) / self.about.rate_hz

    def _onsets(self, cells: pd.Series[str], samples: NDArray[np.float64], shown: _Shown) -> None:
        onsets_s = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64)
        late_s = samples / self.about.rate_hz - onsets_s
        late_s = late_s[np.isfinite(late_s)]
        if len(late_s) and abs(median_s := float(np.median(late_s))) > 1 / self.about.rate_hz:
            shown.late_s.append(median_s)

    def _channels(self, run: RawRun, shown: _Shown) -> None:
        path = run.file("channels.tsv")
        table = self.survey.table(path, ("name", "type"))
        if table is None:
            return
        is_sensor = table.rows["name"].str.fullmatch(_SENSOR)
        shown.sensors.append(int(is_sensor.sum()))
        shown.references.append(int(table.rows["type"].str.startswith("MEGREF").sum()))
        n_other = int((is_sensor & (table.rows["type"] == "OTHER")).sum())
        shown.recovered += [n_other] if n_other else []
        for what, found, expected in (
            ("MEG", shown.sensors[-1], self.about.n_channels),
            ("reference", shown.references[-1], N_REFERENCES),
        ):
            if found != expected:
                self.survey.tell(path, Kind.ODD, f"{found} {what} channels where {expected} were published")

    def _sidecar(self, run: RawRun) -> None:
        path = run.file("meg.json")
        said = self.survey.json(path)
        if said is None:
            return
        for key, value in {
            "SamplingFrequency": self.about.rate_hz,
            "MEGChannelCount": self.about.n_channels,
            "MEGREFChannelCount": N_REFERENCES,
        }.items():
            if said.get(key) != value:
                text = f"{key} is {str(said.get(key))[:80]!r} where {value!r} was published"
                self.survey.tell(path, Kind.ODD, text)

    def _signals(self, runs: list[RawRun]) -> float | None:
        """Seconds of all signals, by their headers and sizes; None, and told once, where there is none."""
        if not any(run.signal.is_dir() for run in runs):
            if runs:
                place = self.folder / "ses-*/meg/*_meg.ds"
                self.survey.tell(place, Kind.MISSING, "no signal: none is there")
            return None
        signal_s = 0.0
        for run in runs:
            if not run.signal.is_dir():
                self.survey.tell(run.signal, Kind.MISSING, "is not there")
                continue
            header_path, data_path = (ctf_file(run.signal, ending) for ending in ("res4", "meg4"))
            n_header, n_data = self.survey.size(header_path), self.survey.size(data_path)
            self.survey.size(ctf_file(run.signal, "hc"))
            if n_header is None or n_data is None:
                continue
            try:
                header = read_header(header_path)
            except (OSError, ValueError) as error:
                self.survey.tell(header_path, Kind.ODD, str(error))
                continue
            signal_s += header.duration_s
            if n_data != header.n_bytes:
                kind = Kind.TRUNCATED if n_data < header.n_bytes else Kind.ODD
                self.survey.tell(
                    data_path, kind, f"{n_data:,} bytes where its header says {header.n_bytes:,}"
                )
            if header.rate_hz != self.about.rate_hz:
                text = f"{header.rate_hz:g} Hz where {self.about.rate_hz:g} Hz were published"
                self.survey.tell(header_path, Kind.ODD, text)
        return signal_s


def _is_dropped(run: RawRun, onset_s: float) -> bool:
    return any(
        (one.subject, one.session, one.run) == (run.subject, run.session, run.run)
        and -DROPOUT_S <= onset_s - one.start_s <= one.duration_s + DROPOUT_S
        for one in DROPOUTS
    )
