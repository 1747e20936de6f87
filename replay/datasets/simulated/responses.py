"""What a person's visual system makes of an image.

An image embedding is standardised, mapped to latent features by a fixed, mildly non-linear map, turned by the
subject's own rotation, and then spreads over cortical sources, each with its time course.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import expm

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

N_LATENT = 48
"""Latent features: what any device can know of an image."""

_SHARED = 0x5EE1
"""Seed of everything that all people share."""


class ImageMap:
    """From image embeddings to a subject's latent features.

    ``z = (embedding - mean) / sd``; ``h = z F``; ``g = (1 - k) h + k tanh(1.5 h G)``; the subject's features
    are ``g Q``. ``F`` (dim, 48) and ``G`` (48, 48) have orthonormal columns and are shared, ``Q`` is the
    subject's rotation, ``k`` the dial.

    Parameters
    ----------
    population : array of shape (n, dim)
        Embeddings of many images: their mean and spread define a typical image.
    nonlinearity
        ``k``: 0 is linear, 1 passes every feature through the saturating function.
    rotation_rad
        How far subjects differ: root mean square angle of the rotation's planes.
    rng
        The subject's.
    """

    def __init__(
        self, population: Array, nonlinearity: float, rotation_rad: float, rng: np.random.Generator
    ) -> None:
        self.mean = population.mean(axis=0)
        self.sd = population.std(axis=0)
        if not np.all(self.sd > 0):
            raise ValueError("embeddings of the population must differ in every dimension")
        self.nonlinearity = nonlinearity
        shared = np.random.default_rng((_SHARED, population.shape[1]))
        n_latent = min(N_LATENT, population.shape[1])
        self.features = np.linalg.qr(shared.normal(size=(population.shape[1], n_latent)))[0]
        self.mixing = np.linalg.qr(shared.normal(size=(n_latent, n_latent)))[0]
        self.rotation = _rotation(n_latent, rotation_rad, rng)

    def turned(self, angle_rad: float, rng: np.random.Generator) -> ImageMap:
        """Give the map of the same person with features turned a little farther."""
        other = copy(self)
        other.rotation = self.rotation @ _rotation(self.rotation.shape[0], angle_rad, rng)
        return other

    def __call__(self, embeddings: Array) -> Array:
        """Map embeddings (n, dim) to latent features (n, n_latent)."""
        features = (embeddings - self.mean) / self.sd @ self.features
        if self.nonlinearity:
            bent = np.tanh(1.5 * features @ self.mixing)
            features = (1 - self.nonlinearity) * features + self.nonlinearity * bent
        turned: Array = features @ self.rotation
        return turned


def _rotation(n: int, angle_rad: float, rng: np.random.Generator) -> Array:
    """Rotate at random in n dimensions; the angle is the root mean square over the rotation's planes."""
    skew = rng.normal(size=(n, n))
    skew -= skew.T
    angles = np.abs(np.linalg.eigvals(skew).imag)
    rotation: Array = expm(skew * (angle_rad / np.sqrt(np.mean(angles**2))))
    return rotation


@dataclass(frozen=True, slots=True)
class Wave:
    """One component of a time course: a Gaussian bump, or a short oscillation under one.

    Parameters
    ----------
    peak_s, width_s
        Latency of the peak and standard deviation of the envelope.
    cycle_s
        Period of the oscillation; None for a plain bump.
    """

    peak_s: float
    width_s: float
    cycle_s: float | None = None


def wave_bank(waves: tuple[Wave, ...], time_s: Array) -> Array:
    """Values of waves at times from onset.

    Parameters
    ----------
    waves
        The waves.
    time_s : array of shape (n_times,)

    Returns
    -------
    array of shape (n_times, n_waves)
    """
    peak, width = np.array([(wave.peak_s, wave.width_s) for wave in waves]).T
    turn = np.array([0.0 if wave.cycle_s is None else 2 * np.pi / wave.cycle_s for wave in waves])
    distance = time_s[:, None] - peak
    bank: Array = np.exp(-0.5 * (distance / width) ** 2) * np.cos(turn * distance)
    return bank


IMAGE_WAVES: tuple[Wave, ...] = tuple(
    Wave(peak_s, width_s, 5.0 * width_s)
    for peak_s, width_s in (
        (0.085, 0.013), (0.105, 0.016), (0.130, 0.020), (0.160, 0.024),
        (0.200, 0.030), (0.245, 0.038), (0.300, 0.048), (0.365, 0.060),
    )
)  # fmt: skip
"""Time courses of the image-dependent part: 60 to 500 ms, slower as they get later."""

IMAGE_SPAN_S = (0.06, 0.5)
"""Where they are; what signal-to-noise is about."""

RESPONSE_S = 0.6
"""No response lasts longer than this after the image's onset."""
