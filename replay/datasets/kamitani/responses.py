"""Responses to blocks: one or two HDF5 files a subject."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.betas import TrialBlocks, betas_recording
from replay.datasets.dataset import Part
from replay.datasets.kamitani.bdpy import BrainData, read_brain_data
from replay.datasets.kamitani.images import stimulus
from replay.datasets.report import Count, Kind, SubjectReport
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.kamitani.about import Experiment, Study
    from replay.datasets.survey import Survey

REGION = "ROI_VC"


class ResponsesSubject:
    """The responses of one subject."""

    def __init__(self, study: Study, survey: Survey, subject: str) -> None:
        self.study = study
        self.survey = survey
        self.subject = subject
        self.place = survey.root

    def is_there(self, names: frozenset[str]) -> bool:
        """Whether the root, which holds these names, has this subject."""
        return any(self._file(experiment).name in names for experiment in self.study.experiments)

    def report(self) -> SubjectReport:
        """Say what is there."""
        looked_at: dict[Path, BrainData | None] = {}
        counts: dict[str, Count] = {}
        n_found = n_expected = 0
        for experiment in self.study.experiments:
            path = self._file(experiment)
            if path not in looked_at:
                looked_at[path] = self.survey.attempt(path, partial(self._data, path))
            data = looked_at[path]
            n_trials = experiment.n_images * experiment.n_repetitions
            n_expected += n_trials
            n = n_images = None
            if data is not None:
                images = Counter(data.images[row] for row in _rows(data, experiment))
                n, n_images = sum(images.values()), len(images)
                n_found += n
                self._check(path, experiment, images)
            counts |= {
                f"{experiment.split} trials": Count(found=n, expected=n_trials),
                f"{experiment.split} images": Count(found=n_images, expected=experiment.n_images),
            }
        return SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="",
            last_onset_s=None,
            signal_s=None,
            responses=Count(found=n_found, expected=n_expected),
            excluded="",
        )

    def read(self, mask: Path | None) -> Part:
        """Open all runs.

        Raises
        ------
        UserError
            If a file is missing or damaged, the two have other voxels, or a mask is given.
        """
        if mask is not None:
            raise UserError(f"{mask}: the voxels of these files are those of {REGION}; leave the mask out")
        opened = Part()
        first: BrainData | None = None
        channels: tuple[Channel, ...] = ()
        blocks = TrialBlocks()
        for experiment in self.study.experiments:
            path = self._file(experiment)
            if first is None or path != first.path:
                data = self._data(path)
                opened.files.append(path)
            if first is None:
                first = data
                channels = tuple(
                    Channel(name=str(column), type=ChannelType.VOXEL, unit=Unit.NONE)
                    for column in data.voxels.tolist()
                )
            elif not _same_voxels(first, data):
                raise UserError(f"{path}: its voxels are not those of {first.path.name}; {self.survey.again}")
            rows = _rows(data, experiment)
            known = np.array([row for row in rows.tolist() if data.images[row] is not None], dtype=np.int64)
            if len(known) < len(rows):
                n = len(rows) - len(known)
                opened.remarks.append(f"sub-{self.subject}: {n:,} responses to what is no image are left out")
            for session, run, mine in _runs(data, experiment, known):
                images = [image for row in mine.tolist() if (image := data.images[row]) is not None]
                opened.stimuli.extend(stimulus(image, experiment) for image in images)
                recording = betas_recording(
                    f"sub-{self.subject}_ses-{session}{f'_run-{run}' if run else ''}",
                    channels=channels,
                    labels=images,
                    interval_s=self.study.about.onset_step_s,
                    reader=blocks.reader(data.reader(mine), len(mine), len(channels)),
                    subject=self.subject,
                    session=session,
                    run=run,
                )
                opened.recordings.append(recording)
        if not opened.recordings:
            raise UserError(f"{self.place}: no response to an image; {self.survey.again}")
        return opened

    def _file(self, experiment: Experiment) -> Path:
        return self.survey.root / self.study.responses.format(
            subject=self.subject, number=int(self.subject), experiment=experiment.name
        )

    def _data(self, path: Path) -> BrainData:
        data = read_brain_data(path, REGION)
        if data.data_type is None and any(one.data_type is not None for one in self.study.experiments):
            raise UserError(f"{path}: no column is DataType, which tells training from test; get it again")
        return data

    def _check(self, path: Path, experiment: Experiment, images: Counter[str | None]) -> None:
        times = experiment.n_repetitions
        n, n_trials = sum(images.values()), experiment.n_images * times
        of = f"of {experiment.name}"
        if n != n_trials:
            kind = Kind.TRUNCATED if n < n_trials else Kind.ODD
            self.survey.tell(path, kind, f"{n:,} responses {of} where {n_trials:,} were published")
        if images[None]:
            self.survey.tell(path, Kind.ODD, f"{images[None]:,} responses {of} are to no image")
        other = [image for image, found in images.items() if image is not None and found != times]
        if other and n == n_trials:
            text = f"{len(other):,} images {of} were not shown {times} times: {shorten(other)}"
            self.survey.tell(path, Kind.ODD, text)


def _rows(data: BrainData, experiment: Experiment) -> NDArray[np.int64]:
    """Samples of an experiment."""
    if experiment.data_type is None or data.data_type is None:
        return np.arange(data.n_samples)
    return np.flatnonzero(data.data_type == experiment.data_type)


def _runs(
    data: BrainData, experiment: Experiment, rows: NDArray[np.int64]
) -> list[tuple[str, str, NDArray[np.int64]]]:
    """Session, run and samples of each, in the order of their numbers."""
    none = np.full(data.n_samples, np.nan)
    sessions, runs = (none if numbers is None else numbers for numbers in (data.session, data.run))
    keys = list(zip(_label(sessions, rows), _label(runs, rows), strict=True))
    found = []
    for session, run in sorted(set(keys), key=lambda key: [int(part or 0) for part in key]):
        mine = rows[[key == (session, run) for key in keys]]
        name = f"{experiment.name}{int(session):02d}" if session else experiment.name
        found.append((name, run, mine))
    return found


def _label(numbers: NDArray[np.float64], rows: NDArray[np.int64]) -> list[str]:
    return [f"{int(n):02d}" if np.isfinite(n) and n >= 0 else "" for n in numbers[rows].tolist()]


def _same_voxels(one: BrainData, other: BrainData) -> bool:
    if one.places is not None and other.places is not None:
        return one.places.shape == other.places.shape and np.array_equal(one.places, other.places)
    return np.array_equal(one.voxels, other.voxels)
