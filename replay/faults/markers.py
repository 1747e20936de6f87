"""Faults of the markers. What is not said of a marker stays as it was: a late one has the right stamp."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from replay.faults.fault import Draws, Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.batches import Marks


class _Some(Fault):
    """A fault of ``share`` of the markers, by chance."""

    share: float = Field(default=0.5, gt=0, le=1)

    def chosen(self, marks: Marks, draws: Draws) -> NDArray[np.bool_]:
        """Which markers it befalls, shape ``(n,)``."""
        return (draws.uniform(marks.lap, marks.number) < self.share) & self.covers(marks.time)


class MarkerDuplicate(_Some):
    """A marker is sent twice."""

    kind: ClassVar[str] = "marker-duplicate"

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        return marks.take(np.repeat(np.arange(len(marks.number)), 1 + self.chosen(marks, draws)))


class MarkerMissing(_Some):
    """A marker is not sent."""

    kind: ClassVar[str] = "marker-missing"

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        return marks.take(~self.chosen(marks, draws))


class MarkerLate(_Some):
    """A marker is sent ``by_s`` seconds late."""

    kind: ClassVar[str] = "marker-late"
    by_s: float = Field(default=1.0, gt=0, allow_inf_nan=False)

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        return replace(marks, due=marks.due + np.where(self.chosen(marks, draws), self.by_s, 0.0))


class MarkerEarly(_Some):
    """A marker is sent ``by_s`` seconds before its time, but not before the round begins."""

    kind: ClassVar[str] = "marker-early"
    by_s: float = Field(default=0.5, gt=0, allow_inf_nan=False)

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        return replace(marks, due=marks.due - np.where(self.chosen(marks, draws), self.by_s, 0.0))


class MarkerOrder(_Some):
    """A marker is sent just after the one that follows it."""

    kind: ClassVar[str] = "marker-order"

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        due = marks.due.copy()
        held = self.chosen(marks, draws)[:-1]
        due[:-1][held] = np.nextafter(np.maximum(marks.due[:-1], marks.due[1:])[held], np.inf)
        return replace(marks, due=due)


class MarkerEqual(_Some):
    """A marker lies on the very sample, and carries the stamp, of the one before."""

    kind: ClassVar[str] = "marker-equal"

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        numbers = np.arange(len(marks.number))
        chosen = self.chosen(marks, draws)
        chosen[:1] = False
        place = marks.take(numbers - chosen)
        return replace(marks, sample=place.sample, time=place.time, stamp=place.stamp)
