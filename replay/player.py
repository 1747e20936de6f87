"""A recording as live LSL streams: its signal, and its markers beside it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np
import pylsl

from replay.description import marker_info, signal_info
from replay.faults import burst_size
from replay.programme import Back, Chunk, Gone, Mark, Programme
from replay.schedule import Grid, Original
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from replay.batches import Batch, Stream
    from replay.faults import Fault
    from replay.layout import Layout
    from replay.recordings.recording import Recording

_BLOCK_S = 1.0
_PROGRESS_S = 0.1
_CONSUMER_POLL_S = 0.1


class LslPlayer:
    """Streams a recording over LSL at the pace at which it was recorded.

    Each chunk is pushed when its last sample is due by ``pylsl.local_clock()``, whatever the chunks before
    did, so that the pace never drifts. A marker is pushed right before the chunk that holds its sample, and
    is stamped with the time at which that was taken: its stamp on the grid, and, of original stamps, the line
    through them. One that happened off its sample is stamped with its own time, and not pushed before that.
    Faults change that, and the streams' descriptions name them.

    Parameters
    ----------
    recording
        What is replayed.
    name
        Name of the signal stream, by default the recording's; the marker stream's has ``-markers`` added.
    source_id
        Likewise; by default made from the name.
    chunk_size
        Samples pushed at once.
    speed
        How many times as fast as recorded. The stream announces that many times the rate, and says so.
    stamps
        ``"grid"``: a regular grid. ``"original"``: the recording's stamps, shifted by a constant, and its
        bursts.
    loop
        Whether to start again at the end, until stopped.
    wait
        Whether to wait for a consumer on each stream before the first sample. A recording without markers
        waits for the signal's alone.
    wait_timeout_s
        How long to wait for them; None: for ever.
    grace_s
        How long the streams stay open after the last sample while anyone listens: who closes at once takes
        from a consumer what it has not pulled yet.
    faults
        What goes wrong, in this order; their times are seconds of sending, whatever the speed.
    seed
        Of all chance in the faults: one seed, the same samples, stamps and markers.

    Attributes
    ----------
    programme
        All that is sent; its :meth:`~replay.programme.Programme.truth` tells which sample each one is.
    start
        When the first sample was due, seconds of the LSL clock; None before that is known.
    unheard
        Name of the stream that :meth:`run` waits for a consumer of; None while it waits for none.
    value_format
        ``"float32"`` where that loses nothing of any sample, else ``"double64"``.

    Raises
    ------
    UserError
        If a setting makes no sense or a fault does not fit, or original stamps are asked for and the
        recording has none.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        name: str | None = None,
        source_id: str | None = None,
        chunk_size: int = 10,
        speed: float = 1.0,
        stamps: Literal["grid", "original"] = "grid",
        loop: bool = False,
        wait: bool = True,
        wait_timeout_s: float | None = None,
        grace_s: float = 5.0,
        faults: Sequence[Fault] = (),
        seed: int = 0,
    ) -> None:
        if chunk_size < 1:
            raise UserError(f"chunk size {chunk_size}: a chunk holds at least one sample")
        if not 0 < speed < float("inf"):
            raise UserError(f"speed {speed}: must be greater than 0; 1 is real time")
        if recording.n_samples == 0:
            raise UserError(f"{recording.name} holds no samples; there is nothing to replay")
        self.recording = recording
        self.name = name or recording.name
        self.source_id = source_id or f"rtdecode-replay-{self.name}"
        self.marker_name = f"{self.name}-markers"
        self.marker_source_id = f"{self.source_id}-markers"
        self.speed = speed
        self.loop = loop
        self.wait = wait
        self.wait_timeout_s = wait_timeout_s
        self.grace_s = grace_s
        self.start: float | None = None
        self.unheard: str | None = None
        burst = burst_size(faults)
        if burst is not None and stamps == "original":
            raise UserError(
                "the recording's own bursts and those of a fault exclude each other: leave one out"
            )
        schedule = Grid if stamps == "grid" else Original
        self.programme = Programme(
            recording,
            schedule.of(recording, burst or chunk_size, speed),
            faults=faults,
            seed=seed,
            loop=loop,
        )
        self.value_format: Literal["float32", "double64"] = (
            "float32" if _fits_float32(recording) else "double64"
        )
        self._outlets: dict[Stream, pylsl.StreamOutlet] = {}
        self._stopped = threading.Event()

    def announce(self) -> None:
        """Make the streams appear before :meth:`run`, which otherwise does so itself."""
        if not self._outlets:
            self._outlets["signal"] = self._signal(self.programme.layout)
            self._outlets["markers"] = self._markers()

    def run(self, progress: Callable[[int], None] | None = None) -> None:
        """Announce the streams, wait for consumers, and stream until the end or :meth:`stop`.

        Parameters
        ----------
        progress
            Called about ten times a second with the number of samples pushed, over all rounds.

        Raises
        ------
        UserError
            If consumers did not come in time, or the recording cannot be read further.
        """
        self.announce()
        try:
            if self.wait:
                self._await_consumer("signal", self.name)
                if len(self.recording.markers):
                    self._await_consumer("markers", self.marker_name)
            self._stream(progress or (lambda _: None))
            self._linger()
        finally:
            self._outlets.clear()

    @property
    def is_stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stopped.is_set()

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread."""
        self._stopped.set()

    def _await_consumer(self, stream: Stream, name: str) -> None:
        self.unheard = name
        outlet, waited_s = self._outlets[stream], 0.0
        while not self._stopped.is_set() and not outlet.wait_for_consumers(_CONSUMER_POLL_S):
            waited_s += _CONSUMER_POLL_S
            if self.wait_timeout_s is not None and waited_s >= self.wait_timeout_s:
                raise UserError(
                    f"nobody listened to stream {name!r} within {self.wait_timeout_s:g} s; "
                    "start the consumer first, or do not wait (--no-wait)"
                )
        self.unheard = None

    def _signal(self, layout: Layout) -> pylsl.StreamOutlet:
        info = signal_info(
            self.recording,
            name=self.name,
            source_id=self.source_id,
            value_format=self.value_format,
            speed=self.speed,
            layout=layout,
            faults=self.programme.text,
        )
        return pylsl.StreamOutlet(info)

    def _markers(self) -> pylsl.StreamOutlet:
        info = marker_info(
            self.recording,
            name=self.marker_name,
            source_id=self.marker_source_id,
            speed=self.speed,
            faults=self.programme.text,
        )
        return pylsl.StreamOutlet(info)

    def _stream(self, progress: Callable[[int], None]) -> None:
        outlets = self._outlets
        start = self.start = pylsl.local_clock()
        reported_at = 0.0
        for event in self.programme.events(self._loaded()):
            if self._stopped.wait(max(start + event.due - pylsl.local_clock(), 0.0)):
                return
            match event:
                case Chunk():
                    numbers = event.layout.numbers(event.samples)
                    if self.value_format == "float32":
                        numbers = numbers.astype(np.float32)
                    outlets["signal"].push_chunk(numbers, (start + event.stamps).tolist())
                    if event.due - reported_at >= _PROGRESS_S:
                        reported_at = event.due
                        progress(event.position)
                case Mark():
                    outlets["markers"].push_sample([event.label], start + event.stamp)
                case Gone():
                    del outlets[event.stream]
                case Back():
                    signal = event.stream == "signal"
                    outlets[event.stream] = self._signal(event.layout) if signal else self._markers()
        progress(self.recording.n_samples)

    def _loaded(self) -> Iterator[tuple[Batch, NDArray[np.float64]]]:
        """Each batch of the programme with its samples; the next one is read in the background."""
        with ThreadPoolExecutor(1, thread_name_prefix="replay-read") as reader:
            batches = self.programme.batches()
            ahead = None
            for batch in batches:
                reading = reader.submit(self._read, batch)
                if ahead is not None:
                    yield ahead[0], ahead[1].result()
                ahead = batch, reading
            if ahead is not None:
                yield ahead[0], ahead[1].result()

    def _read(self, batch: Batch) -> NDArray[np.float64]:
        return self.programme.loaded(batch, self.recording.read(batch.start, batch.stop))

    def _linger(self) -> None:
        until = pylsl.local_clock() + self.grace_s
        while (left_s := until - pylsl.local_clock()) > 0:
            if not any(outlet.have_consumers() for outlet in self._outlets.values()):
                return
            if self._stopped.wait(min(left_s, _CONSUMER_POLL_S)):
                return


def _fits_float32(recording: Recording) -> bool:
    """Whether every sample survives the way through float32; reads until the first that does not."""
    block = max(int(_BLOCK_S * recording.rate_hz), 1)
    for samples in recording.blocks(block):
        with np.errstate(over="ignore"):
            returned = samples.astype(np.float32).astype(np.float64)
        if not np.array_equal(returned, samples, equal_nan=True):
            return False
    return True
