"""The fixed matrix that takes a window from the native rate to the decoder's rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import Resampling
from rtdecode.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

    from rtdecode.contracts import Window

# Each output point is made of the nearest 32 native samples.
_HALF_WIDTH = 16
# The signal is taken to lie below this share of the native Nyquist frequency: its low-pass sees to that.
_BANDWIDTH = 0.8
# Noise to signal ratio assumed in each sample; it bounds the weights near the ends of the window.
_NOISE = 1e-7
# Two places closer than this, in native samples, are the same place.
_SAME = 1e-6


def resampling_for(window: Window, rate_hz: float, target_rate_hz: float) -> Resampling:
    """Say how many points a window has at another rate, the first on the window's first sample.

    Raises
    ------
    UserError
        The target rate is not positive, or higher than the native one.
    """
    if not 0 < target_rate_hz <= rate_hz:
        raise UserError(
            f"a target rate of {target_rate_hz:g} Hz must lie between 0 and the stream's {rate_hz:g} Hz"
        )
    n_times = math.floor((window.n_samples - 1) * target_rate_hz / rate_hz + _SAME) + 1
    return Resampling(rate_hz=target_rate_hz, n_times=n_times)


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
        Rows sum to 1; the identity where both rates are equal.
    """
    n_samples = window.n_samples
    matrix = np.zeros((resampling.n_times, n_samples))
    for point, row in enumerate(matrix):
        place = point * rate_hz / resampling.rate_hz
        if abs(place - round(place)) < _SAME:
            row[round(place)] = 1.0
            continue
        first = max(0, math.floor(place) + 1 - _HALF_WIDTH)
        last = min(n_samples, math.floor(place) + 1 + _HALF_WIDTH)
        row[first:last] = _weights(np.arange(first, last, dtype=np.float64) - place)
    return matrix


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
