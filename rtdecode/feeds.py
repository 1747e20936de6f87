"""Threads that follow one source each, through losses and returns, and hand what comes to the engine.

A source goes through these states; one that was lost or refused is looked for until it is there and fits::

    searching ─▶ connecting ─▶ warm ─▶ live ◀─▶ stale
                  ▲      │       │       │        │
                  │      ▼       ▼       ▼        ▼
                  ├─ refused   lost ◀────┴────────┘
                  └──────────────┘
"""

from __future__ import annotations

import logging
import math
import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdecode.connection import StreamFacts
from rtdecode.contracts import AlarmCode, StreamState, StreamStatus, Verdict
from rtdecode.errors import UserError
from rtdecode.signal.markers import Marker
from rtdecode.signal.sent_rate import SentRate
from rtdecode.sources.base import StreamLostError
from rtdecode.sources.lsl import MarkerInlet, SignalInlet, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    import pylsl

    from rtdecode.alarms import Alarms
    from rtdecode.config import ServiceSettings, SignalStream
    from rtdecode.connection import Job
    from rtdecode.engine import Engine
    from rtdecode.sources.base import Clock, RawChunk
    from rtdecode.sources.clock_offsets import ClockOffset, ClockOffsets
    from rtdecode.sources.lsl_resolve import StreamQuery

log = logging.getLogger(__name__)

_PULL_S = 0.1
"""Longest wait for data before a feed looks whether to stop, or whether a request has timed out."""

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 10.0
_FIRST_OFFSET_S = 10.0

_FEWEST_PERIODS_STALE = 3
"""A slow stream is not stale between two of its samples, whatever the configuration says."""

_FUTURE_S = 1.0
"""Stamps further ahead of our clock than this are wrong."""

