"""Faults of the connection: a stream goes away, and comes back the same or changed.

What is taken or due in the meantime is lost. A plain ``disconnect`` after one of the others brings the first
layout back.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from replay.batches import Outage
from replay.faults.fault import Fault
from rtdecode.errors import UserError
from rtdecode.sources.metadata import parse_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.batches import Stream
    from replay.layout import Layout


class Disconnect(Fault):
    """The signal stream goes away and comes back as it was."""

    kind: ClassVar[str] = "disconnect"
    stream: ClassVar[Stream] = "signal"
    lasts: float = Field(default=1.0, gt=0, allow_inf_nan=False, alias="for")

    def outage(self, layout: Layout) -> Outage:
        """See :class:`Fault`."""
        return Outage(self.stream, self.at, self.end, self.returning(layout))

    def returning(self, layout: Layout) -> Layout:
        """With which channels it comes back."""
        return layout


class MarkerDisconnect(Disconnect):
    """The marker stream goes away and comes back; its markers in the meantime are lost."""

    kind: ClassVar[str] = "marker-disconnect"
    stream: ClassVar[Stream] = "markers"


class Reorder(Disconnect):
    """The signal stream comes back with its channels in the opposite order."""

    kind: ClassVar[str] = "reorder"

    def returning(self, layout: Layout) -> Layout:
        """See :class:`Disconnect`."""
        return _columns(layout, range(len(layout.channels))[::-1])


class NewRate(Disconnect):
    """The signal stream comes back announcing a rate of ``hz``; it sends as before."""

    kind: ClassVar[str] = "new-rate"
    hz: float = Field(gt=0, allow_inf_nan=False)

    def returning(self, layout: Layout) -> Layout:
        """See :class:`Disconnect`."""
        return replace(layout, rate_hz=self.hz)


class _ChannelOnReturn(Disconnect):
    """A fault of one channel when the stream comes back."""

    channel: str

    def check(self, channels: Sequence[str]) -> None:
        """See :class:`Fault`."""
        if self.channel not in channels:
            raise UserError(
                f"fault {self}: the recording has no channel {self.channel!r}; it has {', '.join(channels)}"
            )

    def column(self, layout: Layout) -> int:
        """Place of the channel in a layout."""
        return [channel.name for channel in layout.channels].index(self.channel)


class Missing(_ChannelOnReturn):
    """The signal stream comes back without a channel."""

    kind: ClassVar[str] = "missing"

    def returning(self, layout: Layout) -> Layout:
        """See :class:`Disconnect`."""
        gone = self.column(layout)
        return _columns(layout, [i for i in range(len(layout.channels)) if i != gone])


class Rename(_ChannelOnReturn):
    """The signal stream comes back with another name for a channel."""

    kind: ClassVar[str] = "rename"
    to: str = Field(min_length=1)

    def check(self, channels: Sequence[str]) -> None:
        """See :class:`Fault`."""
        super().check(channels)
        if self.to in channels:
            raise UserError(f"fault {self}: the recording has a channel {self.to!r} already")

    def returning(self, layout: Layout) -> Layout:
        """See :class:`Disconnect`."""
        channels = list(layout.channels)
        at = self.column(layout)
        channels[at] = channels[at].model_copy(update={"name": self.to})
        return replace(layout, channels=tuple(channels))


class ChangedUnit(_ChannelOnReturn):
    """The signal stream comes back with a channel in another unit, and sends it in that one.

    Where the unit is of another quantity (``T`` for a voltage), the numbers stay and only the text changes.
    """

    kind: ClassVar[str] = "unit"
    unit: str = Field(min_length=1)

    def check(self, channels: Sequence[str]) -> None:
        """See :class:`Fault`."""
        super().check(channels)
        if parse_unit(self.unit) is None:
            raise UserError(f"fault {self}: unit {self.unit!r} is not understood; write for example uV")

    def returning(self, layout: Layout) -> Layout:
        """See :class:`Disconnect`."""
        parsed = parse_unit(self.unit)
        if parsed is None:
            raise UserError(f"unit {self.unit!r} is not understood")
        unit, factor = parsed
        at = self.column(layout)
        channels, units, factors = list(layout.channels), list(layout.units), list(layout.factors)
        channels[at] = channels[at].model_copy(update={"unit": unit})
        units[at], factors[at] = self.unit, factor
        return replace(layout, channels=tuple(channels), units=tuple(units), factors=tuple(factors))


def _columns(layout: Layout, order: Sequence[int]) -> Layout:
    """Those channels alone, in that order."""
    return replace(
        layout,
        columns=tuple(layout.columns[i] for i in order),
        channels=tuple(layout.channels[i] for i in order),
        units=tuple(layout.units[i] for i in order),
        factors=tuple(layout.factors[i] for i in order),
    )
