"""Samples lost among stamps that come in bursts: told by bursts that are too short."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_SHORTEST = 3
_FEWEST_BURSTS = 4
_FEWEST_SAMPLES = 40
_EVEN_PERIODS = 0.05
_WHOLE_PERIODS = 0.02
# A sender that looks at even times what there is, and sends it, sends one sample less, or more, at least
# once in so many bursts: did it do so less often, its steps from one burst to the next would be even.
_ENOUGH_BURSTS = round(1 / _EVEN_PERIODS)
_MOST_SHORT = 3
_MOST_LOST = 0.25  # of a burst; if more are, stamps are off by so much that it shows


def burst_length(excess: npt.NDArray[np.float64], period_s: float) -> int | None:
    """How many samples at least half of the bursts have: 0 where they differ, None where there are none.

    Parameters
    ----------
    excess : array of shape (n,)
        Stamps minus the nominal grid, seconds.
    period_s
        Nominal sample period.
    """
    steps = np.diff(excess)
    borders = np.flatnonzero(np.abs(steps) > _EVEN_PERIODS * period_s)
    if not 2 <= len(borders) <= len(steps) / _SHORTEST:
        return None
    # Stamps that are rounded make even steps and others in turn, too, but those are all alike.
    if np.std(steps[borders]) < _EVEN_PERIODS * period_s:
        return None
    counts = np.bincount(np.diff(borders))
    length = int(np.argmax(counts))
    return length if length >= _SHORTEST and 2 * counts[length] >= len(borders) - 1 else 0


class Bursts:
    """Watches bursts of stamps for samples that were lost, and says up to where none was.

    Stamps come in bursts, as a headset sends them: a period from one to the next, but from one burst to the
    next any time, in which a lost sample would not show. Such an uneven step is a *border*. While none is
    lost, borders lie a multiple of the bursts' length apart, and samples are certain up to where the last
    burst of that length was complete. A border elsewhere is

    - a loss for certain, where the step is a whole number of periods longer: the segment is over;
    - no loss, where the next border lies where it should: a burst was sent in parts;
    - perhaps a loss, where the next is a burst's length away: a burst was short. Nothing more is certain.
      Where 20 bursts follow that are as they should, whatever was sent in parts among them, the segment is
      over. Where another three are short before that, bursts vary in length, and tell nothing: all is
      certain. So it is, at once, where a burst is long, and where none has ended for 20.

    Parameters
    ----------
    length
        Of a burst, samples.
    first_stamp
        That of the first sample, seconds.
    period_s
        Sample period in the time of the stamps.
    capacity
        Number of samples for which it is remembered when they were certain.
    """

    def __init__(self, length: int, first_stamp: float, period_s: float, capacity: int) -> None:
        self._length = length
        self._period_s = period_s
        self._capacity = capacity
        self.first = 0
        """Where the first burst ends, once any has: it may not have been whole."""
        self._before = first_stamp - period_s
        self._most_lost = max(1, round(_MOST_LOST * length))
        self._longest = -1  # time without a border
        self._end = 0
        self._run = 0  # samples since the last border that lay where it should
        self._astray = 0  # the same at the last border, where that did not
        self._n_bursts = 0  # that were as they should since there was a short one
        self._n_short = 0
        self._vary_from: int | None = None
        self._held: int | None = None  # what is certain while that does not grow
        # What was certain while it did not grow, and how many samples had come when it did again.
        self._returns: deque[tuple[int, int]] = deque()

    @property
    def are_known(self) -> bool:
        """Whether enough have come that were as they should."""
        n_samples = self._n_bursts * self._length
        return self._n_bursts >= _FEWEST_BURSTS and n_samples >= _FEWEST_SAMPLES

    @property
    def vary(self) -> bool:
        """Whether they are of different lengths, and tell nothing."""
        return self._vary_from is not None

    @property
    def were_short(self) -> bool:
        """Whether one was short: samples may have been lost."""
        return self._n_short > 0

    @property
    def certain(self) -> int:
        """Number of samples among which none was lost for certain."""
        if self._held is not None:
            return self._held
        if self._vary_from is not None:
            return self._end
        return self._end - self._run % self._length if self.first else 0

    def known(self, samples: int) -> int:
        """How many samples had to come before the first ``samples``, certain by now, were certain."""
        for before, come in reversed(self._returns):
            if come <= samples:
                break
            if before < samples:
                return come
        if self._vary_from is not None and samples >= self._vary_from:
            return samples
        return samples + (self.first - samples) % self._length

    def watch(self, stamps: Sequence[float]) -> int:
        """Take the next stamps, seconds; say how many of them the segment takes."""
        if self._vary_from is not None:
            self._end += len(stamps)
            return len(stamps)
        start, before, run = self._end, self._before, self._run
        period_s, even_s = self._period_s, _EVEN_PERIODS * self._period_s
        # While all is well most borders end a burst, and need no more than this.
        whole = self._length if self.first and self._held is None else 0
        for taken, stamp in enumerate(stamps):
            off = stamp - before - period_s
            before = stamp
            if off > even_s or off < -even_s or run == self._longest:
                if run == whole:
                    self._n_bursts += 1
                    run = 1
                    continue
                self._end, self._run = start + taken, run
                if self._is_over(off):
                    return taken
                if self.vary:
                    break
                run = self._run
                whole = self._length if self._held is None else 0
            run += 1
        self._end, self._before, self._run = start + len(stamps), before, run
        return len(stamps)

    def _is_over(self, off_s: float) -> bool:
        """Whether a border, a step so much longer than a period, shows that samples were lost before it."""
        run, astray, length = self._run, self._astray, self._length
        if not self.first:
            self.first, self._run = self._end, 0
            self._longest = _ENOUGH_BURSTS * length
        elif run == self._longest:  # they do not come in bursts any more
            if self._n_short:
                return True
            self._give_up()
        elif run % length == 0 and (not astray or run - astray < length):
            if not self._n_short:
                self._release()
            self._n_bursts += run // length
            self._run = self._astray = 0
            return self._n_short > 0 and self._n_bursts >= _ENOUGH_BURSTS
        else:
            n_more = off_s / self._period_s
            if n_more > 0.5 and abs(n_more - round(n_more)) <= _WHOLE_PERIODS:
                return True
            if self._held is None:
                self._held = self.certain
            self._stray()
        return False

    def _stray(self) -> None:
        """Take a border that does not lie where it should."""
        run, astray, length = self._run, self._astray, self._length
        is_first = self._end - run == self.first  # no more may be left of the first burst than its end
        if astray and (run - astray) % length == 0 and (is_first or -astray % length <= self._most_lost):
            self._n_short += 1
            self._n_bursts = (run - astray) // length
            self._run = self._astray = 0
            if self._n_short > _MOST_SHORT:
                self._give_up()
        elif run // length == astray // length or (not astray and (is_first or 2 * (run % length) >= length)):
            if not self._n_short:  # else the wait for 20 might never end
                self._n_bursts = 0
            self._astray = run
        else:  # a burst is long, or far too short
            self._give_up()

    def _give_up(self) -> None:
        """Let all be certain from the next sample on: bursts tell nothing."""
        self._vary_from = self._end + 1
        self._release()

    def _release(self) -> None:
        """Let certain be with the next sample what was not for a while."""
        if self._held is None:
            return
        self._returns.append((self._held, self._end + 1))
        self._held = None
        while self._returns[0][1] < self._end - self._capacity:
            self._returns.popleft()
