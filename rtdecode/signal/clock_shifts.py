"""Whether a stream's clock was set while it ran: told by when stamps arrive, as stamps alone cannot tell."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
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

FEWEST_MARKERS = 3
"""How many markers in a row must come as early or late as the stream before their sender is believed."""

_MOST_MARKERS = 16
_ALIKE = 0.25
"""Markers come as early or late as their stream where they differ by no more than this share of the shift."""

AHEAD_S = 2.0
"""For how long after a jump it is looked whether stamps lie in the future, seconds of our clock."""


def set_clock(shift_s: float) -> str:
    """Why a marker is refused in a stream whose clock was set back by so much; ahead where negative."""
    direction = "ahead" if shift_s < 0 else "back"
    return f"the stream's clock was set {direction} by {abs(shift_s):.3g} s, the marker's was not seen to be"


@dataclass(slots=True)
class _Sender:
    """How late a sender's markers came, seconds: the last ones before a clock was set, and those since."""

    before: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_MARKERS))
    since: deque[float] = field(default_factory=lambda: deque(maxlen=FEWEST_MARKERS))

    def moved_by(self, shift_s: float) -> bool:
        """Whether each that came since is as much later than each before."""
        if min(len(self.before), len(self.since)) < FEWEST_MARKERS:
            return False
        least, most = min(self.since) - max(self.before), max(self.since) - min(self.before)
        return max(abs(least - shift_s), abs(most - shift_s)) <= _ALIKE * abs(shift_s)


class ClockShifts:
    """How far a stream's clock is off what it was before it was set, whether it was away meanwhile or not.

    The *lag* of a stream is the smallest difference between the arrival of its samples and their times. Lost
    samples do not change it, congestion raises it for a while, drift moves it slowly. A jump of the stamps
    was the clock's, then,

    - where it led forwards, and stamps now lie in the future: they arrive before their time, and sooner than
      was usual of this stream just before;
    - where it led backwards, which no honest clock does, and stamps now are older than usual as they arrive.
      From stamps that had drifted into the future it may lead back to the lag of the first seconds: that is
      a clock set right.

    After any other jump, or when the stream comes back, stamps are off, too, that are older by more than a
    gap than usual; and before anything is usual, those that arrive by more than a gap before their time.

    What is off stays off until stamps arrive as usual again: a lag that is steady does not tell that the
    markers' clock was set, too. Jumps that are no longer than a gap, or than the usual lag, are not found
    out.

    Nor does a single marker tell: one that comes late comes as late as one whose clock was set back. A sender
    whose clock was set with the stream's is known by several in a row that all came by as much later than
    its last ones before, or sooner. Lateness that varies by as much as the shift hides it.

    Parameters
    ----------
    gap_s
        How far a stamp may lie from where the one before it leads to expect it. Never less than half a sample
        period.
    """

    def __init__(self, gap_s: float) -> None:
        self._gap_s = gap_s
        self._period_s = math.nan
        self._is_back = False  # no sample has come since it was connected
        self._late_s = self._early_s = TOLERANCE_S
        self._due = math.nan
        self._senders: dict[str, _Sender] = {}
        # Smallest lag of the running span of USUAL_S, of the one before, and of the first one.
        self._span_s = self._span_before_s = self._first_span_s = math.inf
        self._span_until: float | None = None
        self._is_first_span = True
        self._usual_s = math.inf  # before the last jump
        self._lag_s = math.inf  # since the last jump
        self._until = math.inf
        self.shift_s = 0.0
        """How far the clock is behind what it was, seconds; negative where it is ahead, 0 if all is well."""

    def connect(self, period_s: float) -> None:
        """Follow the stream, which has come or come back; its clock may have been set meanwhile."""
        self._period_s = period_s
        self._gap_s = max(self._gap_s, 0.5 * period_s)
        self._is_back = True

    def add(self, times: npt.NDArray[np.float64], arrival: float) -> None:
        """Take the times of the next samples and when they arrived.

        Parameters
        ----------
        times : array of shape (n,)
            Seconds of our clock, as the stamps say.
        arrival
            Seconds of our clock.
        """
        self._due += len(times) * self._period_s
        if not len(times) or not math.isfinite(times[-1]):
            return
        newest = float(times[-1])
        step_s = newest - self._due
        self._due = newest
        was_off = self.shift_s != 0.0
        if self._is_back or abs(step_s) > self._gap_s:
            if not was_off and (usual_s := min(self._span_s, self._span_before_s)) < math.inf:
                self._usual_s = usual_s
            self._lag_s = math.inf
            gap_s = max(TOLERANCE_S, self._gap_s)
            went_back = not self._is_back and (was_off or step_s < 0)
            self._late_s = TOLERANCE_S if went_back else gap_s
            self._early_s = gap_s if self._is_back else TOLERANCE_S
            self._until = arrival + AHEAD_S
        if self._is_back:  # over another link its lag may be another
            self._span_s = self._span_before_s = math.inf
            self._is_back = False
        lag_s = arrival - newest
        if lag_s < self._lag_s:
            self._lag_s = lag_s
            self.shift_s = self._shift(arrival)
        if self.shift_s == 0.0:
            self._remember(lag_s, arrival)
            for sender in self._senders.values():
                sender.before.extend(sender.since)
                sender.since.clear()

    def _shift(self, arrival: float) -> float:
        right_s = self._usual_s
        if right_s < -TOLERANCE_S:  # it had run ahead: stamps may have been set right
            right_s = max(right_s, self._first_span_s)
        behind_s = self._lag_s - right_s
        if self._late_s < behind_s < math.inf:
            return behind_s
        ahead_s = self._lag_s - (self._usual_s if self._usual_s < math.inf else 0.0)
        is_ahead = ahead_s < -self._early_s and self._lag_s < -TOLERANCE_S
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

    def follows(self, marker: Marker) -> bool:
        """Take a marker; say whether its sender's clock was seen to be set with the stream's, which is off.

        Parameters
        ----------
        marker
            Its ``time`` without any delay.
        """
        late_s = marker.arrival - marker.time
        if marker.sample is not None or not math.isfinite(late_s):
            return False
        sender = self._senders.setdefault(marker.source, _Sender())
        sender.since.append(late_s)
        return self.shift_s != 0.0 and sender.moved_by(self.shift_s)
