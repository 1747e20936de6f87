"""Everything between the sources and the bus, without threads, sockets or LSL.

The live service calls it from its threads; virtual replay calls it in a loop. Both therefore run the same
code, and a virtual run is the same to the last byte each time.

Data take one way through it::

    marker ─▶ MarkerGate ─▶ inbox of each stream ─▶ Track.mark ┐
    chunk  ─▶ Binding.select ────────────────────▶ Track.feed ─┴▶ Track.take ─▶ Cut ─▶ Decoder.run ─▶ messages
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rtdecode.contracts import (
    EmbeddingMessage,
    HeadOutput,
    MarkerMessage,
    Quality,
    Stamps,
    Verdict,
    VerdictMessage,
)
from rtdecode.errors import MismatchError, UserError
from rtdecode.signal.ledger import Ledger
from rtdecode.signal.markers import Marker, TriggerDetector, TriggerSettings
from rtdecode.signal.track import Chunk, Closed, Cut, Track

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtdecode.config import ServiceSettings, TriggerChannel
    from rtdecode.contracts import Accounts, Channel, Message
    from rtdecode.decoder import Binding, Decoder
    from rtdecode.markers import MarkerGate
    from rtdecode.sources.base import Clock

log = logging.getLogger(__name__)


class Emit(Protocol):
    """Where messages go."""

    def __call__(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        """Take a message, with its payload frames; called from any thread."""


@dataclass(frozen=True, slots=True)
class _Lane:
    """Decoders of one connected stream that share channels and front end, so that one track serves them."""

    track: Track
    binding: Binding
    decoders: dict[str, Decoder]


@dataclass(slots=True)
class _Trigger:
    """A trigger channel of a connected stream."""

    source: str
    column: int
    rate_hz: float
    detector: TriggerDetector
    n_samples: int = 0

    def process(self, samples: np.ndarray) -> tuple[int, list[tuple[int, str]]]:
        """Number of this chunk's first sample since the connection, and the onsets' samples and codes."""
        first, self.n_samples = self.n_samples, self.n_samples + len(samples)
        onsets = self.detector.process(samples[:, self.column])
        return first, [(sample, str(code)) for sample, code in onsets]


@dataclass(slots=True)
class _Stream:
    """What is connected under one stream identifier; only the thread that feeds it touches its lanes."""

    decoders: list[Decoder]
    lanes: list[_Lane] = field(default_factory=list)
    triggers: list[_Trigger] = field(default_factory=list)
    inbox: deque[tuple[int, Marker]] = field(default_factory=deque)
    simulated: bool = False
    comparable: bool = True
    delay_s: float = 0.0
    next_segment: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One window on its way to its decoder."""

    cut: Cut
    stream: _Stream
    lane: _Lane

    @property
    def decoder(self) -> Decoder:
        """The decoder that the window is for."""
        return self.lane.decoders[self.cut.request.decoder]


