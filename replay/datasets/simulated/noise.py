"""Stationary Gaussian noise of any length, made block by block.

Each block comes from its own seed, so any stretch can be made without those before it. Neighbouring chunks
are cross-faded with weights whose squares sum to 1, which keeps the variance constant.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import irfft, rfft, rfftfreq

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a session is cut into pieces that are made one at a time.

    Parameters
    ----------
    chunk
        Samples that are drawn at a time.
    overlap
        Samples over which each chunk fades into the next.
    """

    chunk: int
    overlap: int

    def __len__(self) -> int:
        """Samples of a block: what each chunk adds."""
        return self.chunk - self.overlap

    def frequencies(self, rate_hz: float) -> Array:
        """Give the frequencies at which spectra are stated, Hz, shape (n_bins,); none is 0 or Nyquist's."""
        bins: Array = rfftfreq(self.chunk, 1 / rate_hz)[1:-1]
        return bins

    def unit_variance(self, amplitude: Array) -> Array:
        """Scale an amplitude spectrum, shape (n_bins,), so that noise with it has variance 1."""
        scaled: Array = amplitude / np.linalg.norm(amplitude) * (self.chunk / 2)
        return scaled

    def autocovariance(self, amplitude: Array) -> Array:
        """Covariance of noise with itself some samples later, averaged over all places of a session.

        The chunk's own, which is that of its spectrum, times the share of pairs of samples that lie in one
        chunk, weighted as they fade.

        Parameters
        ----------
        amplitude : array of shape (n_bins, n_sources)
            In multiples of :meth:`unit_variance`.

        Returns
        -------
        array of shape (chunk, n_sources)
            By lag from 0; beyond it there is none.
        """
        power = np.zeros((self.chunk // 2 + 1, amplitude.shape[1]))
        power[1:-1] = amplitude**2
        circular = irfft(power, self.chunk, axis=0) * (2 / self.chunk)
        fade = self.fade()
        weights = np.concatenate([fade, np.ones(self.chunk - 2 * self.overlap), fade[::-1]])
        padded = rfft(weights, 2 * self.chunk)
        together = irfft(np.abs(padded) ** 2, 2 * self.chunk)[: self.chunk] / len(self)
        covariance: Array = circular * together[:, None]
        return covariance

    def fade(self) -> Array:
        """Weights with which a chunk fades in, shape (overlap,)."""
        fade: Array = np.sin(np.linspace(0, np.pi / 2, self.overlap + 2)[1:-1])
        return fade


@dataclass(frozen=True, slots=True)
class Component:
    """Independent Gaussian sources, mixed into the channels.

    Parameters
    ----------
    amplitude : array of shape (n_bins, n_sources) or (n_bins, 1)
        Spectrum of each source, or of all, in multiples of :meth:`Blocks.unit_variance`.
    mixing : array of shape (n_sources, n_channels), optional
        What each source adds to each channel; None where each channel has a source of its own.
    """

    amplitude: Array
    mixing: Array | None


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
    blocks
        The pieces that it is made in.
    """

    def __init__(
        self, components: Sequence[Component], n_channels: int, seed: tuple[int, ...], blocks: Blocks
    ) -> None:
        self._n_channels = n_channels
        self._blocks = blocks
        self._seed = seed
        self._parts = []
        for component in components:
            # Bins without power are not drawn: alpha takes a few hundred of 16,383.
            strength = component.amplitude.max(axis=1)
            if strength.max() > 0:
                heard = np.flatnonzero(strength > 1e-6 * strength.max())
                span = slice(int(heard[0]), int(heard[-1]) + 1)
                amplitude = component.amplitude[span].astype(np.float32)
                mixing = None if component.mixing is None else component.mixing.astype(np.float32)
                self._parts.append((span, amplitude, mixing))
        fade = blocks.fade().astype(np.float32)[:, None]
        self._fade_in, self._fade_out = fade, fade[::-1]
        self._chunk = lru_cache(maxsize=2)(self._draw)

    def block(self, index: int) -> NDArray[np.float32]:
        """Make samples ``index * n`` to ``(index + 1) * n``, shape (n, n_channels); n = ``len(blocks)``."""
        n, overlap = len(self._blocks), self._blocks.overlap
        before = self._chunk(index)[n:]
        block = self._chunk(index + 1)[:n].copy()
        block[:overlap] = block[:overlap] * self._fade_in + before * self._fade_out
        return block

    def _draw(self, index: int) -> NDArray[np.float32]:
        rng = np.random.default_rng((*self._seed, index))
        spectra = np.zeros((self._blocks.chunk // 2 + 1, self._n_channels), dtype=np.complex64)
        inner = spectra[1:-1]
        for span, amplitude, mixing in self._parts:
            n_sources = self._n_channels if mixing is None else len(mixing)
            for side in (inner.real, inner.imag):
                drawn = rng.standard_normal((len(amplitude), n_sources), dtype=np.float32)
                drawn *= amplitude
                side[span] += drawn if mixing is None else drawn @ mixing
        chunk: NDArray[np.float32] = irfft(spectra, self._blocks.chunk, axis=0, overwrite_x=True)
        return chunk
