"""The causal steps that run on the live stream before windows are cut.

Each step is three things: the frozen settings of the contract, a state, and a ``process`` that takes the
next samples. State and arithmetic are float64, and every operation is either a recursion over time or exactly
rounded element by element, so the output is **bit-identical for any chunking**. Nothing here may ever be a
sum over a chunk, a BLAS product, or an exponential or logarithm of an array: how these round depends on the
chunk's shape or on where in it a number stands.

A segment starts as if its first sample had stood there for ever. Steps therefore work on the difference from
that sample: a constant offset, however large, then leaves no trace, rounding errors included.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from rtdecode.contracts import IirSos, RunningDemean, RunningDetrend, RunningZscore

try:
    # What scipy.signal.sosfilt itself runs: without its checks, 10 samples take a fifth of the time.
    from scipy.signal._sosfilt import _sosfilt
except ImportError:  # the name is scipy's own affair
    from scipy.signal import sosfilt

    def _sosfilt(sections: Samples, signal: Samples, delays: Samples) -> None:
        """Filter in place; see :class:`_Cascade` for the shapes."""
        filtered, left = sosfilt(sections, signal, zi=delays.swapaxes(0, 1))
        signal[:] = filtered
        delays[:] = left.swapaxes(0, 1)


if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.contracts import FrontEndStep

Samples = npt.NDArray[np.float64]
"""Array of shape (n_samples, n_channels)."""


class FrontEnd:
    """All causal steps of one stream, in order, with their state.

    Parameters
    ----------
    steps
        Settings of the steps; none at all is the identity.
    n_channels
        Number of channels.
    rate_hz
        Rate of the stream.
    """

    def __init__(self, steps: Sequence[FrontEndStep], n_channels: int, rate_hz: float) -> None:
        self._settings = tuple(steps)
        self._n_channels = n_channels
        self._rate_hz = rate_hz
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next sample starts a new segment."""
        self._steps = [_step(settings, self._n_channels, self._rate_hz) for settings in self._settings]

    def process(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Filter the next samples.

        Parameters
        ----------
        samples : array of shape (n, n_channels)
            Any number of samples, none included.

        Returns
        -------
        array of shape (n, n_channels)
            The same bits, whatever the chunks the samples came in.

        Raises
        ------
        ValueError
            The samples do not have ``n_channels`` columns.
        """
        signal = np.asarray(samples, np.float64)
        if signal.ndim != 2 or signal.shape[1] != self._n_channels:
            raise ValueError(f"samples of shape {signal.shape}, expected (n, {self._n_channels})")
        if len(signal):
            for step in self._steps:
                signal = step.process(signal)
        return signal.astype(np.float32)


class _Step(Protocol):
    def process(self, samples: Samples) -> Samples:
        """Take the next samples (at least one), return as many."""


def _step(settings: FrontEndStep, n_channels: int, rate_hz: float) -> _Step:
    if isinstance(settings, IirSos):
        return _Iir(settings, n_channels)
    keep = math.exp(-1.0 / (settings.time_constant_s * rate_hz))
    if isinstance(settings, RunningDemean):
        return _Demean(keep, n_channels)
    if isinstance(settings, RunningDetrend):
        return _Detrend(keep, n_channels)
    if isinstance(settings, RunningZscore):
        return _Zscore(keep, n_channels)
    return _RobustScale(1.0 / (settings.time_constant_s * rate_hz), n_channels)


class _Cascade:
    """Second-order sections with carried state, started from zero."""

    def __init__(self, sections: Sequence[Sequence[float]], n_channels: int) -> None:
        self._sections = np.array(sections, np.float64)
        self._delays = np.zeros((n_channels, len(self._sections), 2))

    def process(self, samples: Samples) -> Samples:
        return self.process_in_place(np.array(samples, np.float64, order="F"))

    def process_in_place(self, samples: Samples) -> Samples:
        """Filter samples that nobody else needs any more, and that lie in memory channel by channel."""
        _sosfilt(self._sections, samples.T, self._delays)
        return samples


class _Origin:
    """The first sample of the segment; what it returns is relative to it, and lies channel by channel."""

    def __init__(self) -> None:
        self.value: Samples | None = None

    def subtract(self, samples: Samples) -> Samples:
        if self.value is None:
            self.value = samples[:1].copy()
        return np.subtract(samples, self.value, order="F")


class _Iir:
    """The filter's answer to a segment whose first sample x0 had stood for ever.

    With gain g at 0 Hz that is H(x - x0) + g x0, H starting from zero: the same as starting H at its steady
    state for x0 (:func:`scipy.signal.sosfilt_zi`), without the rounding error of a large x0 in the state.
    """

    def __init__(self, settings: IirSos, n_channels: int) -> None:
        self._cascade = _Cascade(settings.sections, n_channels)
        self._origin = _Origin()
        self._gain = math.prod(sum(section[:3]) / sum(section[3:]) for section in settings.sections)

    def process(self, samples: Samples) -> Samples:
        filtered = self._cascade.process_in_place(self._origin.subtract(samples))
        if self._gain and self._origin.value is not None:
            filtered += self._gain * self._origin.value
        return filtered


class _Forgetting:
    """Sums over the past in which a sample that is k samples old weighs ``keep ** k``.

    With t counted back from the newest sample: the sums of x and, where asked for, of t x; and the sums of
    1, t and t^2 that they are to be compared with, over the samples that there have really been.
    """

    def __init__(self, keep: float, n_channels: int) -> None:
        self._keep = keep
        self._sum_x = _Cascade([(1.0, 0.0, 0.0, 1.0, -keep, 0.0)], n_channels)
        self._sum_tx = _Cascade([(0.0, keep, 0.0, 1.0, -keep, 0.0)], n_channels)
        self._weights = (0.0, 0.0, 0.0)

    def sum_x(self, samples: Samples) -> Samples:
        return self._sum_x.process(samples)

    def sum_tx(self, sum_x: Samples) -> Samples:
        return self._sum_tx.process(sum_x)

    def weights(self, n: int) -> npt.NDArray[np.float64]:
        """Give the sums of 1, t and t^2 at each of the next ``n`` samples, of shape (3, n, 1)."""
        keep = self._keep
        s0, s1, s2 = self._weights
        rows = []
        for _ in range(n):
            s0, s1, s2 = keep * s0 + 1.0, keep * (s0 + s1), keep * (s0 + 2.0 * s1 + s2)
            rows.append((s0, s1, s2))
        self._weights = (s0, s1, s2)
        return np.array(rows).T[:, :, None]


class _Demean:
    """Subtracts the weighted mean of the past, this sample included."""

    def __init__(self, keep: float, n_channels: int) -> None:
        self._past = _Forgetting(keep, n_channels)
        self._origin = _Origin()

    def process(self, samples: Samples) -> Samples:
        samples = self._origin.subtract(samples)
        mean: Samples = self._past.sum_x(samples) / self._past.weights(len(samples))[0]
        return samples - mean


class _Detrend:
    """Subtracts the value that a weighted straight-line fit to the past, this sample included, has now."""

    def __init__(self, keep: float, n_channels: int) -> None:
        self._past = _Forgetting(keep, n_channels)
        self._origin = _Origin()

    def process(self, samples: Samples) -> Samples:
        samples = self._origin.subtract(samples)
        sum_x = self._past.sum_x(samples)
        sum_tx = self._past.sum_tx(sum_x)
        s0, s1, s2 = self._past.weights(len(samples))
        spread = s0 * s2 - s1 * s1
        # One sample alone has no slope; the line through it is the sample itself.
        line: Samples = np.divide(s2 * sum_x - s1 * sum_tx, spread, out=samples.copy(), where=spread > 0)
        return samples - line


class _Zscore:
    """Subtracts the weighted mean of the past, this sample included, and divides by the weighted SD.

    The squared deviations are summed as they come, each from the mean before it, so that nothing cancels out
    far from zero (West, 1979, Updating mean and variance estimates: an improved method, Communications of the
    ACM 22:532).
    """

    def __init__(self, keep: float, n_channels: int) -> None:
        self._past = _Forgetting(keep, n_channels)
        self._squares = _Cascade([(1.0, 0.0, 0.0, 1.0, -keep, 0.0)], n_channels)
        self._mean = np.zeros((1, n_channels))
        self._origin = _Origin()

    def process(self, samples: Samples) -> Samples:
        samples = self._origin.subtract(samples)
        weight = self._past.weights(len(samples))[0]
        mean = self._past.sum_x(samples) / weight
        mean_before = np.concatenate([self._mean, mean[:-1]])
        self._mean = mean[-1:].copy()
        step = samples - mean_before
        sd = np.sqrt(self._squares.process(step * step * (1.0 - 1.0 / weight)) / weight)
        scaled: Samples = np.divide(samples - mean, sd, out=np.zeros_like(samples), where=sd != 0)
        return scaled


class _RobustScale:
    """Divides by a running estimate of the median absolute value.

    The estimate s follows |x| by its sign alone, times (1 + g) where |x| is larger and divided by it where
    smaller, so it settles where both are equally frequent, and one artefact moves it no more than any sample.
    The step g falls as 1/n over a channel's first samples, until it reaches the step of the time constant.
    Samples that are exactly zero, or no numbers, say nothing about the gain and are passed over.
    """

    # For a Gaussian the density of ln |x| at its median is 0.4287: a step g closes the distance of ln s to it
    # at the rate 2 * 0.4287 * g a sample.
    _STEP_PER_RATE = 1.0 / (2.0 * 0.4287)

    def __init__(self, rate: float, n_channels: int) -> None:
        self._step = min(1.0, self._STEP_PER_RATE * rate)
        self._n_seen = np.zeros(n_channels)
        self._scale = np.zeros(n_channels)

    def process(self, samples: Samples) -> Samples:
        scaled = np.zeros_like(samples)
        for row, out in zip(samples, scaled, strict=True):
            size = np.abs(row)
            speaks = (size > 0) & (size < np.inf)
            self._n_seen += speaks
            factor = 1.0 + np.maximum(self._step, 1.0 / np.maximum(self._n_seen, 1.0))
            scale = np.where(size > self._scale, self._scale * factor, self._scale / factor)
            scale = np.where(self._scale > 0, scale, size)
            self._scale = np.where(speaks, scale, self._scale)
            np.divide(row, self._scale, out=out, where=self._scale > 0)
        return scaled