_LOOK_BEHIND_S = 0.5
"""A pull that brings more than this at once, or all it may, is a reason to look how much more waits."""


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
    alarms
        Told of what a person should see.
    settings
        How long to wait for what.
    stop
        Ends every feed when set.
    on_failure
        Told of an error that ended a feed's thread.
    """

    engine: Engine
    offsets: ClockOffsets
    clock: Clock
    alarms: Alarms
    settings: ServiceSettings
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
        self._query = query
        self._around = surroundings
        self._stop = surroundings.stop
        self._state = StreamState.SEARCHING
        self._reason = ""
        self._connections = 0
        self._retry_s = _FIRST_RETRY_S
        self._inlet: SignalInlet | MarkerInlet | None = None
        self._offset: ClockOffset | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def status(self) -> StreamStatus:
        """How the source stands; any thread may ask."""
        offset = self._offset
        reading = None if offset is None else offset.reading
        return StreamStatus(
            state=self._state,
            reason=self._reason,
            reconnects=max(0, self._connections - 1),
            clock_offset_s=None if reading is None else reading.seconds,
            clock_uncertainty_s=None if reading is None else reading.uncertainty_s,
        )

    def connect(self, timeout_s: float) -> None:
        """Find the stream, open it, check what it is and measure its clock; returns early if told to stop.

        Raises
        ------
        UserError
            If it does not come in time, goes away again, or is not what is needed.
        """
        info = resolve(self._query, timeout_s, self._stop)
        if info is None:
            return
        self._enter(StreamState.CONNECTING)
        try:
            self._inlet = self._open(info)
            self._offset = self._around.offsets.watch(self._inlet)
            reading = self._offset.wait(_FIRST_OFFSET_S, self._stop)
        except StreamLostError as lost:
            raise UserError(f"{lost}; see that its sender keeps running") from lost
        if reading is None:
            return
        self._connections += 1
        self._enter(StreamState.LIVE)

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

    def _enter(self, state: StreamState, reason: str = "") -> None:
        self._state, self._reason = state, reason

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if self._inlet is None or self._offset is None:
                    self._reconnect()
                    continue
                try:
                    self._follow(self._offset.steady(self._around.clock.now()))
                except StreamLostError as lost:
                    self._lose(str(lost))
        except BaseException as error:  # a dead thread must end the service, not hang it
            self._around.on_failure(error)

    def _lose(self, what: str) -> None:
        self._enter(StreamState.LOST, what)
        self._around.alarms.begin(AlarmCode.LOST, self.name, f"{what}; waiting for it to come back")
        self._disconnect()
        self._abandon()

    def _reconnect(self) -> None:
        """Try once; after a failure wait, each time longer."""
        try:
            self.connect(math.inf)
        except UserError as error:
            self._enter(StreamState.REFUSED, str(error))
            self._around.alarms.begin(AlarmCode.REFUSED, self.name, f"{self.name} is not taken back: {error}")
            self._disconnect()
            self._abandon()
            self._stop.wait(self._retry_s)
            self._retry_s = min(2 * self._retry_s, _LAST_RETRY_S)
            return
        if self._state is StreamState.LIVE:
            self._retry_s = _FIRST_RETRY_S
            for code in (AlarmCode.LOST, AlarmCode.REFUSED):
                self._around.alarms.end(code, self.name, f"{self.name} is back")

    def _disconnect(self) -> None:
        offset, self._offset = self._offset, None
        if offset is not None:
            self._around.offsets.forget(offset)
        if self._inlet is not None:
            self._inlet.close()
            self._inlet = None


class SignalFeed(Feed):
    """Feeds a signal stream to the engine, and windows that are complete to ``on_jobs``.

    Parameters
    ----------
    stream
        Its table in the configuration.
    surroundings
        What it works with.
    on_jobs
        Takes the windows that a chunk completed.
    """

    def __init__(
        self, stream: SignalStream, surroundings: Surroundings, *, on_jobs: Callable[[list[Job]], None]
    ) -> None:
        super().__init__(stream.id, stream.lsl, surroundings)
        self._stream = stream
        self._on_jobs = on_jobs
        self._opened_at = 0.0
        self._newest: float | None = None
        self._flushed = 0

    def status(self) -> StreamStatus:
        """How the source stands; any thread may ask."""
        status = super().status()
        newest = self._newest
        is_warm = status.state is StreamState.LIVE and not self._around.engine.is_warm(self.name)
        return status.model_copy(
            update={
                "state": StreamState.WARM if is_warm else status.state,
                "age_s": None if newest is None else self._around.clock.now() - newest,
                "flushed_samples": self._flushed,
                "bridged_samples": self._around.engine.bridged(self.name),
            }
        )

    def _open(self, info: pylsl.StreamInfo) -> SignalInlet:
        stream = self._stream
        inlet = SignalInlet(info, self._around.clock, unit=stream.unit, channel_names=stream.channel_names)
        about = inlet.describe()
        if about.speed != 1.0 and not self._around.settings.allow_speed:
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
                source=about,
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
        if about.faults:
            log.warning("stream %s is faulty on purpose: %s", self.name, about.faults)
        self._signal = inlet
        self._rate_hz = about.rate_hz
        self._sent_rate = SentRate(about.rate_hz)
        self._stale_s = max(self._around.settings.stale_s, _FEWEST_PERIODS_STALE / about.rate_hz)
        self._opened_at = self._around.clock.now()
        self._newest = None
        return inlet

    def _follow(self, offset_s: float) -> None:
        has_come = self._signal.wait(_PULL_S)
        with self._around.engine.turn.taken():
            if has_come:
                self._feed(self._signal.take(), offset_s)
            jobs = self._around.engine.advance(self.name)
        if jobs:
            self._on_jobs(jobs)
        self._look_at_age()
        self._look_at_clock()
        self._look_at_rate()

    def _feed(self, chunk: RawChunk, offset_s: float) -> None:
        if not self._is_behind(chunk, offset_s):
            self._newest = float(chunk.stamps[-1]) + offset_s
            self._sent_rate.add(chunk.stamps)
            self._around.engine.feed(self.name, chunk.samples, chunk.stamps, offset_s, chunk.arrival)

    def _abandon(self) -> None:
        for code in (AlarmCode.STALE, AlarmCode.CLOCK, AlarmCode.RATE):
            self._around.alarms.end(code, self.name, f"stream {self.name} is gone altogether")
        self._around.engine.disconnect(self.name, Verdict.GAP, "the stream was lost")

    def _is_behind(self, chunk: RawChunk, offset_s: float) -> bool:
        """Whether so much waits that it was thrown away: answers about what is long past help nobody."""
        n = len(chunk.stamps)
        is_first = self._newest is None  # what came while we connected warms the filter
        if is_first or n < min(self._signal.max_samples, _LOOK_BEHIND_S * self._rate_hz):
            return False
        limit_s = self._around.settings.max_lag_s
        if (n + self._signal.waiting()) / self._rate_hz <= limit_s:
            return False
        n_waited = self._signal.flush()
        # About when the last of them was taken: what is fresh again must not look stale meanwhile.
        self._newest = float(chunk.stamps[-1]) + n_waited / self._rate_hz + offset_s
        n += n_waited
        self._flushed += n
        self._around.alarms.once(
            AlarmCode.FLUSHED,
            self.name,
            f"stream {self.name}: {n} samples ({n / self._rate_hz:.1f} s) had waited and were thrown away to "
            f"catch up (max_lag_s = {limit_s:g}): this machine was asleep or is too slow",
        )
        return True

    def _look_at_age(self) -> None:
        has_sent = self._newest is not None
        age_s = self._around.clock.now() - (self._opened_at if self._newest is None else self._newest)
        if -_FUTURE_S <= age_s <= self._stale_s:
            if self._state is StreamState.STALE:
                self._enter(StreamState.LIVE)
                self._around.alarms.end(
                    AlarmCode.STALE, self.name, f"stream {self.name}: its samples are fresh again"
                )
            return
        if not has_sent:
            reason = f"it has sent nothing since it was connected {age_s:.1f} s ago"
        elif age_s > 0:
            reason = f"its newest sample is {age_s:.1f} s old"
        else:
            reason = f"its newest sample is stamped {-age_s:.1f} s in the future"
        self._enter(StreamState.STALE, reason)
        self._around.alarms.begin(
            AlarmCode.STALE,
            self.name,
            f"stream {self.name}: {reason}; see that its sender sends, and stamps by the LSL clock",
        )

    def _look_at_clock(self) -> None:
        if doubt := self._around.engine.doubt(self.name):
            self._around.alarms.begin(
                AlarmCode.CLOCK,
                self.name,
                f"stream {self.name}: markers are not answered, because {doubt}; set its clock right, or "
                "start the service again if it is right now",
            )
        else:
            self._around.alarms.end(
                AlarmCode.CLOCK, self.name, f"stream {self.name}: its clock and the markers' agree again"
            )

    def _look_at_rate(self) -> None:
        sent_hz = self._sent_rate.wrong_hz
        if sent_hz is None:
            self._around.alarms.end(
                AlarmCode.RATE, self.name, f"stream {self.name} sends {self._rate_hz:g} Hz as announced"
            )
        else:
            self._around.alarms.begin(
                AlarmCode.RATE,
                self.name,
                f"stream {self.name} announces {self._rate_hz:g} Hz and by stamps sends {sent_hz:.4g} Hz: "
                "many markers are not answered; correct the rate in the device or its LSL application",
            )


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
