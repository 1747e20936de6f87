"""A SIMULATED MEG recording on disk, as a lab would hand it over: FIF with a trigger channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.recording import Markers, Recording
from rtdecode.contracts import ChannelType
from training.bench.models import sensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

N_CHANNELS = 272
RATE_HZ = 1200.0

_SD_T = 1e-13
_BLOCK = 1200
_SOA_S = 1.5
_SOA_SPREAD_S = 0.2
_LEAD_S = 10.0
_TRIGGER = "STI101"
_TRIGGER_S = 0.01


def simulated_meg(minutes: float) -> Recording:
    """Noise of MEG's strength in 272 channels at 1200 Hz, and an image each 1.5 s give or take 0.2 s.

    Samples are made when they are read, the same ones for any order of reading.
    """
    rng = np.random.default_rng(0)
    n_samples = round(60 * minutes * RATE_HZ)
    most = int(60 * minutes / (_SOA_S - _SOA_SPREAD_S)) + 1
    onsets_s = _LEAD_S + rng.uniform(_SOA_S - _SOA_SPREAD_S, _SOA_S + _SOA_SPREAD_S, most).cumsum()
    onsets = np.rint(onsets_s * RATE_HZ).astype(np.int64)
    onsets = onsets[onsets < n_samples]
    return Recording(
        name="meg",
        rate_hz=RATE_HZ,
        channels=sensors(N_CHANNELS, ChannelType.MAG),
        n_samples=n_samples,
        markers=Markers(onsets, [str(1 + number) for number in range(len(onsets))]),
        reader=_noise,
        simulated=True,
    )


def write_fif(path: Path, recording: Recording, moved: Callable[[int], None]) -> None:
    """Write a recording block by block, with each marker's code for 10 ms in a trigger channel.

    Parameters
    ----------
    path
        ``NAME_raw.fif``; beyond 2 GB the next parts are ``NAME_raw-1.fif`` and so on.
    recording
        Its markers' labels are numbers.
    moved
        Told the samples written so far.
    """
    import mne

    names = list(recording.channel_names)
    info = mne.create_info([*names, _TRIGGER], recording.rate_hz, [*(["mag"] * len(names)), "stim"])
    onsets, codes = recording.markers.sample, np.array(recording.markers.label, np.float64)
    held = round(_TRIGGER_S * recording.rate_hz)

    class Raw(mne.io.BaseRaw):  # type: ignore[misc]
        """Gives MNE the recording as it asks for it."""

        def _read_segment_file(
            self,
            data: NDArray[np.float64],
            idx: Any,
            fi: int,  # noqa: ARG002
            start: int,
            stop: int,
            cals: object,  # noqa: ARG002
            mult: object,  # noqa: ARG002
        ) -> None:
            rows = np.zeros((len(names) + 1, stop - start))
            rows[:-1] = recording.read(start, stop).T
            for near in np.flatnonzero((onsets > start - held) & (onsets < stop)):
                at = onsets[near] - start
                rows[-1, max(at, 0) : at + held] = codes[near]
            data[:] = rows[idx]
            moved(stop)

    raw = Raw(info, last_samps=[recording.n_samples - 1], filenames=[None], orig_format="single")
    raw.save(path, verbose="error")


def _noise(start: int, stop: int) -> NDArray[np.float64]:
    blocks = [
        np.random.default_rng(index).standard_normal((_BLOCK, N_CHANNELS), np.float32)
        for index in range(start // _BLOCK, (stop - 1) // _BLOCK + 1)
    ]
    first = start - start // _BLOCK * _BLOCK
    noise: NDArray[np.float64] = _SD_T * np.concatenate(blocks)[first : first + stop - start].astype(float)
    return noise
