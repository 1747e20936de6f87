"""Faults of time: when samples are taken, what their stamps say, and when they leave."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from replay.faults.fault import Draws, Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.batches import Batch, Marks


class Stall(Fault):
    """Nothing is sent for a while, then all that was held back at once; nothing is lost."""

    kind: ClassVar[str] = "stall"
    lasts: float = Field(default=0.5, gt=0, allow_inf_nan=False, alias="for")

    def samples(self, batch: Batch, draws: Draws) -> Batch:  # noqa: ARG002
        """See :class:`Fault`."""
        return replace(batch, due=np.where(self.covers(batch.due), self.end, batch.due))


class Jitter(Fault):
    """Each stamp is off by chance, with a standard deviation of ``sd_ms``; markers are not."""

    kind: ClassVar[str] = "jitter"
    sd_ms: float = Field(default=2.0, gt=0, allow_inf_nan=False)

    def samples(self, batch: Batch, draws: Draws) -> Batch:
        """See :class:`Fault`."""
        off = draws.normal(batch.lap, batch.sample) * (self.sd_ms / 1e3)
        return replace(batch, stamp=batch.stamp + np.where(self.covers(batch.time), off, 0.0))


class Bursts(Fault):
    """``n`` samples leave together and are stamped on arrival, which scatters: a Bluetooth headset.

    The stamps of a burst are off by the same amount, with a standard deviation of ``scatter_ms``; a burst
    that is stamped late also leaves late.
    """

    kind: ClassVar[str] = "bursts"
    n: int = Field(default=12, gt=0)
    scatter_ms: float = Field(default=5.0, ge=0, allow_inf_nan=False)

    @property
    def chunk_size(self) -> int:
        """See :class:`Fault`."""
        return self.n

    def samples(self, batch: Batch, draws: Draws) -> Batch:
        """See :class:`Fault`."""
        off = draws.normal(batch.lap, batch.chunk) * (self.scatter_ms / 1e3)
        off = np.where(self.covers(batch.time), off, 0.0)
        return replace(batch, stamp=batch.stamp + off, due=batch.due + np.maximum(off, 0.0))


class EqualStamps(Fault):
    """All samples that leave together carry the stamp of the last one."""

    kind: ClassVar[str] = "equal-stamps"

    def samples(self, batch: Batch, draws: Draws) -> Batch:  # noqa: ARG002
        """See :class:`Fault`."""
        last = np.searchsorted(batch.chunk, batch.chunk, side="right") - 1
        return replace(batch, stamp=np.where(self.covers(batch.time), batch.stamp[last], batch.stamp))


class Rate(Fault):
    """The device samples ``factor`` times as fast as it announces; its stamps tell the truth."""

    kind: ClassVar[str] = "rate"
    factor: float = Field(default=1.02, gt=0, allow_inf_nan=False)

    def pace(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`Fault`."""
        return times + _since(self, times) * (1 / self.factor - 1)


class _Clock(Fault):
    """A fault of the clock that stamps."""

    def shift(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far the clock is off at these times, seconds."""
        raise NotImplementedError

    def samples(self, batch: Batch, draws: Draws) -> Batch:  # noqa: ARG002
        """See :class:`Fault`."""
        return replace(batch, stamp=batch.stamp + self.shift(batch.time))

    def marks(self, marks: Marks, draws: Draws) -> Marks:  # noqa: ARG002
        """See :class:`Fault`."""
        return replace(marks, stamp=marks.stamp + self.shift(marks.time))


class Drift(_Clock):
    """The clock that stamps samples and markers runs fast by ``ppm`` millionths."""

    kind: ClassVar[str] = "drift"
    ppm: float = Field(default=100.0, allow_inf_nan=False)

    def shift(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`_Clock`."""
        return _since(self, times) * (self.ppm * 1e-6)


class Jump(_Clock):
    """Stamps are off by ``by_s`` seconds; those of the markers too, unless they ``stay``."""

    kind: ClassVar[str] = "jump"
    by_s: float = Field(default=3.0, allow_inf_nan=False)
    markers: Literal["stay", "follow"] = "stay"

    def shift(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`_Clock`."""
        return np.where(self.covers(times), self.by_s, 0.0)

    def marks(self, marks: Marks, draws: Draws) -> Marks:
        """See :class:`Fault`."""
        return marks if self.markers == "stay" else super().marks(marks, draws)


class ClockReset(Jump):
    """The sender starts again with its clock at another origin, for good; its markers follow it."""

    kind: ClassVar[str] = "clock-reset"
    by_s: float = Field(default=-100.0, allow_inf_nan=False)
    markers: Literal["stay", "follow"] = "follow"


def _since(fault: Fault, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Seconds for which a fault has lasted at these times."""
    return np.clip(times, fault.at, fault.end) - fault.at
