"""Configuration of ``rtdecode train``: one TOML file; environment overrides it; unknown keys are errors."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import SettingsConfigDict

from replay.datasets.bids import EventColumns, open_bids
from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.simulated.showing import simulated_content
from replay.recordings import read_recording
from rtdecode.config import FileSettings
from rtdecode.errors import UserError
from rtdecode.stimuli import StimulusTable
from training.encoders import TargetSettings
from training.fit import LinearSettings
from training.model import ModelSettings
from training.prepare import SignalSettings

if TYPE_CHECKING:
    from collections.abc import Collection

    import pandas as pd

    from replay.datasets.dataset import Content
    from replay.recordings import Recording


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RecordingEntry(_Section):
    """``[[recordings]]``: one recording; what its name or format does not tell is stated here.

    Parameters
    ----------
    path
        The file.
    subject, session, run
        Where they are not to be taken from the file's name.
    units, marker_channel, signal_stream, marker_streams, rate_hz, trigger_mask, trigger_edge,
    mask, events, every_volume
        See :func:`replay.recordings.read_recording`.
    delay_s
        Measured seconds by which the stamps of the samples lag the true events (amplifier and driver);
        subtracted. State what ``[[streams]] delay_s`` will say live; 0 where the markers lie in a trigger
        channel of the same device, which lags alike.
    delay_measured
        When that was measured.
    """

    path: Path
    subject: str | None = None
    session: str | None = None
    run: str | None = None
    units: str | None = None
    marker_channel: str | None = None
    signal_stream: str | None = None
    marker_streams: tuple[str, ...] | None = None
    rate_hz: float | None = Field(default=None, gt=0)
    trigger_mask: int | None = Field(default=None, gt=0)
    trigger_edge: Literal["rising", "change", "falling"] | None = None
    mask: Path | None = None
    events: Path | None = None
    every_volume: bool = False
    delay_s: float = 0.0
    delay_measured: dt.date | None = None

    def open(self) -> Recording:
        """Open the recording."""
        recording = read_recording(
            self.path,
            units=self.units,
            marker_channel=self.marker_channel,
            signal_stream=self.signal_stream,
            marker_streams=self.marker_streams,
            rate_hz=self.rate_hz,
            trigger_mask=self.trigger_mask,
            trigger_edge=self.trigger_edge,
            mask=self.mask,
            events=self.events,
            every_volume=self.every_volume,
        )
        stated = {name: getattr(self, name) for name in ("subject", "session", "run")}
        return replace(recording, **{name: value for name, value in stated.items() if value is not None})


class DatasetEntry(_Section):
    """``[dataset]``: a copy of a public dataset, in place of ``[[recordings]]``.

    Parameters
    ----------
    name
        As ``rtdecode data list`` names it.
    root
        Folder of the copy.
    subjects
        Labels; by default all.
    variant
        Which form of it, where the copy holds more than one.
    mask
        fMRI: image whose voxels above zero are the channels; ``{subject}`` stands for the label.
    """

    name: str
    root: Path
    subjects: tuple[str, ...] = ()
    variant: str | None = None
    mask: Path | None = None

    def open(self) -> Content:
        """Open the copy."""
        dataset = find_dataset(self.name)
        return dataset.open(
            self.root,
            Selection(subjects=dataset.select(self.subjects), variant=self.variant, mask=self.mask),
        )


class BidsEntry(_Section):
    """``[bids]``: a lab's own EEG or MEG dataset in BIDS, in place of ``[[recordings]]``.

    Parameters
    ----------
    root
        Folder of the dataset.
    subjects, task, datatype, units
        See :func:`replay.datasets.bids.open_bids`.
    stimulus, image, concept, split
        Columns of its events, see :class:`replay.datasets.bids.EventColumns`.
    """

    root: Path
    subjects: tuple[str, ...] = ()
    task: str | None = None
    datatype: Literal["eeg", "meg"] | None = None
    units: str | None = None
    stimulus: str
    image: str | None = None
    concept: str | None = None
    split: str | None = None

    def open(self) -> Content:
        """Open the recordings."""
        return open_bids(
            self.root,
            EventColumns(stimulus=self.stimulus, image=self.image, concept=self.concept, split=self.split),
            subjects=self.subjects,
            task=self.task,
            datatype=self.datatype,
            units=self.units,
        )


class SimulatedEntry(_Section):
    """``[simulated]``: simulated subjects who look at the built-in world, in place of ``[[recordings]]``.

    Parameters
    ----------
    name
        Of the device, as ``rtdecode data list`` names it.
    subjects, sessions, seed
        See :func:`replay.datasets.simulated.showing.simulated_content`.
    """

    name: str
    subjects: tuple[int, ...] = Field(default=(1,), min_length=1)
    sessions: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)

    def open(self) -> Content:
        """Let the subjects look."""
        return simulated_content(self.name, self.subjects, self.sessions, self.seed)


class MarkerTable(_Section):
    """``[markers]``: what the recordings' markers mean.

    Parameters
    ----------
    table
        Table of stimuli (CSV, TSV or parquet); its column ``image`` names the pictures.
    key
        How a marker names its row: by ``code`` or ``label``, or by ``order``: the n-th marker, counted over
        all recordings, is the n-th row.
    json_key
        The recordings' markers are JSON objects, and this key's value (dots lead into nested ones) is what
        they say; None takes their text as it is. State the same live.
    ignore
        Patterns (``*`` and ``?``) of markers that are no stimuli.
    delay_s
        Measured seconds from the marker to the picture on the screen; added. State the same live.
    delay_measured
        When that was measured.
    """

    table: Path
    key: Literal["code", "label", "order"] = "label"
    json_key: str | None = Field(default=None, min_length=1)
    ignore: tuple[str, ...] = ()
    delay_s: float = 0.0
    delay_measured: dt.date | None = None


class SplitSettings(_Section):
    """``[split]``: which trials are for the test, and never seen by a fit; one way of these.

    Parameters
    ----------
    test_runs, test_sessions
        All trials of these.
    column
        What that column of the TrialSet says, see :data:`replay.trials.COLUMNS`; trials that are neither
        ``train`` nor ``test`` there are not used.
    leave_one_out
        ``evaluate`` fits anew for each run (session) held out in turn; ``fit`` takes all of them.
    """

    test_runs: tuple[str, ...] = ()
    test_sessions: tuple[str, ...] = ()
    column: Literal["split_original", "split_concept_disjoint", "split_future_session"] | None = None
    leave_one_out: Literal["run", "session"] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = (bool(self.test_runs or self.test_sessions), self.column, self.leave_one_out)
        if sum(map(bool, ways)) != 1:
            raise ValueError("give either test_runs or test_sessions, or column, or leave_one_out")
        return self

    def parts(self, trials: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Masks ``(n,)`` of the training and of the test trials; a trial may be neither.

        Raises
        ------
        UserError
            If a run or session does not exist, or one side is left empty.
        """
        if self.column is not None:
            return self._parts_of(self.column, trials[self.column])
        test = np.zeros(len(trials), dtype=bool)
        for column, names in (("run", self.test_runs), ("session", self.test_sessions)):
            there = trials[column].unique().tolist()
            if missing := [name for name in names if name not in there]:
                raise UserError(
                    f"split.test_{column}s: no {column} {', '.join(missing)} among the trials; "
                    f"there are {', '.join(there)}"
                )
            test |= trials[column].isin(names).to_numpy(dtype=bool)
        if test.all():
            raise UserError("split: all trials are test trials, none is left to fit on")
        return ~test, test

    @staticmethod
    def _parts_of(column: str, split: pd.Series) -> tuple[np.ndarray, np.ndarray]:
        train, test = (split.eq(part).fillna(False).to_numpy(dtype=bool) for part in ("train", "test"))
        if not train.any() or not test.any():
            there = ", ".join(sorted(split.dropna().unique())) or "nothing"
            raise UserError(
                f"split.column: {column} must name train and test trials, it says {there}; it comes from "
                "the table's columns split and concept_id, or from several sessions"
            )
        return train, test


