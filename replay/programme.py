"""What a replay sends, and when: samples, markers, streams that go and come back. Pure; no LSL, no clock.

The player sends it over LSL and the virtual replay feeds it to the engine, so that both send the same.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from replay.batches import Batch, Marks
from replay.faults import Draws
from replay.layout import Layout
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from replay.batches import Outage, Stream
    from replay.faults import Fault
    from replay.recordings.recording import Recording
    from replay.schedule import Schedule

_BATCH_S = 1.0


@dataclass(frozen=True, eq=False, slots=True)
class Chunk:
    """Samples that leave together at ``due``, seconds after the first sample of all was due.

    Parameters
    ----------
    due
        When.
    samples : array of shape (n, n_channels), float64
        SI units; the channels of the layout at that time.
    stamps : array of shape (n,), float64
        Seconds, likewise.
    layout
        The channels.
    position
        Number of samples of the recording, over all rounds, up to the last one of these.
    """

    due: float
    samples: NDArray[np.float64]
    stamps: NDArray[np.float64]
    layout: Layout
    position: int


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker that leaves at ``due`` with this stamp."""

    due: float
    stamp: float
    label: str


@dataclass(frozen=True, slots=True)
class Gone:
    """A stream goes away."""

    due: float
    stream: Stream


@dataclass(frozen=True, slots=True)
class Back:
    """A stream comes back; the signal with these channels."""

    due: float
    stream: Stream
    layout: Layout


Event = Chunk | Mark | Gone | Back


@dataclass(frozen=True, slots=True)
class _Round:
    """A round begins: so that the search for the next marker ends also in a loop without any."""

    due: float


@dataclass(frozen=True, eq=False, slots=True)
class Truth:
    """What was sent, in the order in which it was, and what it truly is.

    Parameters
    ----------
    sample : array of shape (n_sent,), int64
        Sample of the recording that each sample sent is.
    stamp : array of shape (n_sent,), float64
        Its stamp, seconds after the first sample was due.
    mark_sample : array of shape (n_marks,), int64
        Sample of the recording on which each marker sent truly lies.
    mark_stamp : array of shape (n_marks,), float64
        Its stamp, likewise.
    mark_label : sequence of n_marks str
        What it says.
    """

    sample: NDArray[np.int64]
    stamp: NDArray[np.float64]
    mark_sample: NDArray[np.int64]
    mark_stamp: NDArray[np.float64]
    mark_label: Sequence[str]


