"""fMRI: voxels of visual cortex at 3 T (TR 1.5 s, 2 mm) and 7 T (TR 1.6 s, 1.8 mm)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from replay.datasets.simulated.artefacts import Disturbances, Event, poisson_times
from replay.datasets.simulated.device import PEOPLE, Device, Use
from replay.datasets.simulated.noise import Blocks, Component
from replay.datasets.simulated.settings import SubjectSettings
from replay.datasets.simulated.volume import receptive_weights, smooth_maps, visual_cortex
from rtdecode.contracts import Channel, ChannelType, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_BLOCKS = Blocks(chunk=1024, overlap=128)

_PEAKS_S = (4.4, 5.4, 6.6)
"""Haemodynamic responses that voxels mix: early ones, usual ones, and those near draining veins."""

_RESPONSE_S = 30.0
_SPAN_S = (3.0, 8.0)
_N_PHYSIOLOGICAL = 100
"""Smooth fields of physiological noise."""

_BREATH_HZ, _HEART_HZ = 0.27, 1.08


class FmriSettings(SubjectSettings):
    """Dials of a simulated fMRI subject; the defaults make plausible BOLD of visual cortex.

    ``snr`` is about 3-8 s after onset, root mean square over voxels, relative to physiological and thermal
    noise together. The other dials that all devices have are those of
    :class:`~replay.datasets.simulated.settings.SubjectSettings`; ``rate_hz`` is one over the repetition time.

    Parameters
    ----------
    voxel_mm
        Edge of a voxel.
    blur_mm
        Standard deviation of the Gaussian through which the scanner sees cortex: larger where vessels blur.
    resting
        Mean signal of a voxel, in the scanner's arbitrary unit.
    evoked
        Largest average response over voxels, whatever the image; a share of the mean signal, as all that
        follow.
    physiological
        Standard deviation of slow noise from breathing, heart and vessels, smooth over space.
    thermal
        Standard deviation of the scanner's noise, independent in each voxel and volume.
    drift
        Standard deviation over time of slow drifts.
    motion, motions_per_min
        Strength at the edge of tissue, and rate, of displacements that fade as the head settles.
    spike, spikes_per_min
        Strength and rate of single volumes in which one slice is too bright.
    """

    stream: ClassVar[int]
    latency_jitter_s: float = Field(default=0.25, ge=0, le=1)
    session_rotation_rad: float = Field(default=0.05, ge=0)
    voxel_mm: float = Field(ge=1, le=4)
    blur_mm: float = Field(ge=0)
    resting: float = Field(default=1000.0, gt=0)
    evoked: float = Field(gt=0)
    physiological: float = Field(ge=0)
    thermal: float = Field(gt=0)
    drift: float = Field(default=0.008, ge=0)
    motion: float = Field(default=0.03, ge=0)
    motions_per_min: float = Field(default=0.3, ge=0)
    spike: float = Field(default=0.02, ge=0)
    spikes_per_min: float = Field(default=0.1, ge=0)

    def device(self, n_latent: int) -> Device:
        """Put this person into the scanner."""
        cortex = visual_cortex(self.voxel_mm)
        places = cortex.places_mm
        respond, mix = _vessels(self.voxel_mm)
        evoked = mix * respond
        evoked *= self.evoked * self.resting / np.abs(haemodynamic(np.linspace(0, 30, 300)) @ evoked).max()
        weights = receptive_weights(places, n_latent, self.blur_mm) * np.abs(respond)
        return Device(
            name=self.name,
            stream=self.stream,
            channels=tuple(
                Channel(name="-".join(map(str, index)), type=ChannelType.VOXEL, unit=Unit.NONE)
                for index in cortex.index.tolist()
            ),
            rate_hz=self.rate_hz,
            lead_in_s=12.0,
            response_s=_RESPONSE_S,
            evoked_bank=haemodynamic,
            evoked_maps=evoked,
            image_bank=haemodynamic,
            image_patterns=weights[:, None] * mix,
            span_s=_SPAN_S,
            reference_sd=self.resting * float(np.hypot(self.physiological, self.thermal)),
            noise=self._noise(places),
            blocks=_BLOCKS,
            resting=self._resting(),
            disturbances=self._disturbances,
        )

    def _noise(self, places: Array) -> tuple[Component, ...]:
        """Thermal noise; slow physiological noise; breathing and heart, as they look at one image a TR."""
        frequency = _BLOCKS.frequencies(self.rate_hz)
        level = self.noise_level * self.resting
        brain = level * self.coupling * self.physiological
        seed = (PEOPLE, Use.ANATOMY, 0xB0)
        slow = smooth_maps(places, _N_PHYSIOLOGICAL, seed, 0.0, 9.0)
        vessels = smooth_maps(places, 8, (*seed, 1), 0.0, 14.0)
        falling = 1 / (0.008 + frequency)
        folded = [abs(hz - self.rate_hz * round(hz / self.rate_hz)) for hz in (_BREATH_HZ, _HEART_HZ)]
        peaked = sum(np.exp(-0.25 * ((frequency - hz) / 0.012) ** 2) for hz in folded)

        def component(amplitude: Array, mixing: Array, sd: float) -> Component:
            mixing = mixing * (sd / np.sqrt(np.mean(np.sum(mixing**2, axis=0))))
            return Component(_BLOCKS.unit_variance(amplitude)[:, None], mixing)

        thermal = _BLOCKS.unit_variance(np.ones_like(frequency))[:, None] * (level * self.thermal)
        return (
            Component(thermal, None),
            component(falling, slow, 0.87 * brain),
            component(np.asarray(peaked), vessels, 0.5 * brain),
        )

    def _resting(self) -> Array:
        """Mean image: brighter near the coil's elements, darker where fluid or bone share the voxel."""
        places = visual_cortex(self.voxel_mm).places_mm
        (texture,) = smooth_maps(places, 1, (PEOPLE, Use.ANATOMY, 0xB1), 0.0, 6.0)
        coil = 1 - 0.004 * (places[:, 1] + 72)
        resting: Array = self.resting * coil * np.exp(0.12 * texture)
        return resting

    def _disturbances(self, rng: np.random.Generator, duration_s: float) -> Disturbances:
        cortex = visual_cortex(self.voxel_mm)
        places, n_voxels = cortex.places_mm, len(cortex.index)
        scale, time = self.artefacts * self.resting, (self.rate_hz, duration_s)
        events = []
        # The edge of tissue moves: a smooth pattern of bright and dark, whose sign turns over the head.
        (edges,) = smooth_maps(places, 1, (PEOPLE, Use.ANATOMY, 0xB2), 0.0, 4.0)
        for start_s in poisson_times(rng, self.motions_per_min / 60, duration_s):
            direction = rng.normal(size=3)
            pattern = edges * np.tanh(places @ direction / (30.0 * np.linalg.norm(direction)))
            strength = scale * self.motion * rng.lognormal(-0.5, 0.7)
            settling = np.exp(-np.arange(round(30 * time[0])) / (7.0 * time[0]))
            events.append(_event(int(start_s * time[0]), settling, strength * pattern))
        for start_s in poisson_times(rng, self.spikes_per_min / 60, duration_s):
            in_slice = cortex.index[:, 2] == rng.choice(cortex.index[:, 2])
            events.append(_event(int(start_s * time[0]), np.ones(1), scale * self.spike * in_slice))
        return Disturbances(ScannerDrift(n_voxels, rng, scale * self.drift, places), events)


