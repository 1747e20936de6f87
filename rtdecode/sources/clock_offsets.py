"""What separates the clocks of the senders from ours, measured away from the threads that pull.

liblsl needs about 0.6 s for its first measurement of a stream and may block on a dead one, so one thread of
its own asks for all inlets. The threads that pull read the newest number from :attr:`ClockOffset.seconds`.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Protocol, Self

from rtdecode.errors import UserError
from rtdecode.sources.base import ClockReading, StreamLostError

if TYPE_CHECKING:
    from collections.abc import Callable

_SAME_CLOCK_S = 1e-3
_MEASURE_S = 1.0

_LOOK_S = 0.05
"""How often who waits for a measurement looks whether to stop: one cannot wait for two events."""

SLEW = 3e-4
"""Seconds by which an offset may move in a second: three times what quartz clocks drift apart."""

STEP_S = 0.05
"""A measurement further off than this means that a clock was set."""


class _Measurable(Protocol):
    name: str

    @property
    def hostname(self) -> str: ...

    def time_correction(self, timeout_s: float) -> ClockReading | None: ...


class ClockOffset:
    """The newest measurement for one inlet: add ``seconds`` to the sender's stamps to be in our clock.

    ``reading`` is None until the first measurement. It is written by one thread and may be read by any
    without a lock: binding an attribute to a new object is atomic.
    """

    def __init__(self, inlet: _Measurable) -> None:
        self.inlet = inlet
        self.reading: ClockReading | None = None
        self._applied: tuple[float, float] | None = None  # seconds, and when
        self._settled = threading.Event()

    @property
    def seconds(self) -> float:
        """Seconds to add; 0 until the first measurement."""
        return 0.0 if self.reading is None else self.reading.seconds

    def steady(self, now: float) -> float:
        """Seconds to add at this moment: led to the newest measurement so slowly that no stamp jumps.

        Measurements scatter, over a wireless network by milliseconds, while clocks drift apart by far less
        than :data:`SLEW` a second; a step would look as if samples had been lost. Only a measurement that is
        off by more than :data:`STEP_S`, as when a clock was set, is taken over at once.

        Parameters
        ----------
        now
            Seconds of our clock. One thread asks.
        """
        seconds = self.seconds
        if self._applied is not None:
            before, at = self._applied
            most = SLEW * max(now - at, 0.0)
            if abs(seconds - before) <= STEP_S:
                seconds = min(max(seconds, before - most), before + most)
        self._applied = (seconds, now)
        return seconds

    def wait(self, timeout_s: float, stop: threading.Event | None = None) -> ClockReading | None:
        """Wait for the first measurement and return the newest; None if ``stop`` was set before.

        Raises
        ------
        UserError
            If there is none within ``timeout_s`` seconds.
        StreamLostError
            If the stream was lost first.
        """
        deadline = time.monotonic() + timeout_s
        while not self._settled.wait(min(_LOOK_S, max(deadline - time.monotonic(), 0.0))):
            if stop is not None and stop.is_set():
                return None
            if time.monotonic() >= deadline:
                break
        if self.reading is not None:
            return self.reading
        if self._settled.is_set():
            raise StreamLostError(f"stream {self.inlet.name!r} was lost before its clock was measured")
        raise UserError(
            f"the clock of host {self.inlet.hostname!r} (stream {self.inlet.name!r}) could not be measured "
            f"within {timeout_s:g} s; let UDP ports 16572-16604 through both firewalls"
        )

    def measure(self, timeout_s: float) -> bool:
        """Ask once; False if the stream is gone. For the thread of :class:`ClockOffsets`."""
        try:
            measured = self.inlet.time_correction(timeout_s)
        except StreamLostError:
            self._settled.set()
            return False
        if measured is not None:
            # A sender on this machine reads the very clock that we read: what liblsl measures there is noise
            # (tens of microseconds, milliseconds while the machine is busy, another value each time), which
            # would move the stamps. Machines that only share a name differ by more than it can be off.
            noise_s = max(_SAME_CLOCK_S, measured.uncertainty_s)
            same_clock = self.inlet.hostname == socket.gethostname() and abs(measured.seconds) < noise_s
            self.reading = ClockReading(0.0, 0.0) if same_clock else measured
            self._settled.set()
        return True


class ClockOffsets:
    """The thread that measures the clock offset of every inlet, at once and then each ``period_s`` seconds.

    A stream that is lost is dropped by itself; its last offset stays readable.

    Parameters
    ----------
    period_s
        Seconds between two measurements of one inlet.
    on_measured
        Told of each measurement, on this thread: name and host of the source, and seconds to add to its
        stamps.
    on_failure
        Told of an error that ended the thread.
    """

    def __init__(
        self,
        period_s: float = 5.0,
        on_measured: Callable[[str, str, float], None] = lambda *_: None,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._period_s = period_s
        self._on_measured = on_measured
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._watched: tuple[ClockOffset, ...] = ()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="clock offsets", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def watch(self, inlet: _Measurable) -> ClockOffset:
        """Measure this inlet's clock from now on; returns at once."""
        offset = ClockOffset(inlet)
        with self._lock:
            self._watched = (*self._watched, offset)
        self._wake.set()
        return offset

    def forget(self, offset: ClockOffset) -> None:
        """Stop measuring; call before the inlet is closed."""
        with self._lock:
            self._watched = tuple(other for other in self._watched if other is not offset)

    def stop(self) -> None:
        """End the thread; takes a second at most for each inlet whose stream does not answer."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            self._measure()
        except BaseException as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)

    def _measure(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            # The first look only starts liblsl's measurement, which takes 0.6 s: so all start together.
            for offset in self._watched:
                if offset.reading is None:
                    offset.measure(0.0)
            for offset in self._watched:
                if self._stop.is_set():
                    return
                if not offset.measure(_MEASURE_S):
                    self.forget(offset)
                elif offset.reading is not None:
                    self._on_measured(offset.inlet.name, offset.inlet.hostname, offset.seconds)
            self._wake.wait(self._period_s)
