"""Runs of fMRI on disk: one subject's 4-D NIfTI files, whose voxels of one mask are the channels."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replay.recordings.nifti import read_volumes
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from replay.recordings import Recording
    from replay.recordings.nifti import Mask
    from replay.recordings.recording import Read


class VolumeFiles:
    """Opens runs whose files are read as they are needed, of which one at a time is open: there are hundreds.

    Parameters
    ----------
    mask
        Its voxels are the channels of all runs, and are held once.
    rate_hz
        Volumes a second; None: each file's header tells.
    scale
        What the files' numbers are multiplied with.
    """

    def __init__(self, mask: Mask, rate_hz: float | None = None, scale: float = 1.0) -> None:
        self._mask = mask
        self._rate_hz = rate_hz
        self._scale = scale
        self._last: tuple[Path, Recording] | None = None

    def recording(self, path: Path) -> Recording:
        """Open a run; its markers are for others to say.

        Raises
        ------
        UserError
            See :func:`replay.recordings.nifti.read_volumes`.
        """
        recording = read_volumes(path, self._mask, self._rate_hz)
        return replace(recording, reader=self._reader(path, recording.n_samples))

    def _reader(self, path: Path, n_volumes: int) -> Read:
        def read(start: int, stop: int) -> NDArray[np.float64]:
            last = self._last
            if last is None or last[0] != path:
                self._last = None
                last = self._last = (path, read_volumes(path, self._mask, self._rate_hz))
            if last[1].n_samples != n_volumes:
                raise UserError(f"{path}: has other volumes than when it was opened; open it again")
            return last[1].read(start, stop) * self._scale

        return read
