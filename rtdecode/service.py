"""The live service: threads, queues and the bus around the engine.

One ingest thread a signal stream, one reading thread a marker stream, one clock thread, the journal's thread,
the inference thread, for windows that come together (one alone is decoded by the ingest thread that completed
it), and the broker's thread, which forwards what workers publish and answers questions. What the service
publishes is sent by the thread that publishes it: to wake another costs as much as all else that is done to a
trial. Queues between threads are bounded.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from rtdecode.alarms import Alarms
from rtdecode.bus.broker import Broker
from rtdecode.bus.curve import ServiceKeys
from rtdecode.contracts import (
    ControlReply,
    Delay,
    EmbeddingMessage,
    ServiceState,
    StatusMessage,
    Verdict,
)
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import UserError
from rtdecode.feeds import Feed, MarkerFeed, SignalFeed, Surroundings
from rtdecode.gate import MarkerGate
from rtdecode.inference import Inference
from rtdecode.journal.session import Session
from rtdecode.journal.writer import Journal
from rtdecode.keep_awake import kept_awake
from rtdecode.signal.ledger import counts_text
from rtdecode.sources.clock_offsets import ClockOffsets
from rtdecode.sources.lsl import LslClock

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

    from rtdecode.bus.sockets import Endpoints
    from rtdecode.config import ServeConfig
    from rtdecode.contracts import ControlRequest, Message
    from rtdecode.health.health import Health
    from rtdecode.stimuli import MappingReport

log = logging.getLogger(__name__)

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEARTBEAT_S = 1.0
_LATE_HEARTBEAT_S = 5.0
_BEATS_PER_LOG = 10
_INTERRUPTIBLE_S = 0.2


class Service:
    """Decodes live streams as a configuration says, until told to stop.

    As a context manager it opens the bus on entry, and on exit drains, accounts for the rest and closes it.
    One that was never live leaves no session in the journal.

    Parameters
    ----------
    config
        What to serve.

    Raises
    ------
    UserError
        If a decoder, the table of stimuli or the keys cannot be loaded; on entry, if a port is taken, or the
        processor cannot be kept awake.
    """

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._clock = LslClock()
        self._by_stream: dict[str, list[Decoder]] = {stream.id: [] for stream in config.streams}
        self._strides_ms: dict[tuple[str, str], float] = {}
        loaded: dict[Path, Decoder] = {}
        for entry in config.decoders:
            if (decoder := loaded.get(entry.path)) is None:  # one that decodes several streams is held once
                decoder = loaded[entry.path] = Decoder(entry.path)
            stream = entry.stream or config.streams[0].id
            self._by_stream[stream].append(decoder)
            if entry.stride_ms is not None:
                self._strides_ms[stream, decoder.name] = entry.stride_ms
        self._decoders = list(loaded.values())
        bus = config.bus
        self._keys = None if bus.keys is None else ServiceKeys.load(bus.keys)
        self._broker = Broker(
            bus.host,
            bus.publish_port,
            bus.subscribe_port,
            bus.control_port,
            self._on_control,
            clock=self._clock.now,
            keys=self._keys,
            on_forwarded=self._on_forwarded,
            on_failure=self._fail,
        )
        self._alarms = Alarms(self._broker.publish, self._is_simulated)
        self._journal: Journal | None = None
        if config.journal.folder is not None:
            self._journal = Journal(config.journal.folder, config.journal.queue, self._clock, self._alarms)
        self._gate = MarkerGate.from_settings(config.markers)
        self._engine = Engine(
            self._by_stream,
            self._gate,
            self._clock,
            self._publish,
            config.service,
            quality=config.quality,
            strides_ms=self._strides_ms,
            triggers=config.markers.triggers,
            marker_delay_s=config.markers.delay_s,
            recorder=self._journal,
        )
        self._delays = {stream.id: _delay(stream.delay_s, stream.delay_measured) for stream in config.streams}
        self._delays["markers"] = _delay(config.markers.delay_s, config.markers.delay_measured)
        self._offsets = ClockOffsets(on_measured=self._on_measured, on_failure=self._fail)
        self._stop = threading.Event()
        self._state = ServiceState.CONNECTING
        self._has_been_live = False
        self._failure: BaseException | None = None
        self._inference = Inference(self._engine, config.service.queue, self._alarms, self._fail)
        surroundings = Surroundings(
            self._engine,
            self._offsets,
            self._clock,
            self._alarms,
            config.service,
            self._stop,
            self._fail,
        )
        self._feeds: list[Feed] = [
            *(MarkerFeed(query, surroundings) for query in config.markers.streams),
            *(SignalFeed(stream, surroundings, on_jobs=self._inference.take) for stream in config.streams),
        ]
        self._beat_at = self._clock.now()
        self._health = None if config.health.port is None else self._make_health()

    @property
    def endpoints(self) -> Endpoints:
        """Where the bus listens, once entered."""
        return self._broker.endpoints

    @property
    def clients(self) -> list[str] | None:
        """Names of the clients that may connect; None where keys are not asked for."""
        return None if self._keys is None else sorted(self._keys.allowed.values())

    @property
    def journal_folder(self) -> Path | None:
        """Where this session's journal is kept, once entered; None where none is."""
        return None if self._journal is None else self._journal.folder

    @property
    def health_url(self) -> str | None:
        """Where monitors may ask, once entered; None where nobody is to."""
        return None if self._health is None else self._health.url

    def __enter__(self) -> Self:
        with ExitStack() as stack:  # what was started ends again, whatever fails before or at the end
            if self._config.service.keep_awake:
                stack.enter_context(kept_awake())
            if self._journal is not None:
                session = Session.of(
                    self._config,
                    self._by_stream,
                    strides_ms=self._strides_ms,
                    boot_id=self._broker.boot_id,
                    simulated=self._engine.simulated,
                )
                self._journal.start(session, self._config.markers.table)
                stack.callback(self._end_journal, self._journal)
            if self._health is not None:
                stack.enter_context(self._health)
            stack.enter_context(self._broker)
            stack.enter_context(self._offsets)
            for decoder in self._decoders:
                decoder.warm_up()
            stack.callback(self._set_state, ServiceState.STOPPED)
            stack.callback(self._engine.close, Verdict.SHUTDOWN, "the service stopped")
            stack.callback(self._finish_inference)
            for feed in self._feeds:
                stack.callback(feed.join)
            stack.callback(self._begin_to_stop)
            self._running = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self._running.close()
        finally:
            if self._failure is not None:
                raise self._failure

    def connect(self) -> None:
        """Connect to all streams at once, within ``wait_s``, then start their threads together.

        Raises
        ------
        UserError
            If a stream does not come in time, or does not fit its decoders.
        """
        wanted = [
            *(f"{stream.id} ({stream.lsl})" for stream in self._config.streams),
            *(f"markers ({query})" for query in self._config.markers.streams),
        ]
        log.info("waiting up to %g s for streams: %s", self._config.service.wait_s, "; ".join(wanted))
        with ThreadPoolExecutor(len(self._feeds), thread_name_prefix="connect") as pool:
            pending = {pool.submit(feed.connect, self._config.service.wait_s) for feed in self._feeds}
            while pending:  # in slices: on Windows Ctrl-C does not end a wait
                done, pending = wait(pending, _INTERRUPTIBLE_S, return_when=FIRST_EXCEPTION)
                if failure := next(filter(None, (future.exception() for future in done)), None):
                    self._stop.set()  # the others need not go on looking
                    raise failure
        if self._stop.is_set():
            return
        self._has_been_live = True
        self._inference.start()
        for feed in self._feeds:
            feed.start()
        self._beat_at = self._clock.now()
        self._set_state(ServiceState.LIVE)

    def wait(self) -> None:
        """Publish a heartbeat each second, and log progress now and then, until a stop is requested."""
        beats, told = 0, ""
        while not self._stop.wait(_HEARTBEAT_S):
            self._inference.check()
            if self._journal is not None:
                self._journal.check()
            status = self.status()
            self._broker.publish(status)
            self._beat_at = self._clock.now()
            beats += 1
            if beats % _BEATS_PER_LOG == 0 and (progress := counts_text(status.accounts.requests)) != told:
                log.info("requests so far: %s", progress)
                told = progress

    def request_stop(self) -> None:
        """Ask for a stop; from any thread or signal handler."""
        self._stop.set()

    def remarks(self) -> list[str]:
        """What may be a mistake, a line each: delays that are not those of the training, health for all."""
        health = self._config.health
        is_open = health.port is not None and health.host not in _LOOPBACK
        return [f"health is told to everybody who reaches {health.host}: HTTP knows no keys"] * is_open + [
            f"decoder {decoder.name!r} was trained with a {what} delay of {1e3 * trained:g} ms, "
            f"the configuration has {1e3 * configured:g} ms"
            for stream in self._config.streams
            for decoder in self._by_stream[stream.id]
            for what, trained, configured in (
                ("stream", decoder.manifest.provenance.stream_delay_s, stream.delay_s),
                ("marker", decoder.manifest.provenance.marker_delay_s, self._config.markers.delay_s),
            )
            if trained != configured
        ]

    def mapping(self) -> MappingReport | None:
        """How well the markers kept step with the table of stimuli; None without one."""
        return self._gate.mapping()

    def status(self) -> StatusMessage:
        """Both ledgers and the state of every stream."""
        journal = self._journal
        return StatusMessage(
            simulated=self._engine.simulated,
            state=self._state,
            accounts=self._engine.accounts(),
            streams={feed.name: feed.status() for feed in self._feeds},
            decoders={
                stream: tuple(decoder.name for decoder in group) for stream, group in self._by_stream.items()
            },
            providers={decoder.name: decoder.provider for decoder in self._decoders},
            delays=self._delays,
            alarms=self._alarms.active(),
            queues={"inference": self._inference.n_waiting}
            | ({} if journal is None else {"journal": journal.n_waiting}),
            dropped=self._broker.dropped() | ({} if journal is None else {"journal": journal.n_dropped}),
            sequences=self._broker.sequences(),
        )

    def ailments(self) -> list[str]:
        """What in it has died or hangs, a line each; none while it starts, stops, or is well."""
        if self._failure is not None:
            return [f"it failed: {self._failure}"]
        if self._state is not ServiceState.LIVE or self._stop.is_set():
            return []
        alive = {feed.name: feed.is_alive for feed in self._feeds}
        alive |= {
            "inference": self._inference.is_alive,
            "bus": self._broker.is_alive,
            "clock offsets": self._offsets.is_alive,
        }
        if self._journal is not None:
            alive["journal"] = self._journal.is_alive
        ended = [f"the thread of {name} has ended" for name, is_alive in alive.items() if not is_alive]
        silent_s = self._clock.now() - self._beat_at
        return ended + [f"the last heartbeat was {silent_s:.1f} s ago"] * (silent_s > _LATE_HEARTBEAT_S)

    def _make_health(self) -> Health:
        from rtdecode.health.health import Health  # a third of a second, for those alone who want it

        return Health(
            self._config.health,
            status=self.status,
            ailments=self.ailments,
            alarms=self._alarms.counts,
            decoders={decoder.sha256: decoder.manifest for decoder in self._decoders},
        )

    def _publish(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        self._broker.publish(message, payload)
        if self._health is not None and isinstance(message, EmbeddingMessage):
            self._health.note(message, self._clock.now())

    def _begin_to_stop(self) -> None:
        self._stop.set()
        if self._state is ServiceState.LIVE:
            self._set_state(ServiceState.STOPPING)

    def _finish_inference(self) -> None:
        if self._state is ServiceState.STOPPING:  # it had been started
            self._inference.finish(self._engine.advance_all())

    def _end_journal(self, journal: Journal) -> None:
        if self._has_been_live:
            journal.stop()
        else:
            journal.discard()

    def _set_state(self, state: ServiceState) -> None:
        self._state = state
        self._broker.publish(self.status())

    def _fail(self, error: BaseException) -> None:
        log.error("%s: %s", threading.current_thread().name, error)
        self._failure = error
        self._stop.set()

    def _is_simulated(self) -> bool:
        return self._engine.simulated

    def _on_forwarded(self, frames: Sequence[bytes]) -> None:
        if self._journal is not None:
            self._journal.said(frames)

    def _on_measured(self, name: str, host: str, offset_s: float) -> None:
        if self._journal is not None:
            self._journal.measured(name, host, offset_s)

    def _on_control(self, request: ControlRequest) -> ControlReply:
        if request.op == "decoders":
            return ControlReply(
                ok=True, decoders={decoder.sha256: decoder.manifest for decoder in self._decoders}
            )
        if request.op == "bad_channels":
            declared = request.bad_channels
            if declared is None:
                return ControlReply(ok=False, error="name a stream, and its bad channels")
            try:
                self._engine.declare_bad(declared.stream, declared.channels)
            except UserError as error:
                return ControlReply(ok=False, error=str(error))
            log.info("stream %s: bad channels: %s", declared.stream, ", ".join(declared.channels) or "none")
        if request.op == "stop":
            self.request_stop()
        return ControlReply(ok=True, status=self.status())


def _delay(delay_s: float, measured: dt.date | None) -> Delay:
    return Delay(delay_s=delay_s, measured=None if measured is None else measured.isoformat())
