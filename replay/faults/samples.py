"""Faults of the samples: lost, or not what the head gave."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from replay.faults.fault import ChannelFault, Draws, Fault

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.batches import Batch


class Drop(Fault):
    """Single samples are lost at random; the stamps of the others stay right."""

    kind: ClassVar[str] = "drop"
    share: float = Field(default=0.01, gt=0, le=1)

    def samples(self, batch: Batch, draws: Draws) -> Batch:
        """See :class:`Fault`."""
        lost = draws.uniform(batch.lap, batch.sample) < self.share
        return batch.keep(~(lost & self.covers(batch.time)))


class Gap(Fault):
    """All samples of a while are lost; the stamps go on as if they had been sent."""

    kind: ClassVar[str] = "gap"
    lasts: float = Field(default=0.5, gt=0, allow_inf_nan=False, alias="for")

    def samples(self, batch: Batch, draws: Draws) -> Batch:  # noqa: ARG002
        """See :class:`Fault`."""
        return batch.keep(~self.covers(batch.time))


class Nan(ChannelFault):
    """A channel sends what is no number."""

    kind: ClassVar[str] = "nan"

    def spoiled(self, values: NDArray[np.float64]) -> float:  # noqa: ARG002
        """See :class:`ChannelFault`."""
        return math.nan


class Flat(ChannelFault):
    """A channel stands still at ``value``, SI units: a loose electrode at zero."""

    kind: ClassVar[str] = "flat"
    value: float = Field(default=0.0, allow_inf_nan=False)

    def spoiled(self, values: NDArray[np.float64]) -> float:  # noqa: ARG002
        """See :class:`ChannelFault`."""
        return self.value


class Railed(ChannelFault):
    """A channel is so large that it is cut off at plus and minus ``value``, SI units.

    The default is the input range of an ADS1299 at its usual gain of 24.
    """

    kind: ClassVar[str] = "railed"
    value: float = Field(default=0.1875, gt=0, allow_inf_nan=False)
    factor: float = Field(default=1e6, gt=1, allow_inf_nan=False)

    def spoiled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`ChannelFault`."""
        return np.clip(values * self.factor, -self.value, self.value)


class OutOfRange(ChannelFault):
    """A channel is ``factor`` times as large as it should be: a wrong gain or unit."""

    kind: ClassVar[str] = "out-of-range"
    factor: float = Field(default=1e3, allow_inf_nan=False)

    def spoiled(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """See :class:`ChannelFault`."""
        return values * self.factor