class Engine:
    """From chunks and markers to messages, with exactly one verdict a request.

    ``connect``, ``feed``, ``advance`` and ``disconnect`` of one stream belong to one thread, ``decode`` to
    another, ``admit`` to any.

    Parameters
    ----------
    decoders
        Decoders by stream identifier.
    gate
        Decides what becomes of each marker.
    clock
        Stamps what happens here.
    emit
        Where messages go.
    settings
        Timeouts and the gap rule.
    triggers
        Trigger channels inside the streams.
    marker_delay_s
        Seconds from a marker to the picture on the screen.

    Raises
    ------
    UserError
        If two decoders have the same name.
    """

    def __init__(
        self,
        decoders: Mapping[str, Sequence[Decoder]],
        gate: MarkerGate,
        clock: Clock,
        emit: Emit,
        settings: ServiceSettings,
        *,
        triggers: Sequence[TriggerChannel] = (),
        marker_delay_s: float = 0.0,
    ) -> None:
        names = [decoder.name for group in decoders.values() for decoder in group]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"two decoders are called {twice[0]!r}: export one of them under another name")
        self._streams = {stream: _Stream(list(group)) for stream, group in decoders.items()}
        self._gate = gate
        self._clock = clock
        self._settings = settings
        self._emit = emit
        self._triggers = tuple(triggers)
        self._marker_delay_s = marker_delay_s
        self._ledger = Ledger()
        self._lock = threading.Lock()  # guards ledger and gate, the only state that threads share

    def accounts(self) -> Accounts:
        """Both ledgers as they stand."""
        with self._lock:
            return self._ledger.accounts()

    def connect(
        self,
        stream_id: str,
        channels: Sequence[Channel],
        rate_hz: float,
        *,
        simulated: bool,
        speed: float = 1.0,
        delay_s: float = 0.0,
    ) -> None:
        """Bind the decoders of a stream to what it turned out to be; its next chunk starts a new segment.

        Parameters
        ----------
        stream_id
            Identifier in the configuration.
        channels, rate_hz
            The stream's channels, and its native rate (``speed`` divided out).
        simulated
            Whether the stream says that it is simulated.
        speed
            How much faster than real time it runs.
        delay_s
            Seconds by which its stamps lag the true events.

        Raises
        ------
        MismatchError
            If it does not fit a decoder.
        """
        stream = self._streams[stream_id]
        groups: dict[str, list[Decoder]] = {}
        for decoder in stream.decoders:
            # Windows and their resampling may differ between decoders that read one ring.
            shared = decoder.manifest.signal.model_dump_json(include={"channels", "rate_hz", "front_end"})
            groups.setdefault(shared, []).append(decoder)
        lanes = []
        for group in groups.values():
            bindings = [decoder.bind(stream_id, channels, rate_hz) for decoder in group]
            track = Track(
                stream_id,
                group[0].manifest.signal,
                {decoder.name: decoder.manifest.signal.window for decoder in group},
                timeout_s=self._settings.timeout_s,
                gap_s=self._settings.gap_s,
                speed=speed,
                first_segment=stream.next_segment,
            )
            lanes.append(_Lane(track, bindings[0], {decoder.name: decoder for decoder in group}))
        stream.lanes = lanes
        stream.triggers = self._find_triggers(stream_id, [channel.name for channel in channels], rate_hz)
        stream.simulated = simulated
        stream.comparable = speed == 1.0
        stream.delay_s = delay_s

    def disconnect(self, stream_id: str, verdict: Verdict, reason: str) -> None:
        """Close all that still waits for this stream's data, markers not yet looked at included."""
        stream = self._streams[stream_id]
        self._open_requests(stream)
        for lane in stream.lanes:
            for closed in lane.track.close(verdict, reason):
                self._conclude(stream, lane.decoders[closed.request.decoder], closed)
            stream.next_segment = max(stream.next_segment, lane.track.segment + 1)

    def close(self, verdict: Verdict, reason: str) -> None:
        """Close all that still waits for any stream; only once no thread feeds one any more."""
        for stream_id in self._streams:
            self.disconnect(stream_id, verdict, reason)

    def admit(self, marker: Marker, stream_id: str | None = None) -> None:
        """Decide a marker's fate, and hand an accepted one to every stream.

        Parameters
        ----------
        marker
            Its ``time`` in our clock, without the configured delay, which is added here.
        stream_id
            Stream whose samples ``marker.sample`` counts, if it lies in the data of one.
        """
        with self._lock:
            admission = self._gate.admit(marker)
            self._ledger.admit(admission.fate)
        self._emit(
            MarkerMessage(
                simulated=any(stream.simulated for stream in self._streams.values()),
                source=marker.source,
                label=marker.label,
                stimulus_id=admission.stimulus_id,
                fate=admission.fate,
                index=admission.index,
                stamp=marker.stamp,
                reason=admission.reason,
            )
        )
        if admission.index is not None:
            mapped = replace(
                marker, time=marker.time + self._marker_delay_s, stimulus_id=admission.stimulus_id
            )
            for name, stream in self._streams.items():
                own = mapped if name == stream_id else replace(mapped, sample=None)
                stream.inbox.append((admission.index, own))

    def feed(
        self, stream_id: str, samples: np.ndarray, stamps: np.ndarray, times: np.ndarray, arrival: float
    ) -> None:
        """Take a chunk: filter it and append it to the ring.

        Parameters
        ----------
        stream_id
            Identifier in the configuration.
        samples : array of shape (n, n_stream_channels), float64
            All channels of the stream, SI units.
        stamps, times : arrays of shape (n,)
            Stamps as sent, and in our clock without the configured delay, which is subtracted here, seconds.
        arrival
            When the chunk arrived, seconds of our clock.
        """
        stream = self._streams[stream_id]
        for trigger in stream.triggers:
            first, onsets = trigger.process(samples)
            for sample, label in onsets:
                marker = Marker(
                    source=trigger.source,
                    label=label,
                    stamp=float(stamps[sample - first]),
                    time=float(times[sample - first]) - stream.delay_s,
                    arrival=arrival,
                    sample=sample + round(self._marker_delay_s * trigger.rate_hz),
                )
                self.admit(marker, stream_id)
        # Before the chunk is fed: a chunk may be longer than what the ring keeps.
        self._open_requests(stream)
        for lane in stream.lanes:
            lane.track.feed(Chunk(lane.binding.select(samples), stamps, times - stream.delay_s, arrival))

    def advance(self, stream_id: str) -> list[Job]:
        """Open requests for new markers, end what cannot be answered, and return the windows now complete."""
        stream = self._streams[stream_id]
        self._open_requests(stream)
        now = self._clock.now()
        jobs = []
        for lane in stream.lanes:
            for item in lane.track.take(now):
                if isinstance(item, Closed):
                    self._conclude(stream, lane.decoders[item.request.decoder], item)
                else:
                    jobs.append(Job(item, stream, lane))
        return jobs

    def decode(self, job: Job) -> None:
        """Run the decoder on one window and publish what it says, or why it says nothing."""
        cut, decoder = job.cut, job.decoder
        start = self._clock.now()
        try:
            outputs = decoder.run(cut.window[np.newaxis], job.lane.binding.repair)
        except Exception as error:
            log.exception("decoder %s failed on %s", decoder.name, cut.request)
            self.end(job, Verdict.FAILED, f"{type(error).__name__}: {error}")
            return
        end = self._clock.now()
        if not job.lane.track.holds(cut):
            self.end(job, Verdict.LATE, "the window left the ring while the decoder ran")
            return
        embeddings = [outputs[head.name][0] for head in decoder.manifest.heads]
        if not all(np.isfinite(embedding).all() for embedding in embeddings):
            self.end(job, Verdict.FAILED, "the decoder's output is not finite")
            return
        self._emit(
            EmbeddingMessage(
                simulated=job.stream.simulated or decoder.manifest.simulated,
                request=cut.request,
                label=cut.marker.label,
                stimulus_id=cut.marker.stimulus_id,
                decoder_sha256=decoder.sha256,
                segment=cut.segment,
                onset_sample=cut.onset_sample,
                residual_us=cut.residual_us,
                stamps=Stamps(
                    marker_source=cut.marker.stamp,
                    marker_corrected=cut.marker.time,
                    marker_arrival=cut.marker.arrival,
                    data_source=cut.data_source,
                    data_corrected=cut.data_corrected,
                    data_arrival=cut.data_arrival,
                    inference_start=start,
                    inference_end=end,
                ),
                quality=Quality(missing_channels=job.lane.binding.missing),
                heads=tuple(
                    HeadOutput(name=head.name, role=head.role, dim=head.space.dim)
                    for head in decoder.manifest.heads
                ),
                stream_delay_s=job.stream.delay_s,
                marker_delay_s=self._marker_delay_s,
                latency_comparable=job.stream.comparable,
            ),
            embeddings,
        )
        self.end(job, Verdict.EMITTED, "")

    def end(self, job: Job, verdict: Verdict, reason: str) -> None:
        """End a window's request."""
        self._conclude(job.stream, job.decoder, Closed(job.cut.request, job.cut.marker, verdict, reason))

    def _find_triggers(self, stream_id: str, names: Sequence[str], rate_hz: float) -> list[_Trigger]:
        found = []
        for trigger in self._triggers:
            if trigger.stream != stream_id:
                continue
            if trigger.channel not in names:
                raise MismatchError(
                    f"stream {stream_id!r} has no trigger channel {trigger.channel!r}; "
                    f"it has {', '.join(names)}"
                )
            detector = TriggerDetector(TriggerSettings(mask=trigger.mask))
            column = names.index(trigger.channel)
            found.append(_Trigger(f"{stream_id}/{trigger.channel}", column, rate_hz, detector))
        return found

    def _open_requests(self, stream: _Stream) -> None:
        while stream.inbox:
            index, marker = stream.inbox.popleft()
            for lane in stream.lanes:
                requests = lane.track.mark(marker, index)
                with self._lock:
                    for request in requests:
                        self._ledger.open(request)

    def _conclude(self, stream: _Stream, decoder: Decoder, closed: Closed) -> None:
        with self._lock:
            self._ledger.close(closed.request, closed.verdict)
        self._emit(
            VerdictMessage(
                simulated=stream.simulated or decoder.manifest.simulated,
                request=closed.request,
                label=closed.marker.label,
                stimulus_id=closed.marker.stimulus_id,
                verdict=closed.verdict,
                reason=closed.reason,
            )
        )
