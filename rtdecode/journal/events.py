"""What the journal notes beside samples: JSON texts of the stream ``rtdecode-events`` of a recording."""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from rtdecode.connection import StreamFacts
from rtdecode.contracts import Channel, Verdict
from rtdecode.contracts.base import Contract
from rtdecode.signal.markers import Marker


class Connected(Contract):
    """A signal stream was connected.

    Parameters
    ----------
    stream
        Its identifier in the configuration.
    signal, arrivals
        Numbers, in the file, of the streams with its samples, and with one sample for each of its chunks.
    value_format
        Number format of its samples in the file.
    scale
        What to multiply these by, a number a channel, to get what the engine was fed; empty if by nothing.
    channels, rate_hz, host, simulated, speed, delay_s, latency_comparable
        See :class:`~rtdecode.connection.StreamFacts`.
    """

    event: Literal["connected"] = "connected"
    stream: str
    signal: int
    arrivals: int
    value_format: str
    scale: tuple[float, ...] = ()
    channels: tuple[Channel, ...]
    rate_hz: float
    host: str
    simulated: bool
    speed: float
    delay_s: float
    latency_comparable: bool

    def facts(self) -> StreamFacts:
        """What the engine was told about the stream."""
        return StreamFacts(
            channels=self.channels,
            rate_hz=self.rate_hz,
            host=self.host,
            simulated=self.simulated,
            speed=self.speed,
            delay_s=self.delay_s,
            latency_comparable=self.latency_comparable,
        )


class Admitted(Contract):
    """A marker was put before the gate; ``stream`` is the one whose samples ``sample`` counts, if any."""

    event: Literal["marker"] = "marker"
    stream: str | None
    source: str
    label: str
    stamp: float
    time: float
    arrival: float
    sample: int | None
    host: str

    def marker(self) -> Marker:
        """The marker as the engine got it."""
        return Marker(
            source=self.source,
            label=self.label,
            stamp=self.stamp,
            time=self.time,
            arrival=self.arrival,
            sample=self.sample,
            host=self.host,
        )


class Advanced(Contract):
    """A stream was advanced at ``now``, seconds of the service's clock, and that had an effect."""

    event: Literal["advanced"] = "advanced"
    stream: str
    now: float


class Disconnected(Contract):
    """A signal stream was disconnected; what waited for it ended with this verdict."""

    event: Literal["disconnected"] = "disconnected"
    stream: str
    verdict: Verdict
    reason: str


class DeclaredBad(Contract):
    """Channels of a stream were declared bad, all that are from here on."""

    event: Literal["declared_bad"] = "declared_bad"
    stream: str
    channels: tuple[str, ...]


class Lost(Contract):
    """So many entries of the recording are missing here: the disk was full, or too slow."""

    event: Literal["lost"] = "lost"
    n: int = Field(gt=0)


class Stopped(Contract):
    """The recording ended in an orderly way."""

    event: Literal["stopped"] = "stopped"


Event = Connected | Admitted | Advanced | DeclaredBad | Disconnected | Lost | Stopped

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def write_event(event: Event) -> str:
    """Text of an event: ASCII, whatever is in it."""
    return json.dumps(event.model_dump(mode="json"))


def read_event(text: str) -> Event:
    """Read the text of an event.

    Raises
    ------
    ValueError
        If it is none.
    """
    return _EVENT.validate_python(json.loads(text))
