"""THINGS-EEG1: 50 people, 22,248 THINGS images in rapid streams (Grootswagers 2022, OpenNeuro ds003825).

One BrainVision recording and one event table a subject. The table's ``onset`` counts milliseconds, which at
1000 Hz are samples, where BIDS has seconds. All 200 test concepts occur in training too, with other images:
only ``isteststim`` tells the two apart.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replay.datasets.brainvision import BrainVisionHeader, parse_header
from replay.datasets.dataset import (
    About,
    Content,
    Dataset,
    Form,
    KnownFault,
    Part,
    Selection,
    Stimulus,
    Variant,
)
from replay.datasets.onsets import onset_markers
from replay.datasets.openneuro import openneuro_version, tell_strange_subjects
from replay.datasets.report import Count, Kind, Report, SubjectReport
from replay.recordings import read_recording
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.survey import Survey, Table

_ACCESSION = "ds003825"
N_TRAIN_STOPPED = 12_360
_N_CHANNELS_WIDE = 127

_MILLISECONDS = KnownFault(
    subjects=(),
    text="onset and duration are milliseconds, not the seconds of BIDS",
    rule="understood as milliseconds where onsets step by about 100",
)
_NO_TEST = KnownFault(
    subjects=("01",),
    text="no block of test images, and no column isteststim",
    rule="all its trials are training trials",
)
_STOPPED = KnownFault(
    subjects=("06",),
    text=f"stopped after {N_TRAIN_STOPPED:,} training trials, before the block of test images",
    rule="all its trials are training trials",
)
_EXCLUDED = KnownFault(
    subjects=("01", "06", "18", "23"),
    text="marked exclude in participants.tsv",
    rule="checked, and reported as excluded",
)
_WIDE = KnownFault(
    subjects=("49", "50"),
    text=f"recorded with a 128-channel set-up of which 64 were connected: {_N_CHANNELS_WIDE} channels",
    rule=f"counted against {_N_CHANNELS_WIDE} channels",
)
_ONSET_UNITS = {"ms": 1e-3, "s": 1.0}
_STIMULUS = r"stimuli[\\/][^\\/.][^\\/]*[\\/][^\\/]+\.jpg"

ABOUT = About(
    name="things-eeg1",
    title="THINGS-EEG1",
    reference="Grootswagers, Zhou, Robinson, Hebart, Carlson 2022, Scientific Data 9, 3",
    licence="CC0",
    device="EEG",
    source=f"https://openneuro.org/datasets/{_ACCESSION}",
    images="the THINGS images, one folder a concept: https://osf.io/jum2f",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(
                "participants.tsv",
                "task-rsvp_eeg.json",
                "sub-XX/eeg/sub-XX_task-rsvp_events.tsv",
                "sub-XX/eeg/sub-XX_task-rsvp_eeg.{vhdr,eeg,vmrk,json}",
            ),
            signs=("sub-*/eeg/sub-*_task-rsvp_*",),
        ),
    ),
    subjects=tuple(f"{number:02d}" for number in range(1, 51)),
    n_sessions=(1,) * 50,
    n_channels=63,
    rate_hz=1000.0,
    onset_step_s=0.1,
    n_train=22_248,
    n_concepts=1854,
    n_test_images=200,
    n_repetitions=12,
    known_faults=(_MILLISECONDS, _NO_TEST, _STOPPED, _EXCLUDED, _WIDE),
)


class ThingsEeg1(Dataset):
    """THINGS-EEG1 as OpenNeuro gives it: raw BIDS."""

    def __init__(self, about: About = ABOUT, n_train_stopped: int = N_TRAIN_STOPPED) -> None:
        super().__init__(about)
        self.n_train_stopped = n_train_stopped

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from its event tables, headers and sidecars; no signal is read."""
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; name the one that holds {_ACCESSION}")
        self.check_variant(variant)
        survey = self.survey(root)
        names = survey.names(root)
        version = openneuro_version(survey, _ACCESSION, self.about, "sub-*/eeg/sub-*_task-rsvp_*")
        excluded = _excluded(survey)
        shared = survey.json(root / "task-rsvp_eeg.json") or {}
        found = []
        for subject in subjects:
            if f"sub-{subject}" in names:
                found.append(_Subject(self, survey, subject, excluded.get(subject, "")).report(shared))
            progress()
        if any(subject.onset_unit == "ms" for subject in found):
            survey.tell(root, Kind.KNOWN, _MILLISECONDS.text, _MILLISECONDS.rule)
        tell_strange_subjects(survey, self.about, names)
        n_tables = sum(subject.counts["train trials"].found is not None for subject in found)
        n_signals = sum(subject.signal_s is not None for subject in found)
        return self.report(
            survey,
            f"raw BIDS {_ACCESSION}{version} "
            f"(event tables: {n_tables or 'none'}, signals: {n_signals or 'none'})",
            found,
            subjects,
        )

    def open(self, root: Path, selection: Selection) -> Content:
        """Open one recording a subject; its markers are those of the event table."""
        variant = self.variant(root, selection.variant)
        survey = self.survey(root)
        parts = [_Subject(self, survey, subject, "").read() for subject in selection.subjects]
        return Content.of(variant, parts)


