"""One connected signal stream: what it is, and the tracks that turn it into windows for its decoders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.contracts import MOST_NAMED, Quality, Verdict
from rtdecode.errors import shorten
from rtdecode.gap_log import GapLog
from rtdecode.signal.bridging import GapPolicy
from rtdecode.signal.clock_shifts import FEWEST_MARKERS, set_clock
from rtdecode.signal.track import Chunk, Closed, Cut, Track
from rtdecode.trigger_channels import TriggerChannels

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from rtdecode.config import QualitySettings, ServiceSettings, TriggerChannel
    from rtdecode.contracts import Channel, Request
    from rtdecode.decoder import Binding, Decoder
    from rtdecode.signal.clock_shifts import ClockShifts
    from rtdecode.signal.markers import Marker
    from rtdecode.sources.base import StreamDescription


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What a stream turned out to be when it was connected.

    Parameters
    ----------
    channels, rate_hz
        Its channels, and its native rate (``speed`` divided out).
    host
        Machine whose clock its stamps are of.
    simulated
        Whether it says that it is simulated.
    speed
        How many times as fast as real time it runs.
    delay_s
        Seconds, of the recording, by which its stamps lag the true events.
    latency_comparable
        Whether stamps and arrivals tell how long things take.
    source
        What the stream said about itself, if it is one.
    """

    channels: tuple[Channel, ...]
    rate_hz: float
    host: str = ""
    simulated: bool = False
    speed: float = 1.0
    delay_s: float = 0.0
    latency_comparable: bool = True
    source: StreamDescription | None = None

    @property
    def stamp_delay_s(self) -> float:
        """The delay in seconds of the stamps: faster replays have shorter ones than the recording."""
        return self.delay_s / self.speed


@dataclass(frozen=True, slots=True)
class Job:
    """One window on its way to its decoder, which rebuilds missing and bad channels as ``binding`` says."""

    cut: Cut
    decoder: Decoder
    binding: Binding
    quality: Quality
    track: Track
    facts: StreamFacts

    def goes_with(self, other: Job) -> bool:
        """Whether one run of the decoder can answer both."""
        return self.decoder is other.decoder and self.binding.repair is other.binding.repair


@dataclass(frozen=True, slots=True)
class Ending:
    """A request that ends, and the decoder and the stream it was for."""

    closed: Closed
    decoder: Decoder
    facts: StreamFacts


@dataclass(slots=True)
class _Lane:
    """Decoders that share channels and front end, so that one track serves them.

    ``binding`` is another one after channels were declared bad.
    """

    track: Track
    binding: Binding
    decoders: dict[str, Decoder]

    def quality(self, cut: Cut) -> Quality:
        """What one should know of a window before trusting it."""
        found, missing = cut.findings, self.binding.missing
        quality = Quality(
            missing_channels=missing,
            bad_channels=self.binding.bad,
            nan_channels=found.nan,
            flat_channels=tuple(name for name in found.flat if name not in missing),
            railed_channels=found.railed,
            out_of_range_channels=found.out_of_range,
            bridged_samples=cut.bridged_samples,
        )
        return quality if len(self.binding.pick) <= MOST_NAMED else quality.shortened()


