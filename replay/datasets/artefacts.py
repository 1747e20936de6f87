"""What gets into EEG besides the brain: mains hum, drift, blinks, the heart, muscles, loose electrodes.

Each is a function of the sample's place in the session alone, so that any stretch can be made on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.datasets.head import EegHead

    Array = NDArray[np.float64]


_HEARTBEAT = ((-0.15, 0.055, 0.008), (1.0, 0.08, 0.010), (-0.25, 0.105, 0.010), (0.25, 0.33, 0.040))
"""Q, R, S and T: height, time and width in seconds."""


@dataclass(frozen=True, slots=True)
class Event:
    """A short artefact: ``samples`` (n, n_channels), volts, from sample ``start`` of the session."""

    start: int
    samples: NDArray[np.float32]


def _poisson_times(rng: np.random.Generator, rate_hz: float, duration_s: float) -> Array:
    return np.sort(rng.uniform(0.0, duration_s, size=rng.poisson(rate_hz * duration_s)))


def _offsets_from(head: EegHead, *electrodes: str) -> Array:
    """Distance of each channel from the nearest of some places, metres, shape (n_channels,)."""
    positions = np.array([channel.position_m for channel in head.channels])
    places = np.array([head.landmarks_m[name] for name in electrodes])
    distance: Array = np.linalg.norm(positions[:, None] - places, axis=2).min(axis=1)
    return distance


def blinks(
    head: EegHead, rng: np.random.Generator, rate_hz: float, duration_s: float, peak_v: float, per_min: float
) -> list[Event]:
    """Blinks: a fast rise and a slower fall over 0.35 s, strongest at the forehead."""
    topography = np.exp(-0.5 * (_offsets_from(head, "Fp1", "Fp2") / 0.045) ** 2)
    time_s = np.arange(round(0.35 * rate_hz)) / rate_hz
    wave = np.where(
        time_s < 0.11, np.sin(np.pi / 2 * time_s / 0.11) ** 2, np.cos(np.pi / 2 * (time_s - 0.11) / 0.24) ** 2
    )
    shape = (wave[:, None] * topography).astype(np.float32)
    return [
        Event(int(start_s * rate_hz), shape * np.float32(peak_v * rng.lognormal(0.0, 0.25)))
        for start_s in _poisson_times(rng, per_min / 60, duration_s)
    ]


def heartbeats(
    head: EegHead, rng: np.random.Generator, rate_hz: float, duration_s: float, peak_v: float
) -> list[Event]:
    """Heartbeats at about 66 a minute: QRS and T wave, as a weak field from the lower left."""
    positions = np.array([channel.position_m for channel in head.channels])
    slope = (positions - head.centre_m) @ np.array([-0.7, 0.2, -0.7])
    topography = slope / np.abs(slope).max()
    time_s = np.arange(round(0.5 * rate_hz)) / rate_hz
    wave = np.zeros_like(time_s)
    for height, centre_s, width_s in _HEARTBEAT:
        wave += height * np.exp(-0.5 * ((time_s - centre_s) / width_s) ** 2)
    shape = (np.float32(peak_v) * wave[:, None] * topography).astype(np.float32)
    n = int(duration_s / 0.5) + 1
    slow = 0.04 * np.sin(2 * np.pi * 0.25 * 0.91 * np.arange(n) + rng.uniform(0, 2 * np.pi))  # breathing
    at_s = np.cumsum(np.maximum(0.91 * (1 + slow + 0.025 * rng.normal(size=n)), 0.5))
    return [Event(int(start_s * rate_hz), shape) for start_s in at_s[at_s < duration_s]]


def muscle_bursts(
    head: EegHead, rng: np.random.Generator, rate_hz: float, duration_s: float, sd_v: float, per_min: float
) -> list[Event]:
    """Jaw and forehead muscles: 0.4 to 1.2 s of fast noise on one side."""
    events = []
    for start_s in _poisson_times(rng, per_min / 60, duration_s):
        side = ("FT9", "F7") if rng.random() < 0.5 else ("FT10", "F8")
        topography = np.exp(-0.5 * (_offsets_from(head, *side) / 0.035) ** 2)
        n = round(rng.uniform(0.4, 1.2) * rate_hz)
        noise = np.diff(rng.normal(size=(n + 1, len(topography))), axis=0) / np.sqrt(2)  # high frequencies
        swell = sd_v * rng.lognormal(0.0, 0.3) * np.sin(np.pi * np.arange(n) / n)
        events.append(Event(int(start_s * rate_hz), (swell[:, None] * noise * topography).astype(np.float32)))
    return events


def electrode_pops(
    head: EegHead, rng: np.random.Generator, rate_hz: float, duration_s: float, step_v: float, per_min: float
) -> list[Event]:
    """Loose electrodes: a sudden step on one channel that decays within a second."""
    decay = np.exp(-np.arange(round(1.5 * rate_hz)) / (0.3 * rate_hz))
    events = []
    for start_s in _poisson_times(rng, per_min / 60, duration_s):
        samples = np.zeros((len(decay), len(head.channels)), dtype=np.float32)
        samples[:, rng.integers(len(head.channels))] = (
            rng.choice((-1, 1)) * step_v * rng.lognormal(0.0, 0.4) * decay
        )
        events.append(Event(int(start_s * rate_hz), samples))
    return events


class Background:
    """Continuous disturbances: electrode offsets, their slow drift, and mains hum with its third harmonic.

    Parameters
    ----------
    n_channels
        Number of channels.
    rng
        The session's.
    offset_v, drift_v, line_v
        Standard deviation of the offsets over channels, of the drift over time, and of the hum.
    line_hz
        Mains frequency.
    """

    def __init__(
        self,
        n_channels: int,
        rng: np.random.Generator,
        offset_v: float,
        drift_v: float,
        line_v: float,
        line_hz: float,
    ) -> None:
        n_slow = 6
        self._offset = offset_v * rng.normal(size=n_channels)
        self._slow_hz = 1 / np.geomspace(30.0, 600.0, n_slow) * rng.uniform(0.8, 1.25, size=n_slow)
        self._slow = drift_v * rng.normal(size=(2 * n_slow, n_channels)) / np.sqrt(n_slow)
        self._line_hz = line_hz + 0.02 * rng.normal()  # the mains wander
        strength = line_v * rng.lognormal(-0.125, 0.5, size=n_channels)
        phase = rng.uniform(0, 2 * np.pi) + 0.4 * rng.normal(size=n_channels)
        waves = [strength * np.sqrt(2) * np.cos(phase), strength * np.sqrt(2) * np.sin(phase)]
        third = rng.uniform(0, 2 * np.pi, size=n_channels)
        waves += [0.25 * strength * np.cos(third), 0.25 * strength * np.sin(third)]
        self._line = np.array(waves)
        self._swell_phase = rng.uniform(0, 2 * np.pi)

    def samples(self, time_s: Array) -> Array:
        """Give the disturbance at times of the session, shape (n_times, n_channels), volts."""
        slow = 2 * np.pi * time_s[:, None] * self._slow_hz
        hum = 2 * np.pi * self._line_hz * time_s
        swell = 1 + 0.3 * np.sin(2 * np.pi * 0.07 * time_s + self._swell_phase)
        waves = np.column_stack(
            [
                np.cos(slow),
                np.sin(slow),
                swell * np.cos(hum),
                swell * np.sin(hum),
                np.cos(3 * hum),
                np.sin(3 * hum),
            ]
        )
        disturbance: Array = self._offset + waves @ np.concatenate([self._slow, self._line])
        return disturbance
