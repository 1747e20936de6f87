"""Betas of a session: whole numbers, 300 times the percent of signal change, laid out by voxel in HDF5."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.datasets.betas import TrialBlocks, betas_recording
from replay.datasets.hdf5 import open_hdf5
from replay.datasets.nsd.subject import Found, SubjectFiles
from replay.datasets.report import Count, Kind
from replay.datasets.volume_files import VolumeFiles
from replay.recordings.nifti import check_nifti
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.hdf5 import Hdf5
    from replay.recordings import Recording
    from replay.recordings.nifti import Mask

INTERVAL_S = 4.0
_SCALE = 1 / 300


class Betas(SubjectFiles):
    """Sessions of one subject; of two files of one session HDF5 is read, whose voxels can be read singly."""

    parts = "sessions"

    @property
    def n_parts(self) -> int:
        """Sessions."""
        return self.n_sessions

    @property
    def place(self) -> Path:
        """Their folder."""
        return self.folder("nsddata_betas") / "betas_fithrf_GLMdenoise_RR"

    def look(self, grid: tuple[int, ...] | None) -> Found:
        """Look at shape and size of each session's file."""
        names = self.survey.names(self.place)
        shown = []
        for session in range(self.n_sessions):
            images = self.design.session(self.subject, session)
            path = self._file(session, names)
            if path is None:
                if names:  # else the folder is missing, which was told
                    missing = self.place / f"betas_session{session + 1:02d}.{{hdf5,nii.gz}}"
                    self.survey.tell(missing, Kind.MISSING, "is not there")
            elif self.survey.attempt(path, partial(_check, path, len(images), grid)):
                shown.append(images)
        n_trials = int(self.design.run_ends[self.n_sessions - 1, -1])
        return Found(
            shown=shown,
            counts={"sessions": Count(found=len(shown), expected=self.n_sessions)},
            responses=Count(found=sum(map(len, shown)), expected=n_trials),
        )

    def recordings(self, mask: Mask) -> Iterator[tuple[Recording, tuple[Path, ...]]]:
        """Open the sessions that are there."""
        volumes, blocks = VolumeFiles(mask, 1 / INTERVAL_S, _SCALE), TrialBlocks()
        names = self.survey.names(self.place)
        for session in range(self.n_sessions):
            path = self._file(session, names)
            if path is None:
                continue
            images = self.design.session(self.subject, session)
            _check(path, len(images), mask.inside.shape)
            if path.suffix == ".hdf5":
                read = _hdf5_reader(path, len(images), mask.inside)
                reader = blocks.reader(read, len(images), len(mask.channels))
            else:
                reader = volumes.recording(path).reader
            recording = betas_recording(
                f"subj{self.subject}_session{session + 1:02d}",
                channels=mask.channels,
                labels=[str(image) for image in images.tolist()],
                interval_s=INTERVAL_S,
                reader=reader,
                subject=self.subject,
                session=f"{session + 1:02d}",
            )
            yield recording, (path,)

    def _file(self, session: int, names: frozenset[str]) -> Path | None:
        stem = f"betas_session{session + 1:02d}"
        there = [name for name in (f"{stem}.hdf5", f"{stem}.nii.gz") if name in names]
        return self.place / there[0] if there else None


def _dataset(file: Hdf5, n_trials: int, grid: tuple[int, ...]) -> Any:
    """Betas of an open file, axes (trial, z, y, x)."""
    return file.dataset("betas", shape=(n_trials, *reversed(grid)), kinds="i")


def _check(path: Path, n_trials: int, grid: tuple[int, ...] | None) -> bool:
    """Refuse a file that was cut off, or is not of so many trials and of voxels on this grid."""
    if path.suffix == ".hdf5":
        with open_hdf5(path) as file:
            if grid is None:
                file.dataset("betas", shape=(n_trials, None, None, None), kinds="i")
            else:
                _dataset(file, n_trials, grid)
        return True
    shape, _ = check_nifti(path, 4)
    if shape[3] != n_trials or grid not in (None, shape[:3]):
        raise UserError(f"{path}: has shape {shape}, not {(*(grid or shape[:3]), n_trials)}; get it again")
    return True


def _hdf5_reader(
    path: Path, n_trials: int, inside: NDArray[np.bool_]
) -> Callable[[int, int], NDArray[np.float32]]:
    """Reader of the trials of a session, percent of signal change; the file is open only meanwhile."""
    edges = np.diff(inside.astype(np.int8), axis=2, prepend=0, append=0)
    # stretches of voxels along z, in the order of the channels
    begins, ends = np.argwhere(edges == 1).tolist(), np.argwhere(edges == -1).tolist()
    n_voxels = int(inside.sum())

    def read(start: int, stop: int) -> NDArray[np.float32]:
        out = np.empty((stop - start, n_voxels), dtype=np.float32)
        with open_hdf5(path) as file:
            betas = _dataset(file, n_trials, inside.shape)
            at = 0
            for (x, y, begin), (_, _, end) in zip(begins, ends, strict=True):
                out[:, at : at + end - begin] = betas[start:stop, begin:end, y, x]
                at += end - begin
        out *= _SCALE
        return out

    return read
