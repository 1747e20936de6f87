"""Whether a stream's clock was set while it ran: told by when stamps arrive, as stamps alone cannot tell."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtdecode.signal.markers import Marker

TOLERANCE_S = 0.02
"""How much sooner or later than usual stamps may arrive after a jump, seconds."""

USUAL_S = 5.0
"""What is usual is the smallest lag of the last one to two times this before a jump, seconds of our clock.

Short, so that a clock that drifts and a network that has become slower move it.
"""

_ALIKE = 0.25
"""A marker comes as early or late as its stream where they differ by no more than this share of the shift."""

AHEAD_S = 2.0
"""For how long after a jump it is looked whether stamps lie in the future, seconds of our clock."""


class ClockShifts:
    """How far a stream's clock is off what it was before it was set.

    The *lag* of a stream is the smallest difference between the arrival of its samples and their times. Lost
    samples do not change it, congestion raises it for a while, drift moves it slowly. A jump of the stamps
    was the clock's, then,

    - where it led forwards, and stamps now lie in the future: they arrive before their time, and sooner than
      was usual of this stream just before;
    - where it led backwards, which no honest clock does, and stamps now are older than usual as they arrive.
      From stamps that had drifted into the future it may lead back to the lag of the first seconds: that is
      a clock set right.

    What is off stays off until stamps arrive as usual again, or for as long as the stream is connected: a lag
    that is steady does not tell that the markers' clock was set, too. Jumps that are no longer than a gap, or
    than the usual lag, are not found out.

    Parameters
    ----------
    period_s
        Sample period.
    gap_s
        How far a stamp may lie from where the one before it leads to expect it.
    """

    def __init__(self, period_s: float, gap_s: float) -> None:
        self._period_s = period_s
        self._gap_s = gap_s
        self._last = math.nan
        # Smallest lag of the running span of USUAL_S, of the one before, and of the first one.
        self._span_s = self._span_before_s = self._first_span_s = math.inf
        self._span_until: float | None = None
        self._is_first_span = True
        self._usual_s = math.inf  # before the last jump
        self._lag_s = math.inf  # since the last jump
        self._went_back = False
        self._until = math.inf
        self.shift_s = 0.0
        """How far the clock is behind what it was, seconds; negative where it is ahead, 0 if all is well."""

    def add(self, times: npt.NDArray[np.float64], arrival: float) -> bool:
        """Take the times of the next samples and when they arrived; say whether the clock was found off now.

        Parameters
        ----------
        times : array of shape (n,)
            Seconds of our clock, as the stamps say.
        arrival
            Seconds of our clock.
        """
        if not len(times):
            return False
        newest = float(times[-1])
        step_s = newest - self._last - len(times) * self._period_s
        self._last = newest
        was_off = self.shift_s != 0.0
        if abs(step_s) > self._gap_s:
            if not was_off:
                self._usual_s = min(self._span_s, self._span_before_s)
            self._lag_s = math.inf
            self._went_back = was_off or step_s < 0
            self._until = arrival + AHEAD_S
        lag_s = arrival - newest
        if lag_s < self._lag_s:
            self._lag_s = lag_s
            self.shift_s = self._shift(arrival)
        if self.shift_s == 0.0:
            self._remember(lag_s, arrival)
        return self.shift_s != 0.0 and not was_off

    def _shift(self, arrival: float) -> float:
        right_s = self._usual_s
        if right_s < -TOLERANCE_S:  # it had run ahead: stamps may have been set right
            right_s = max(right_s, self._first_span_s)
        behind_s = self._lag_s - right_s
        if self._went_back and TOLERANCE_S < behind_s < math.inf:
            return behind_s
        ahead_s = self._lag_s - self._usual_s
        is_ahead = -math.inf < ahead_s < -TOLERANCE_S and self._lag_s < -TOLERANCE_S
        return ahead_s if is_ahead and (self.shift_s < 0 or arrival <= self._until) else 0.0

    def _remember(self, lag_s: float, arrival: float) -> None:
        if self._span_until is None:
            self._span_until = arrival + USUAL_S
        elif arrival >= self._span_until:
            self._is_first_span = False
            self._span_before_s, self._span_s = self._span_s, math.inf
            self._span_until = arrival + USUAL_S
        self._span_s = min(self._span_s, lag_s)
        if self._is_first_span:
            self._first_span_s = self._span_s

    @property
    def reason(self) -> str:
        """Why a marker is doubted."""
        direction = "ahead" if self.shift_s < 0 else "back"
        shift_s = abs(self.shift_s)
        return f"the stream's clock was set {direction} by {shift_s:.3g} s, the marker's was not"

    def doubts(self, marker: Marker) -> bool:
        """Say whether a marker's time means nothing here now.

        Not so where the marker tells its sample, nor where it comes as early or late as the clock is off:
        then one sender stamps both.
        """
        if self.shift_s == 0.0 or marker.sample is not None:
            return False
        return abs(marker.arrival - marker.time - self.shift_s) > _ALIKE * abs(self.shift_s)
