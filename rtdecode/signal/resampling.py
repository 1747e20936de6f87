"""The fixed matrix that takes a window from the native rate to the decoder's rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from rtdecode.contracts import Resampling
from rtdecode.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

    from rtdecode.contracts import SignalContract, Window

# Each output point is made of the nearest 32 native samples.
_HALF_WIDTH = 16
# The signal is taken to lie below this share of the native Nyquist frequency: its low-pass sees to that.
_BANDWIDTH = 0.8
# Noise to signal ratio assumed in each sample; it bounds the weights near the ends of the window.
_NOISE = 1e-7
# Two places closer than this, in native samples, are the same place.
_SAME = 1e-6


def resampling_for(
    window: Window, rate_hz: float, target_rate_hz: float, *, shift_residual: bool = False
) -> Resampling:
    """Say how many points a window has at another rate, the first on the window's first sample.

    Where points are shifted by the residual, the window's outermost samples have none: they are what the
    others are shifted towards.

    Raises
    ------
    UserError
        The target rate is not positive, or higher than the native one.
    """
    if not 0 < target_rate_hz <= rate_hz:
        raise UserError(
            f"a target rate of {target_rate_hz:g} Hz must lie between 0 and the stream's {rate_hz:g} Hz"
        )
    n_steps = window.n_samples - 1 - (2 if shift_residual else 0)
    n_times = math.floor(n_steps * target_rate_hz / rate_hz + _SAME) + 1
    return Resampling(rate_hz=target_rate_hz, n_times=n_times, shift_residual=shift_residual)


def resampling_matrix(window: Window, rate_hz: float, resampling: Resampling) -> npt.NDArray[np.float64]:
    """Build the matrix that interpolates a window at the times of the resampled points.

    It interpolates at the native bandwidth and removes nothing: what lies above the new Nyquist frequency
    must have been removed by the causal low-pass. Where a point falls on a native sample its row is that
    sample alone. Elsewhere the row holds the weights with the least expected error for a signal spread evenly
    over the band, on the condition that they sum to 1 so that constants are kept. In the middle of the window
    this is a windowed sinc; at its ends, where that would be cut off, it stays good (errors of 1e-5 and 5e-3
    for a sine of 30 Hz at 256 Hz, against 7e-5 and 6e-2).

    Parameters
    ----------
    window
        What is cut at the native rate.
    rate_hz
        The native rate.
    resampling
        As made by :func:`resampling_for`.

    Returns
    -------
    array of shape (n_times, n_samples)
        Rows sum to 1; the identity where both rates are equal, between columns of zeros where points may be
        shifted.
    """
    n_samples = window.n_samples - 2 * resampling.margin
    matrix = np.zeros((resampling.n_times, n_samples))
    for point, row in enumerate(matrix):
        place = point * rate_hz / resampling.rate_hz
        if abs(place - round(place)) < _SAME:
            row[round(place)] = 1.0
            continue
        first = max(0, math.floor(place) + 1 - _HALF_WIDTH)
        last = min(n_samples, math.floor(place) + 1 + _HALF_WIDTH)
        row[first:last] = _weights(np.arange(first, last, dtype=np.float64) - place)
    return np.pad(matrix, ((0, 0), (resampling.margin, resampling.margin)))


class Resampler:
    """What follows the cut: from a window at the native rate to the resampled points.

    Training makes its windows with it, and export writes its numbers into the ONNX file.

    Points that are shifted by a residual ``r`` (:class:`~rtdecode.contracts.Resampling`) are read off the
    parabola through each sample and its two neighbours:

    .. math:: y = (R_0 + r R_1 + r^2 R_2) x

    Whatever ``r``, the weights of a point sum to 1, and with none the samples stay as they are. The parabola
    takes nothing for granted about the signal, and needs one sample after the window's last point: each more
    would keep an answer waiting for a volume. For haemodynamic responses to pictures at any time its error is
    2.5, 5 and 9 % of their SD with a volume each 1.5, 2 and 2.5 s; that of the nearest volume is 15, 20 and
    25 %, of a straight line 4, 7 and 11 %, and of the best weights for three samples, which know the
    response, 2, 4 and 7 %.

    Parameters
    ----------
    signal
        Window, rates, and whether points are shifted.

    Attributes
    ----------
    matrices : array of shape (1, n_times, n_samples) or (3, n_times, n_samples), float32
        What the powers 0, 1 and 2 of the residual in seconds are multiplied by; one matrix where points are
        not shifted.
    longest_s
        Residuals are taken to be no longer than one sample period: beyond lies what the window does not hold.
    """

    def __init__(self, signal: SignalContract) -> None:
        matrix = resampling_matrix(signal.window, signal.rate_hz, signal.resampling)
        powers = [matrix]
        if signal.resampling.shift_residual:
            before, after = np.roll(matrix, -1, axis=1), np.roll(matrix, 1, axis=1)
            powers += [
                0.5 * signal.rate_hz * (after - before),
                0.5 * signal.rate_hz**2 * (after - 2.0 * matrix + before),
            ]
        self.matrices: npt.NDArray[np.float32] = np.array(powers, np.float32)
        self.longest_s = 1.0 / signal.rate_hz
        self._resamples = signal.resamples
        # Few of the numbers are not zero: at a tenth of the rate nine samples of ten are not even looked at.
        self._used = np.flatnonzero(self.matrices.any(axis=(0, 1)))
        self._sparse = [csr_array(power[:, self._used].astype(np.float64)) for power in self.matrices]

    def __call__(self, window: npt.NDArray[np.float32], residual_s: float) -> npt.NDArray[np.float32]:
        """Resample one window, rounded to single precision once, at the end.

        Parameters
        ----------
        window : array of shape (n_samples, n_channels), float32
        residual_s
            The picture's time minus the onset sample's; means nothing where points are not shifted.

        Returns
        -------
        array of shape (n_times, n_channels), float32
            The window itself where nothing is resampled.
        """
        if not self._resamples:
            return window
        residual_s = min(max(residual_s, -self.longest_s), self.longest_s)
        used = window[self._used]
        points = self._sparse[0] @ used
        for power, matrix in enumerate(self._sparse[1:], start=1):
            points += residual_s**power * (matrix @ used)
        resampled: npt.NDArray[np.float32] = points.astype(np.float32)
        return resampled


def _weights(distances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of samples at these distances from a point, with the least mean squared error and sum 1.

    The covariance of an evenly band-limited signal over a distance d is sinc(b d); the condition on the sum
    adds a row and a column (a Lagrange multiplier).
    """
    n = len(distances)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = np.sinc(_BANDWIDTH * (distances[:, None] - distances)) + _NOISE * np.eye(n)
    system[n, n] = 0.0
    target = np.append(np.sinc(_BANDWIDTH * distances), 1.0)
    weights: npt.NDArray[np.float64] = np.linalg.solve(system, target)[:n]
    weights /= weights.sum()
    return weights
