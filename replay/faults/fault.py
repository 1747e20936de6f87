"""What all faults have in common: their text, their time, their seeded chance, and what they may change."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replay.batches import Batch, Marks, Outage
    from replay.layout import Layout

_PAGE = 1024


class Draws:
    """Chance for one fault: a number for each sample or marker, the same however many are asked for at once.

    Parameters
    ----------
    seed
        Of the replay; not negative.
    fault
        Which fault of the replay draws, so that two of a kind differ.
    """

    def __init__(self, seed: int, fault: int) -> None:
        self._key = (seed, fault)

    def uniform(self, lap: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """From 0 (included) to 1, for the samples or markers of these numbers in a round, shape ``(n,)``."""
        return self._draw("uniform", lap, numbers)

    def normal(self, lap: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Normal with variance 1, likewise."""
        return self._draw("normal", lap, numbers)

    def _draw(
        self, law: Literal["uniform", "normal"], lap: int, numbers: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        drawn = np.empty(len(numbers))
        pages = numbers // _PAGE
        for page in np.unique(pages).tolist():
            chance = np.random.default_rng([*self._key, lap, page])
            values = chance.random(_PAGE) if law == "uniform" else chance.standard_normal(_PAGE)
            rows = pages == page
            drawn[rows] = values[numbers[rows] - page * _PAGE]
        return drawn


class Fault(BaseModel):
    """One thing that goes wrong on purpose.

    It is applied to what would be sent, a batch at a time; faults of one replay in the order in which they
    are given. All times are seconds after the first sample was due.

    Parameters
    ----------
    at
        When it begins.
    lasts
        For how long; in text its key is ``for``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)
    kind: ClassVar[str]
    """Its name in text."""

    at: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    lasts: float = Field(default=math.inf, gt=0, allow_inf_nan=True, alias="for")

    def __str__(self) -> str:
        given = self.model_dump(by_alias=True, exclude_defaults=True)
        keys = ",".join(f"{key}={value}" for key, value in given.items())
        return f"{self.kind}:{keys}" if keys else self.kind

    @property
    def end(self) -> float:
        """When it is over."""
        return self.at + self.lasts

    @property
    def chunk_size(self) -> int | None:
        """Number of samples that leave together, if the fault decides that."""
        return None

    def covers(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether it is there at these times, shape ``(n,)``."""
        there: NDArray[np.bool_] = times < self.end
        return there & (times >= self.at) if self.at else there

    def check(self, channels: Sequence[str]) -> None:
        """Refuse a recording that the fault cannot befall.

        Raises
        ------
        UserError
            If it names a channel that the recording has not.
        """

    def pace(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """When samples are truly taken that should have been at ``times``, shape ``(n,)``."""
        return times

    def samples(self, batch: Batch, draws: Draws) -> Batch:  # noqa: ARG002
        """Change which samples are sent, how they are stamped, and when they leave."""
        return batch

    def values(
        self,
        samples: NDArray[np.float64],
        times: NDArray[np.float64],  # noqa: ARG002
        channels: Sequence[str],  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """Change the samples themselves: shape ``(n, n_channels)``, SI units, taken at ``times``."""
        return samples

    def marks(self, marks: Marks, draws: Draws) -> Marks:  # noqa: ARG002
        """Change which markers are sent, how they are stamped, and when they leave."""
        return marks

    def outage(self, layout: Layout) -> Outage | None:  # noqa: ARG002
        """When a stream goes away and how it returns; ``layout`` is what it began with."""
        return None


class ChannelFault(Fault):
    """A fault of one channel, or of all where none is named."""

    channel: str | None = None

    def check(self, channels: Sequence[str]) -> None:
        """See :class:`Fault`."""
        if self.channel is not None and self.channel not in channels:
            raise UserError(
                f"fault {self}: the recording has no channel {self.channel!r}; it has {', '.join(channels)}"
            )

    def values(
        self, samples: NDArray[np.float64], times: NDArray[np.float64], channels: Sequence[str]
    ) -> NDArray[np.float64]:
        """See :class:`Fault`."""
        rows = np.flatnonzero(self.covers(times))
        if not len(rows):
            return samples
        columns = np.arange(len(channels))
        if self.channel is not None:
            columns = columns[[channels.index(self.channel)]]
        where = np.ix_(rows, columns)
        changed = samples.copy()
        changed[where] = self.spoiled(samples[where])
        return changed

    def spoiled(self, values: NDArray[np.float64]) -> NDArray[np.float64] | float:
        """What is sent instead of these values of the channels concerned."""
        raise NotImplementedError
