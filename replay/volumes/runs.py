"""Volumes in the order in which they were taken, and when that was. No threads, no clock of its own."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

WAIT_TR = 0.25
"""How long later volumes wait for one before them, repetition times.

Short, so that what is sent for a volume that never comes is not taken for a clock that was set back.
"""

OVER_TR = 1.5
"""How long a run must have been silent for another one to take its place, likewise."""

SILENT_TR = 5.0
"""How long a run must have been silent for that to be told, likewise."""

_OFF_TR = 0.25
_FIRST_NUMBERS = (0, 1)
_BESIDE = 2  # volumes of the running one while another waits: then both run at once


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One volume to be sent.

    Parameters
    ----------
    values : array of shape (n_voxels,)
        Its voxels.
    stamp
        When its acquisition began, seconds of the clock that arrivals were told in.
    """

    values: NDArray[np.float64]
    stamp: float


@dataclass(eq=False, slots=True)
class _Run:
    """A run: what waits of it, by number, and once any was sent, which comes next and when number 0 was."""

    key: str
    name: str
    waiting: dict[int, tuple[NDArray[np.float64], float]] = field(default_factory=dict)
    first: int | None = None
    next: int = 0
    origin: float = 0.0
    newest: float = 0.0
    missing: set[int] = field(default_factory=set)
    sent: dict[int, int] = field(default_factory=dict)  # checksums, by number
    is_over: bool = False
    n_since: int = 0  # volumes since another run waits


class Runs:
    """Puts volumes in order, and on a grid in time.

    Volume ``n`` of a run is stamped ``(n - m)`` repetition times after the first one that was sent, ``m``;
    that one is stamped with its arrival, minus ``delay_s``. A volume that does not come is left out, and the
    stamps of the others stay what they are.

    A run ends when another begins: one that has another key, or the same files, long after, with other
    content. Of two that come at the same time, as a series and its motion-corrected copy do, only the one
    that began first is sent.

    Parameters
    ----------
    repetition_s
        Time from one volume to the next.
    delay_s
        Time from the beginning of a volume's acquisition to its arrival.
    tell
        Takes a line on what people should know.
    """

    def __init__(self, repetition_s: float, delay_s: float, tell: Callable[[str], None]) -> None:
        self._repetition_s = repetition_s
        self._delay_s = delay_s
        self._tell = tell
        self._running: _Run | None = None
        self._other: _Run | None = None
        self._due: list[Sample] = []
        self._beside: set[str] = set()
        self._told: set[tuple[str, str]] = set()

    def take(self, key: str, name: str, number: int, values: NDArray[np.float64], seen: float) -> None:
        """Take a volume.

        Parameters
        ----------
        key, name
            Of its run: what tells it from others, and what people call it.
        number
            Of the volume in its run.
        values : array of shape (n_voxels,)
            Its voxels.
        seen
            When it arrived.
        """
        self._change(seen)
        running = self._running
        if running is None:
            running = self._running = _Run(key, name)
        if key != running.key:
            if key in self._beside:
                return
            if self._other is None or self._other.key != key:
                self._other, running.n_since = _Run(key, name), 0
            self._add(self._other, number, values, seen)
            self._change(seen)
            return
        if self._begins_again(running, number, values, seen):
            running = self._begin(_Run(key, name))
            self._tell(f"{name} begins again, with volume {number}")
        if self._add(running, number, values, seen) and self._other is not None:
            running.n_since += 1
            if running.n_since >= _BESIDE:
                self._once(self._other, "comes", f"comes beside {name}: only the latter is sent")
                self._beside.add(self._other.key)
                self._other = None

    def ready(self, now: float) -> list[Sample]:
        """Volumes whose turn has come, in order."""
        self._change(now)
        running = self._running
        if running is not None:
            self._due += self._in_turn(running, now)
            if now - running.newest >= SILENT_TR * self._repetition_s:
                self._finish(running)
        samples, self._due = self._due, []
        return samples

    def _change(self, now: float) -> None:
        """Let the run that waits take the place of the one that is over."""
        running, other = self._running, self._other
        if running is None or now - running.newest < OVER_TR * self._repetition_s:
            return
        if other is not None:
            self._begin(other)

    def _begin(self, run: _Run) -> _Run:
        if self._running is not None:
            self._due += self._in_turn(self._running, math.inf)
            self._finish(self._running)
        self._running, self._other = run, None
        self._beside.clear()
        return run

    def _begins_again(self, run: _Run, number: int, values: NDArray[np.float64], seen: float) -> bool:
        """Whether a volume that was due long before is of a new run whose files are called likewise."""
        if run.first is None or number >= run.next or number in run.missing:
            return False
        late_s = seen - self._delay_s - (run.origin + number * self._repetition_s)
        return late_s > SILENT_TR * self._repetition_s and run.sent.get(number) != _checksum(values)

    def _finish(self, run: _Run) -> None:
        if not run.is_over:
            run.is_over = True
            self._tell(f"{run.name} is over; volumes sent: {len(run.sent)}, missing: {len(run.missing)}")

    def _add(self, run: _Run, number: int, values: NDArray[np.float64], seen: float) -> bool:
        """Have a volume wait for its turn; False where it had it already."""
        if number in run.waiting or (run.first is not None and number < run.next):
            if number not in run.waiting and number not in run.sent:
                self._tell(f"{run.name}: volume {number} came after later ones were sent: left out")
            else:
                self._once(run, "twice", f"volume {number} came twice: it is sent once, and so are others")
            return False
        run.waiting[number] = (values, seen)
        run.newest = max(run.newest, seen)
        run.is_over = False
        if run.first is not None:
            early_s = run.origin + number * self._repetition_s + self._delay_s - seen
            if early_s > _OFF_TR * self._repetition_s:
                self._once(
                    run,
                    "early",
                    f"volume {number} came {early_s:.2f} s before it can have been taken: the first one came "
                    f"late, and stamps are late by as much, or a volume takes not {self._repetition_s:g} s",
                )
        return True

    def _in_turn(self, run: _Run, now: float) -> list[Sample]:
        samples = []
        while run.waiting:
            number = min(run.waiting)
            is_next = number == run.next if run.first is not None else number in _FIRST_NUMBERS
            waited_s = now - min(seen for _, seen in run.waiting.values())
            if not is_next and waited_s < WAIT_TR * self._repetition_s:
                break
            if run.first is None:
                run.first = run.next = number
                # The one that was sent on soonest tells best when they were taken.
                earliest = min(seen - n * self._repetition_s for n, (_, seen) in run.waiting.items())
                run.origin = earliest - self._delay_s
            if number > run.next:
                lost = range(run.next, number)
                run.missing.update(lost)
                which = f"volume {lost[0]}" if len(lost) == 1 else f"volumes {lost[0]} to {lost[-1]}"
                self._tell(f"{run.name}: {which} did not come: a gap")
            values, _ = run.waiting.pop(number)
            samples.append(Sample(values, run.origin + number * self._repetition_s))
            run.sent[number] = _checksum(values)
            run.next = number + 1
        return samples

    def _once(self, run: _Run, what: str, line: str) -> None:
        if (run.key, what) not in self._told:
            self._told.add((run.key, what))
            self._tell(f"{run.name}: {line}")


def _checksum(values: NDArray[np.float64]) -> int:
    return zlib.crc32(values.tobytes())