class Fmri3tSettings(FmriSettings):
    """Dials of a simulated subject at 3 T; see :class:`FmriSettings`."""

    name: ClassVar[str] = "simulated-3t"
    title: ClassVar[str] = "fMRI at 3 T, TR 1.5 s, 2 mm"
    stream: ClassVar[int] = 0x3F
    rate_hz: float = Field(default=1 / 1.5, gt=0)
    snr: float = Field(default=0.35, ge=0)
    voxel_mm: float = Field(default=2.0, ge=1, le=4)
    blur_mm: float = Field(default=1.5, ge=0)
    soa_s: float = Field(default=4.5, gt=0)
    evoked: float = Field(default=0.02, gt=0)
    physiological: float = Field(default=0.010, ge=0)
    thermal: float = Field(default=0.012, gt=0)


class Fmri7tSettings(FmriSettings):
    """Dials of a simulated subject at 7 T; see :class:`FmriSettings`."""

    name: ClassVar[str] = "simulated-7t"
    title: ClassVar[str] = "fMRI at 7 T, TR 1.6 s, 1.8 mm"
    stream: ClassVar[int] = 0x7F
    rate_hz: float = Field(default=1 / 1.6, gt=0)
    snr: float = Field(default=0.5, ge=0)
    voxel_mm: float = Field(default=1.8, ge=1, le=4)
    blur_mm: float = Field(default=0.9, ge=0)
    soa_s: float = Field(default=4.8, gt=0)
    evoked: float = Field(default=0.035, gt=0)
    physiological: float = Field(default=0.014, ge=0)
    thermal: float = Field(default=0.012, gt=0)


