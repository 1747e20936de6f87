"""The line through the stamps of a stream: when each sample was most likely taken, and how sure that is."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

from scipy.special import stdtrit

WINDOW_S = 30.0
"""How far back stamps count, seconds of the stream's own time."""

RATE_PRIOR = 400e-6
"""How far a device's rate is expected to lie from the announced one, relative: one standard deviation."""

RATE_LIMIT = 0.01
"""How far it may lie at the most, relative."""

FEWEST_BLOCKS = 3
"""How many blocks it takes to say how sure the line is."""

_SHORTEST_WINDOW = 60
_MANY = 200.0  # degrees of freedom from which on Student's t is the normal distribution to 1 %
_THREE_SIGMA = 0.99865
_CLEAR_SIGMAS = 5.0
_DOUBT_SIGMAS = 2.0
# By how much, over n, the correlation of n residuals of a line is estimated too low.
_CORRELATION_BIAS = 3.0
_FEWEST_WHITE = 3
_MOST_ALIKE = 2.0


@dataclass(frozen=True, slots=True)
class Line:
    """What stamps exceed the nominal grid by, as a line over samples.

    Parameters
    ----------
    level_s
        At the first sample after those that it was drawn through.
    slope_s
        More for each sample.
    error_s
        Standard error of ``level_s``, widened for few stamps as Student's t is at three sigma; infinite where
        there are too few to say.
    spread_s
        Standard deviation of single stamps about the line.
    noise_s
        The same where they are off each by itself, hardly touched by lost samples; infinite where those that
        follow each other are off alike, or where a block has too few to tell.
    n_stamps
        Number of stamps that it was drawn through.
    """

    level_s: float
    slope_s: float
    error_s: float
    spread_s: float
    noise_s: float
    n_stamps: int


NOMINAL = Line(0.0, 0.0, math.inf, math.inf, math.inf, 0)
"""The line before any stamps are known."""


