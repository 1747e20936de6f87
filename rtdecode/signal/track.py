"""One signal stream, from chunks and markers to windows: each request is answered exactly once."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rtdecode.contracts import Request, Verdict
from rtdecode.signal.ring import LeftRingError
from rtdecode.signal.segment import Chunk
from rtdecode.signal.timeline import NoPlace, Place, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy as np
    import numpy.typing as npt

    from rtdecode.contracts import SignalContract, Window
    from rtdecode.signal.bridging import GapPolicy
    from rtdecode.signal.markers import Marker
    from rtdecode.signal.quality import Findings
    from rtdecode.signal.ring import Ring
    from rtdecode.signal.segment import Segment
    from rtdecode.signal.timeline import Point

MOST_WAITING = 1000
"""How many requests of markers may wait for data: enough for any experiment, not for a line that chatters."""

__all__ = ["MOST_WAITING", "Chunk", "Closed", "Cut", "Track"]


@dataclass(frozen=True, slots=True)
class Cut:
    """A request whose window is complete.

    Parameters
    ----------
    request, marker
        What was asked for, and by what; None for strides.
    window : array of shape (n_samples, n_channels), float32
        Read-only; a view of the ring, so ask :meth:`Track.holds` after having used it.
    segment, start, onset_sample
        Where it was cut: first sample of the window and sample of the onset, counted from the first sample of
        that segment. It is a later one than the request's where the stream broke off between the two.
    bridged_samples, findings
        How many of its samples were put in for lost ones, and what its raw samples looked like.
    residual_us
        Marker minus the onset sample's time, microseconds.
    uncertainty_us
        Standard error of that sample's time, microseconds; 0 where the marker tells its sample.
    data_source, data_corrected, data_arrival
        Of the window's last sample: stamp in the sender's clock, time in ours, when its chunk reached us.
    ring
        What the window is a view of; None where it is a copy.
    """

    request: Request
    marker: Marker | None
    window: npt.NDArray[np.float32]
    segment: int
    start: int
    onset_sample: int
    bridged_samples: int
    findings: Findings
    residual_us: float
    uncertainty_us: float
    data_source: float
    data_corrected: float
    data_arrival: float
    ring: Ring | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Closed:
    """A request that ends without a window, and why; no marker asked for a stride."""

    request: Request
    marker: Marker | None
    verdict: Verdict
    reason: str


@dataclass(slots=True)
class _Onset:
    """A marker and, once that can be said, where in the stream it lies; shared by its requests."""

    marker: Marker | None
    follows: bool = False
    place: Place | NoPlace | None = None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request without an answer so far."""

    request: Request
    onset: _Onset
    window: Window
    deadline: float

    def closed(self, verdict: Verdict, reason: str) -> Closed:
        return Closed(self.request, self.onset.marker, verdict, reason)


@dataclass(slots=True)
class _Strides:
    """A decoder in continuous mode: a request at each multiple of ``step`` in each segment.

    Those that ``wait`` complete in the order in which they were opened.
    """

    decoder: str
    window: Window
    step: int
    segment: int = -1
    n_opened: int = 0
    waiting: deque[_Waiting] = field(default_factory=deque)