class ScannerDrift:
    """Slow waves over minutes, smooth over space.

    Parameters
    ----------
    n_voxels
        Number of voxels.
    rng
        The session's.
    sd
        Standard deviation over time, root mean square over voxels.
    places : array of shape (n_voxels, 3)
        Where they are, millimetres.
    """

    def __init__(self, n_voxels: int, rng: np.random.Generator, sd: float, places: Array) -> None:
        n_slow = 5
        self._slow_hz = 1 / np.geomspace(150.0, 1200.0, n_slow) * rng.uniform(0.8, 1.25, size=n_slow)
        plane = np.column_stack([np.ones(n_voxels), places / 40.0])
        self._slow = rng.normal(size=(2 * n_slow, 4)) @ plane.T
        self._slow *= sd / np.sqrt(0.5 * np.mean(np.sum(self._slow**2, axis=0)))

    def samples(self, time_s: Array) -> Array:
        """Give the drift at times of the session: (n_times, n_voxels)."""
        slow = 2 * np.pi * time_s[:, None] * self._slow_hz
        drift: Array = np.column_stack([np.cos(slow), np.sin(slow)]) @ self._slow
        return drift


def haemodynamic(time_s: Array) -> Array:
    """Haemodynamic responses at times from onset, shape (n_times, 3): a peak of height 1, an undershoot.

    Differences of two gamma densities, as in SPM (Friston et al., 1998, NeuroImage 7:30); one for each of
    three latencies of the peak.
    """
    return np.column_stack([_haemodynamic(time_s * (5.0 / peak_s)) for peak_s in _PEAKS_S])


def _haemodynamic(time_s: Array) -> Array:
    """Peak at 5 s."""

    def gamma_density(at_s: Array | float, shape: int) -> Array:
        after = np.maximum(at_s, 0.0)
        density: Array = after ** (shape - 1) * np.exp(-after) / math.gamma(shape)
        return density

    course: Array = (gamma_density(time_s, 6) - gamma_density(time_s, 16) / 6) / gamma_density(5.0, 6)
    return course


@cache
def _vessels(voxel_mm: float) -> tuple[Array, Array]:
    """How strongly each voxel responds (n_voxels,), and its mixture of haemodynamics (3, n_voxels)."""
    places = visual_cortex(voxel_mm).places_mm
    strength, delay = smooth_maps(places, 2, (PEOPLE, Use.ANATOMY, 0xB3), 0.0, 8.0)
    early = np.exp(-0.5 * ((places[:, 1] + 78) / 14.0) ** 2)  # most of all at the pole
    respond = early * (0.75 + 0.45 * strength)
    place = np.clip(1.0 + 0.6 * delay, 0.0, 2.0)  # in the row of haemodynamics
    mix = np.maximum(0.0, 1.0 - np.abs(np.arange(3)[:, None] - place))
    return respond, mix


def _event(start: int, course: Array, pattern: Array) -> Event:
    return Event(start, len(course), lambda: np.outer(course, pattern).astype(np.float32))