class TrailingLine:
    r"""A line through the stamps of the last :data:`WINDOW_S`, drawn anew after each block of them.

    Let :math:`y_j` be the mean excess of block :math:`j` over the nominal grid, :math:`x_j` the number of the
    block counted from the middle of the window, :math:`n` the number of blocks, and :math:`\hat s` and
    :math:`S^2` the slope and the residual variance of ordinary least squares. The line is

    .. math::

        \bar y + k \hat s x, \qquad k = \frac{p^2}{p^2 + v}, \qquad
        v = \frac{c S^2}{\sum x_j^2}, \qquad c = \max(1, 1 + 2 \rho_1 + 6 / n),

    the posterior mean for a slope with prior :math:`N(0, p^2)`: for regular stamps :math:`k = 1` and the line
    is exact; where stamps scatter, the slope is held by the announced rate until enough of them have come,
    and the level settles as fast as a mean does. :math:`p` is :data:`RATE_PRIOR`, or
    :math:`\sqrt{\hat s^2 - 25 v}` if that is more: a rate that is clearly not the announced one is
    believed. :math:`c` allows for neighbouring blocks that share a burst; :math:`\rho_1` is the correlation
    of residuals of one block and the next, which is estimated too low by about :math:`3 / n`. The squared
    error at :math:`x` is :math:`c S^2 / n + k v x^2`.

    Parameters
    ----------
    block
        Number of samples in a block: about as long as stamps go on being wrong in the same way.
    n_blocks
        Number of blocks in the window.
    period_s
        Nominal sample period.

    References
    ----------
    Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.5 (normal prior, known variance).
    """

    def __init__(self, block: int, n_blocks: int, period_s: float) -> None:
        self._block = block
        self._n_blocks = max(n_blocks, _SHORTEST_WINDOW)
        self._prior = (RATE_PRIOR * block * period_s) ** 2
        self._limit = RATE_LIMIT * block * period_s
        self._n_ever = 0
        # The excess is kept, and summed, over a base line near it, so that nothing is lost where large sums
        # are subtracted from each other: its level at block 0 of all, its slope, when it was laid last.
        self._base = 0.0
        self._base_slope = 0.0
        self._n_since_base = 0
        self._blocks: deque[tuple[float, float, float]] = deque()
        self._sum = 0.0
        self._sum_numbered = 0.0
        self._sum_squares = 0.0
        self._sum_steps_squared = 0.0
        self._sum_variance = 0.0
        self._sum_jitter = 0.0

    def add(self, mean_s: float, variance_s2: float, jitter_s2: float) -> Line:
        """Add a block, by mean and variance of its stamps' excess, and draw the line.

        Parameters
        ----------
        mean_s, variance_s2
            Of the block's stamps.
        jitter_s2
            Half the mean square difference of a stamp's excess and the next one's: their variance where they
            are off each by itself, and hardly touched by lost samples.

        Returns
        -------
        Line
            Its level is that of the sample after the block's last.
        """
        if len(self._blocks) == self._n_blocks:
            self._drop()
        self._append(mean_s - self._base - self._base_slope * self._n_ever, variance_s2, jitter_s2)
        self._n_ever += 1
        self._n_since_base += 1
        n = len(self._blocks)
        newest = self._base + self._base_slope * (self._n_ever - 1)
        half = 0.5 * (n - 1)
        middle = self._sum / n
        if n < FEWEST_BLOCKS:
            return replace(NOMINAL, level_s=newest - self._base_slope * half + middle)
        sum_xx = n * (n * n - 1) / 12
        tilt = (self._sum_numbered - half * self._sum) / sum_xx
        squares = max(0.0, self._sum_squares - n * middle * middle - tilt * tilt * sum_xx)
        inflation = max(1.0, 1.0 + 2.0 * (self._correlation(middle, tilt, squares) + _CORRELATION_BIAS / n))
        variance = inflation * squares / (n - 2)
        of_slope = variance / sum_xx
        widened = 1.0
        if (freedom := max(1.0, n / inflation - 2.0)) < _MANY:
            widened = float(stdtrit(freedom, _THREE_SIGMA)) / 3.0
        slope = min(max(self._base_slope + tilt, -self._limit), self._limit)
        prior = max(self._prior, slope * slope - (_CLEAR_SIGMAS * widened) ** 2 * of_slope)
        trust = prior / (prior + of_slope)
        missed = max(self._prior, slope * slope - _DOUBT_SIGMAS**2 * of_slope)
        of_ahead = (1.0 - trust) ** 2 * missed + trust * trust * of_slope
        ahead = half + 0.5 * (self._block + 1) / self._block
        within = max(0.0, self._sum_variance) / n
        jitter = max(0.0, self._sum_jitter) / n
        is_white = self._block >= _FEWEST_WHITE and within <= _MOST_ALIKE * jitter
        line = Line(
            level_s=newest - self._base_slope * half + middle + trust * slope * ahead,
            slope_s=trust * slope / self._block,
            error_s=widened * math.sqrt(variance / n + ahead * ahead * of_ahead),
            spread_s=math.sqrt(squares / (n - 2) + within),
            noise_s=math.sqrt(jitter) if is_white else math.inf,
            n_stamps=n * self._block,
        )
        if self._n_since_base >= max(_SHORTEST_WINDOW // 6, n // 2):
            self._rebase(middle - tilt * half, tilt)
        return line

    def _correlation(self, middle: float, tilt: float, squares: float) -> float:
        """Correlation of the residuals of one block and the next, from the squares of their steps."""
        if squares == 0.0:
            return 0.0
        n, first, last = len(self._blocks), self._blocks[0][0], self._blocks[-1][0]
        steps = self._sum_steps_squared - 2.0 * tilt * (last - first) + (n - 1) * tilt * tilt
        first -= middle - 0.5 * (n - 1) * tilt
        last -= middle + 0.5 * (n - 1) * tilt
        return 1.0 - 0.5 * (steps + first * first + last * last) / squares

    def _append(self, excess_s: float, variance_s2: float, jitter_s2: float) -> None:
        if self._blocks:
            self._sum_steps_squared += (excess_s - self._blocks[-1][0]) ** 2
        self._sum += excess_s
        self._sum_numbered += len(self._blocks) * excess_s
        self._sum_squares += excess_s * excess_s
        self._sum_variance += variance_s2
        self._sum_jitter += jitter_s2
        self._blocks.append((excess_s, variance_s2, jitter_s2))

    def _drop(self) -> None:
        excess_s, variance_s2, jitter_s2 = self._blocks.popleft()
        self._sum_steps_squared -= (self._blocks[0][0] - excess_s) ** 2
        self._sum -= excess_s
        self._sum_numbered -= self._sum  # all others are now counted from one later
        self._sum_squares -= excess_s * excess_s
        self._sum_variance -= variance_s2
        self._sum_jitter -= jitter_s2

    def _rebase(self, level: float, slope: float) -> None:
        """Lay the base line through the window, and sum anew."""
        oldest = self._n_ever - len(self._blocks)
        blocks, self._blocks = self._blocks, deque()
        self._sum = self._sum_numbered = self._sum_squares = 0.0
        self._sum_steps_squared = self._sum_variance = self._sum_jitter = 0.0
        for number, (excess_s, variance_s2, jitter_s2) in enumerate(blocks):
            self._append(excess_s - level - slope * number, variance_s2, jitter_s2)
        self._base += level - slope * oldest
        self._base_slope += slope
        self._n_since_base = 0