class MissingSettings(_Section):
    """``[missing]``: what becomes, live, of channels that the stream lacks.

    Parameters
    ----------
    channels
        ``"refuse"`` the stream, or ``"repair"``: rebuild them from their neighbours; this needs EEG channels
        whose positions the recording knows.
    max
        Rebuild at most so many.
    """

    channels: Literal["refuse", "repair"] = "refuse"
    max: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if (self.channels == "repair") != (self.max > 0):
            raise ValueError('channels = "repair" and a max of at least 1 go together')
        return self


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """What a study's trials are cut from.

    Parameters
    ----------
    recordings
        In the order in which they were recorded.
    files
        Those that a copy's recordings come from; of recordings named one by one the configuration knows them.
    remarks
        What a person should know of them, a line each.
    notes
        What is kept with the TrialSet.
    """

    recordings: tuple[Recording, ...]
    files: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)


class TrainConfig(FileSettings):
    """The whole file. ``RTDECODE_TRAIN_MODEL__CLAMP=5`` in the environment overrides ``[model]``.

    Parameters
    ----------
    name
        How results name the decoder, and the stem of its file.
    output
        Folder of everything that is made.
    origin
        Where the recordings come from, for the manifest; the name where left out.
    """

    model_config = SettingsConfigDict(env_prefix="RTDECODE_TRAIN_", allow_inf_nan=False)
    paths_in_file = (
        "output",
        "recordings.path",
        "recordings.mask",
        "recordings.events",
        "dataset.root",
        "dataset.mask",
        "bids.root",
        "markers.table",
        "model.start_from",
        "targets.weights",
        "targets.cache",
    )

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    output: Path
    origin: str | None = None
    recordings: tuple[RecordingEntry, ...] = ()
    dataset: DatasetEntry | None = None
    bids: BidsEntry | None = None
    simulated: SimulatedEntry | None = None
    markers: MarkerTable
    signal: SignalSettings
    targets: TargetSettings = TargetSettings()
    model: ModelSettings = LinearSettings()
    split: SplitSettings
    missing: MissingSettings = MissingSettings()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(map(bool, (self.recordings, self.dataset, self.bids, self.simulated))) != 1:
            raise ValueError("give one of [[recordings]], [dataset], [bids] and [simulated]")
        return self

    @model_validator(mode="after")
    def _one_delay(self) -> Self:
        if len(delays := {recording.delay_s for recording in self.recordings}) > 1:
            raise ValueError(
                f"the recordings have different delay_s ({', '.join(f'{d:g}' for d in sorted(delays))}): "
                "a decoder is trained with one; prepare them apart"
            )
        return self

    @property
    def trials_path(self) -> Path:
        """Folder of the TrialSet."""
        return self.output / "trials"

    @property
    def decoder_path(self) -> Path:
        """The exported decoder."""
        return self.output / f"{self.name}.onnx"

    @property
    def fit_folder(self) -> Path:
        """What the fit of a deep decoder leaves."""
        return self.output / f"{self.name}.fit"

    def decoder_path_of(self, subject: str, subjects: Collection[str]) -> Path:
        """One person's exported decoder; the person is in its name where there are several."""
        if len(subjects) < 2:
            return self.decoder_path
        return self.output / f"{self.name}-{subject}.onnx"

    @property
    def stream_delay_s(self) -> float:
        """Seconds by which the samples of all recordings lag."""
        return self.recordings[0].delay_s if self.recordings else 0.0

    def source(self) -> Source:
        """Open the recordings.

        Raises
        ------
        UserError
            If one is missing or damaged.
        """
        copy = self._copy
        if copy is None:
            return Source(tuple(entry.open() for entry in self.recordings))
        content = copy.open()
        variant = content.variant
        cautions = [text for text in (variant.caution, variant.no_amounts) if text]
        return Source(
            content.recordings,
            files=content.files,
            remarks=(*content.remarks, *(f"caution, {variant.name}: {text}" for text in cautions)),
            notes={"variant": variant.name, "no_amounts": variant.no_amounts},
        )

    @property
    def _copy(self) -> DatasetEntry | BidsEntry | SimulatedEntry | None:
        """What names recordings other than one by one."""
        return self.dataset or self.bids or self.simulated

    def stimuli(self) -> StimulusTable:
        """Read the table of stimuli."""
        return StimulusTable.load(self.markers.table, key=self.markers.key)

    def preparation_sha256(self, source: Source | None = None) -> str:
        """Hash of all settings and files that shape the TrialSet, to tell when it must be prepared again.

        A recording's files, its mask and its events are known by place, size and time of change; all that
        share their names' stems count.

        Parameters
        ----------
        source
            The recordings, where they are open already; a copy is opened anew where None.

        Raises
        ------
        UserError
            If one of these or the table of stimuli is gone.
        """
        elsewhere = {"path", "mask", "events", "table", "delay_measured"}
        parts: dict[str, Any] = {
            "recordings": [entry.model_dump(mode="json", exclude=elsewhere) for entry in self.recordings],
            "markers": self.markers.model_dump(mode="json", exclude=elsewhere),
            "signal": self.signal.model_dump(mode="json"),
        }
        if (copy := self._copy) is not None:
            parts["copy"] = copy.model_dump(mode="json", exclude={"root", "mask"})
            files = copy.open().files if source is None else source.files
            parts["copy"]["files"] = [_file(path, self.output) for path in files]
        for entry, recording in zip(self.recordings, parts["recordings"], strict=True):
            beside = {"mask": entry.mask, "events": entry.events}
            recording["files"] = _files(entry.path, self.output)
            recording |= {key: _files(path, self.output) for key, path in beside.items() if path is not None}
        try:
            parts["markers"]["table"] = hashlib.sha256(self.markers.table.read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(
                f"cannot read the table of stimuli {self.markers.table}: {error.strerror}"
            ) from error
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _files(file: Path, output: Path) -> list[tuple[str, int, int]]:
    """Path from the output folder, so that a study may be moved; bytes; nanoseconds of the last change."""
    stem = file.name.partition(".")[0]
    try:
        beside = [path for path in file.parent.iterdir() if path.name.startswith((f"{stem}.", f"{stem}-"))]
    except OSError as error:
        raise UserError(f"cannot find {file}: {error.strerror}") from error
    return [_file(path, output) for path in sorted({file, *beside})]


def _file(path: Path, output: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"cannot find {path}: {error.strerror}") from error
    return _relative(path, output), stat.st_size, stat.st_mtime_ns


def _relative(path: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive
        return path.resolve().as_posix()
