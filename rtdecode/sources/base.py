"""What every source gives the service: a clock, chunks of samples, markers, a description.

A source never filters, fits or aligns: it hands over samples in SI units with the stamps as they were sent,
and the moment at which they reached us. All stamps are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rtdecode.contracts import Channel


class StreamLostError(Exception):
    """The stream's sender went away; resolve the stream again and open a new inlet."""


class Clock(Protocol):
    """Where "now" comes from; tests and virtual replay bring their own."""

    def now(self) -> float:
        """Seconds of this clock."""
        ...


@dataclass(frozen=True, slots=True)
class RawChunk:
    """Samples as pulled, all channels of the stream in the stream's order.

    Parameters
    ----------
    samples : array of shape (n_samples, n_channels), float64
        In SI units.
    stamps : array of shape (n_samples,), float64
        As the sender wrote them, in the sender's clock.
    arrival : float
        When the chunk reached us, in our clock.
    """

    samples: NDArray[np.float64]
    stamps: NDArray[np.float64]
    arrival: float


class ClockReading(NamedTuple):
    """Seconds to add to a sender's stamps to be in our clock, and how far that may be off."""

    seconds: float
    uncertainty_s: float


class RawMarker(NamedTuple):
    """A marker as pulled: its text, the sender's stamp, and when it reached us (our clock)."""

    label: str
    stamp: float
    arrival: float


@dataclass(frozen=True, slots=True)
class StreamDescription:
    """What a signal stream says about itself, with units already understood.

    Parameters
    ----------
    name, type, source_id, hostname
        The stream's identity.
    rate_hz
        Sampling rate as announced (of a recording replayed at ``speed`` k: k times the recorded rate).
    channels
        In the stream's order, in SI units.
    scale
        One factor a channel, from the sent numbers to SI; already applied to pulled samples.
    value_format
        Number format on the wire, e.g. ``"float32"``.
    simulated
        True if the stream says that its data are simulated.
    speed
        How much faster than real time the stream runs; 1.0 unless it is a replay that says otherwise.
    recording
        Name of the recording that is replayed; empty for devices.
    faults
        What is wrong with a replay on purpose, as it says itself; empty if nothing is.
    """

    name: str
    type: str
    source_id: str
    hostname: str
    rate_hz: float
    channels: tuple[Channel, ...]
    scale: tuple[float, ...]
    value_format: str
    simulated: bool = False
    speed: float = 1.0
    recording: str = ""
    faults: str = ""
