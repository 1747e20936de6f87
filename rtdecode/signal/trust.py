"""Which samples of a segment belong to it beyond doubt, by how far their stamps lie off its line."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtdecode.signal.stamp_line import Line

SHIFT_S = 0.3
"""How long stamps stay off the line before it is believed that they will not come back, stream's own time."""

LAG_S = 0.1
"""How far trust lags behind the newest sample at the most, likewise."""

_FEWEST_AWAY = 3
_SHIFT_SAMPLES = 0.75
_SHIFT_SIGMAS = 3.0
_REFERENCE = 0.5
_LEAST_ALARM = 0.1
_FALSE_ALARM = 9.0
_MISS_SIGMAS = 3.0


class Trust:
    r"""Watches stamps for samples that were lost, and says up to where none was.

    A lost sample puts all stamps after it off the line by a sample period :math:`p`. A single stamp is off
    where it lies farther from the line than ``max(0.75 p, 3 SD)``. Where each stamp is off by itself, by a
    standard deviation :math:`s`, losses show in sums: with :math:`x_i` the distance of a stamp from the line,
    and :math:`e` the line's error, stamps are also off while

    .. math::

        u_i = \min(2 h, \max(0, u_{i-1} + x_i - k)) > h, \qquad
        k = \sqrt{p^2 / 4 + e^2}, \qquad h = \max(p / 10, 9 s^2 / 2 k),

    or the same holds for :math:`-x_i`. That makes one false alarm in about :math:`e^9` stamps. But for one in
    about a thousand, a loss shows within the :math:`n` stamps for which
    :math:`n (p - k - e) - 3 s \sqrt n = h`, and so trust lags by :math:`n - 1` samples: by none where stamps
    scatter by a tenth of a period, by about 20 where they do by half of one, never by more than
    :data:`LAG_S`. Nor is a loss seen among as many samples at the beginning. Where stamps that follow each
    other are off alike, as in bursts, no sums are made and trust does not lag: a single loss among those is
    seen by :class:`~.bursts.Bursts`, if at all.

    While stamps are off to one side, no more samples are trusted. Stamps that come back were late for once,
    as when a sender was held up; if they stay away for :data:`SHIFT_S`, the segment is over.

    Parameters
    ----------
    rate_hz
        Nominal rate.
    period_s
        Sample period in the time of the stamps.
    capacity
        Number of samples for which it is remembered when they were trusted.

    References
    ----------
    Page, Continuous inspection schemes, Biometrika 41 (1954), 100-115; Siegmund, Sequential Analysis (1985),
    section 2.6 (time between false alarms).
    """

    def __init__(self, rate_hz: float, period_s: float, capacity: int) -> None:
        self._period_s = period_s
        self._capacity = capacity
        self._shift = max(_FEWEST_AWAY, math.ceil(SHIFT_S * rate_hz))
        self._most_lag = round(LAG_S * rate_hz)
        self.limit_s = math.inf
        """Beyond this a single stamp is off the line."""
        self.has_strays = False
        """Whether one was, since :meth:`judge` was called last."""
        self._reference_s = math.inf
        self._alarm_s = math.inf
        self._quiet_s = math.inf  # while no stamp is farther off than this, no sum grows
        self._late_s = self._early_s = 0.0
        self.first = 0
        """The first sample that may be trusted: among those before it a loss could not have been seen."""
        self._lag = 0
        self._end = 0
        self._floor = 0  # what was trusted before the lag changed, or stamps came back
        # By how much trust lags, from how many samples on; empty until it begins.
        self._lags: deque[tuple[int, int]] = deque()
        # Stretches off the line: one that goes on, by what is trusted, first sample and side; and past ones,
        # by what was trusted before and after, and how many samples had come then.
        self._before: int | None = None
        self._since = 0
        self._side = 0
        self._returns: deque[tuple[int, int, int]] = deque()

    @property
    def begun(self) -> bool:
        """Whether any samples may be trusted."""
        return bool(self._lags)

    @property
    def lag(self) -> int:
        """How many of the newest samples are not trusted yet."""
        return self._lag

    @property
    def certain(self) -> int:
        """Number of samples that belong to the segment beyond doubt."""
        if self._before is not None:
            return self._before
        return max(self._floor, self._end - self._lag) if self._lags else 0

    @property
    def on_line(self) -> int:
        """Number of samples before stamps left the line, those included that are not trusted yet."""
        return self._end if self._before is None else self._since

    def known(self, samples: int) -> int:
        """How many samples had to come before the first ``samples``, trusted by now, were trusted."""
        for before, after, come in reversed(self._returns):
            if after < samples:
                break
            if before < samples:
                return come
        come = samples
        for place, (start, lag) in enumerate(self._lags, 1):
            come = max(start, samples + lag)
            if place == len(self._lags) or come <= self._lags[place][0]:
                break
        return come

    def judge(self, line: Line) -> None:
        """Learn from the line, drawn anew, what to expect of the stamps that follow."""
        period_s, noise_s = self._period_s, line.noise_s
        self.has_strays = False
        self.limit_s = max(_SHIFT_SAMPLES * period_s, _SHIFT_SIGMAS * math.hypot(line.spread_s, line.error_s))
        lag = 0
        self._reference_s = self._alarm_s = math.inf
        if noise_s < math.inf:
            error_s = 2.0 * noise_s / math.sqrt(line.n_stamps)
            self._reference_s = math.hypot(_REFERENCE * period_s, error_s)
            self._alarm_s = max(
                _LEAST_ALARM * period_s, _FALSE_ALARM * noise_s * noise_s / (2.0 * self._reference_s)
            )
            lag = self._most_lag
            if (rise := period_s - self._reference_s - error_s) > 0.0:
                wide = _MISS_SIGMAS * noise_s
                root = (wide + math.sqrt(wide * wide + 4.0 * rise * self._alarm_s)) / (2.0 * rise)
                lag = min(lag, math.ceil(root * root) - 1)
        self._quiet_s = min(self._reference_s, self.limit_s)
        # While stamps are off the line nothing is trusted, and how much later it is to be can wait.
        if lag != self._lag and self._before is None:
            if self._lags:
                self._floor = self.certain
                self._lags.append((self._end, lag))
                while len(self._lags) > 1 and self._lags[1][0] < self._end - self._capacity:
                    self._lags.popleft()
            self._lag = lag

    def begin(self, excess: list[float]) -> None:
        """Trust the samples so far, by how far their stamps lie off the line now, seconds."""
        self._lags.append((self._end, self._lag))
        self.first = self._lag
        late_s = early_s = 0.0
        for excess_s in excess:
            late_s = min(max(0.0, late_s + excess_s - self._reference_s), 2.0 * self._alarm_s)
            early_s = min(max(0.0, early_s - excess_s - self._reference_s), 2.0 * self._alarm_s)
        self._late_s, self._early_s = late_s, early_s
        if side := (late_s > self._alarm_s) - (early_s > self._alarm_s):
            self._before, self._since, self._side = 0, self._end, side

    def watch(self, excess: list[float]) -> int:
        """Take how far the next stamps lie off the line, seconds; say how many of them the segment takes."""
        late_s, early_s, most_s = self._late_s, self._early_s, 2.0 * self._alarm_s
        reference_s, alarm_s, limit_s = self._reference_s, self._alarm_s, self.limit_s
        if (
            self._before is None
            and late_s == early_s == 0.0
            and max(excess) <= self._quiet_s
            and min(excess) >= -self._quiet_s
        ):
            self._end += len(excess)
            return len(excess)
        for taken, excess_s in enumerate(excess):
            late_s = min(max(0.0, late_s + excess_s - reference_s), most_s)
            early_s = min(max(0.0, early_s - excess_s - reference_s), most_s)
            if excess_s > limit_s or excess_s < -limit_s:
                self.has_strays = True
                side = 1 if excess_s > 0.0 else -1
            else:
                side = (late_s > alarm_s) - (early_s > alarm_s)
            if self._before is not None:
                if self._end - self._since >= self._shift:
                    return taken
                if side != self._side:
                    self._return(self._before, side)
            if side and self._before is None:
                self._before = max(self._floor, self._end - self._lag)
                self._since, self._side = self._end, side
            self._end += 1
        self._late_s, self._early_s = late_s, early_s
        return len(excess)

    def _return(self, before: int, side: int) -> None:
        """End a stretch off the line with a sample that is back, or off to the other side."""
        come = self._end + 1
        after = max(before, (self._end if side else come) - self._lag)
        self._returns.append((before, after, come))
        self._before, self._floor = None, after
        while self._returns[0][2] < self._end - self._capacity:
            self._returns.popleft()
