"""What gets into EEG and MEG besides the brain: hum, drift, blinks, the heart, muscles, loose sensors.

Each is a function of the sample's place in the session alone, so that any stretch can be made on its own, and
is made only when that stretch is read.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


_HEARTBEAT = ((-0.15, 0.055, 0.008), (1.0, 0.08, 0.010), (-0.25, 0.105, 0.010), (0.25, 0.33, 0.040))
"""Q, R, S and T: height, time and width in seconds."""


@dataclass(frozen=True, slots=True)
class Event:
    """A short artefact: ``n_samples`` from sample ``start`` of the session.

    ``samples`` makes them: (n_samples, n_channels), in the channels' unit.
    """

    start: int
    n_samples: int
    samples: Callable[[], NDArray[np.float32]]


class Slow(Protocol):
    """A disturbance that never ends."""

    def samples(self, time_s: Array) -> Array:
        """Give the disturbance at times of the session: (n_times, n_channels), in the channels' unit."""
        ...


@dataclass(frozen=True, slots=True)
class Disturbances:
    """All that is neither response nor Gaussian noise in one session."""

    background: Slow
    events: Sequence[Event]


def poisson_times(rng: np.random.Generator, rate_hz: float, duration_s: float) -> Array:
    """Times of what comes by chance, so often a second, in order."""
    return np.sort(rng.uniform(0.0, duration_s, size=rng.poisson(rate_hz * duration_s)))


def blinks(
    topography: Array,
    rng: np.random.Generator,
    rate_hz: float,
    duration_s: float,
    peak: float,
    per_min: float,
) -> list[Event]:
    """Blinks: a fast rise and a slower fall over 0.35 s."""
    time_s = np.arange(round(0.35 * rate_hz)) / rate_hz
    wave = np.where(
        time_s < 0.11, np.sin(np.pi / 2 * time_s / 0.11) ** 2, np.cos(np.pi / 2 * (time_s - 0.11) / 0.24) ** 2
    )
    shape = (wave[:, None] * topography).astype(np.float32)
    return [
        Event(
            int(start_s * rate_hz),
            len(shape),
            partial(np.multiply, shape, np.float32(peak * rng.lognormal(0.0, 0.25))),
        )
        for start_s in poisson_times(rng, per_min / 60, duration_s)
    ]


def heartbeats(
    topography: Array, rng: np.random.Generator, rate_hz: float, duration_s: float, peak: float
) -> list[Event]:
    """Heartbeats at about 66 a minute: QRS and T wave."""
    time_s = np.arange(round(0.5 * rate_hz)) / rate_hz
    wave = np.zeros_like(time_s)
    for height, centre_s, width_s in _HEARTBEAT:
        wave += height * np.exp(-0.5 * ((time_s - centre_s) / width_s) ** 2)
    shape = (np.float32(peak) * wave[:, None] * topography).astype(np.float32)
    n = int(duration_s / 0.5) + 1
    slow = 0.04 * np.sin(2 * np.pi * 0.25 * 0.91 * np.arange(n) + rng.uniform(0, 2 * np.pi))  # breathing
    at_s = np.cumsum(np.maximum(0.91 * (1 + slow + 0.025 * rng.normal(size=n)), 0.5))
    return [Event(int(start_s * rate_hz), len(shape), lambda: shape) for start_s in at_s[at_s < duration_s]]


def muscle_bursts(
    sides: tuple[Array, Array],
    rng: np.random.Generator,
    rate_hz: float,
    duration_s: float,
    sd: float,
    per_min: float,
) -> list[Event]:
    """Jaw and forehead muscles: 0.4 to 1.2 s of fast noise on one side, left or right."""
    events = []
    for start_s in poisson_times(rng, per_min / 60, duration_s):
        topography = sides[0] if rng.random() < 0.5 else sides[1]
        n = round(rng.uniform(0.4, 1.2) * rate_hz)
        draws = deepcopy(rng)  # draws the noise again whenever it is needed
        rng.normal(size=(n + 1, len(topography)))
        strength = sd * rng.lognormal(0.0, 0.3)
        events.append(Event(int(start_s * rate_hz), n, partial(_burst, draws, n, topography, strength)))
    return events


def _burst(draws: np.random.Generator, n: int, topography: Array, strength: float) -> NDArray[np.float32]:
    normal = deepcopy(draws).normal(size=(n + 1, len(topography)))
    noise = np.diff(normal, axis=0) / np.sqrt(2)  # high frequencies
    swell = strength * np.sin(np.pi * np.arange(n) / n)
    burst: NDArray[np.float32] = (swell[:, None] * noise * topography).astype(np.float32)
    return burst


def pops(
    n_channels: int, rng: np.random.Generator, rate_hz: float, duration_s: float, step: float, per_min: float
) -> list[Event]:
    """Loose electrodes, SQUIDs that lose lock: a sudden step on one channel that decays within a second."""
    decay = np.exp(-np.arange(round(1.5 * rate_hz)) / (0.3 * rate_hz))
    events = []
    for start_s in poisson_times(rng, per_min / 60, duration_s):
        course = rng.choice((-1, 1)) * step * rng.lognormal(0.0, 0.4) * decay
        channel = int(rng.integers(n_channels))
        events.append(
            Event(int(start_s * rate_hz), len(course), partial(_on_one, course, channel, n_channels))
        )
    return events


def _on_one(course: Array, channel: int, n_channels: int) -> NDArray[np.float32]:
    samples = np.zeros((len(course), n_channels), dtype=np.float32)
    samples[:, channel] = course
    return samples


class Background:
    """Continuous disturbances: offsets of the sensors, their slow drift, and hum with its third harmonic.

    Parameters
    ----------
    n_channels
        Number of channels.
    rng
        The session's.
    offset, drift, line
        Standard deviation of the offsets over channels, of the drift over time, and of the hum.
    line_hz
        Mains frequency.
    """

    def __init__(
        self,
        n_channels: int,
        rng: np.random.Generator,
        offset: float,
        drift: float,
        line: float,
        line_hz: float,
    ) -> None:
        n_slow = 6
        self._offset = offset * rng.normal(size=n_channels)
        self._slow_hz = 1 / np.geomspace(30.0, 600.0, n_slow) * rng.uniform(0.8, 1.25, size=n_slow)
        self._slow = drift * rng.normal(size=(2 * n_slow, n_channels)) / np.sqrt(n_slow)
        self._line_hz = line_hz + 0.02 * rng.normal()  # the mains wander
        strength = line * rng.lognormal(-0.125, 0.5, size=n_channels)
        phase = rng.uniform(0, 2 * np.pi) + 0.4 * rng.normal(size=n_channels)
        waves = [strength * np.sqrt(2) * np.cos(phase), strength * np.sqrt(2) * np.sin(phase)]
        third = rng.uniform(0, 2 * np.pi, size=n_channels)
        waves += [0.25 * strength * np.cos(third), 0.25 * strength * np.sin(third)]
        self._line = np.array(waves)
        self._swell_phase = rng.uniform(0, 2 * np.pi)

    def samples(self, time_s: Array) -> Array:
        """Give the disturbance at times of the session: (n_times, n_channels), in the channels' unit."""
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
