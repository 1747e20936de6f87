"""Threads that follow one source each, through losses and returns, and hand what comes to the engine."""

from __future__ import annotations

import logging
import math
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdecode.connection import StreamFacts
from rtdecode.contracts import StreamState, StreamStatus, Verdict
from rtdecode.errors import UserError
from rtdecode.signal.markers import Marker
from rtdecode.sources.base import StreamLostError
from rtdecode.sources.lsl import MarkerInlet, SignalInlet, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    import pylsl

    from rtdecode.config import SignalStream
    from rtdecode.connection import Job
    from rtdecode.engine import Engine
    from rtdecode.sources.base import Clock
    from rtdecode.sources.clock_offsets import ClockOffset, ClockOffsets
    from rtdecode.sources.lsl_resolve import StreamQuery

log = logging.getLogger(__name__)

_PULL_S = 0.1
"""Longest wait for data before a feed looks whether to stop, or whether a request has timed out."""

_RETRY_S = 1.0
_FIRST_OFFSET_S = 10.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all feeds of a service share.

    Parameters
    ----------
    engine
        Takes what comes.
    offsets
        Measures the senders' clocks.
    clock
        Stamps arrivals.
    stop
        Ends every feed when set.
    on_failure
        Told of an error that ended a feed's thread.
    """

    engine: Engine
    offsets: ClockOffsets
    clock: Clock
    stop: threading.Event
    on_failure: Callable[[BaseException], None]


class Feed(ABC):
    """One source and the thread that owns it: connect, follow, and after a loss connect again.

    Parameters
    ----------
    name
        What logs and the status call it.
    query
        How to find its stream.
    surroundings
        What it works with.
    """

    def __init__(self, name: str, query: StreamQuery, surroundings: Surroundings) -> None:
        self.name = name
        self.state = StreamState.SEARCHING
        self._query = query
        self._around = surroundings
        self._stop = surroundings.stop
        self._inlet: SignalInlet | MarkerInlet | None = None
        self._offset: ClockOffset | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def connect(self, timeout_s: float) -> None:
        """Find the stream, open it and measure its clock; returns early if told to stop.

        Raises
        ------
        UserError
            If it does not come in time, goes away again, or is not what is needed.
        """
        info = resolve(self._query, timeout_s, self._stop)
        if info is None:
            return
        try:
            self._inlet = self._open(info)
            self._offset = self._around.offsets.watch(self._inlet)
            self._offset.wait(_FIRST_OFFSET_S)
        except StreamLostError as lost:
            raise UserError(f"{lost}; see that its sender keeps running") from lost
        self.state = StreamState.LIVE

    def status(self) -> StreamStatus:
        """How the source stands."""
        return StreamStatus(state=self.state)

    def start(self) -> None:
        """Start the thread; the source must be connected."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, and let go of the source."""
        if self._thread.is_alive():
            self._thread.join()
        self._disconnect()

    @abstractmethod
    def _open(self, info: pylsl.StreamInfo) -> SignalInlet | MarkerInlet:
        """Open the stream, check that it is what is needed, and keep it for :meth:`_follow`."""

    @abstractmethod
    def _follow(self, offset_s: float) -> None:
        """Pull once, and hand on what came; ``offset_s`` leads from the sender's clock to ours."""

    @abstractmethod
    def _abandon(self) -> None:
        """Account for what still waits for a source that was lost."""

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._inlet is None or self._offset is None:
                    self._reconnect()
                    continue
                try:
                    self._follow(self._offset.seconds or 0.0)
                except StreamLostError as lost:
                    log.warning("%s; waiting for it to come back", lost)
                    self.state = StreamState.LOST
                    self._disconnect()
                    self._abandon()
        except BaseException as error:  # a dead thread must end the service, not hang it
            self._around.on_failure(error)

    def _reconnect(self) -> None:
        try:
            self.connect(math.inf)
        except UserError as error:
            log.warning("%s: %s", self.name, error)
            self._disconnect()
            self._abandon()
            self._stop.wait(_RETRY_S)

    def _disconnect(self) -> None:
        if self._offset is not None:
            self._around.offsets.forget(self._offset)
            self._offset = None
        if self._inlet is not None:
            self._inlet.close()
            self._inlet = None


class SignalFeed(Feed):
    """Feeds a signal stream to the engine, and windows that are complete to ``on_job``.

    Parameters
    ----------
    stream
        Its table in the configuration.
    surroundings
        What it works with.
    allow_speed
        Accept a replay that runs faster than real time.
    on_job
        Takes each complete window.
    """

    def __init__(
        self,
        stream: SignalStream,
        surroundings: Surroundings,
        *,
        allow_speed: bool,
        on_job: Callable[[Job], None],
    ) -> None:
        super().__init__(stream.id, stream.lsl, surroundings)
        self._stream = stream
        self._allow_speed = allow_speed
        self._on_job = on_job

    def _open(self, info: pylsl.StreamInfo) -> SignalInlet:
        stream = self._stream
        inlet = SignalInlet(info, self._around.clock, unit=stream.unit, channel_names=stream.channel_names)
        about = inlet.describe()
        if about.speed != 1.0 and not self._allow_speed:
            raise UserError(
                f"stream {self.name!r} is a replay at {about.speed:g} times real time; replay it at speed 1, "
                "or set allow_speed = true in [service] (latencies are then not comparable)"
            )
        self._around.engine.connect(
            self.name,
            StreamFacts(
                channels=about.channels,
                rate_hz=about.rate_hz / about.speed,
                host=about.hostname,
                simulated=about.simulated,
                speed=about.speed,
                delay_s=stream.delay_s,
                latency_comparable=about.speed == 1.0,
            ),
        )
        log.info(
            "stream %s: %r on %s, %d channels at %g Hz%s",
            self.name,
            about.name,
            about.hostname,
            len(about.channels),
            about.rate_hz,
            ", SIMULATED" if about.simulated else "",
        )
        self._signal = inlet
        return inlet

    def _follow(self, offset_s: float) -> None:
        chunk = self._signal.pull(_PULL_S)
        if chunk is not None:
            self._around.engine.feed(self.name, chunk.samples, chunk.stamps, offset_s, chunk.arrival)
        for job in self._around.engine.advance(self.name):
            self._on_job(job)

    def _abandon(self) -> None:
        self._around.engine.disconnect(self.name, Verdict.GAP, "the stream was lost")


class MarkerFeed(Feed):
    """Feeds a marker stream to the engine.

    Parameters
    ----------
    query
        How to find it.
    surroundings
        What it works with.
    """

    def __init__(self, query: StreamQuery, surroundings: Surroundings) -> None:
        super().__init__(f"markers ({query})", query, surroundings)

    def _open(self, info: pylsl.StreamInfo) -> MarkerInlet:
        inlet = MarkerInlet(info, self._around.clock)
        log.info("markers: %r on %s", inlet.name, inlet.hostname)
        self._markers = inlet
        return inlet

    def _follow(self, offset_s: float) -> None:
        for label, stamp, arrival in self._markers.pull(_PULL_S):
            self._around.engine.admit(
                Marker(
                    source=self._markers.name,
                    host=self._markers.hostname,
                    label=label,
                    stamp=stamp,
                    time=stamp + offset_s,
                    arrival=arrival,
                )
            )

    def _abandon(self) -> None:
        """Nothing waits for a marker stream: its markers were handed on as they came."""
