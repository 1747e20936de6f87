"""A recording as live LSL streams: its signal, and its markers beside it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
import pylsl

from replay.description import marker_info, signal_info
from replay.schedule import Grid, Original
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from replay.recordings.recording import Recording
    from replay.schedule import Schedule

_BLOCK_S = 1.0
_PROGRESS_S = 0.1
_CONSUMER_POLL_S = 0.1


class LslPlayer:
    """Streams a recording over LSL at the pace at which it was recorded.

    Each chunk is pushed when its last sample is due by ``pylsl.local_clock()``, whatever the chunks before
    did, so that the pace never drifts. A marker is pushed right after the chunk that holds its sample, and
    carries exactly that sample's stamp.

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

    Attributes
    ----------
    value_format
        ``"float32"`` where that loses nothing of any sample, else ``"double64"``.

    Raises
    ------
    UserError
        If a setting makes no sense, or original stamps are asked for and the recording has none.
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
        schedule = Grid if stamps == "grid" else Original
        self._schedule: Schedule = schedule.of(recording, chunk_size, speed)
        self.value_format: Literal["float32", "double64"] = (
            "float32" if _fits_float32(recording) else "double64"
        )
        self._stopped = threading.Event()

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
        signal = pylsl.StreamOutlet(
            signal_info(
                self.recording,
                name=self.name,
                source_id=self.source_id,
                value_format=self.value_format,
                speed=self.speed,
            )
        )
        markers = pylsl.StreamOutlet(
            marker_info(
                self.recording, name=self.marker_name, source_id=self.marker_source_id, speed=self.speed
            )
        )
        if self.wait:
            self._await_consumer(signal, self.name)
            if len(self.recording.markers):
                self._await_consumer(markers, self.marker_name)
        self._stream(signal, markers, progress or (lambda _: None))
        self._linger(signal, markers)

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread."""
        self._stopped.set()

    def _await_consumer(self, outlet: pylsl.StreamOutlet, name: str) -> None:
        waited_s = 0.0
        while not self._stopped.is_set() and not outlet.wait_for_consumers(_CONSUMER_POLL_S):
            waited_s += _CONSUMER_POLL_S
            if self.wait_timeout_s is not None and waited_s >= self.wait_timeout_s:
                raise UserError(
                    f"nobody listened to stream {name!r} within {self.wait_timeout_s:g} s; "
                    "start the consumer first, or do not wait (--no-wait)"
                )

    def _stream(
        self, signal: pylsl.StreamOutlet, markers: pylsl.StreamOutlet, progress: Callable[[int], None]
    ) -> None:
        onsets, labels = self.recording.markers.sample, self.recording.markers.label
        n_samples = self.recording.n_samples
        reported_at = start = pylsl.local_clock()
        for lap, first, samples in self._chunks():
            stop = first + len(samples)
            stamps = start + self._schedule.offsets(first, stop, lap)
            if self._stopped.wait(max(float(np.max(stamps)) - pylsl.local_clock(), 0.0)):
                return
            signal.push_chunk(samples, stamps.tolist())
            for i in range(*np.searchsorted(onsets, (first, stop)).tolist()):
                markers.push_sample([labels[i]], float(stamps[onsets[i] - first]))
            if stamps[-1] - reported_at >= _PROGRESS_S or stop == n_samples:
                reported_at = stamps[-1]
                progress(lap * n_samples + stop)

    def _chunks(self) -> Iterator[tuple[int, int, NDArray[np.floating]]]:
        """Round, first sample and samples of each chunk; a block ahead is read in the background."""
        edges = self._schedule.edges
        blocks = list(self._blocks())
        with ThreadPoolExecutor(1, thread_name_prefix="replay-read") as reader:
            ahead = reader.submit(self._read, *blocks[0])
            lap = 0
            while True:
                for i, (begin, end) in enumerate(blocks):
                    samples = ahead.result()
                    if i + 1 < len(blocks) or self.loop:
                        ahead = reader.submit(self._read, *blocks[(i + 1) % len(blocks)])
                    inside = edges[np.searchsorted(edges, begin) : np.searchsorted(edges, end) + 1].tolist()
                    for first, stop in pairwise(inside):
                        yield lap, first, samples[first - begin : stop - begin]
                if not self.loop:
                    return
                lap += 1

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Stretches of whole chunks, about a second each, that are read at once."""
        edges = self._schedule.edges
        block = max(int(_BLOCK_S * self.recording.rate_hz), 1)
        begin = 0
        while begin < self.recording.n_samples:
            end = int(edges[min(int(np.searchsorted(edges, begin + block)), len(edges) - 1)])
            yield begin, end
            begin = end

    def _read(self, start: int, stop: int) -> NDArray[np.floating]:
        samples = self.recording.read(start, stop)
        return samples.astype(np.float32) if self.value_format == "float32" else samples

    def _linger(self, signal: pylsl.StreamOutlet, markers: pylsl.StreamOutlet) -> None:
        until = pylsl.local_clock() + self.grace_s
        while (left_s := until - pylsl.local_clock()) > 0:
            if not (signal.have_consumers() or markers.have_consumers()):
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
