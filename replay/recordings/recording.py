"""A recording: continuous samples of one device, and markers that are sample indices."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from rtdecode.signal.stretches import stretches

if TYPE_CHECKING:
    from pathlib import PurePath

    from rtdecode.contracts.signal import Channel

Read = Callable[[int, int], NDArray[np.float64]]
"""``(start, stop)`` to samples of shape ``(stop - start, n_channels)``, SI units."""

GAP_S = 0.1
"""A step of the stamps that is longer than one sample by more than this is a break; so is one backwards."""


def segment_starts(stamps: NDArray[np.float64], rate_hz: float) -> tuple[int, ...]:
    """First sample of each stretch of ``stamps`` (seconds) without a break, by the rules that hold live."""
    return tuple(stretch.start for stretch in stretches(stamps, rate_hz, GAP_S))


def array_reader(samples: NDArray[np.float64]) -> Read:
    """Read from samples that are in memory, shape ``(n_samples, n_channels)``, SI units."""
    return lambda start, stop: samples[start:stop]


@dataclass(frozen=True, eq=False, slots=True)
class Markers:
    """What happened, and at which sample.

    Parameters
    ----------
    sample : array of shape (n,), int64
        Onset samples, not decreasing.
    label : sequence of n str
        What each marker says.
    residual_us : array of shape (n,), float64, optional
        Each event's time minus its sample's, microseconds; None where events happened on their samples, or
        nobody knows better.

    Raises
    ------
    ValueError
        If the lengths differ, the samples decrease or are negative, or a residual is no number.
    """

    sample: NDArray[np.int64]
    label: Sequence[str]
    residual_us: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        sample = np.asarray(self.sample, dtype=np.int64)
        if sample.ndim != 1 or len(sample) != len(self.label):
            raise ValueError(f"{len(self.label)} labels for samples of shape {sample.shape}")
        if len(sample) and (sample[0] < 0 or np.any(np.diff(sample) < 0)):
            raise ValueError("marker samples must not be negative and not decrease")
        if self.residual_us is not None:
            residual_us = np.asarray(self.residual_us, dtype=np.float64)
            if residual_us.shape != sample.shape or not np.isfinite(residual_us).all():
                raise ValueError(f"residuals {residual_us} for {len(sample)} markers")
            object.__setattr__(self, "residual_us", residual_us)
        object.__setattr__(self, "sample", sample)
        object.__setattr__(self, "label", tuple(self.label))

    @classmethod
    def in_order(
        cls,
        sample: Sequence[int] | NDArray[np.int64],
        label: Sequence[str],
        residual_us: Sequence[float] | NDArray[np.float64] | None = None,
    ) -> Self:
        """Markers in any order; those at one time keep theirs."""
        unsorted = np.asarray(sample, dtype=np.int64)
        residual = np.zeros(len(unsorted)) if residual_us is None else np.asarray(residual_us, np.float64)
        order = np.lexsort((residual, unsorted))
        return cls(
            unsorted[order],
            [label[i] for i in order],
            None if residual_us is None else residual[order],
        )

    @property
    def residual_s(self) -> NDArray[np.float64]:
        """The residuals in seconds, zeros where none are known; shape ``(n,)``."""
        return np.zeros(len(self)) if self.residual_us is None else 1e-6 * self.residual_us

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Recording:
    """Continuous samples of one device, read as they are needed, and markers at sample indices.

    Parameters
    ----------
    name
        Name of the recording, by default the file's without its ending.
    rate_hz
        Nominal sampling rate.
    channels
        In the order of the samples' columns.
    n_samples
        Number of samples of each channel.
    markers
        Onset samples and labels.
    reader
        Reads samples ``start`` to ``stop``, shape ``(stop - start, n_channels)``, float64, SI units;
        :func:`array_reader` where they are in memory.
    simulated
        Whether the signals were made by a simulator.
    stamps : array of shape (n_samples,), optional
        When each sample was stamped, seconds of the recording device's own clock, as recorded: with its
        jitter, bursts and gaps. None where the format keeps none.
    segment_starts
        First sample of each stretch that was recorded without a break; the first is 0. A filter starts
        afresh there, and no window may cross it.
    subject, session, run
        Where the name tells them (BIDS entities), else empty.

    Raises
    ------
    ValueError
        If two of these do not fit each other.
    """

    name: str
    rate_hz: float
    channels: tuple[Channel, ...] = field(repr=False)
    n_samples: int
    markers: Markers = field(repr=False)
    reader: Read = field(repr=False)
    simulated: bool = False
    stamps: NDArray[np.float64] | None = field(default=None, repr=False)
    segment_starts: tuple[int, ...] = (0,)
    subject: str = ""
    session: str = ""
    run: str = ""

    def __post_init__(self) -> None:
        names = self.channel_names
        if not names or len(set(names)) != len(names):
            raise ValueError("a recording needs channels, each with its own name")
        if not (np.isfinite(self.rate_hz) and self.rate_hz > 0):
            raise ValueError(f"sampling rate {self.rate_hz} Hz")
        if len(self.markers) and self.markers.sample[-1] >= self.n_samples:
            raise ValueError(f"marker at sample {self.markers.sample[-1]} of {self.n_samples}")
        if self.stamps is not None and self.stamps.shape != (self.n_samples,):
            raise ValueError(f"{self.stamps.shape} stamps for {self.n_samples} samples")
        starts = np.asarray(self.segment_starts)
        if starts[0] != 0 or np.any(np.diff(starts) <= 0) or starts[-1] > max(self.n_samples - 1, 0):
            raise ValueError(f"segments start at {self.segment_starts} in {self.n_samples} samples")

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names, in the order of the samples' columns."""
        return tuple(channel.name for channel in self.channels)

    @property
    def duration_s(self) -> float:
        """Seconds of signal, breaks excluded."""
        return self.n_samples / self.rate_hz

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Read samples ``start`` (included) to ``stop`` (excluded).

        Returns
        -------
        array of shape (stop - start, n_channels), float64
            SI units.

        Raises
        ------
        IndexError
            If the recording has no such samples.
        UserError
            If the file cannot give them (it is damaged, or was moved).
        """
        return np.ascontiguousarray(self._read(start, stop))

    def read_channels(self, start: int, stop: int, channels: Sequence[int]) -> NDArray[np.float64]:
        """Read samples of some channels, each channel's in one piece, as filters want them.

        Parameters
        ----------
        start, stop
            As for :meth:`read`.
        channels
            Their places among all channels, in the order in which they are wanted.

        Returns
        -------
        array of shape (len(channels), stop - start), float64
            SI units.

        Raises
        ------
        IndexError, UserError
            As for :meth:`read`.
        """
        samples = self._read(start, stop).T
        first = channels[0]
        if list(channels) == list(range(first, first + len(channels))):  # in one piece: nothing to gather
            return np.ascontiguousarray(samples[first : first + len(channels)])
        return np.ascontiguousarray(samples[channels])

    def blocks(self, n: int) -> Iterator[NDArray[np.float64]]:
        """Read all samples in order, ``n`` at a time; the last block may be shorter."""
        for start in range(0, self.n_samples, n):
            yield self.read(start, min(start + n, self.n_samples))

    def _read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Samples as the reader laid them into memory."""
        if not 0 <= start <= stop <= self.n_samples:
            raise IndexError(f"samples {start} to {stop} of {self.n_samples}")
        if start == stop:
            return np.empty((0, len(self.channels)))
        return np.asarray(self.reader(start, stop), dtype=np.float64)


def bids_entities(path: PurePath) -> tuple[str, str, str]:
    """Subject, session and run as a BIDS file name tells them; empty where it does not.

    >>> bids_entities(PurePath("sub-01_ses-a_task-x_run-2_eeg.vhdr"))
    ('01', 'a', '2')
    """
    found = dict(re.findall(r"(?:^|_)(sub|ses|run)-([a-zA-Z0-9]+)", path.name))
    return found.get("sub", ""), found.get("ses", ""), found.get("run", "")
