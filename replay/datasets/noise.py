"""Stationary Gaussian noise of any length, made block by block.

Each block comes from its own seed, so any stretch can be made without those before it. Neighbouring chunks
are cross-faded with weights whose squares sum to 1, which keeps the variance constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import irfft, rfftfreq

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CHUNK = 32768
"""Samples that are drawn at a time."""
OVERLAP = 4096
BLOCK = CHUNK - OVERLAP
"""Samples of a block: what each chunk adds."""


def frequencies(rate_hz: float) -> Array:
    """Give the frequencies at which spectra are stated, Hz, shape (n_bins,); none is 0 or Nyquist's."""
    bins: Array = rfftfreq(CHUNK, 1 / rate_hz)[1:-1]
    return bins


def unit_variance(amplitude: Array) -> Array:
    """Scale an amplitude spectrum, shape (n_bins,), so that noise with it has variance 1."""
    scaled: Array = amplitude / np.linalg.norm(amplitude) * (CHUNK / 2)
    return scaled


@dataclass(frozen=True, slots=True)
class Component:
    """Independent Gaussian sources, mixed into the channels.

    Parameters
    ----------
    amplitude : array of shape (n_bins, n_sources) or (n_bins, 1)
        Spectrum of each source, or of all, in multiples of :func:`unit_variance`.
    mixing : array of shape (n_sources, n_channels)
        What each source adds to each channel.
    """

    amplitude: Array
    mixing: Array


class BlockNoise:
    """Sum of components, float32, the same for any order of reading.

    Parameters
    ----------
    components
        What it is made of.
    n_channels
        Number of channels.
    seed
        Decides every sample.
    """

    def __init__(self, components: list[Component], n_channels: int, seed: tuple[int, ...]) -> None:
        self._n_channels = n_channels
        self._seed = seed
        self._parts = []
        for component in components:
            # Bins without power are not drawn: alpha takes a few hundred of 16,383.
            strength = component.amplitude.max(axis=1)
            if strength.max() > 0:
                heard = np.flatnonzero(strength > 1e-6 * strength.max())
                span = slice(int(heard[0]), int(heard[-1]) + 1)
                amplitude = component.amplitude[span].astype(np.float32)
                self._parts.append((span, amplitude, component.mixing.astype(np.float32)))
        fade = np.sin(np.linspace(0, np.pi / 2, OVERLAP + 2)[1:-1]).astype(np.float32)[:, None]
        self._fade_in, self._fade_out = fade, fade[::-1]
        self._chunk = lru_cache(maxsize=2)(self._draw)

    def block(self, index: int) -> NDArray[np.float32]:
        """Make samples ``index * BLOCK`` to ``(index + 1) * BLOCK``, shape (BLOCK, n_channels)."""
        before = self._chunk(index)[BLOCK:]
        block = self._chunk(index + 1)[:BLOCK].copy()
        block[:OVERLAP] = block[:OVERLAP] * self._fade_in + before * self._fade_out
        return block

    def _draw(self, index: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((*self._seed, index))
        spectra = np.zeros((CHUNK // 2 + 1, self._n_channels), dtype=np.complex64)
        inner = spectra[1:-1]
        for span, amplitude, mixing in self._parts:
            for side in (inner.real, inner.imag):
                drawn = rng.standard_normal((len(amplitude), len(mixing)), dtype=np.float32)
                drawn *= amplitude
                side[span] += drawn @ mixing
        chunk: NDArray[np.float32] = irfft(spectra, CHUNK, axis=0, overwrite_x=True)
        return chunk
