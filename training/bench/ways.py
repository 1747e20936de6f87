"""Ways from a recording on disk to windows on disk: ours, and two of MNE's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from threadpoolctl import threadpool_limits

from training.bench.usage import peak_rss_mb
from training.prepare import SignalSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIGNAL = SignalSettings(
    highpass_hz=0.1,
    lowpass_hz=40.0,
    order=6,
    family="ellip",
    highpass_order=2,
    tmin_s=-0.2,
    tmax_s=0.8,
    resample_hz=120.0,
)
"""All channels; the low-pass is flat to 0.1 dB up to its edge, as MNE's is."""


RUN = "run.json"
"""File beside the windows that says what they took."""


class Way(StrEnum):
    """How windows are made; MNE's second way has a causal filter, as ours."""

    OURS = "rtdecode"
    MNE = "mne"
    MNE_IIR = "mne-iir"


@dataclass(frozen=True, slots=True)
class Run:
    """What a way took.

    Parameters
    ----------
    windows
        How many were written.
    seconds, cpu_s
        On the clock, and of all the processor's cores together.
    peak_rss_mb, imports_rss_mb
        Most memory that was resident, MiB, and how much of it before the first byte was read.
    """

    windows: int
    seconds: float
    cpu_s: float
    peak_rss_mb: float
    imports_rss_mb: float


def take(way: Way, recording: Path, output: Path) -> Run:
    """Make windows in this process, on one thread.

    The packages are imported before the clock starts. What they load when first used, reading and writing
    count; what is written stays in the system's cache, as what is read comes from there.

    Parameters
    ----------
    way
        Which. Of :data:`SIGNAL` MNE takes the edges, the window and the rate, and all else is its default.
    recording
        FIF file with a trigger channel.
    output
        Folder for what comes out.
    """
    prepare = _ours() if way is Way.OURS else _mne(causal=way is Way.MNE_IIR)
    with threadpool_limits(1):
        imports_rss_mb, cpu_s, began = peak_rss_mb(), time.process_time(), time.perf_counter()
        windows = prepare(recording, output)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu_s
    return Run(windows, seconds, cpu_s, peak_rss_mb(), imports_rss_mb)


def _ours() -> Callable[[Path, Path], int]:
    import mne.io  # noqa: F401 (it reads the file for us, too)

    from replay.recordings import read_recording
    from training.prepare import prepare

    def run(recording: Path, output: Path) -> int:
        return len(prepare([read_recording(recording)], SIGNAL, output / "trials"))

    return run


def _mne(*, causal: bool) -> Callable[[Path, Path], int]:
    import mne

    def run(recording: Path, output: Path) -> int:
        with mne.use_log_level("error"):
            raw = mne.io.read_raw_fif(recording, preload=True)
            events = mne.find_events(raw, shortest_event=1)
            how = {"method": "iir", "phase": "forward"} if causal else {}
            raw.filter(SIGNAL.highpass_hz, SIGNAL.lowpass_hz, **how)
            raw, events = raw.resample(SIGNAL.resample_hz, events=events)
            epochs = mne.Epochs(raw, events, tmin=SIGNAL.tmin_s, tmax=SIGNAL.tmax_s, baseline=None)
            epochs.save(output / "windows-epo.fif")
            return len(epochs)

    return run
