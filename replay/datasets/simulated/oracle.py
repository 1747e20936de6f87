"""The best linear decoder of a linear Gaussian subject, from the covariances that the simulator knows.

A window holds the response to its own image, what is left of the responses to those before and what comes of
those after it, and noise; all seen through the causal filter and the resampling matrix. Each is linear in
something whose covariance is known, so the window's covariance is, exactly:

``x = A g + sum_k A_k g_k + n``, ``cov(x) = A S A' + sum_k A_k S A_k' + N``,

with ``g`` the latent features of the window's image, ``g_k`` those of its neighbours, ``S`` their covariance.
The decoder with the least mean squared error among all linear ones is ``cov(e, g) A' cov(x)^-1``; where the
embeddings are Gaussian as well no decoder of any kind does better.

It holds

- where nothing but Gaussian noise disturbs: non-linearity, jitter, gain over trials and artefacts are zero;
- for embeddings that are drawn independently of each other, whatever their distribution, at a steady pace of
  whole samples: overlap of responses at a short one is covered;
- for front ends that are linear once they are warm (filters, the running mean and the running straight line;
  not the running z-score or scale, which divide by what they have seen), long after their start;
- averaged over places of a session: where chunks of noise fade into each other it is a little less alike from
  sample to sample than elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.linalg import cho_factor, cho_solve, toeplitz
from scipy.signal import lfilter, sosfilt
from scipy.sparse import csr_array

from rtdecode.contracts import IirSos, RunningDemean, RunningDetrend
from rtdecode.signal.resampling import resampling_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replay.datasets.simulated.device import Bank, Device
    from replay.datasets.simulated.noise import Component
    from replay.datasets.simulated.subject import SimulatedSubject
    from rtdecode.contracts import FrontEndStep, SignalContract

    Array = NDArray[np.float64]

_NEGLIGIBLE = 3e-3
"""A neighbour's response that is this small a part of the window's own is left out."""

_ROUNDING = 1e-12
"""Variance that single precision adds to each sample, as a share of its own."""


@dataclass(frozen=True, eq=False, slots=True)
class NoisePart:
    """Noise of independent sources, seen in windows.

    Parameters
    ----------
    temporal : array of shape (n_sources, n_times, n_times), or (1, n_times, n_times) where all are alike
        Covariance of each source with itself over the window's points.
    mixing : array of shape (n_sources, n_channels), or None
        What each source adds to each channel; None where each channel has one of its own.
    """

    temporal: Array
    mixing: Array | None


@dataclass(frozen=True, eq=False)
class WindowMoments:
    """First and second moments of windows, and of the embeddings of their images.

    Parameters
    ----------
    embedding_mean, embedding_variance : arrays of shape (dim,)
    cross_covariance : array of shape (dim, n_latent)
        Of embeddings with latent features.
    feature_covariance : array of shape (n_latent, n_latent)
    mean : array of shape (n_times, n_channels)
        Of the window.
    response : array of shape (n_latent, n_times, n_channels)
        What a unit of each feature adds to the window.
    neighbours : array of shape (n_neighbours, n_latent, n_times, n_channels)
        The same for the images shown before and after.
    noise : tuple of NoisePart
        The first reaches all channels alike, or through orthonormal mixing.
    """

    embedding_mean: Array
    embedding_variance: Array
    cross_covariance: Array
    feature_covariance: Array
    mean: Array
    response: Array
    neighbours: Array
    noise: tuple[NoisePart, ...]

    def noise_covariance(self) -> Array:
        """Covariance of noise alone, (n_times * n_channels, n_times * n_channels): for small windows."""
        n_times, n_channels = self.mean.shape
        total = np.zeros((n_times, n_channels, n_times, n_channels))
        for part in self.noise:
            mixing = np.eye(n_channels) if part.mixing is None else part.mixing
            temporal = np.broadcast_to(part.temporal, (len(mixing), n_times, n_times))
            total += np.einsum("stu,sc,sd->tcud", temporal, mixing, mixing, optimize=True)
        return total.reshape(n_times * n_channels, -1)

    def covariance(self) -> Array:
        """Covariance of windows, (n_times * n_channels, n_times * n_channels): for small windows."""
        total = self.noise_covariance()
        for response in (self.response, *self.neighbours):
            flat = response.reshape(len(response), -1)
            total += flat.T @ self.feature_covariance @ flat
        return total

    def solve_rest(self, columns: Array) -> Array:
        """Divide by the covariance of all but the window's own response, which is never built.

        Noise that reaches all channels is inverted source by source; what is left, neighbours and noise of
        few sources, has few columns and goes by Woodbury's identity.

        Parameters
        ----------
        columns : array of shape (n_times, n_channels, m)

        Returns
        -------
        array of the same shape
        """
        extra, inverse_extra, inner = self._low_rank
        solved = self._solve_base(columns)
        along = np.tensordot(extra, solved, axes=([0, 1], [0, 1]))
        rest: Array = solved - np.tensordot(inverse_extra, cho_solve(inner, along), axes=1)
        return rest

    def _solve_base(self, columns: Array) -> Array:
        mixing = self.noise[0].mixing
        turned = columns if mixing is None else np.einsum("sc,tcm->tsm", mixing, columns, optimize=True)
        if len(self._base) == 1:
            solved = cho_solve(self._base[0], turned.reshape(len(turned), -1)).reshape(turned.shape)
        else:
            solved = np.stack(
                [cho_solve(one, turned[:, source]) for source, one in enumerate(self._base)], axis=1
            )
        back: Array = solved if mixing is None else np.einsum("sc,tsm->tcm", mixing, solved, optimize=True)
        return back

    @cached_property
    def _base(self) -> list[tuple[Array, bool]]:
        """Factors of the temporal covariances of the noise that reaches all channels."""
        n_times, _ = self.mean.shape
        floor = _ROUNDING * np.mean([np.trace(one) / n_times for one in self.noise[0].temporal])
        return [cho_factor(one + floor * np.eye(n_times)) for one in self.noise[0].temporal]

    @cached_property
    def _low_rank(self) -> tuple[Array, Array, tuple[Array, bool]]:
        """Columns whose outer products are the rest of the covariance; over the base; and what joins them."""
        n_times, n_channels = self.mean.shape
        parts = [np.zeros((n_times, n_channels, 0))]
        root = np.linalg.cholesky(_definite(self.feature_covariance))
        parts += [np.einsum("ltc,lm->tcm", neighbour, root) for neighbour in self.neighbours]
        for part in self.noise[1:]:
            if part.mixing is None:
                raise ValueError("only the first part of noise may reach each channel on its own")
            for source, mixing in enumerate(part.mixing):
                values, vectors = np.linalg.eigh(part.temporal[min(source, len(part.temporal) - 1)])
                kept = values > 1e-10 * values[-1]
                waves = vectors[:, kept] * np.sqrt(values[kept])
                parts.append(waves[:, None, :] * mixing[:, None])
        extra = np.concatenate(parts, axis=2)
        inverse_extra = self._solve_base(extra)
        inner = np.tensordot(extra, inverse_extra, axes=([0, 1], [0, 1]))
        return extra, inverse_extra, cho_factor(np.eye(len(inner)) + inner)


@dataclass(frozen=True, eq=False, slots=True)
class Oracle:
    """The best linear decoder.

    Parameters
    ----------
    weights : array of shape (n_times * n_channels, dim)
    bias : array of shape (dim,)
        Embeddings are ``windows @ weights + bias``, windows flattened with time first.
    expected_r : array of shape (dim,)
        Pearson correlation of each dimension of the embedding with the truth, over all trials there could be.
    moments
        What it follows from.
    """

    weights: Array
    bias: Array
    expected_r: Array
    moments: WindowMoments

    def __call__(self, windows: NDArray[np.floating]) -> Array:
        """Embeddings (n, dim) of windows (n, n_times, n_channels)."""
        centred = np.asarray(windows, dtype=np.float64) - self.moments.mean
        embeddings: Array = centred.reshape(len(windows), -1) @ self.weights + self.moments.embedding_mean
        return embeddings


def oracle(
    subject: SimulatedSubject,
    signal: SignalContract,
    shown: NDArray[np.floating],
    soa_s: float | None = None,
    session: int = 1,
) -> Oracle:
    """Find the best linear decoder of a subject's windows; this module says where it holds.

    Parameters
    ----------
    subject
        Linear and Gaussian: see :meth:`SubjectSettings.linear_gaussian`.
    signal
        What is made of the samples before they are decoded; all channels of the device.
    shown : array of shape (n, dim)
        Embeddings that images are drawn from.
    soa_s
        Pace of the images; by default the settings'.
    session
        Number of the session.

    Raises
    ------
    ValueError
        If it would not hold.
    """
    moments = window_moments(subject, signal, shown, soa_s, session)
    response = np.moveaxis(moments.response, 0, -1)  # (n_times, n_channels, n_latent)
    n_latent = response.shape[2]
    rest = moments.solve_rest(response)
    information = np.tensordot(response, rest, axes=([0, 1], [0, 1]))
    shrunk = np.linalg.solve(
        np.eye(n_latent) + moments.feature_covariance @ information, moments.cross_covariance.T
    )
    weights = rest.reshape(-1, n_latent) @ shrunk
    explained = np.einsum("dl,lm,md->d", moments.cross_covariance, information, shrunk)
    return Oracle(
        weights=weights,
        bias=moments.embedding_mean - moments.mean.ravel() @ weights,
        expected_r=np.sqrt(np.clip(explained / moments.embedding_variance, 0.0, 1.0)),
        moments=moments,
    )


def window_moments(
    subject: SimulatedSubject,
    signal: SignalContract,
    shown: NDArray[np.floating],
    soa_s: float | None = None,
    session: int = 1,
) -> WindowMoments:
    """Moments of a subject's windows; parameters and errors are those of :func:`oracle`."""
    device = subject.device
    pace = (subject.settings.soa_s if soa_s is None else soa_s) * device.rate_hz
    every = round(pace)
    _check(subject, signal, pace)
    responses = subject.responses(session)
    embeddings: Array = np.asarray(shown, dtype=np.float64)
    features = responses.image_map(embeddings)
    feature_mean, embedding_mean = features.mean(axis=0), embeddings.mean(axis=0)
    centred = features - feature_mean

    impulse = _impulse_response(signal.front_end, device.rate_hz)
    matrix = resampling_matrix(signal.window, signal.rate_hz, signal.resampling)
    evoked, image = (
        _Filtered(bank, device, impulse, matrix, signal.window.first_sample)
        for bank in (device.evoked_bank, device.image_bank)
    )
    own = image(0)
    # From the last response that begins in the window to the first whose tail is still felt.
    first_k = -((signal.window.last_sample - signal.window.first_sample + image.length) // every) - 1
    last_k = signal.window.last_sample // every
    around = [k for k in range(first_k, last_k + 1) if k != 0]
    neighbours = {k: image(k * every) for k in around}
    felt = [k for k in around if np.abs(neighbours[k]).max() > _NEGLIGIBLE * np.abs(own).max()]

    def maps(waves: Array) -> Array:
        seen: Array = responses.gain * np.einsum("tw,lwc->ltc", waves, responses.patterns, optimize=True)
        return seen

    every_wave = own + sum(neighbours.values())
    mean = np.einsum("l,ltc->tc", feature_mean, maps(every_wave))
    always = sum((evoked(k * every) for k in around), evoked(0))
    mean += responses.gain * (always @ responses.evoked_maps) + impulse.sum() * device.resting
    return WindowMoments(
        embedding_mean=embedding_mean,
        embedding_variance=embeddings.var(axis=0),
        cross_covariance=(embeddings - embedding_mean).T @ centred / len(centred),
        feature_covariance=centred.T @ centred / len(centred),
        mean=mean,
        response=maps(own),
        neighbours=np.array([maps(neighbours[k]) for k in felt]).reshape(-1, *maps(own).shape),
        noise=tuple(_noise_part(component, device, impulse, matrix) for component in device.noise),
    )


def _check(subject: SimulatedSubject, signal: SignalContract, pace: float) -> None:
    settings = subject.settings
    for dial in ("nonlinearity", "latency_jitter_s", "gain_sd", "artefacts"):
        if getattr(settings, dial):
            raise ValueError(f"{dial} is not 0: no best linear decoder is known; take linear_gaussian()")
    if not settings.noise:
        raise ValueError("noise is 0: a decoder without noise has no best")
    if pace < 1 or abs(pace - round(pace)) > 1e-6:
        raise ValueError(f"images follow each other after {pace:g} samples; a whole number is needed")
    if [channel.name for channel in signal.channels] != [channel.name for channel in subject.channels]:
        raise ValueError("the window must hold all channels of the device, in their order")
    if signal.resampling.shift_residual:
        raise ValueError("a window that is shifted by its residual goes through no fixed matrix")


class _Filtered:
    """Time courses through the filter, cut by the window, resampled."""

    def __init__(self, bank: Bank, device: Device, impulse: Array, matrix: Array, first_sample: int) -> None:
        courses = bank(np.arange(device.n_response) / device.rate_hz)
        n = next_fast_len(len(courses) + len(impulse))
        spectrum = rfft(courses, n, axis=0) * rfft(impulse, n)[:, None]
        self._courses = irfft(spectrum, n, axis=0)[: len(courses) + len(impulse) - 1]
        self._matrix, self._first = csr_array(matrix), first_sample
        self.length = len(self._courses)

    def __call__(self, onset: int) -> Array:
        """In a window, of a response that begins ``onset`` samples after its image: (n_times, n_waves)."""
        at = np.arange(self._matrix.shape[1]) + self._first - onset
        inside = (at >= 0) & (at < self.length)
        cut = np.zeros((len(at), self._courses.shape[1]))
        cut[inside] = self._courses[at[inside]]
        seen: Array = self._matrix @ cut
        return seen


def _noise_part(component: Component, device: Device, impulse: Array, matrix: Array) -> NoisePart:
    """Noise through the filter, in windows: its autocovariance, convolved with the filter both ways."""
    native = device.blocks.autocovariance(component.amplitude)
    chunk, n_samples = len(native), matrix.shape[1]
    n = next_fast_len(2 * (chunk + len(impulse)) + n_samples)
    gain = np.abs(rfft(impulse, n)) ** 2
    sparse = csr_array(matrix)
    temporal = np.empty((native.shape[1], matrix.shape[0], matrix.shape[0]))
    for source, one in enumerate(native.T):
        both_ways = np.zeros(n)
        both_ways[:chunk] = one
        both_ways[-chunk + 1 :] = one[:0:-1]
        filtered = irfft(rfft(both_ways).real * gain, n)[:n_samples]
        temporal[source] = sparse @ (sparse @ toeplitz(filtered)).T
    return NoisePart(temporal, component.mixing)


def _impulse_response(steps: Sequence[FrontEndStep], rate_hz: float) -> Array:
    """Response of a warm front end to one sample, until nothing is left of it."""
    n = 64
    while True:
        response = np.zeros(n)
        response[0] = 1.0
        for step in steps:
            response = _through(step, response, rate_hz)
        if np.abs(response[n // 2 :]).max() < 1e-9 * np.abs(response).max():
            return response[: n // 2]
        n *= 2


def _through(step: FrontEndStep, samples: Array, rate_hz: float) -> Array:
    """One step in its steady state, from rest; as :mod:`rtdecode.signal.front_end` has it."""
    if isinstance(step, IirSos):
        filtered: Array = sosfilt(np.array(step.sections), samples)
        return filtered
    if isinstance(step, RunningDemean | RunningDetrend):
        keep = np.exp(-1.0 / (step.time_constant_s * rate_hz))
        sum_x = lfilter([1.0], [1.0, -keep], samples)
        if isinstance(step, RunningDemean):
            demeaned: Array = samples - (1 - keep) * sum_x
            return demeaned
        s0, s1, s2 = 1 / (1 - keep), keep / (1 - keep) ** 2, keep * (1 + keep) / (1 - keep) ** 3
        sum_tx = lfilter([0.0, keep], [1.0, -keep], sum_x)
        detrended: Array = samples - (s2 * sum_x - s1 * sum_tx) / (s0 * s2 - s1**2)
        return detrended
    raise ValueError(f"{step.kind} is not linear: no best linear decoder is known behind it")


def _definite(covariance: Array) -> Array:
    """The covariance with what rounding may have taken from its smallest eigenvalues."""
    definite: Array = covariance + 1e-12 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return definite
