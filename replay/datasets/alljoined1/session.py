"""The two files of a session: its signal, and the table of trials that the authors kept.

The signal's channel ``Status`` was written anew by the authors: one sample of a code from 1 to 960 where an
image came, the n-th of the session's images, and nothing at the images that were to be answered with a key.
Which image a code means is told by the table, whose ``curr_time`` is the sample of the code divided by
512 Hz, and ``73k_id`` the image. Trials that are not in it are read too where another row says what their
code means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from replay.datasets.hdf5 import open_hdf5
from replay.datasets.pandas_hdf5 import frame_blocks
from replay.datasets.report import Kind
from replay.recordings import Markers, read_recording
from replay.recordings.mne_raw import ANNOTATIONS
from replay.recordings.montage import placed
from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey
    from replay.recordings import Recording

TIMES_SHOWN = 4
"""How often a session shows each image."""

_RATE_HZ = 512.0
_MONTAGE = "biosemi64"
_COLUMNS = ("subject_id", "session", "73k_id", "curr_time")
_MOST_ROWS = 100_000
_MOST_OFF = 0.01
"""Samples by which a row's time may be off a whole one."""

_FEWEST_AT_TRIGGERS = 0.99


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials of a session that the authors kept.

    Parameters
    ----------
    samples : array of shape (n,)
        When each image came.
    images : array of shape (n,)
        NSD's number of each, from 0.
    """

    samples: np.ndarray
    images: np.ndarray


class Session:
    """The two files of one session."""

    def __init__(self, survey: Survey, subject: str, session: str) -> None:
        self.survey = survey
        self.subject = subject
        self.session = session
        stem = f"subj{subject}_session{session}"
        self.signal_path = survey.root / "raw" / f"{stem}_eeg.fif"
        self.table_path = survey.root / "05_125" / f"{stem}.h5"
        self.files = (self.signal_path, self.table_path)

    def signal(self, about: About) -> Recording | None:
        """Open the signal, told where it is not as published; its triggers are not looked for."""
        path = self.signal_path
        found = self.survey.attempt(path, lambda: read_recording(path, marker_channel=ANNOTATIONS))
        if found is not None:
            for text, value, expected in (
                ("Hz", found.rate_hz, about.rate_hz),
                ("EEG channels", n_electrodes(found), about.n_channels),
            ):
                if value != expected:
                    self.survey.tell(path, Kind.ODD, f"{value:g} {text} where {expected:g} were published")
        return found

    def trials(self, n_pictures: int) -> Trials | None:
        """Read the table; None, and told, where it cannot be read."""
        path = self.table_path
        return self.survey.attempt(path, lambda: _read_trials(path, n_pictures))

    def check(self, trials: Trials, n_images: int) -> None:
        """Tell what is odd in a table."""
        counts = pd.Series(trials.images).value_counts()
        if len(counts) > n_images or (counts > TIMES_SHOWN).any():
            text = f"{len(counts):,} images, shown up to {counts.max()} times, where it was {n_images:,}, "
            self.survey.tell(self.table_path, Kind.ODD, f"{text}{TIMES_SHOWN} times each")

    def read(self, n_pictures: int) -> tuple[Recording, str]:
        """Open the signal with a marker at each trigger of a known image; and what is to be remarked."""
        if self.survey.size(self.signal_path) is None:
            self.survey.refuse()
        trials = self.trials(n_pictures) or self.survey.refuse()
        recording = read_recording(self.signal_path)
        markers, remark = self._markers(recording, trials)
        return (
            replace(
                recording,
                channels=placed(recording.channels, _MONTAGE),
                markers=markers,
                subject=self.subject,
                session=self.session,
                run="",
            ),
            remark,
        )

    def _markers(self, recording: Recording, trials: Trials) -> tuple[Markers, str]:
        triggers = recording.markers
        rows = dict(zip(trials.samples.tolist(), trials.images.tolist(), strict=True))
        if rows and max(rows) >= recording.n_samples:
            raise UserError(
                f"{self.table_path}: has trials after the end of {self.signal_path.name}; "
                f"{self.survey.again}, both files"
            )
        if not len(triggers):
            labels = [str(image) for image in rows.values()]
            return Markers.in_order(list(rows), labels), (
                f"{self.signal_path.name}: no trigger is in it; markers are at the times of its table"
            )
        code_at = dict(zip(triggers.sample.tolist(), triggers.label, strict=True))
        met = [(code_at[sample], image) for sample, image in rows.items() if sample in code_at]
        if len(met) < _FEWEST_AT_TRIGGERS * len(rows):
            raise UserError(
                f"{self.table_path}: {len(rows) - len(met):,} of {len(rows):,} trials are at no trigger of "
                f"{self.signal_path.name}; {self.survey.again}, both files"
            )
        image_of: dict[str, int] = {}
        for code, image in met:
            if image_of.setdefault(code, image) != image:
                raise UserError(
                    f"{self.table_path}: says that code {code} of {self.signal_path.name} is image "
                    f"{image_of[code]} and image {image}; {self.survey.again}, both files"
                )
        known = [(sample, image_of[code]) for sample, code in code_at.items() if code in image_of]
        lost = len(code_at) - len(known)
        return Markers.in_order([sample for sample, _ in known], [str(image) for _, image in known]), (
            f"{self.signal_path.name}: {lost:,} triggers whose code no row of its table has are left out"
            if lost
            else ""
        )


def _read_trials(path: Path, n_pictures: int) -> Trials:
    with open_hdf5(path) as file:
        columns: dict[str, np.ndarray] = {}
        for block in frame_blocks(file, _COLUMNS):
            if block.numbers.shape[0] > _MOST_ROWS:
                raise UserError(f"{path}: holds {block.numbers.shape[0]:,} trials; get another file")
            columns |= {
                name: np.asarray(block.numbers[:, block.columns.index(name)])
                for name in _COLUMNS
                if name in block.columns
            }
    if lacking := [name for name in _COLUMNS if name not in columns]:
        raise UserError(f"{path}: has no numbers of {', '.join(lacking)}; get another file")
    images = columns["73k_id"]
    if images.dtype.kind not in "iu" or np.any(images < 0) or np.any(images >= n_pictures):
        raise UserError(f"{path}: 73k_id holds what is no number of an image; get another file")
    places = columns["curr_time"].astype(np.float64) * _RATE_HZ
    samples = np.rint(np.nan_to_num(places, nan=-1.0, posinf=-1.0, neginf=-1.0)).astype(np.int64)
    if np.any(samples < 0) or np.any(np.abs(places - samples) > _MOST_OFF) or np.any(np.diff(samples) <= 0):
        raise UserError(
            f"{path}: curr_time does not count samples of {_RATE_HZ:g} Hz, each later than the one "
            "before; get another file"
        )
    return Trials(samples, images.astype(np.int64))


def n_electrodes(recording: Recording) -> int:
    """EEG channels of a recording."""
    return sum(channel.type is ChannelType.EEG for channel in recording.channels)
