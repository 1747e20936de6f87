"""Which sample was taken nearest to a time: a pure function of the stamps, whatever their chunks."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from rtdecode.signal.bursts import Bursts, burst_length
from rtdecode.signal.lost import hides_losses
from rtdecode.signal.ring import LeftRingError, NotYetError
from rtdecode.signal.stamp_line import FEWEST_BLOCKS, NOMINAL, WINDOW_S, TrailingLine
from rtdecode.signal.trust import Trust

SETTLE_S = 0.05
"""How far a stream must have passed a time before its sample is chosen, seconds.

Stamps that come soon after may still show that those before were wrong.
"""

BLOCK_S = 0.05
"""How often the line is drawn anew, seconds of the stream's own time.

About as long as a burst of a Bluetooth headset, whose stamps are all wrong by the same.
"""

START_S = 0.35
"""How long a segment has gone on, and to the end of a block, before its line is asked anything, likewise."""

ALIKE_S = 1.0
"""How long, unless one was short, it waits at the most to see whether bursts are alike, likewise."""

# Of two samples equally near, the earlier: also where rounding makes the times differ by a little.
_TIE_SAMPLES = 1e-6


def nearest_whole(samples: float) -> int:
    """Round to the nearest whole number of samples, ties to the earlier."""
    return math.ceil(samples - 0.5 - _TIE_SAMPLES)


class OutsideError(LookupError):
    """The time lies before the segment's first sample, or after the last one of a segment that has ended."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """A time expressed as a sample.

    Parameters
    ----------
    sample
        The sample nearest to it, counted from the segment's first; negative for a time before that, and
        not among those of a segment that has ended for a time after its last.
    residual_us
        Time minus the sample's time, microseconds.
    uncertainty_us
        Standard error of the sample's time, microseconds; infinite where too few stamps have come to say.
    settled
        Number of the segment's samples that had to come before this could be said.
    """

    sample: int
    residual_us: float
    uncertainty_us: float
    settled: int


class SampleClock:
    """When each sample of one segment was taken, by a line through its stamps.

    Stamps may jitter, come in bursts and step back a little. The line (:class:`~.stamp_line.TrailingLine`) is
    drawn anew after each block of :data:`BLOCK_S`, and holds for the samples of the next. Stamps that scatter
    evenly count alike; a constant delay is not seen here.

    Samples are *trusted* where none can have been lost among them, as far as stamps tell it
    (:class:`~.trust.Trust`), and the line is drawn through trusted ones: stamps that leave it and come back
    were late for once, as when a sender was held up, and count no more than that; stamps that stay away show
    that samples were lost or a clock was set, and the segment is over. It then ends before the first of them.
    Nothing is trusted before :data:`START_S`. Where stamps show by then that samples were lost among them
    (:func:`~.lost.hides_losses`), none ever is: the segment is over at once. Where they come in bursts, whole
    bursts are trusted, and those that are short show losses (:class:`~.bursts.Bursts`); where it takes more
    to tell how long bursts are, nothing is trusted before :data:`ALIKE_S`.

    All times are seconds of one clock.

    Parameters
    ----------
    rate_hz
        Nominal rate.
    capacity
        Number of samples for which it is remembered what was known when they came.
    speed
        How many times as fast as real time the stamps run.
    """

    def __init__(self, rate_hz: float, capacity: int, *, speed: float = 1.0) -> None:
        self._period_s = 1.0 / (rate_hz * speed)
        self._capacity = capacity
        self._block = max(1, round(BLOCK_S * rate_hz))
        self._start = -(-max(FEWEST_BLOCKS * self._block + 1, math.ceil(START_S * rate_hz)) // self._block)
        self._start *= self._block
        self._n_blocks = round(WINDOW_S * rate_hz / self._block)
        self._trail = TrailingLine(self._block, self._n_blocks, self._period_s)
        self._trust = Trust(rate_hz, self._period_s, capacity)
        self._bursts: Bursts | None = None
        self._alike = math.ceil(ALIKE_S * rate_hz)
        # For each block still remembered, by the line that was drawn before it began: the latest time that it
        # or one before it reaches; and when its first sample was taken, sample period, error.
        self._n_lines = -(-capacity // self._block) + 2
        self._oldest_line = 0
        self._reach: list[float] = []
        self._lines: list[tuple[float, float, float]] = []
        self._drawn = NOMINAL  # through the blocks that are trusted
        self._line = NOMINAL  # the same, for the next block
        self._held: list[tuple[float, float, float]] = []  # blocks that it has not been drawn through yet
        self._numbers = np.arange(self._block, dtype=np.float64)
        self._expected = np.empty(self._block)
        self._excess = np.empty(self._block)
        self._beginning: list[npt.NDArray[np.float64]] = []  # stamps until the segment has begun
        self._first_stamp = math.nan
        self._first_late_s = max(0.5 * self._period_s, SETTLE_S / speed)
        self._until = -math.inf
        self._end = 0
        self._over = False
        self._ended = False

    @property
    def first(self) -> int:
        """The first sample that can be trusted, once any are: before it, losses might not show."""
        return max(self._trust.first, self._bursts.first) if self._bursts else self._trust.first

    @property
    def begun(self) -> bool:
        """Whether any samples may be trusted, or the segment is over before."""
        return self._over or self._trust.begun

    @property
    def trusted(self) -> int:
        """One past the newest sample that belongs to this segment beyond doubt."""
        certain = self._trust.certain
        return min(certain, self._bursts.certain) if self._bursts else certain

    def append(self, stamps: npt.NDArray[np.float64]) -> int:
        """Add the stamps of the next samples, an array of shape ``(n,)``, seconds.

        Returns
        -------
        int
            How many were taken: fewer than all where the segment is over, and the others belong to the next.
        """
        taken = 0
        while taken < len(stamps) and not self._over:
            if not self._end:
                self._first_stamp = float(stamps[0])
                self._draw()
            at = self._end % self._block
            piece = stamps[taken : taken + self._block - at]
            if self._bursts and (n_whole := self._bursts.watch(piece.tolist())) < len(piece):
                self._over = True
                if not n_whole:
                    break
                piece = piece[:n_whole]
            stop = at + len(piece)
            excess = piece - self._expected[at:stop]
            self._excess[at:stop] = excess
            watched = self._trust.watch(excess.tolist())
            self._over = self._over or watched < len(piece)
            self._end += watched
            taken += watched
            if not self._trust.begun:
                self._beginning.append(piece.copy())
            if stop == self._block and not self._over:
                self._refresh()
        return taken

    def finish(self) -> None:
        """Say that no more stamps will come: what could still wait is decided on those there are."""
        self._ended = True
        if self._end and not self._trust.begun and not self._over:
            self._begin()
        if self.trusted:
            last = self._trust.on_line - 1
            begin, step, error = self._in_force(last)
            self._until = begin + (last % self._block + 0.5) * step + min(3.0 * error, SETTLE_S)

    def covers(self, time: float) -> bool:
        """Whether a time lies in the segment, or may come to lie in it.

        The first and the last sample each reach half a sample period outwards, and as much more as the
        line may be wrong there: three standard errors, or up to :data:`SETTLE_S` before there is one. A time
        that is no number lies nowhere.
        """
        return self._first_stamp - self._first_late_s < time and not self.precedes(time)

    def precedes(self, time: float) -> bool:
        """Whether the segment has ended, and a time lies after its last sample."""
        return self._ended and not time <= self._until

    def known(self, samples: int) -> int:
        """How many samples had to come before the first ``samples`` were trusted."""
        known = self._trust.known(samples)
        return max(known, self._bursts.known(samples)) if self._bursts else known

    def nearest(self, time: float) -> Alignment:
        """Find the sample that was taken nearest to a time; of two equally near, the earlier.

        The line is the one in force when the stream had passed the time by :data:`SETTLE_S`, was trusted, and
        had gone on for :data:`START_S`; or the last one of a segment that has ended. So what comes later
        does not change the answer.

        Raises
        ------
        OutsideError
            The segment does not cover the time.
        NotYetError
            Stamps still to come may change the line.
        LeftRingError
            The line that was in force then is no longer remembered.
        """
        if not self.covers(time) if self._end else self._ended:
            raise OutsideError("the time lies outside the segment")
        settled = self._settled(time)
        begin, step, error = self._in_force(settled - 1)
        first = (settled - 1) // self._block * self._block
        sample = first + nearest_whole((time - begin) / step)
        residual_s = time - (begin + (sample - first) * step)
        return Alignment(sample, residual_s * 1e6, error * 1e6, settled)

    def _settled(self, time: float) -> int:
        """How many samples had to come before a time was settled."""
        at = bisect_left(self._reach, time + SETTLE_S)
        if at < len(self._reach):
            if at == 0 and self._oldest_line:
                raise LeftRingError("what was known at that time is no longer held")
            begin, step, _ = self._lines[at]
            inside = max(0, math.ceil((time + SETTLE_S - begin) / step))
            first = (self._oldest_line + at) * self._block
            samples = max(first + inside + 1, self._start)
            if samples <= self.trusted:
                return self.known(samples)
        if not self._ended:
            raise NotYetError("the stream has not passed the time by enough")
        return self.trusted

    def _in_force(self, sample: int) -> tuple[float, float, float]:
        """Line that was in force when a sample came: begin of the sample's block, sample period and error."""
        at = sample // self._block - self._oldest_line
        if at < 0:
            raise LeftRingError("what was known at that time is no longer held")
        return self._lines[at]

    def _refresh(self) -> None:
        """Draw the line anew, through the blocks that are trusted by now."""
        excess = self._excess
        if self._trust.has_strays:
            # Stamps off the line count as if they were at the limit: no more, or one that is far off would
            # turn it; no less, or it could never follow stamps that have come to scatter more.
            np.clip(excess, -self._trust.limit_s, self._trust.limit_s, out=excess)
        mean, variance, jitter = _summary(excess)
        middle = self._line.level_s + self._line.slope_s * 0.5 * (self._block - 1)
        self._held.append((middle + mean, variance, jitter))
        n_drawn = self._end // self._block - len(self._held)
        certain = self._trust.certain if self._trust.begun else self._end
        while self._held and (n_drawn + 1) * self._block <= certain:
            self._drawn = self._trail.add(*self._held.pop(0))
            n_drawn += 1
        if self._trust.begun:
            self._trust.judge(self._drawn)
        elif self._end >= self._start:
            self._begin()
        ahead = self._drawn.slope_s * self._block * len(self._held)
        self._line = replace(self._drawn, level_s=self._drawn.level_s + ahead) if self._held else self._drawn
        self._draw()

    def _begin(self) -> None:
        """Trust the samples so far, unless their stamps show that some were lost."""
        stamps = np.concatenate(self._beginning)
        excess = stamps - self._first_stamp
        excess -= np.arange(self._end) * self._period_s
        lost = hides_losses(excess, self._period_s, 0 if self._ended else self._block)
        if lost is False:
            lost = self._break_bursts(stamps, excess)
        if lost is None:
            return
        self._beginning.clear()
        if lost:
            self._over = True
            return
        if self._drawn.n_stamps:
            self._trust.judge(self._drawn)
        n_blocks = self._end // self._block
        n_drawn = max(FEWEST_BLOCKS, (self._end - self._trust.lag) // self._block)
        if n_drawn < n_blocks:
            blocks = excess[: n_blocks * self._block].reshape(n_blocks, self._block)
            summaries = [_summary(block) for block in blocks.copy()]
            self._trail = TrailingLine(self._block, self._n_blocks, self._period_s)
            for summary in summaries[:n_drawn]:
                self._drawn = self._trail.add(*summary)
            self._held = summaries[n_drawn:]
        n_held = len(self._held)
        excess -= self._drawn.level_s + self._drawn.slope_s * (
            np.arange(self._end) - (n_blocks - n_held) * self._block
        )
        self._trust.begin(excess.tolist())

    def _break_bursts(self, stamps: npt.NDArray[np.float64], excess: npt.NDArray[np.float64]) -> bool | None:
        """Tell whether bursts show losses, None where they cannot yet; watch them, if they are alike."""
        length = burst_length(excess, self._period_s)
        if length is None or (not length and self._drawn.noise_s < math.inf):
            return False
        if length:
            bursts = Bursts(length, self._first_stamp, self._period_s, self._capacity)
            if bursts.watch(stamps.tolist()) < len(stamps):
                return True
            if bursts.are_known or self._ended:
                self._bursts = bursts
                return False
            if bursts.vary:
                return False
            if bursts.were_short:
                return None
        return None if self._end < self._alike and not self._ended else False

    def _draw(self) -> None:
        """Lay the line out over the samples of the next block."""
        begin = self._first_stamp + self._end * self._period_s + self._line.level_s
        step = self._period_s + self._line.slope_s
        np.multiply(self._numbers, step, out=self._expected)
        self._expected += begin
        reach = begin + (self._block - 1) * step
        self._reach.append(max(reach, self._reach[-1]) if self._reach else reach)
        self._lines.append((begin, step, self._line.error_s))
        if len(self._lines) >= 2 * self._n_lines:
            self._oldest_line += self._n_lines
            del self._reach[: self._n_lines], self._lines[: self._n_lines]


def _summary(excess: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean and variance of a block, and half the mean square step in it; leaves it without its mean."""
    n = len(excess)
    mean = float(np.add.reduce(excess)) / n
    excess -= mean
    variance = float(np.add.reduce(excess * excess)) / n
    steps = excess[1:] - excess[:-1]
    jitter = 0.5 * float(np.add.reduce(steps * steps)) / max(1, n - 1)
    return mean, variance, jitter