class Track:
    """Turns the chunks and markers of one signal stream into windows, one answer a request.

    It is pure: it asks no clock and starts no thread. One thread owns it; :meth:`holds` alone may be called
    from another. Which windows are cut, and what is in them, does not depend on how the stream was chunked.

    A jump of the stamps, forwards or backwards, starts a new segment with fresh filter state, unless the gap
    policy bridges it; so does a shift that is smaller but lasts. A request ends

    - as a :class:`Cut`, once its window has come;
    - *warming_up*, where the window starts before the front end can be trusted, or before the first sample;
    - *gap*, where the onset lies between two segments, or in both because the stamps were set back, where
      the window reaches across a border, or back to where a loss of samples might not show, where the stamps
      do not tell the onset's sample yet, or where the stream's clock had been set and the marker's had not;
    - *late*, where the marker came after its data had left the ring;
    - *overflow*, where it would have to wait, and :data:`MOST_WAITING` do already;
    - *timeout*, where the data did not come.

    Parameters
    ----------
    stream
        Name of the stream.
    signal
        Channels, rate and front end; its window is that of one decoder, and not used here.
    windows
        The window of each decoder by the decoder's name.
    strides
        Continuous mode: every how many samples of a segment, from its first, a window is cut for a decoder;
        such a decoder answers no markers.
    timeout_s
        How long after the end of its window a request waits for the data.
    ring_s
        How long data stay, beyond the longest window, for markers that come late: seconds of the stream's own
        time, whatever its speed.
    gap_s
        How far a stamp may lie from where the one before it leads to expect it. Never less than half a sample
        period.
    policy
        Which gaps are bridged; none by default.
    max_peak_to_peak : array of shape (n_channels,), optional
        Beyond this a channel is out of range, SI units.
    speed
        How many times as fast as real time the stream runs: its stamps lie that much closer.
    first_segment
        Index of the first segment, where the stream was followed before.
    """

    def __init__(
        self,
        stream: str,
        signal: SignalContract,
        windows: Mapping[str, Window],
        *,
        strides: Mapping[str, int] | None = None,
        timeout_s: float = 5.0,
        ring_s: float = 10.0,
        gap_s: float = 0.1,
        policy: GapPolicy | None = None,
        max_peak_to_peak: npt.NDArray[np.float64] | None = None,
        speed: float = 1.0,
        first_segment: int = 0,
    ) -> None:
        self._stream = stream
        self._period_s = 1.0 / (signal.rate_hz * speed)
        strides = strides or {}
        self._windows = {name: window for name, window in windows.items() if name not in strides}
        self._strides = [_Strides(name, windows[name], step) for name, step in strides.items()]
        self._timeout_s = timeout_s
        first = min((window.first_sample for window in windows.values()), default=0)
        last = max((window.last_sample for window in windows.values()), default=0)
        reach = max(last, 0) - min(first, 0) + 1
        self._timeline = Timeline(
            signal,
            reach,
            ring_s,
            gap_s,
            policy=policy,
            max_peak_to_peak=max_peak_to_peak,
            speed=speed,
            first_segment=first_segment,
        )
        self._waiting: list[_Waiting] = []
        self._answers: list[Cut | Closed] = []
        self._has_news = False  # samples have come since requests were last looked at

    @property
    def segment(self) -> int:
        """Index of the running segment, or of the one that the first sample will begin."""
        return self._timeline.index

    @property
    def is_warm(self) -> bool:
        """Whether the front end of the running segment can be trusted."""
        return self._timeline.is_warm

    @property
    def n_bridged(self) -> int:
        """How many samples were put in for lost ones."""
        return self._timeline.n_bridged

    def feed(self, chunk: Chunk, *, shift_s: float = 0.0) -> list[Request]:
        """Take the next samples, any number of them; they make the requests of continuous mode.

        Parameters
        ----------
        chunk
            The samples.
        shift_s
            How far the clock that stamped the last of them is off, seconds.

        Raises
        ------
        ValueError
            The samples have not the contract's number of channels.
        """
        requests: list[Request] = []
        for piece in self._timeline.pieces(chunk, shift_s):
            if self._has_news:
                # What is complete must be cut before newer samples can take its place.
                self._answer(copy=True)
            segment = self._timeline.append(piece)
            self._has_news = True
            for strides in self._strides:
                requests += self._stride(strides, segment)
        return requests

    def mark(self, marker: Marker, index: int, *, follows: bool = False) -> list[Request]:
        """Take an accepted marker: it makes one request for each decoder that has no stride.

        Parameters
        ----------
        marker
            May come earlier or later than its data.
        index
            Counts the accepted markers of the session.
        follows
            Whether its sender's clock was set with the stream's.
        """
        if self._has_news:
            self._answer(copy=True)
        onset = _Onset(marker, follows)
        requests = []
        asked = []
        for decoder, window in self._windows.items():
            request = Request(
                stream=self._stream, segment=self.segment, origin="marker", index=index, decoder=decoder
            )
            deadline = self._deadline(marker.time, marker.arrival, window)
            asked.append(_Waiting(request, onset, window, deadline))
            requests.append(request)
        # There is no news for those that wait already: they are not looked at again.
        waiting = self._sift(asked, copy=True)
        room = max(0, MOST_WAITING - len(self._waiting))
        self._waiting += waiting[:room]
        reason = f"{MOST_WAITING} requests wait for their data already: see what sends so many markers"
        self._answers += [one.closed(Verdict.OVERFLOW, reason) for one in waiting[room:]]
        return requests

    def take(self, now: float) -> list[Cut | Closed]:
        """Answers that have become possible since the last call, in the order in which they did.

        Parameters
        ----------
        now
            Seconds of our clock; it decides on timeouts alone.
        """
        self._answer(copy=False)
        waiting, self._waiting = self._waiting, []
        overdue: list[_Waiting] = []
        for one in waiting:
            (self._waiting if now < one.deadline else overdue).append(one)
        for strides in self._strides:
            while strides.waiting and strides.waiting[0].deadline <= now:
                overdue.append(strides.waiting.popleft())
        reason = f"its data had not come {self._timeout_s:g} s after the window's end"
        self._answers += [one.closed(Verdict.TIMEOUT, reason) for one in overdue]
        answers, self._answers = self._answers, []
        return answers

    def holds(self, cut: Cut) -> bool:
        """Whether a window is still what was cut; asked after its use, from any thread."""
        return cut.ring is None or cut.ring.first <= cut.start

    def close(self, verdict: Verdict, reason: str) -> list[Closed]:
        """End all requests that have not been taken yet, also those whose windows are complete."""
        answers, self._answers = self._answers, []
        waiting, self._waiting = self._waiting, []
        for strides in self._strides:
            waiting += strides.waiting
            strides.waiting.clear()
        return [
            *(
                answer
                if isinstance(answer, Closed)
                else Closed(answer.request, answer.marker, verdict, reason)
                for answer in answers
            ),
            *(one.closed(verdict, reason) for one in waiting),
        ]

    def _deadline(self, time: float, arrival: float, window: Window) -> float:
        """Until when a request waits, counted from its onset, but neither from long ago nor a far future.

        A marker that comes late must not time out at once, and one whose sender's clock is wrong must not
        wait for ever.
        """
        counted_from = max(arrival, min(time, arrival + self._timeout_s))
        return counted_from + window.last_sample * self._period_s + self._timeout_s

    def _stride(self, strides: _Strides, segment: Segment) -> Iterator[Request]:
        """Open the requests whose onsets have come with the newest samples of the running segment."""
        if segment.index != strides.segment:
            strides.segment, strides.n_opened = segment.index, 0
        while (sample := strides.n_opened * strides.step) < segment.end:
            request = Request(
                stream=self._stream,
                segment=segment.index,
                origin="stride",
                index=strides.n_opened,
                decoder=strides.decoder,
            )
            _, time, arrival = segment.provenance(sample)
            onset = _Onset(None, place=Place(segment, sample, 0.0, 0.0, (segment.index, sample + 1)))
            deadline = self._deadline(time, arrival, strides.window)
            strides.waiting.append(_Waiting(request, onset, strides.window, deadline))
            strides.n_opened += 1
            yield request

    def _answer(self, *, copy: bool) -> None:
        """Answer what can be answered, in the order in which the stream made it possible."""
        self._has_news = False
        self._waiting = self._sift(self._waiting, copy=copy)

    def _sift(self, requests: Iterable[_Waiting], *, copy: bool) -> list[_Waiting]:
        """Answer those of some requests, and of the strides, that can be answered; return the others."""
        answers: list[tuple[Point, Cut | Closed]] = []
        waiting = []
        for one in requests:
            if answer := self._answer_to(one, copy=copy):
                answers.append(answer)
            else:
                waiting.append(one)
        for strides in self._strides:
            while strides.waiting and (answer := self._answer_to(strides.waiting[0], copy=copy)):
                answers.append(answer)
                strides.waiting.popleft()
        answers.sort(key=lambda answer: answer[0])
        self._answers += [answer for _, answer in answers]
        return waiting

    def _answer_to(self, one: _Waiting, *, copy: bool) -> tuple[Point, Cut | Closed] | None:
        """Answer one request, and say since when that was possible; None while it is not."""
        onset = one.onset
        if onset.place is None and onset.marker is not None:
            onset.place = self._timeline.find(onset.marker, follows=onset.follows)
        if onset.place is None:
            return None
        if isinstance(onset.place, NoPlace):
            return onset.place.since, one.closed(onset.place.verdict, onset.place.reason)
        return self._cut(one, onset.place, copy=copy)

    def _cut(self, one: _Waiting, place: Place, *, copy: bool) -> tuple[Point, Cut | Closed] | None:
        """Cut one window; None while its end has not come."""
        segment, onset = place.segment, one.onset
        # A clock may be found out only after a place was.
        if onset.marker is not None and (doubt := segment.doubt(onset.marker, follows=onset.follows)):
            return place.since, one.closed(Verdict.GAP, doubt)
        start = place.sample + one.window.first_sample
        stop = place.sample + one.window.last_sample + 1
        if start < 0 and segment.index > 0:
            return place.since, one.closed(Verdict.GAP, "the window reaches back across a gap of the stream")
        if start < segment.warmup_samples:
            reason = f"the window starts at sample {start}, the front end is warm at {segment.warmup_samples}"
            return place.since, one.closed(Verdict.WARMING_UP, reason)
        if stop > segment.trusted:
            if not segment.ended:
                return None
            reason = "the stream broke off before the window's end"
            return (segment.index + 1, 0), one.closed(Verdict.GAP, reason)
        since = max(place.since, (segment.index, segment.known(stop)))
        if start < segment.first:
            reason = (
                "the stamps scatter: samples lost where the segment begins, and the window, would not show"
            )
            return since, one.closed(Verdict.GAP, reason)
        try:
            window = segment.ring.view(start, stop)
            stamp, time, arrival = segment.provenance(stop - 1)
        except LeftRingError:
            return since, one.closed(Verdict.LATE, "the window's data had been overwritten")
        return since, Cut(
            request=one.request,
            marker=onset.marker,
            window=window.copy() if copy else window,
            segment=segment.index,
            start=start,
            onset_sample=place.sample,
            bridged_samples=segment.bridges.count(start, stop),
            findings=segment.screening.findings(start, stop),
            residual_us=place.residual_us,
            uncertainty_us=place.uncertainty_us,
            data_source=stamp,
            data_corrected=time,
            data_arrival=arrival,
            ring=None if copy else segment.ring,
        )
