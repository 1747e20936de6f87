"""Where in the brain responses and noise arise, and what sensors around the head see of it.

The same cortex stands behind EEG and MEG: what one person's brain does with an image does not depend on the
device that looks at it.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.simulated.device import PEOPLE, Device, Use
from replay.datasets.simulated.noise import Component
from replay.datasets.simulated.responses import IMAGE_SPAN_S, IMAGE_WAVES, RESPONSE_S, Wave, wave_bank

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from replay.datasets.simulated.artefacts import Disturbances
    from replay.datasets.simulated.head import Sensors
    from replay.datasets.simulated.noise import Blocks
    from replay.datasets.simulated.settings import SubjectSettings

    Array = NDArray[np.float64]

# Where the visual response arises: electrode above, depth below the brain's surface, latency of its centre.
_REGIONS: tuple[tuple[str, float, float], ...] = (
    ("Oz", 0.25, 0.095),
    ("O1", 0.20, 0.105),
    ("O2", 0.20, 0.105),
    ("PO7", 0.20, 0.140),
    ("PO8", 0.20, 0.140),
    ("P7", 0.25, 0.180),
    ("P8", 0.25, 0.180),
    ("TP9", 0.30, 0.220),
    ("TP10", 0.30, 0.220),
    ("P1", 0.20, 0.260),
    ("P2", 0.20, 0.260),
    ("FCz", 0.35, 0.330),
)
_SPREAD_S = 0.07
"""How far from its centre in time a region still responds."""

_BACK = ("O1", "O2", "Oz", "PO3", "PO4", "POz", "P1", "P2", "P3", "P4")
"""Where alpha arises."""

_N_NOISE = 240
"""Dipoles of brain noise."""


def evoked_maps(sensors: Sensors, parts: tuple[tuple[Wave, float, tuple[str, ...]], ...], axis: int) -> Array:
    """What every image evokes: maps (n_waves, n_channels), in the sensors' unit for each ampere metre.

    Parameters
    ----------
    sensors
        What looks.
    parts
        Wave, strength and regions of each.
    axis
        Direction of the currents, as :meth:`~replay.datasets.simulated.head.Head.axes` counts them.
    """
    places = np.array([sensors.head.under(name, depth) for name, depth, _ in _REGIONS])
    along = np.array([sensors.head.axes(place)[axis] for place in places])
    field = np.einsum("nd,ndc->nc", along, sensors.lead_field(places))
    strength = np.array([[height * (name in names) for name, _, _ in _REGIONS] for _, height, names in parts])
    maps: Array = strength @ field
    return maps


@cache
def image_patterns(sensors: Sensors, n_latent: int) -> Array:
    """How each latent feature shows: maps (n_latent, n_waves, n_channels), in arbitrary units.

    Each region holds three orthogonal dipoles; how strongly a feature drives a dipole during a wave is drawn
    once for all people, and fades with the distance in time between wave and region.
    """
    places = np.array([sensors.head.under(name, depth) for name, depth, _ in _REGIONS])
    centre_s = np.array([latency_s for _, _, latency_s in _REGIONS])
    peak_s = np.array([wave.peak_s for wave in IMAGE_WAVES])
    active = np.exp(-0.5 * ((peak_s - centre_s[:, None]) / _SPREAD_S) ** 2)
    rng = np.random.default_rng((PEOPLE, Use.WIRING, n_latent))
    drive = rng.normal(size=(n_latent, len(IMAGE_WAVES), len(places), 3)) * active.T[:, :, None]
    patterns: Array = np.einsum("lwrd,rdc->lwc", drive, sensors.lead_field(places))
    return patterns


def cortex_device(
    settings: SubjectSettings,
    sensors: Sensors,
    blocks: Blocks,
    n_latent: int,
    *,
    stream: int,
    evoked_parts: tuple[tuple[Wave, float, tuple[str, ...]], ...],
    axis: int,
    evoked: float,
    brain: float,
    slope: float,
    alpha: float,
    alpha_hz: float,
    sensor: float,
    disturbances: Callable[[np.random.Generator, float], Disturbances],
) -> Device:
    """Let sensors around the head look at this person's cortex.

    Parameters
    ----------
    settings
        The person's dials.
    sensors
        What looks.
    blocks
        The pieces that noise is made in.
    n_latent
        Number of latent features.
    stream, disturbances
        See :class:`~replay.datasets.simulated.device.Device`.
    evoked_parts, axis
        See :func:`evoked_maps`.
    evoked
        Largest deflection of what every image evokes, in the sensors' unit.
    brain, slope, alpha, alpha_hz, sensor
        See :func:`brain_noise`; of a person whose coupling and noise level are 1.
    """
    bank = partial(wave_bank, tuple(wave for wave, _, _ in evoked_parts))
    maps = evoked_maps(sensors, evoked_parts, axis=axis)
    maps *= evoked / np.abs(bank(np.linspace(0, RESPONSE_S, 600)) @ maps).max()
    level = settings.noise_level
    return Device(
        name=settings.name,
        stream=stream,
        channels=sensors.channels,
        rate_hz=settings.rate_hz,
        lead_in_s=10.0,
        response_s=RESPONSE_S,
        evoked_bank=bank,
        evoked_maps=maps,
        image_bank=partial(wave_bank, IMAGE_WAVES),
        image_patterns=image_patterns(sensors, n_latent),
        span_s=IMAGE_SPAN_S,
        reference_sd=float(np.hypot(brain, alpha)),
        noise=brain_noise(
            sensors,
            blocks,
            settings.rate_hz,
            brain=settings.coupling * level * brain,
            slope=slope,
            alpha=settings.coupling * level * alpha,
            alpha_hz=alpha_hz,
            sensor=level * sensor,
        ),
        blocks=blocks,
        resting=np.zeros(len(sensors.channels)),
        disturbances=disturbances,
    )


def brain_noise(
    sensors: Sensors,
    blocks: Blocks,
    rate_hz: float,
    *,
    brain: float,
    slope: float,
    alpha: float,
    alpha_hz: float,
    sensor: float,
) -> tuple[Component, ...]:
    """1/f noise from all over the cortex, alpha from its back, and noise of the sensors.

    Parameters
    ----------
    sensors
        What looks.
    blocks
        The pieces that noise is made in.
    rate_hz
        Sampling rate.
    brain, alpha, sensor
        Standard deviation of each; of the first two the root mean square over channels.
    slope
        The spectrum of brain noise falls with frequency to the power of minus this (in power).
    alpha_hz
        Frequency of the alpha rhythm.
    """

    def scaled(mixing: Array, rms: float) -> Array:
        variance = np.mean(np.sum(mixing**2, axis=0))
        scaled_mixing: Array = mixing * (rms / np.sqrt(variance))
        return scaled_mixing

    everywhere, rhythm = _noise_fields(sensors)
    field = scaled(everywhere, brain)
    # In the basis that diagonalises the covariance of all dipoles, sensor noise needs no sources of its own.
    values, vectors = np.linalg.eigh(field.T @ field)

    frequency = blocks.frequencies(rate_hz)
    falling = blocks.unit_variance((0.3**slope + frequency**slope) ** -0.5)[:, None]
    white = blocks.unit_variance(np.ones_like(frequency))[:, None]
    peaked = blocks.unit_variance(np.exp(-0.25 * ((frequency - alpha_hz) / 0.7) ** 2))[:, None]
    spread = np.sqrt(np.maximum(values, 0.0) * falling**2 + (sensor * white) ** 2)
    return Component(spread, vectors.T), Component(peaked, scaled(rhythm, alpha))


@cache
def _noise_fields(sensors: Sensors) -> tuple[Array, Array]:
    """What the dipoles of brain noise and those of alpha show, (n_dipoles, n_channels) each."""
    head = sensors.head
    rng = np.random.default_rng((PEOPLE, Use.ANATOMY))
    outward = rng.normal(size=(_N_NOISE, 3))
    outward[:, 2] = np.abs(outward[:, 2] + 0.4) - 0.4  # cortex: few sources in the lowest part
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    places = head.centre_m + outward * (rng.uniform(0.6, 0.92, size=_N_NOISE) * head.brain_m)[:, None]
    moments = rng.normal(size=(_N_NOISE, 3))
    everywhere = np.einsum("nd,ndc->nc", moments, sensors.lead_field(places))

    alpha_places = np.array([head.under(name, 0.3) for name in _BACK])
    alpha_field = sensors.lead_field(alpha_places)
    axes = np.array([head.axes(place) for place in alpha_places])
    strength = np.array([1.0, 0.5, 0.5]) * np.abs(rng.normal(1.0, 0.3, size=(len(_BACK), 1)))
    rhythm = np.einsum("na,nad,ndc->nc", strength, axes, alpha_field)
    return everywhere, rhythm
