"""What the engine was told, as chunks of an XDF file, in the order in which it was told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import Unit
from rtdecode.journal import xdf
from rtdecode.journal.events import (
    Admitted,
    Advanced,
    Connected,
    DeclaredBad,
    Disconnected,
    Event,
    Lost,
    Stopped,
    write_event,
)
from rtdecode.sources.metadata import content_type, described, parse_unit

if TYPE_CHECKING:
    from rtdecode.connection import StreamFacts
    from rtdecode.contracts import Verdict
    from rtdecode.signal.markers import Marker

EVENTS_NAME = "rtdecode-events"
_EXACT = {"int8", "int16", "int32", "float32"}
"""Number formats whose every value, scaled to SI in float64 and back, comes out as it was."""

_PREFIXES = ("", "m", "u", "n", "p", "f")
_SYMBOLS = {
    Unit.VOLT: ("V",),
    Unit.TESLA: ("T",),
    Unit.TESLA_PER_METRE: ("T/m", "T/cm", "T/mm"),
    Unit.NONE: ("none",),
}


@dataclass(slots=True)
class _Span:
    """First and last stamp of a stream of the file, and how many samples it has."""

    first: float = math.nan
    last: float = math.nan
    n_samples: int = 0

    def add(self, first: float, last: float, n: int) -> None:
        if not self.n_samples:
            self.first = first
        self.last = last
        self.n_samples += n


@dataclass(frozen=True, slots=True)
class _Signal:
    """A connected stream: its numbers in the file, and how its samples are written."""

    number: int
    arrivals: int
    value_format: str
    scale: np.ndarray | None
    name: str
    host: str

    def as_sent(self, samples: np.ndarray) -> np.ndarray:
        """Take the scale off again."""
        if self.value_format == "double64":
            return samples
        sent = samples if self.scale is None else samples / self.scale
        # Dividing is off by less than one part in 2**51, far from where the rounding would turn elsewhere.
        return sent if self.value_format == "float32" else np.rint(sent)


class Transcript:
    """Writes the chunks of one recording.

    Each method returns the bytes to append to the file. Every signal connection is a stream of its own, with
    its samples as they were sent where that is exact, and in SI units where not; beside it lies a stream with
    one sample for each of its chunks, stamped by the arrival: what led from the stamps to our clock, and how
    many samples the chunk has. Every source of markers is a stream of texts. All else is in the stream of
    events.
    """

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._signals: dict[str, _Signal] = {}
        self._followed: dict[str, int] = {}
        self._markers: dict[tuple[str, str], int] = {}

    def begin(self, started: str) -> bytes:
        """Start the file; ``started`` is when, in ISO 8601."""
        self._events = self._new()
        return b"".join(
            (
                xdf.MAGIC,
                xdf.file_header(started),
                xdf.stream_header(
                    self._events,
                    name=EVENTS_NAME,
                    kind=xdf.OWN_TYPE,
                    n_channels=1,
                    rate_hz=0.0,
                    value_format="string",
                ),
            )
        )

    def connected(self, stream_id: str, facts: StreamFacts, at: float) -> bytes:
        """Announce a signal connection."""
        source = facts.source
        name = stream_id if source is None else source.name
        units = [channel.unit.value for channel in facts.channels]
        value_format, scale = "double64", np.ones(len(facts.channels))
        if source is not None and source.value_format in _EXACT:
            texts = [
                _unit_text(channel.unit, factor)
                for channel, factor in zip(facts.channels, source.scale, strict=True)
            ]
            if None not in texts:
                units = [text or "" for text in texts]
                value_format, scale = source.value_format, np.array(source.scale)
        times = self._followed[name] = self._followed.get(name, 0) + 1
        number, arrivals = self._new(), self._new()
        signal = _Signal(
            number,
            arrivals,
            value_format,
            None if (scale == 1).all() else scale,
            name,
            facts.host,
        )
        self._signals[stream_id] = signal
        unique_name = name if times == 1 else f"{name}-{times}"
        header = xdf.stream_header(
            number,
            name=unique_name,
            kind=source.type if source is not None and source.type else content_type(facts.channels),
            n_channels=len(facts.channels),
            rate_hz=facts.rate_hz * facts.speed,
            value_format=value_format,
            source_id="" if source is None else source.source_id,
            host=facts.host,
            description=[
                (
                    "channels",
                    [
                        ("channel", described(channel, unit))
                        for channel, unit in zip(facts.channels, units, strict=True)
                    ],
                ),
                (
                    "rtdecode",
                    [
                        ("stream", stream_id),
                        ("simulated", str(facts.simulated).lower()),
                        ("speed", repr(facts.speed)),
                        ("recording", "" if source is None else source.recording),
                    ],
                ),
            ],
        )
        beside = xdf.stream_header(
            arrivals,
            name=f"{unique_name}-arrivals",
            kind=xdf.OWN_TYPE,
            n_channels=2,
            rate_hz=0.0,
            value_format="double64",
            description=[
                (
                    "channels",
                    [("channel", [("label", "offset_s")]), ("channel", [("label", "n_samples")])],
                )
            ],
        )
        event = Connected(
            stream=stream_id,
            signal=number,
            arrivals=arrivals,
            value_format=value_format,
            scale=() if signal.scale is None else tuple(signal.scale.tolist()),
            channels=facts.channels,
            rate_hz=facts.rate_hz,
            host=facts.host,
            simulated=facts.simulated,
            speed=facts.speed,
            delay_s=facts.delay_s,
            latency_comparable=facts.latency_comparable,
        )
        return header + beside + self._event(event, at)

    def fed(
        self, stream_id: str, samples: np.ndarray, stamps: np.ndarray, offset_s: float, arrival: float
    ) -> bytes:
        """Write a chunk; arguments as for :meth:`rtdecode.engine.Engine.feed`."""
        signal = self._signals[stream_id]
        n = len(stamps)
        if n:
            self._spans[signal.number].add(float(stamps[0]), float(stamps[-1]), n)
        self._spans[signal.arrivals].add(arrival, arrival, 1)
        beside = xdf.sample(signal.arrivals, arrival, offset_s, n)
        return beside + xdf.samples(signal.number, stamps, signal.as_sent(samples), signal.value_format)

    def admitted(self, marker: Marker, stream_id: str | None) -> bytes:
        """Write a marker, for other programs and for ours."""
        key = marker.source, marker.host
        header = b"" if key in self._markers else self._marker_stream(*key)
        number = self._markers[key]
        self._spans[number].add(marker.stamp, marker.stamp, 1)
        event = Admitted(
            stream=stream_id,
            source=marker.source,
            label=marker.label,
            stamp=marker.stamp,
            time=marker.time,
            arrival=marker.arrival,
            sample=marker.sample,
            host=marker.host,
        )
        return header + xdf.text(number, marker.stamp, marker.label) + self._event(event, marker.arrival)

    def advanced(self, stream_id: str, now: float) -> bytes:
        """Write that a stream was advanced."""
        return self._event(Advanced(stream=stream_id, now=now), now)

    def disconnected(self, stream_id: str, verdict: Verdict, reason: str, at: float) -> bytes:
        """Write that a stream was disconnected."""
        return self._event(Disconnected(stream=stream_id, verdict=verdict, reason=reason), at)

    def declared_bad(self, stream_id: str, channels: tuple[str, ...], at: float) -> bytes:
        """Write which channels of a stream are bad from here on."""
        return self._event(DeclaredBad(stream=stream_id, channels=channels), at)

    def measured(self, name: str, host: str, at: float, offset_s: float) -> bytes:
        """Write a measurement of a sender's clock, for whichever streams are from that source."""
        numbers = [
            signal.number for signal in self._signals.values() if (signal.name, signal.host) == (name, host)
        ]
        header = b""
        if not numbers:
            if (name, host) not in self._markers:
                header = self._marker_stream(name, host)
            numbers = [self._markers[name, host]]
        return header + b"".join(xdf.clock_offset(number, at, offset_s) for number in numbers)

    def lost(self, n: int, at: float) -> bytes:
        """Write that entries are missing."""
        return self._event(Lost(n=n), at)

    def end(self, at: float) -> bytes:
        """Close all streams."""
        last = self._event(Stopped(), at)
        return last + b"".join(
            xdf.stream_footer(number, first=span.first, last=span.last, n_samples=span.n_samples)
            for number, span in enumerate(self._spans)
            if number
        )

    def _new(self) -> int:
        """Number of a new stream, from 1."""
        if not self._spans:
            self._spans.append(_Span())
        self._spans.append(_Span())
        return len(self._spans) - 1

    def _event(self, event: Event, at: float) -> bytes:
        self._spans[self._events].add(at, at, 1)
        return xdf.text(self._events, at, write_event(event))

    def _marker_stream(self, source: str, host: str) -> bytes:
        number = self._markers[source, host] = self._new()
        return xdf.stream_header(
            number, name=source, kind="Markers", n_channels=1, rate_hz=0.0, value_format="string", host=host
        )


def _unit_text(unit: Unit, factor: float) -> str | None:
    """How to write what is ``factor`` times an SI unit; None if no prefix says that."""
    for symbol in _SYMBOLS[unit]:
        for prefix in _PREFIXES if unit is not Unit.NONE else ("",):
            if parse_unit(f"{prefix}{symbol}") == (unit, factor):
                return f"{prefix}{symbol}"
    return None