class Connection:
    """A stream from when it was connected until it is lost. One thread owns it.

    Parameters
    ----------
    stream_id
        Identifier in the configuration.
    facts
        What the stream turned out to be.
    decoders
        Those that it is for.
    triggers
        Trigger channels to look for in it; those of other streams are passed over.
    marker_delay_s
        Seconds from a marker to the picture on the screen.
    settings
        Timeouts and the gap rules.
    quality
        What a channel's range is, and which windows are not decoded.
    bad
        Channels declared bad.
    strides_ms
        Strides of the decoders in continuous mode, by name, milliseconds of the recording.
    first_segment
        Index of its first segment: connections of one stream count on.
    shifts
        Whether the stream's clock was set: connections of one stream hand it on.

    Raises
    ------
    MismatchError
        If it does not fit a decoder, or lacks a trigger channel.
    """

    def __init__(
        self,
        stream_id: str,
        facts: StreamFacts,
        decoders: Sequence[Decoder],
        *,
        triggers: Sequence[TriggerChannel],
        marker_delay_s: float,
        settings: ServiceSettings,
        quality: QualitySettings,
        bad: Collection[str],
        strides_ms: Mapping[str, float],
        first_segment: int,
        shifts: ClockShifts,
    ) -> None:
        self.facts = facts
        self._stream_id = stream_id
        self._rules = quality
        self._marker_delay_s = marker_delay_s
        self._shifts = shifts
        self._n_doubted = 0  # running markers that came since the clock was found off
        policy = GapPolicy(settings.gap_policy, settings.max_bridged_samples)
        groups: dict[str, list[Decoder]] = {}
        for decoder in decoders:
            # Windows and their resampling may differ between decoders that read one ring.
            shared = decoder.manifest.signal.model_dump_json(include={"channels", "rate_hz", "front_end"})
            # A channel may be rebuilt for one decoder and refused by another.
            rule = f"{decoder.manifest.on_missing} {decoder.manifest.max_missing}"
            groups.setdefault(f"{shared} {rule}", []).append(decoder)
        self._lanes = []
        for group in groups.values():
            track = Track(
                stream_id,
                group[0].manifest.signal,
                {decoder.name: decoder.manifest.signal.window for decoder in group},
                strides={
                    decoder.name: max(1, round(1e-3 * strides_ms[decoder.name] * facts.rate_hz))
                    for decoder in group
                    if decoder.name in strides_ms
                },
                timeout_s=settings.timeout_s,
                gap_s=settings.gap_s,
                policy=policy,
                max_peak_to_peak=np.array(
                    [
                        quality.max_peak_to_peak.get(channel.type, np.inf)
                        for channel in group[0].manifest.signal.channels
                    ]
                ),
                speed=facts.speed,
                first_segment=first_segment,
            )
            bindings = [decoder.bind(stream_id, facts.channels, facts.rate_hz, bad) for decoder in group]
            self._lanes.append(_Lane(track, bindings[0], {decoder.name: decoder for decoder in group}))
        self.triggers = TriggerChannels(stream_id, facts, triggers)
        self._gaps = GapLog(stream_id, first_segment)
        shifts.connect(1 / (facts.rate_hz * facts.speed))  # only now that nothing can fail any more

    @property
    def next_segment(self) -> int:
        """Index of the first segment of the connection that follows this one."""
        return max((lane.track.segment for lane in self._lanes), default=0) + 1

    @property
    def is_warm(self) -> bool:
        """Whether the front ends of the running segments can be trusted."""
        return all(lane.track.is_warm for lane in self._lanes)

    @property
    def n_bridged(self) -> int:
        """Samples that were put in for lost ones."""
        return self._lanes[0].track.n_bridged if self._lanes else 0

    @property
    def doubt(self) -> str:
        """Why its markers are refused now: its clock was set and theirs was not. Empty if they are not.

        It takes more markers than must be seen of a sender whose clock was set, too.
        """
        return set_clock(self._shifts.shift_s) if self._n_doubted > FEWEST_MARKERS else ""

    def mark(self, marker: Marker, index: int) -> list[Request]:
        """Take an accepted marker; its delay is applied here.

        Parameters
        ----------
        marker
            Its ``time`` in our clock without the delay. ``sample`` counts this connection's samples.
        index
            Counts the accepted markers of the session.
        """
        follows = self._shifts.follows(marker)
        if marker.sample is None:
            self._n_doubted = self._n_doubted + 1 if self._shifts.shift_s and not follows else 0
        delayed = replace(
            marker,
            time=marker.time + self._marker_delay_s / self.facts.speed,
            shift=round(self._marker_delay_s * self.facts.rate_hz),
        )
        return [
            request for lane in self._lanes for request in lane.track.mark(delayed, index, follows=follows)
        ]

    def feed(
        self, samples: np.ndarray, stamps: np.ndarray, times: np.ndarray, arrival: float
    ) -> list[Request]:
        """Filter the next chunk and append it to the rings; return the requests of continuous mode it makes.

        Parameters
        ----------
        samples : array of shape (n, n_stream_channels), float64
            All channels of the stream, SI units.
        stamps, times : arrays of shape (n,)
            Stamps as sent, and in our clock without the stream's delay, which is subtracted here, seconds.
        arrival
            When the chunk arrived, seconds of our clock.
        """
        self._shifts.add(times, arrival)
        if self._shifts.shift_s == 0.0:
            self._n_doubted = 0
        times = times - self.facts.stamp_delay_s
        requests = [
            request
            for lane in self._lanes
            for request in lane.track.feed(
                Chunk(lane.binding.select(samples), stamps, times, arrival), shift_s=self._shifts.shift_s
            )
        ]
        if self._lanes:
            self._gaps.follow(self._lanes[0].track.segment, arrival)
        return requests

    def take(self, now: float) -> list[Job | Ending]:
        """Windows that are complete, and requests that ended without one, since the last call."""
        return [self._ready(lane, item) for lane in self._lanes for item in lane.track.take(now)]

    def close(self, verdict: Verdict, reason: str) -> list[Ending]:
        """End all that still waits."""
        return [
            Ending(closed, lane.decoders[closed.request.decoder], self.facts)
            for lane in self._lanes
            for closed in lane.track.close(verdict, reason)
        ]

    def bindings(self, bad: Collection[str]) -> list[Binding]:
        """Bind all decoders anew, with these channels declared bad; any thread may ask.

        Raises
        ------
        MismatchError
            If a decoder cannot do without them.
        """
        return [
            next(iter(lane.decoders.values())).bind(
                self._stream_id, self.facts.channels, self.facts.rate_hz, bad
            )
            for lane in self._lanes
        ]

    def rebind(self, bindings: Sequence[Binding]) -> None:
        """Use other bindings for the windows that are taken from now on."""
        for lane, binding in zip(self._lanes, bindings, strict=True):
            lane.binding = binding

    def _ready(self, lane: _Lane, item: Cut | Closed) -> Job | Ending:
        decoder = lane.decoders[item.request.decoder]
        if isinstance(item, Closed):
            return Ending(item, decoder, self.facts)
        if reason := self._fault(item, lane.binding):
            closed = Closed(item.request, item.marker, Verdict.ARTEFACT, reason)
            return Ending(closed, decoder, self.facts)
        return Job(item, decoder, lane.binding, lane.quality(item), lane.track, self.facts)

    def _fault(self, cut: Cut, binding: Binding) -> str:
        """Why a window is not to be decoded, if it is not; channels that are rebuilt do no harm."""
        most_bad, most_bridged = self._rules.reject_bad_channels, self._rules.reject_bridged_samples
        if most_bad is not None:
            found, rebuilt = cut.findings, {*binding.missing, *binding.bad}
            odd = {
                what: [name for name in names if name not in rebuilt]
                for what, names in (
                    ("no numbers", found.nan),
                    ("flat", found.flat),
                    ("railed", found.railed),
                    ("out of range", found.out_of_range),
                )
            }
            n = len({name for names in odd.values() for name in names})
            if n > most_bad:
                told = "; ".join(f"{what}: {shorten(names)}" for what, names in odd.items() if names)
                return f"{n} channels are not fit to be decoded ({told}), more than {most_bad}"
        if most_bridged is not None and cut.bridged_samples > most_bridged:
            n = cut.bridged_samples
            return f"{n} samples of the window were lost and put in, more than {most_bridged}"
        return ""