class Programme:
    """All that is sent of a recording, with its faults; the same each time it is asked for.

    Parameters
    ----------
    recording
        What is replayed.
    schedule
        When its samples are due, and which leave together.
    faults
        What goes wrong, in this order.
    seed
        Of all chance in the faults.
    loop
        Whether it begins again at the end, for ever.

    Attributes
    ----------
    layout
        The channels as they are sent at first.

    Raises
    ------
    UserError
        If a fault does not fit the recording, or two take a stream away at the same time.
    """

    def __init__(
        self,
        recording: Recording,
        schedule: Schedule,
        *,
        faults: Sequence[Fault] = (),
        seed: int = 0,
        loop: bool = False,
    ) -> None:
        if seed < 0:
            raise UserError(f"seed {seed}: must not be negative")
        self.recording = recording
        self.layout = Layout.of(recording)
        self._schedule = schedule
        self._faults = tuple(faults)
        self._draws = [Draws(seed, number) for number in range(len(faults))]
        self._loop = loop
        for fault in faults:
            fault.check(recording.channel_names)
        self._outages = sorted(
            filter(None, (fault.outage(self.layout) for fault in faults)), key=lambda outage: outage.begin
        )
        for stream in ("signal", "markers"):
            for first, second in pairwise(o for o in self._outages if o.stream == stream):
                if second.begin <= first.end:
                    raise UserError(
                        f"two faults take the {stream} away at once, from {first.begin:g} s and from "
                        f"{second.begin:g} s; let the second begin after the first is over"
                    )
        self.text = "; ".join([*map(str, faults), f"seed={seed}"]) if faults else ""

    def batches(self) -> Iterator[Batch]:
        """All samples that are sent, about a second at a time."""
        edges = self._schedule.edges
        for lap in self._laps():
            for start, stop in self._stretches():
                sample = np.arange(start, stop)
                chunk = np.searchsorted(edges, sample, side="right") - 1
                stamp = self._stamps(sample, lap)
                time = self._paced(self._schedule.times(sample, lap))
                firsts = np.flatnonzero(np.diff(chunk, prepend=-1))
                due = np.repeat(np.maximum.reduceat(stamp, firsts), np.diff(firsts, append=len(stamp)))
                batch = Batch(lap, start, stop, sample, chunk, time, stamp, due)
                for fault, draws in zip(self._faults, self._draws, strict=True):
                    batch = fault.samples(batch, draws)
                for outage in self._of("signal"):
                    batch = batch.keep(~(outage.covers(batch.time) | outage.covers(batch.due)))
                yield batch

    def loaded(self, batch: Batch, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Samples of a batch as its faults make them.

        Parameters
        ----------
        batch
            Which.
        samples : array of shape (stop - start, n_channels), float64
            Of its stretch of the recording.

        Returns
        -------
        array of shape (n_sent, n_channels), float64
        """
        if len(batch.sample) < len(samples):
            samples = samples[batch.sample - batch.start]
        for fault in self._faults:
            samples = fault.values(samples, batch.time, self.recording.channel_names)
        return samples

    def events(self, loaded: Iterable[tuple[Batch, NDArray[np.float64]]]) -> Iterator[Event]:
        """All that happens, in order; a marker just before its sample's chunk, if it was by then.

        Parameters
        ----------
        loaded
            Each of :meth:`batches` with its samples as :meth:`loaded` gives them.
        """
        streams: list[Iterable[Event | _Round]] = [self._changes(), self._marks_sent(), self._chunks(loaded)]
        layout = self.layout
        for event in heapq.merge(*streams, key=lambda event: event.due):
            if isinstance(event, _Round):
                continue
            if isinstance(event, Back) and event.stream == "signal":
                layout = event.layout
            if isinstance(event, Chunk):
                yield replace(event, samples=layout.pick(event.samples), layout=layout)
            else:
                yield event

    def truth(self) -> Truth:
        """What is sent in the first round, and what it truly is."""
        batches = list(itertools.takewhile(lambda batch: batch.lap == 0, self.batches()))
        marks = self._marks(0)
        return Truth(
            sample=np.concatenate([batch.sample for batch in batches]),
            stamp=np.concatenate([batch.stamp for batch in batches]),
            mark_sample=marks.sample,
            mark_stamp=marks.stamp,
            mark_label=[self.recording.markers.label[i] for i in marks.number],
        )

    def _laps(self) -> Iterable[int]:
        return itertools.count() if self._loop else range(1)

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Stretches of whole chunks, about a second each."""
        edges = self._schedule.edges
        length = max(int(_BATCH_S * self.recording.rate_hz), 1)
        start = 0
        while start < self.recording.n_samples:
            stop = int(edges[min(int(np.searchsorted(edges, start + length)), len(edges) - 1)])
            yield start, stop
            start = stop

    def _stamps(self, samples: NDArray[np.int64], lap: int) -> NDArray[np.float64]:
        """What samples are stamped with where nothing goes wrong but the rate."""
        return self._paced(self._schedule.offsets(samples, lap))

    def _paced(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        for fault in self._faults:
            times = fault.pace(times)
        return times

    def _begin(self, lap: int) -> float:
        return float(self._stamps(np.zeros(1, np.int64), lap)[0])

    def _of(self, stream: Stream) -> Iterator[Outage]:
        return (outage for outage in self._outages if outage.stream == stream)

    def _changes(self) -> Iterator[Event]:
        """Streams that go and come back before the end."""
        last = np.arange(self._schedule.edges[-2], self._schedule.edges[-1])
        end = math.inf if self._loop else float(np.max(self._stamps(last, 0)))
        changes: list[Gone | Back] = []
        for outage in self._outages:
            changes.append(Gone(outage.begin, outage.stream))
            changes.append(Back(outage.end, outage.stream, outage.layout))
        yield from sorted((c for c in changes if c.due < end), key=lambda change: change.due)

    def _marks_sent(self) -> Iterator[Mark | _Round]:
        waiting: list[Mark] = []
        labels = self.recording.markers.label
        for lap in self._laps():
            marks = self._marks(lap)
            waiting += [
                Mark(due, stamp, labels[number])
                for due, stamp, number in zip(
                    marks.due.tolist(), marks.stamp.tolist(), marks.number.tolist(), strict=True
                )
            ]
            waiting.sort(key=lambda mark: mark.due)
            yield _Round(self._begin(lap))
            until = self._begin(lap + 1) if self._loop else math.inf
            yield from [mark for mark in waiting if mark.due < until]
            waiting = [mark for mark in waiting if mark.due >= until]

    def _marks(self, lap: int) -> Marks:
        """The markers of one round, in the order in which they are sent."""
        markers = self.recording.markers
        sample, residual_s = markers.sample, markers.residual_s / self._schedule.speed
        edges = self._schedule.edges
        chunks = np.searchsorted(edges, sample, side="right") - 1
        time = self._paced(self._schedule.times(sample, lap) + residual_s)
        due = np.array(
            [np.max(self._stamps(np.arange(edges[c], edges[c + 1]), lap)) for c in chunks.tolist()],
            np.float64,
        )
        due = np.where(residual_s > 0, np.maximum(due, time), due)  # not before it happened
        marks = Marks(lap, np.arange(len(sample)), sample, time, time, due)
        for fault, draws in zip(self._faults, self._draws, strict=True):
            marks = fault.marks(marks, draws)
        marks = replace(marks, due=np.maximum(marks.due, self._begin(lap)))
        for outage in self._of("markers"):
            marks = marks.take(~outage.covers(marks.due))
        return marks.take(np.argsort(marks.due, kind="stable"))

    def _chunks(self, loaded: Iterable[tuple[Batch, NDArray[np.float64]]]) -> Iterator[Event]:
        due = 0.0
        for batch, samples in loaded:
            borders = [*np.flatnonzero(np.diff(batch.chunk, prepend=-1)).tolist(), len(batch.chunk)]
            for start, stop in pairwise(borders):
                due = max(due, float(np.max(batch.due[start:stop])))  # chunks never overtake each other
                yield Chunk(
                    due,
                    samples[start:stop],
                    batch.stamp[start:stop],
                    self.layout,
                    batch.lap * self.recording.n_samples + int(batch.sample[stop - 1]) + 1,
                )
