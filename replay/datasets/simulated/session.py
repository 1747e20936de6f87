"""The samples of one simulated session, made block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from replay.datasets.simulated.device import Use, one_thread
from replay.datasets.simulated.noise import BlockNoise

if TYPE_CHECKING:
    from replay.datasets.simulated.device import Device
    from replay.datasets.simulated.responses import ImageMap
    from replay.datasets.simulated.settings import SubjectSettings

    Array = NDArray[np.float64]

EmbeddingsOf = Callable[[NDArray[np.int64]], NDArray[np.floating]]
"""From numbers of trials, shape (n,), to their embeddings, shape (n, dim)."""

_KEPT_BLOCKS = 3


@dataclass(frozen=True, eq=False, slots=True)
class Responses:
    """What a person's brain makes of images in one session, as the device sees it.

    Parameters
    ----------
    device
        What looks.
    image_map
        From embeddings to latent features.
    evoked_maps : array of shape (n_waves, n_channels)
        What every image evokes.
    patterns : array of shape (n_latent, n_waves, n_channels)
        How features show.
    gain
        Multiplies all.
    """

    device: Device
    image_map: ImageMap
    evoked_maps: Array
    patterns: Array
    gain: float = 1.0

    def maps(self, embeddings: Array) -> Array:
        """Embeddings (n, dim) to maps of the image-dependent part (n, n_waves, n_channels)."""
        maps: Array = np.tensordot(self.image_map(embeddings), self.patterns, axes=1)
        return maps

    def course(self, maps: Array, time_s: Array, gain: float = 1.0) -> Array:
        """Response at times from onset, shape (n_times, n_channels), to an image with these maps."""
        course: Array = self.device.evoked_bank(time_s) @ self.evoked_maps
        course += self.device.image_bank(time_s) @ maps
        course *= gain * self.gain
        return course


class SessionBlocks:
    """Makes the blocks of one session.

    Parameters
    ----------
    settings
        The subject's dials.
    responses
        The subject's, in this session.
    embeddings
        Of the trials.
    markers, late : arrays of shape (n_trials,)
        Sample of each marker, and by how much of a sample the onset is later.
    n_samples
        Length of the session.
    session
        Its number.
    """

    def __init__(
        self,
        settings: SubjectSettings,
        responses: Responses,
        embeddings: EmbeddingsOf,
        markers: NDArray[np.int64],
        late: Array,
        n_samples: int,
        session: int,
    ) -> None:
        self._device = device = responses.device
        self._responses, self._embeddings = responses, embeddings
        self._markers = markers
        seed = (settings.seed, settings.subject, session)
        trials = np.random.default_rng((device.stream, Use.TRIALS, *seed)).normal(size=(2, len(markers)))
        # Limited to 2.5 SD, so that no response starts before its image.
        self._latency_s = settings.latency_jitter_s * np.clip(trials[0], -2.5, 2.5) + late / device.rate_hz
        self._gain = np.exp(settings.gain_sd * trials[1] - 0.5 * settings.gain_sd**2)
        noise = device.noise if settings.noise else ()
        self._noise = BlockNoise(
            noise, len(device.channels), (device.stream, Use.NOISE, *seed), device.blocks
        )
        self._disturbances = None
        if settings.artefacts:
            rng = np.random.default_rng((device.stream, Use.DISTURBANCES, *seed))
            with one_thread():
                self._disturbances = device.disturbances(rng, n_samples / device.rate_hz)
        self._block = lru_cache(maxsize=_KEPT_BLOCKS)(self._make)

    def read(self, start: int, stop: int) -> Array:
        """Make samples ``start`` to ``stop``, (n, n_channels) float64 that float32 holds exactly."""
        size, parts = len(self._device.blocks), []
        for index in range(start // size, (stop - 1) // size + 1):
            first = index * size
            parts.append(self._block(index)[max(start - first, 0) : stop - first])
        return np.concatenate(parts, dtype=np.float64)

    def _make(self, index: int) -> NDArray[np.float32]:
        with one_thread():
            samples = self._sum(index)
        samples.flags.writeable = False
        return samples

    def _sum(self, index: int) -> NDArray[np.float32]:
        device, size = self._device, len(self._device.blocks)
        first, stop = index * size, (index + 1) * size
        samples = self._noise.block(index)
        if device.resting.any():
            samples += device.resting
        if self._disturbances is not None:
            samples += self._disturbances.background.samples(np.arange(first, stop) / device.rate_hz)
            for event in self._disturbances.events:
                if first - event.n_samples < event.start < stop:
                    _add(samples, event.start - first, event.samples())
        self._add_responses(samples, first)
        return samples

    def _add_responses(self, samples: NDArray[np.float32], first: int) -> None:
        device = self._device
        time_s = np.arange(device.n_response) / device.rate_hz
        begin, end = np.searchsorted(self._markers, (first - len(time_s) + 1, first + len(samples)))
        trials = np.arange(begin, end)
        if not len(trials):
            return
        embeddings = np.asarray(self._embeddings(trials), dtype=np.float64)
        expected = (len(trials), len(self._responses.image_map.mean))
        if embeddings.shape != expected:
            raise ValueError(f"the embeddings of {len(trials)} trials have shape {embeddings.shape}")
        for trial, maps in zip(trials.tolist(), self._responses.maps(embeddings), strict=True):
            course = self._responses.course(maps, time_s - self._latency_s[trial], self._gain[trial])
            _add(samples, int(self._markers[trial]) - first, course)


def _add(samples: NDArray[np.float32], at: int, piece: NDArray[np.floating]) -> None:
    """Add a piece that starts at row ``at``, where the two overlap."""
    start, stop = max(at, 0), min(at + len(piece), len(samples))
    if start < stop:
        samples[start:stop] += piece[start - at : stop - at]
