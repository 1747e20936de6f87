"""CTF recordings: a folder ``NAME.ds`` with a header ``NAME.res4`` and the signal in ``NAME.meg4``.

MNE reads the header. The samples are read here: they lie trial by trial, in each trial channel by channel,
and a continuous recording may be one trial of half a gigabyte, all of which MNE reads for each block of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_HEADER = struct.Struct(">ih2xddh")
_HEADER_AT = 1288
_HEADS = (b"MEG41RS", b"MEG42RS", b"MEG4RES")
_SIGNAL_HEAD = 8


@dataclass(frozen=True, slots=True)
class CtfHeader:
    """What a ``.res4`` says of the signal's shape.

    Parameters
    ----------
    n_channels
        Channels, among them references and triggers.
    n_samples
        Samples of a trial.
    n_trials
        Trials, one after another.
    rate_hz
        Sampling rate.
    """

    n_channels: int
    n_samples: int
    n_trials: int
    rate_hz: float

    @property
    def n_bytes(self) -> int:
        """Size of the signal's file."""
        return _SIGNAL_HEAD + 4 * self.n_channels * self.n_samples * self.n_trials

    @property
    def duration_s(self) -> float:
        """Seconds of signal."""
        return self.n_samples * self.n_trials / self.rate_hz


def ctf_file(folder: Path, ending: str) -> Path:
    """File of a recording's folder, such as its ``res4``."""
    return folder / f"{folder.stem}.{ending}"


def read_header(path: Path) -> CtfHeader:
    """Read the shape of the signal from a ``.res4``.

    Raises
    ------
    ValueError
        If it is none; the text says so.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER_AT + _HEADER.size)
    if len(head) < _HEADER_AT + _HEADER.size or not head.startswith(_HEADS):
        raise ValueError("does not begin as the header of a CTF recording")
    n_samples, n_channels, rate_hz, _, n_trials = _HEADER.unpack_from(head, _HEADER_AT)
    if n_samples < 1 or n_channels < 1 or n_trials < 1 or not 0 < rate_hz < 1e6:
        raise ValueError(
            f"says {n_channels} channels, {n_trials} trials of {n_samples} samples, {rate_hz} Hz"
        )
    return CtfHeader(n_channels, n_samples, n_trials, rate_hz)


@dataclass(frozen=True, slots=True)
class CtfSamples:
    """Samples of a recording, read as they are asked for.

    Parameters
    ----------
    files
        Of the signal, in order.
    header
        Its shape.
    factors : array of shape (n_channels,)
        From the numbers in the files to SI.
    """

    files: tuple[Path, ...]
    header: CtfHeader
    factors: NDArray[np.float64]

    def lengths(self) -> list[int]:
        """Whole trials' samples of each file."""
        trial = 4 * self.header.n_channels * self.header.n_samples
        return [(path.stat().st_size - _SIGNAL_HEAD) // trial * self.header.n_samples for path in self.files]

    def read(self, start: int, stop: int, channels: slice = slice(None)) -> NDArray[np.float64]:
        """Read samples, shape ``(stop - start, n_channels)``, of all channels or of some.

        Raises
        ------
        OSError, ValueError
            If a file is gone, or shorter than it was.
        """
        n = self.header.n_samples
        pieces = []
        begin = 0
        for path, length in zip(self.files, self.lengths(), strict=True):
            first, last = max(start, begin), min(stop, begin + length)
            if first < last:
                shape = (length // n, self.header.n_channels, n)
                trials = np.memmap(path, dtype=">i4", mode="r", offset=_SIGNAL_HEAD, shape=shape)
                at = first
                while at < last:
                    trial, sample = divmod(at - begin, n)
                    end = min(sample + last - at, n)
                    pieces.append(trials[trial, channels, sample:end].T * self.factors[channels])
                    at += end - sample
            begin += length
        if begin < stop:
            raise ValueError(f"the signal ends at sample {begin} of {stop}")
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
