"""A SIMULATED MEG recording on disk, as a lab would hand it over: FIF with a trigger channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from replay.datasets.simulated import MegSettings, SimulatedSubject

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.recordings.recording import Recording

N_CHANNELS = 272
RATE_HZ = 1200.0

_LEAD_IN_S = 10.0
_LEAD_OUT_S = 2.0
_SOA_S = 1.5
_EMBEDDINGS = (200, 64)
_TRIGGER = "STI101"
_TRIGGER_S = 0.01


def simulated_meg(minutes: float) -> Recording:
    """Record a simulated subject, 272 channels at 1200 Hz, who sees an image each 1.5 s; at least 12 s.

    Samples are made as they are read; the markers are the numbers of the trials, from 1 on.
    """
    known = np.random.default_rng(0).standard_normal(_EMBEDDINGS)
    pictures_s = 60 * minutes - _LEAD_IN_S - _LEAD_OUT_S
    n_trials = 1 + int(pictures_s / _SOA_S)
    return SimulatedSubject(MegSettings(rate_hz=RATE_HZ), known).session(
        [str(1 + trial) for trial in range(n_trials)],
        lambda trials: known[trials % len(known)],
        soa_s=_SOA_S,
        lead_in_s=_LEAD_IN_S,
        lead_out_s=_LEAD_OUT_S + pictures_s - _SOA_S * (n_trials - 1),
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
