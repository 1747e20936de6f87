"""Everything between the sources and the bus, without threads, sockets or LSL.

The live service calls it from its threads; virtual replay calls it in a loop. Both therefore run the same
code, and a virtual run is the same to the last byte each time.

Data take one way through it::

    marker ─▶ MarkerGate ─▶ inbox of each stream ─▶ Connection.mark ┐
    chunk ────────────────────────────────────────▶ Connection.feed ┴▶ Job ─▶ Answers ─▶ messages
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rtdecode.answers import Answers
from rtdecode.config import QualitySettings
from rtdecode.connection import Connection, Ending, Job, StreamFacts
from rtdecode.contracts import Request, Verdict
from rtdecode.errors import UserError
from rtdecode.signal.clock_shifts import ClockShifts
from rtdecode.signal.track import Closed
from rtdecode.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from rtdecode.answers import Emit
    from rtdecode.config import ServiceSettings, TriggerChannel
    from rtdecode.contracts import Accounts
    from rtdecode.decoder import Binding, Decoder
    from rtdecode.gate import MarkerGate
    from rtdecode.recorder import Recorder
    from rtdecode.signal.markers import Marker
    from rtdecode.sources.base import Clock


@dataclass(slots=True)
class _Stream:
    """One signal stream of the configuration, connected or not.

    ``connection`` is set and cleared by the thread that feeds the stream, under the engine's lock, so that a
    marker meets either a connection that will take it from the inbox, or none. ``rebound`` are bindings that
    the connection is to use from the next chunk on.
    """

    decoders: list[Decoder]
    shifts: ClockShifts
    inbox: list[tuple[int, Marker]] = field(default_factory=list)
    connection: Connection | None = None
    simulated: bool = False
    next_segment: int = 0
    bridged: int = 0
    bad: tuple[str, ...] = ()
    rebound: list[Binding] | None = None

    def take(self) -> list[tuple[int, Marker]]:
        """Empty the inbox; under the engine's lock."""
        markers, self.inbox = self.inbox, []
        return markers