def _excluded(survey: Survey) -> dict[str, str]:
    """Why the authors exclude subjects, by label; the published list where a copy does not say."""
    path = survey.root / "participants.tsv"
    table = survey.table(path, ["participant_id", "exclude", "note_IZ"])
    if table is None:
        return dict.fromkeys(_EXCLUDED.subjects, "as published")
    rows = table.rows[table.rows["exclude"] == "1"]
    labels = [name.removeprefix("sub-") for name in rows["participant_id"]]
    if tuple(labels) != _EXCLUDED.subjects:
        published = ", ".join(_EXCLUDED.subjects)
        survey.tell(path, Kind.ODD, f"marks {shorten(labels) or 'nobody'} exclude where it was {published}")
    return dict(zip(labels, (note.strip('"') for note in rows["note_IZ"]), strict=True))


class _Subject:
    """The files of one subject."""

    def __init__(self, dataset: ThingsEeg1, survey: Survey, subject: str, excluded: str) -> None:
        self.about = dataset.about
        self.survey = survey
        self.subject = subject
        self.excluded = excluded
        self.folder = survey.root / f"sub-{subject}" / "eeg"
        self.n_train = dataset.n_train_stopped if subject in _STOPPED.subjects else self.about.n_train
        self.has_test = subject not in (*_NO_TEST.subjects, *_STOPPED.subjects)
        self.n_channels = _N_CHANNELS_WIDE if subject in _WIDE.subjects else self.about.n_channels
        self.names = survey.names(self.folder)

    def file(self, ending: str) -> Path:
        return self.folder / f"sub-{self.subject}_task-rsvp_{ending}"

    def report(self, shared: dict[str, Any]) -> SubjectReport:
        for name in sorted(self.names):
            if name.startswith("._"):
                self.survey.tell(
                    self.folder / name, Kind.KNOWN, "is macOS's, not the dataset's", "it is not read"
                )
        if self.excluded:
            self._tell_known(_EXCLUDED, f" ({self.excluded})")
        self._check_sidecar(shared)
        counts, unit, onsets_s = self._events()
        header, signal_s = self._signal(onsets_s)
        channels = Count(found=header.n_channels if header else None, expected=self.n_channels)
        counts["channels"] = channels
        if not channels.fits:
            text = f"{channels.found} channels where {channels.expected} were published"
            self.survey.tell(self.file("eeg.vhdr"), Kind.ODD, text)
        elif header is not None:
            self._tell_known(_WIDE)
        return SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit=unit,
            last_onset_s=float(onsets_s[-1]) if len(onsets_s) else None,
            signal_s=signal_s,
            excluded=self.excluded,
        )

    def read(self) -> Part:
        """Open the recording, with the markers and stimuli of the event table."""
        path, table_path = self.file("eeg.vhdr"), self.file("events.tsv")
        table = self.survey.table(table_path, ["onset", "stim", *(["isteststim"] if self.has_test else [])])
        if table is None:
            self.survey.refuse()
        rows = table.rows[table.rows["stim"].str.fullmatch(_STIMULUS)]
        unit, _ = self._onsets(table_path, rows["onset"])
        if not unit:
            self.survey.refuse()
        onsets_s = pd.to_numeric(rows["onset"], errors="coerce").to_numpy(np.float64) * _ONSET_UNITS[unit]
        images = [image.replace("\\", "/").partition("/")[2] for image in rows["stim"]]
        is_test = (
            rows["isteststim"] == "1" if self.has_test else pd.Series(False, index=rows.index)
        ).tolist()
        blocks = rows["sequencenumber"] if "sequencenumber" in rows else [""] * len(rows)
        stimuli = [
            Stimulus(
                PurePosixPath(image).stem,
                image,
                _concept(image),
                *(("test", "") if test else ("train", block)),
            )
            for image, test, block in zip(images, is_test, blocks, strict=True)
        ]
        if self.survey.size(path) is None:
            self.survey.refuse()
        recording = read_recording(path)
        markers = onset_markers(recording, onsets_s, [one.stimulus_id for one in stimuli])
        n_lost = table.n_broken + table.ends_within_row + len(table.rows) - len(markers)
        part = Part(
            [replace(recording, markers=markers, subject=self.subject)],
            stimuli,
            [table_path, path, path.with_suffix(".eeg"), path.with_suffix(".vmrk")],
        )
        if n_lost:
            part.remarks.append(
                f"sub-{self.subject}: {n_lost:,} damaged rows or rows outside the signal are left out"
            )
        return part

    def _tell_known(self, fault: KnownFault, more: str = "") -> None:
        if self.subject in fault.subjects:
            self.survey.tell(self.folder, Kind.KNOWN, f"{fault.text}{more}", fault.rule)

    def _check_sidecar(self, shared: dict[str, Any]) -> None:
        own = self.file("eeg.json")
        said = dict(shared)
        if own.name in self.names or not said:
            said |= self.survey.json(own) or {}
        if not said:
            return
        allowed: dict[str, tuple[Any, ...]] = {
            "SamplingFrequency": (self.about.rate_hz,),
            "EEGChannelCount": (self.about.n_channels, self.n_channels),
            "EEGReference": ("Cz",),
        }
        for key, values in allowed.items():
            if said.get(key) not in values:
                self.survey.tell(
                    own, Kind.ODD, f"{key} is {str(said.get(key))[:80]!r} where {values[0]!r} was published"
                )

    def _events(self) -> tuple[dict[str, Count], str, NDArray[np.float64]]:
        """Counts, unit of the onsets, and the onsets in seconds (empty where they cannot be told)."""
        path = self.file("events.tsv")
        columns = ["onset", "stim", *(["isteststim"] if self.has_test else [])]
        table = self.survey.table(path, columns)
        rows = pd.DataFrame(columns=columns, dtype=object) if table is None else table.rows
        images = rows["stim"]
        is_test = rows["isteststim"] == "1" if "isteststim" in rows else pd.Series(False, index=rows.index)
        train, test = images[~is_test], images[is_test]
        repetitions = test.value_counts()
        n_images, n_repetitions = (
            (self.about.n_test_images, self.about.n_repetitions) if self.has_test else (0, 0)
        )
        pairs = {
            "train trials": (len(train), self.n_train),
            "train images": (train.nunique(), self.n_train),
            "train concepts": (train.map(_concept).nunique(), self.about.n_concepts),
            "test trials": (len(test), n_images * n_repetitions),
            "test images": (len(repetitions), n_images),
            "test repetitions": (int(repetitions.min()) if len(repetitions) else 0, n_repetitions),
        }
        counts = {
            name: Count(found=None if table is None else found, expected=expected)
            for name, (found, expected) in pairs.items()
        }
        if table is None:
            return counts, "", np.empty(0)
        if not len(test):
            self._tell_known(_NO_TEST)
            self._tell_known(_STOPPED)
        self._check_rows(path, table, counts, set(train) & set(test))
        unit, onsets_s = self._onsets(path, rows["onset"])
        return counts, unit, onsets_s

    def _check_rows(self, path: Path, table: Table, counts: dict[str, Count], both: set[str]) -> None:
        """Tell what is odd in an event table whose columns are there."""
        rows, tell = table.rows, self.survey.tell
        n_expected = counts["train trials"].expected + counts["test trials"].expected
        jump = _first_jump(rows)
        if jump is not None:
            tell(path, Kind.ODD, f"eventnumber does not count on at row {jump:,}: rows lost, twice or moved")
        if table.ends_within_row or (len(rows) < n_expected and jump is None and not table.n_broken):
            within = ", the last one in part" if table.ends_within_row else ""
            tell(path, Kind.TRUNCATED, f"{len(rows):,} of {n_expected:,} rows{within}")
        elif wrong := [
            f"{count.found:,} {name} for {count.expected:,}"
            for name, count in counts.items()
            if not count.fits
        ]:
            tell(path, Kind.ODD, "; ".join(wrong))
        if both:
            tell(path, Kind.ODD, f"images both trained on and tested: {len(both):,}")
        strange = ~rows["stim"].str.fullmatch(_STIMULUS)
        self.survey.tell_cells(path, rows["stim"], strange, r"stim is no stimuli\CONCEPT\IMAGE.jpg")
        if "isteststim" in rows:
            flags = rows["isteststim"]
            self.survey.tell_cells(path, flags, ~flags.isin(["0", "1"]), "isteststim is neither 0 nor 1")

    def _onsets(self, path: Path, cells: pd.Series[str]) -> tuple[str, NDArray[np.float64]]:
        onsets = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64)
        strange = ~np.isfinite(onsets) | (onsets < 0)
        self.survey.tell_cells(path, cells, pd.Series(strange, index=cells.index), "onset is no onset")
        onsets = onsets[~strange]
        steps = np.diff(onsets)
        if (n_back := int(np.sum(steps <= 0))) > 0:
            self.survey.tell(path, Kind.ODD, f"onsets not later than the one before: {n_back:,}")
        if not len(steps):
            self.survey.tell(path, Kind.ODD, "has too few onsets to tell their unit")
            return "", np.empty(0)
        step = float(np.median(steps))
        for unit, seconds in _ONSET_UNITS.items():
            if abs(step * seconds / self.about.onset_step_s - 1) < 0.1:
                if unit == "s":
                    self.survey.tell(
                        path, Kind.ODD, "onsets are seconds: somebody converted them", "read as seconds"
                    )
                return unit, np.sort(onsets) * seconds
        self.survey.tell(
            path, Kind.ODD, f"onsets step by {step:g}: neither milliseconds nor seconds of a step of 0.1 s"
        )
        return "", np.empty(0)

    def _signal(self, onsets_s: NDArray[np.float64]) -> tuple[BrainVisionHeader | None, float | None]:
        """Header of the recording and seconds of its signal; None where they cannot be told."""
        path = self.file("eeg.vhdr")
        parts = [path, path.with_suffix(".eeg"), path.with_suffix(".vmrk")]
        if not self.names.intersection(part.name for part in parts):
            self.survey.tell(self.file("eeg.{vhdr,eeg,vmrk}"), Kind.MISSING, "no signal: none is there")
            return None, None
        # Channel names and units may be in any code page; what is looked at is ASCII.
        text = self.survey.text(path, encoding="latin-1")
        if text is None:
            for part in parts[1:]:
                self.survey.size(part)
            return None, None
        try:
            header = parse_header(text, path.stem)
        except ValueError as error:
            self.survey.tell(path, Kind.ODD, str(error))
            return None, None
        if header.rate_hz != self.about.rate_hz:
            self.survey.tell(
                path, Kind.ODD, f"{header.rate_hz:g} Hz where {self.about.rate_hz:g} Hz were published"
            )
        if header.marker_file:
            self.survey.size(path.with_name(header.marker_file))
        data = path.with_name(header.data_file)
        n_bytes = self.survey.size(data)
        if n_bytes is None:
            return header, None
        n_samples, rest = divmod(n_bytes, header.sample_bytes)
        signal_s = n_samples / header.rate_hz
        n_beyond = int(np.sum(onsets_s >= signal_s))
        if rest:
            self.survey.tell(data, Kind.TRUNCATED, f"ends within sample {n_samples:,}")
        elif header.n_samples is not None and n_samples != header.n_samples:
            kind = Kind.TRUNCATED if n_samples < header.n_samples else Kind.ODD
            self.survey.tell(data, kind, f"{n_samples:,} of the {header.n_samples:,} samples in its header")
        if n_beyond:
            self.survey.tell(
                data,
                Kind.TRUNCATED,
                f"ends at {signal_s:.3f} s, before {n_beyond:,} of {len(onsets_s):,} events",
            )
        return header, signal_s


def _concept(image: str) -> str:
    r"""Concept of ``stimuli\concept\image.jpg``."""
    return image.replace("\\", "/").rpartition("/")[0]


def _first_jump(rows: pd.DataFrame) -> int | None:
    """Row at which ``eventnumber`` does not count on; None if it always does, or there is no such column."""
    if "eventnumber" not in rows:
        return None
    numbers = pd.to_numeric(rows["eventnumber"], errors="coerce").to_numpy(dtype=np.float64)
    wrong = numbers != np.arange(len(numbers))
    return int(rows.index[wrong.argmax()]) if wrong.any() else None
