"""The signals' files: pickled dictionaries of an array and what its axes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.datasets.numpy_pickle import StoredArray, read_pickled
from replay.recordings.montage import placed
from replay.recordings.triggers import trigger_markers
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.signal.markers import TriggerSettings

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.recordings import Markers

STIM = "stim"
TARGET = "99999"
"""Code of the trials with the target, which was to be answered with a key."""

_CODES = TriggerSettings(mask=0xFFFFFF)
_BLOCK = 1 << 16
_MONTAGE = "easycap-M1"
_MOST_CHANNELS = 512


@dataclass(frozen=True, slots=True)
class RawPart:
    """One session's training or test.

    Parameters
    ----------
    path
        Its file.
    channels
        In the order of the array's rows.
    rate_hz
        Sampling rate.
    array
        Of shape (n_channels, n_samples), volts.
    """

    path: Path
    channels: tuple[Channel, ...]
    rate_hz: float
    array: StoredArray

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""
        return self.array.shape[1]

    @property
    def n_electrodes(self) -> int:
        """Channels without that of the events."""
        return sum(channel.type is ChannelType.EEG for channel in self.channels)

    def events(self) -> Markers:
        """Read the channel of events; labels are codes, among them :data:`TARGET`."""
        names = [channel.name for channel in self.channels]
        row = self.array.open()[names.index(STIM)]
        blocks = (np.asarray(row[start : start + _BLOCK], np.float64) for start in range(0, len(row), _BLOCK))
        return trigger_markers(self.path, STIM, blocks, _CODES)

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Read samples, shape ``(stop - start, n_channels)``."""
        return np.asarray(self.array.open()[:, start:stop], dtype=np.float64).T


@dataclass(frozen=True, slots=True)
class EpochPart:
    """The pre-processed training or test of a subject.

    Parameters
    ----------
    path
        Its file.
    channels
        In the order of the array's third axis.
    rate_hz
        Sampling rate.
    tmin_s, n_leading
        Seconds from onset to the first sample; how many of ``times`` come before it.
    array
        Of shape (n_images, n_repetitions, n_channels, n_times), without a unit.
    """

    path: Path
    channels: tuple[Channel, ...]
    rate_hz: float
    tmin_s: float
    n_leading: int
    array: StoredArray

    @property
    def n_repetitions(self) -> int:
        """Epochs of each image."""
        return self.array.shape[1]

    @property
    def n_epochs(self) -> int:
        """Epochs of all images."""
        return self.array.shape[0] * self.array.shape[1]

    @property
    def onset(self) -> int:
        """At which sample of an epoch the image came."""
        return round(-self.tmin_s * self.rate_hz)

    def read(self, start: int, stop: int) -> NDArray[np.floating]:
        """Read epochs, image by image, shape ``(stop - start, n_channels, n_times)``."""
        array = self.array.open()
        return np.stack([array[divmod(epoch, self.n_repetitions)] for epoch in range(start, stop)])


def read_raw(path: Path) -> RawPart:
    """Open a ``raw_eeg_*.npy``; no number of its signal is read.

    Raises
    ------
    UserError
        If it is missing, damaged or hostile, or something else is in it.
    """
    content = _dictionary(path)
    names = _names(path, content)
    types = content.get("ch_types")
    rate_hz = content.get("sfreq")
    array = _array(path, content, "raw_eeg_data", n_axes=2, axis=0, n=len(names))
    if not isinstance(types, list) or len(types) != len(names) or types.count(STIM) != 1 or STIM not in names:
        raise _odd(path, "does not say which one of its channels holds the events")
    if not isinstance(rate_hz, int | float) or not 0 < rate_hz < 1e6:
        raise _odd(path, "does not say its sampling rate")
    kinds = {"eeg": (ChannelType.EEG, Unit.VOLT), STIM: (ChannelType.STIM, Unit.NONE)}
    channels = [
        Channel(name=name, type=kind, unit=unit)
        for name, (kind, unit) in zip(
            names,
            (kinds.get(str(text), (ChannelType.MISC, Unit.NONE)) for text in types),
            strict=True,
        )
    ]
    if channels[names.index(STIM)].type is not ChannelType.STIM:
        raise _odd(path, "does not say which one of its channels holds the events")
    return RawPart(path, placed(channels, _MONTAGE), float(rate_hz), array)


def read_epochs(path: Path) -> EpochPart:
    """Open a ``preprocessed_eeg_*.npy``; no number of its signal is read.

    ``times`` may have more values than the epochs have samples: then the first ones are of samples that were
    cut off.

    Raises
    ------
    UserError
        If it is missing, damaged or hostile, or something else is in it.
    """
    content = _dictionary(path)
    names = _names(path, content)
    array = _array(path, content, "preprocessed_eeg_data", n_axes=4, axis=2, n=len(names))
    times_s = _numbers(content.get("times"))
    n_leading = len(times_s) - array.shape[3]
    steps_s = np.diff(times_s)
    if (
        n_leading < 0
        or len(steps_s) < 1
        or not np.allclose(steps_s, steps_s[0], rtol=1e-3)
        or steps_s[0] <= 0
    ):
        raise _odd(path, "does not say at which times its samples lie")
    rate_hz = round(1 / float(np.mean(steps_s)), 6)
    channels = [Channel(name=name, type=ChannelType.EEG, unit=Unit.NONE) for name in names]
    tmin_s = float(times_s[n_leading])
    last_s = tmin_s + (array.shape[3] - 1) / rate_hz
    if not tmin_s < 0.5 / rate_hz or last_s < 0:
        raise _odd(path, "holds epochs in which no image came")
    return EpochPart(path, placed(channels, _MONTAGE), rate_hz, tmin_s, n_leading, array)


def _dictionary(path: Path) -> dict[Any, Any]:
    content = read_pickled(path)
    if not isinstance(content, dict):
        raise _odd(path, "holds no dictionary")
    return content


def _names(path: Path, content: dict[Any, Any]) -> list[str]:
    names = content.get("ch_names")
    if (
        not isinstance(names, list)
        or not 0 < len(names) <= _MOST_CHANNELS
        or not all(isinstance(name, str) and 0 < len(name) <= 32 and name.isprintable() for name in names)
        or len(set(names)) < len(names)
    ):
        raise _odd(path, "does not name its channels")
    return [str(name) for name in names]


def _array(path: Path, content: dict[Any, Any], key: str, *, n_axes: int, axis: int, n: int) -> StoredArray:
    """Give the array of the signal, one of whose axes has the length of the channels."""
    array = content.get(key)
    if not isinstance(array, StoredArray) or array.dtype.kind not in "fi" or len(array.shape) != n_axes:
        raise _odd(path, f"holds no {key} of {n_axes} axes")
    if array.shape[axis] != n or 0 in array.shape:
        raise _odd(path, f"{key} has shape {array.shape} with {n} names of channels")
    return array


def _numbers(found: Any) -> NDArray[np.float64]:
    """Numbers of a small array; none where it is none."""
    if not isinstance(found, StoredArray) or found.dtype.kind not in "fi" or len(found.shape) != 1:
        return np.empty(0)
    numbers = np.asarray(found.open(), dtype=np.float64)
    return numbers if np.all(np.isfinite(numbers)) else np.empty(0)


def _odd(path: Path, text: str) -> UserError:
    return UserError(f"{path}: {text}; get it again from where it was published")