class Engine:
    """From chunks and markers to messages, with exactly one verdict a request.

    ``connect``, ``feed``, ``advance`` and ``disconnect`` of one stream belong to one thread; ``decode`` to
    any, one at a time; ``admit`` and ``declare_bad`` to any.

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
        Timeouts and the gap rules.
    quality
        What is told of each window, and which are not decoded.
    strides_ms
        Strides of the decoders in continuous mode, by stream identifier and decoder's name, milliseconds.
    triggers
        Trigger channels inside the streams.
    marker_delay_s
        Seconds from a marker to the picture on the screen.
    recorder
        Told of what happens, if anyone is to be told.

    Raises
    ------
    UserError
        If two decoders have the same name, or a stream has one twice.
    """

    def __init__(
        self,
        decoders: Mapping[str, Sequence[Decoder]],
        gate: MarkerGate,
        clock: Clock,
        emit: Emit,
        settings: ServiceSettings,
        *,
        quality: QualitySettings | None = None,
        strides_ms: Mapping[tuple[str, str], float] | None = None,
        triggers: Sequence[TriggerChannel] = (),
        marker_delay_s: float = 0.0,
        recorder: Recorder | None = None,
    ) -> None:
        _check_names(decoders)
        self._streams = {
            stream: _Stream(list(group), ClockShifts(settings.gap_s)) for stream, group in decoders.items()
        }
        self._gate = gate
        self._clock = clock
        self._settings = settings
        self._answers = Answers(clock, emit, marker_delay_s)
        self._quality = quality or QualitySettings()
        self._strides_ms = dict(strides_ms or {})
        self._triggers = tuple(triggers)
        self._marker_delay_s = marker_delay_s
        self._recorder = recorder
        self.turn = Turn()
        """Taken by threads that call :meth:`feed` and :meth:`advance` beside others, and to answer."""
        # Guards the gate, which streams are connected and what is in their inboxes.
        self._lock = threading.Lock()
        # Held while a stream is bound to its decoders.
        self._binding = threading.Lock()
        # Held from a marker's fate until every stream has it: the order of both is then one.
        self._admission = threading.Lock()

    def accounts(self) -> Accounts:
        """Both ledgers as they stand."""
        return self._answers.accounts()

    @property
    def simulated(self) -> bool:
        """Whether anything that is or was connected, or any decoder, is simulated."""
        return any(
            stream.simulated or any(decoder.manifest.simulated for decoder in stream.decoders)
            for stream in self._streams.values()
        )

    def is_warm(self, stream_id: str) -> bool:
        """Whether the front end of a stream's running segment can be trusted; any thread may ask."""
        connection = self._streams[stream_id].connection
        return connection is not None and connection.is_warm

    def doubt(self, stream_id: str) -> str:
        """Why a stream's markers are refused now, if its clock was set and theirs was not; else empty."""
        connection = self._streams[stream_id].connection
        return "" if connection is None else connection.doubt

    def bridged(self, stream_id: str) -> int:
        """How many samples of a stream were put in for lost ones, over the session."""
        stream = self._streams[stream_id]
        with self._lock:
            return stream.bridged + (0 if stream.connection is None else stream.connection.n_bridged)

    def connect(self, stream_id: str, facts: StreamFacts) -> None:
        """Bind a stream's decoders to what it turned out to be; its next chunk starts a new segment.

        Raises
        ------
        MismatchError
            If it does not fit a decoder, or lacks a trigger channel.
        """
        stream = self._streams[stream_id]
        with self._binding:
            connection = Connection(
                stream_id,
                facts,
                stream.decoders,
                triggers=self._triggers,
                marker_delay_s=self._marker_delay_s,
                settings=self._settings,
                quality=self._quality,
                bad=stream.bad,
                strides_ms={
                    name: stride_ms for (of, name), stride_ms in self._strides_ms.items() if of == stream_id
                },
                first_segment=stream.next_segment,
                shifts=stream.shifts,
            )
            with self._lock:
                stream.connection = connection
                stream.rebound = None
                stream.simulated = stream.simulated or facts.simulated
                if self._recorder is not None:
                    self._recorder.connected(stream_id, facts)

    def declare_bad(self, stream_id: str, channels: Sequence[str]) -> None:
        """Rebuild channels of a stream from their neighbours from its next chunk on, also after it was lost.

        Parameters
        ----------
        stream_id
            Identifier in the configuration.
        channels
            All that are bad; what was declared before and is not among them is taken back.

        Raises
        ------
        UserError
            If there is no such stream or channel, or a decoder cannot do without them; nothing is changed.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            raise UserError(f"no stream {stream_id!r}: there is {', '.join(self._streams)}")
        bad = tuple(dict.fromkeys(channels))
        known = {channel.name for decoder in stream.decoders for channel in decoder.manifest.signal.channels}
        with self._binding:
            connection = stream.connection
            if connection is not None:
                known |= {channel.name for channel in connection.facts.channels}
            if unknown := [name for name in bad if name not in known]:
                raise UserError(
                    f"stream {stream_id!r} has no channel {', '.join(unknown)}: `rtdecode inspect` tells the "
                    "names that its decoders know"
                )
            if connection is not None:
                rebound = connection.bindings(bad)
            else:  # as far as can be said before it comes
                rebound = None
                for decoder in stream.decoders:
                    signal = decoder.manifest.signal
                    decoder.bind(stream_id, signal.channels, signal.rate_hz, bad)
            with self._lock:
                stream.bad, stream.rebound = bad, rebound
                if self._recorder is not None:
                    self._recorder.declared_bad(stream_id, bad)

    def disconnect(self, stream_id: str, verdict: Verdict, reason: str) -> None:
        """End all that waits for this stream's data; markers that come from now on end at once."""
        stream = self._streams[stream_id]
        with self._lock:
            connection, stream.connection = stream.connection, None
            if connection is None:
                return
            stream.next_segment = connection.next_segment
            stream.bridged += connection.n_bridged
            markers = stream.take()
            if self._recorder is not None:
                self._recorder.disconnected(stream_id, verdict, reason)
        self._open_requests(connection, markers)
        for ending in connection.close(verdict, reason):
            self._answers.end(ending)

    def close(self, verdict: Verdict, reason: str) -> None:
        """Disconnect every stream; only once no thread feeds one any more."""
        for stream_id in self._streams:
            self.disconnect(stream_id, verdict, reason)

    def admit(self, marker: Marker, stream_id: str | None = None) -> None:
        """Decide a marker's fate, and hand an accepted one to every stream.

        Parameters
        ----------
        marker
            Its ``time`` in our clock, without the configured delay.
        stream_id
            Stream whose samples ``marker.sample`` counts, if it lies in the data of one.
        """
        refused = []
        with self._admission:
            with self._lock:
                admission = self._gate.admit(marker, is_code=stream_id is not None)
            self._answers.admit(marker, admission, simulated=self.simulated)
            with self._lock:
                if self._recorder is not None:
                    self._recorder.admitted(marker, stream_id)
                if admission.index is None:
                    return
                mapped = replace(marker, label=admission.label, stimulus_id=admission.stimulus_id)
                for name, stream in self._streams.items():
                    own = mapped if name == stream_id else replace(mapped, sample=None)
                    if stream.connection is not None:
                        stream.inbox.append((admission.index, own))
                    else:
                        refused.append((name, stream, own, stream.next_segment))
        for name, stream, own, segment in refused:
            self._refuse(name, stream, own, admission.index, segment)

    def feed(
        self, stream_id: str, samples: np.ndarray, stamps: np.ndarray, offset_s: float, arrival: float
    ) -> None:
        """Take a chunk of a connected stream: find triggers in it, filter it, keep it.

        Parameters
        ----------
        stream_id
            Identifier in the configuration.
        samples, stamps, arrival
            As for :meth:`rtdecode.connection.Connection.feed`.
            They are kept, not copied.
        offset_s
            Leads from the stamps to our clock, seconds.
        """
        stream, connection = self._connected(stream_id)
        times = stamps + offset_s
        for marker in connection.triggers.process(samples, stamps, times, arrival):
            self.admit(marker, stream_id)
        with self._lock:
            markers = stream.take()
            rebound, stream.rebound = stream.rebound, None
            if self._recorder is not None:
                self._recorder.fed(stream_id, samples, stamps, offset_s, arrival)
        if rebound is not None:
            connection.rebind(rebound)
        # Before the chunk is fed: a chunk may be longer than what the ring keeps.
        self._open_requests(connection, markers)
        self._answers.open(connection.feed(samples, stamps, times, arrival))

    def advance(self, stream_id: str) -> list[Job]:
        """Open requests for new markers, end what cannot be answered, and return the windows now complete."""
        stream, connection = self._connected(stream_id)
        now = self._clock.now()
        with self._lock:
            markers = stream.take()
            if markers and self._recorder is not None:
                self._recorder.advanced(stream_id, now)
        self._open_requests(connection, markers)
        items = connection.take(now)
        if items and not markers and self._recorder is not None:
            with self._lock:
                self._recorder.advanced(stream_id, now)
        jobs = []
        for item in items:
            if isinstance(item, Ending):
                self._answers.end(item)
            else:
                jobs.append(item)
        return jobs

    def advance_all(self) -> list[Job]:
        """:meth:`advance` for every connected stream; only once no thread feeds one any more."""
        connected = [name for name, stream in self._streams.items() if stream.connection is not None]
        return [job for name in connected for job in self.advance(name)]

    def decode(self, jobs: Sequence[Job]) -> None:
        """Run the decoder on windows that go together and publish what it says, or why it says nothing."""
        run = self._answers.run(jobs)
        failure: Exception | None = None
        with self.turn.taken(first=True):
            for number, job in enumerate(jobs):
                try:
                    self.end(job, *self._answers.answer(job, run, number))
                except Exception as error:  # the bus is gone; the others are to be accounted for all the same
                    failure = error
        if failure is not None:
            raise failure

    def end(self, job: Job, verdict: Verdict, reason: str) -> None:
        """End a window's request."""
        closed = Closed(job.cut.request, job.cut.marker, verdict, reason)
        self._answers.end(Ending(closed, job.decoder, job.facts))

    def _connected(self, stream_id: str) -> tuple[_Stream, Connection]:
        stream = self._streams[stream_id]
        if stream.connection is None:
            raise RuntimeError(f"stream {stream_id!r} is not connected")
        return stream, stream.connection

    def _open_requests(self, connection: Connection, markers: Sequence[tuple[int, Marker]]) -> None:
        for index, marker in markers:
            self._answers.open(connection.mark(marker, index))

    def _refuse(self, stream_id: str, stream: _Stream, marker: Marker, index: int, segment: int) -> None:
        """Answer a marker that found its stream gone."""
        for decoder in stream.decoders:
            if (stream_id, decoder.name) in self._strides_ms:
                continue
            request = Request(
                stream=stream_id,
                segment=segment,
                origin="marker",
                index=index,
                decoder=decoder.name,
            )
            self._answers.open([request])
            closed = Closed(request, marker, Verdict.GAP, "the stream was not connected")
            facts = StreamFacts(channels=(), rate_hz=0.0, simulated=stream.simulated)
            self._answers.end(Ending(closed, decoder, facts))


def _check_names(decoders: Mapping[str, Sequence[Decoder]]) -> None:
    """Refuse what results could not tell apart: they name the stream and the decoder."""
    files: dict[str, str] = {}
    for decoder in (decoder for group in decoders.values() for decoder in group):
        if files.setdefault(decoder.name, decoder.sha256) != decoder.sha256:
            raise UserError(
                f"two decoders are called {decoder.name!r}: export one of them under another name"
            )
    for stream, group in decoders.items():
        names = [decoder.name for decoder in group]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UserError(f"stream {stream!r} has decoder {twice[0]!r} twice: leave one out")
