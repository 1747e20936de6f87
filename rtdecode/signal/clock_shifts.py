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

_ALIKE = 0.25

AHEAD_S = 2.0
"""For how long after a jump it is looked whether stamps lie in the future, seconds of our clock."""


class ClockShifts:
    """How far a stream's clock is off what it was at the beginning.

    The *lag* of a stream is the smallest difference between the arrival of its samples and their times. Lost
    samples do not change it, congestion raises it for a while. A jump of the stamps was the clock's, then,

    - where it led forwards, and stamps now lie in the future: they arrive before their time, and sooner than
      is usual of this stream;
    - where it led backwards, which no honest clock does, and stamps now are older than usual as they arrive.

    What is off stays off until stamps arrive as usual again. Jumps that are no longer than a gap, or than the
    usual lag, are not found out.

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
        self._usual_s = math.inf
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
                self._usual_s = min(self._usual_s, self._lag_s)
            self._lag_s = math.inf
            self._went_back = was_off or step_s < 0
            self._until = arrival + AHEAD_S
        if not arrival - newest < self._lag_s:
            return False
        self._lag_s = arrival - newest
        off_s = self._lag_s - self._usual_s
        is_behind = self._went_back and TOLERANCE_S < off_s < math.inf
        is_ahead = -math.inf < off_s < -TOLERANCE_S and self._lag_s < -TOLERANCE_S
        if is_behind or (is_ahead and (self.shift_s < 0 or arrival <= self._until)):
            self.shift_s = off_s
        else:
            self.shift_s = 0.0
        return self.shift_s != 0.0 and not was_off

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
