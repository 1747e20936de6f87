"""Every request is answered exactly once: with the right window, or with the reason why there is none.

The first channel of the stream is the sample's own number, so a window that is off by one shows as a wrong
integer.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import (
    Channel,
    ChannelType,
    FrontEndStep,
    Request,
    Resampling,
    SignalContract,
    Unit,
    Verdict,
    Window,
)
from rtdecode.signal.bridging import GapPolicy
from rtdecode.signal.design import design_iir
from rtdecode.signal.ledger import Ledger
from rtdecode.signal.markers import Marker
from rtdecode.signal.track import MOST_WAITING, Chunk, Closed, Cut, Track

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RATE_HZ = 256.0
START_S = 1000.0
LATENCY_S = 0.02
WINDOW = Window(first_sample=-20, last_sample=100)


def signal_of(
    front_end: Iterable[FrontEndStep] = (), rate_hz: float = RATE_HZ, n_channels: int = 2
) -> SignalContract:
    return SignalContract(
        channels=tuple(
            Channel(name=f"c{channel}", type=ChannelType.MISC, unit=Unit.NONE)
            for channel in range(n_channels)
        ),
        rate_hz=rate_hz,
        front_end=tuple(front_end),
        window=WINDOW,
        resampling=Resampling(rate_hz=rate_hz, n_times=WINDOW.n_samples),
    )


def regular(n: int, rate_hz: float = RATE_HZ) -> npt.NDArray[np.float64]:
    return START_S + np.arange(n) / rate_hz


def marker_at(time: float, sample: int | None = None, label: str = "") -> Marker:
    return Marker("markers", label, stamp=time - 500.0, time=time, arrival=time + 0.001, sample=sample)


@dataclass
class Session:
    """Plays a stream with the given stamps and samples to a track, chunk by chunk."""

    track: Track
    times: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.samples = np.column_stack([np.arange(len(self.times)), rng.normal(size=len(self.times))])
        self.n_fed = 0
        self.n_marked = 0
        self.opened: list[Request] = []
        self.answers: list[Cut | Closed] = []

    def feed(self, n: int, chunk: int = 32) -> list[Request]:
        """Feed up to sample ``n``, take the answers after each chunk, and return the requests opened."""
        before = len(self.opened)
        while self.n_fed < n:
            rows = slice(self.n_fed, min(self.n_fed + chunk, n))
            times = self.times[rows]
            arrival = float(times.max()) + LATENCY_S
            self.opened += self.track.feed(Chunk(self.samples[rows], times - 500.0, times, arrival))
            self.n_fed = rows.stop
            self.take()
        return self.opened[before:]

    def mark(self, marker: Marker) -> None:
        self.opened += self.track.mark(marker, self.n_marked)
        self.n_marked += 1

    def take(self, now: float = -np.inf) -> list[Cut | Closed]:
        answers = self.track.take(now)
        for answer in answers:
            if isinstance(answer, Cut):
                self.check(answer)
        self.answers += answers
        return answers

    def check(self, cut: Cut) -> None:
        """The window is whole, its numbers are in sequence, and it is said where it comes from."""
        assert self.track.holds(cut)
        first = int(cut.window[0, 0])
        last = first + len(cut.window) - 1
        np.testing.assert_array_equal(cut.window[:, 0], np.arange(first, last + 1))
        np.testing.assert_array_equal(cut.window, self.samples[first : last + 1].astype(np.float32))
        assert cut.window.flags.c_contiguous
        assert cut.data_source == self.times[last] - 500.0
        assert cut.data_corrected == self.times[last]
        assert cut.data_arrival >= self.times[last] + LATENCY_S

    def only(self) -> Cut | Closed:
        (answer,) = self.answers
        return answer

    def verdicts(self) -> list[Verdict | None]:
        """Verdicts of those without a window, None for the others."""
        return [answer.verdict if isinstance(answer, Closed) else None for answer in self.answers]


def session(
    times: npt.NDArray[np.float64] | None = None,
    windows: Mapping[str, Window] | None = None,
    front_end: Iterable[FrontEndStep] = (),
    rate_hz: float = RATE_HZ,
    **options: object,
) -> Session:
    times = regular(2000, rate_hz) if times is None else times
    windows = {"linear": WINDOW} if windows is None else windows
    return Session(Track("eeg", signal_of(front_end, rate_hz), windows, **options), times)


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize("rate_hz", [256.0, 300.0, 512.0, 1000.0, 1200.0])
@pytest.mark.parametrize("chunk", [1, 10, 32, 2000])
def test_windows_are_sample_exact_at_any_rate_and_chunk(rate_hz: float, chunk: int) -> None:
    s = session(rate_hz=rate_hz)
    rng = np.random.default_rng(1)
    onsets = rng.integers(20, 1700, 30)
    offsets = rng.uniform(-0.499, 0.499, 30)
    for onset, offset in zip(onsets, offsets, strict=True):
        s.mark(marker_at(START_S + (onset + offset) / rate_hz))
    s.feed(2000, chunk)
    assert len(s.answers) == 30
    for cut in s.answers:
        assert isinstance(cut, Cut)
        onset, offset = onsets[cut.request.index], offsets[cut.request.index]
        assert cut.onset_sample == onset
        assert cut.start == onset + WINDOW.first_sample
        assert cut.window[-WINDOW.first_sample, 0] == onset
        assert cut.window.shape == (WINDOW.n_samples, 2)
        assert cut.residual_us == pytest.approx(offset * 1e6 / rate_hz, abs=1.0)


def test_an_answer_carries_its_request_its_marker_and_its_stamps() -> None:
    s = session()
    marker = marker_at(START_S + 200 / RATE_HZ, label="house")
    s.mark(marker)
    s.feed(400, chunk=32)
    cut = s.only()
    assert isinstance(cut, Cut)
    assert cut.request == Request(stream="eeg", segment=0, origin="marker", index=0, decoder="linear")
    assert cut.marker is marker
    assert cut.segment == 0
    assert cut.data_corrected == START_S + 300 / RATE_HZ
    # Sample 300 came with the chunk of 288 to 319.
    assert cut.data_arrival == START_S + 319 / RATE_HZ + LATENCY_S


def test_a_window_is_answered_with_the_chunk_that_completes_it() -> None:
    s = session()
    s.mark(marker_at(START_S + 200 / RATE_HZ))
    s.feed(300, chunk=1)
    assert not s.answers
    s.feed(301, chunk=1)
    assert isinstance(s.only(), Cut)


def test_each_decoder_has_its_own_window_answered_as_it_completes() -> None:
    windows = {
        "late": Window(first_sample=0, last_sample=200),
        "early": Window(first_sample=-50, last_sample=50),
        "before": Window(first_sample=-100, last_sample=-51),
    }
    s = session(windows=windows)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    assert [request.decoder for request in s.opened] == ["late", "early", "before"]
    s.feed(1000, chunk=10)
    assert [answer.request.decoder for answer in s.answers] == ["before", "early", "late"]
    assert [cut.start for cut in s.answers if isinstance(cut, Cut)] == [200, 250, 300]
    assert {cut.onset_sample for cut in s.answers if isinstance(cut, Cut)} == {300}


def test_overlapping_windows_are_all_cut() -> None:
    """Images every 100 ms, windows of 1.5 s."""
    s = session(windows={"linear": Window(first_sample=-128, last_sample=255)})
    onsets = np.round(200 + np.arange(50) * 25.6).astype(int)
    for onset in onsets:
        s.feed(onset + 1, chunk=12)
        s.mark(marker_at(START_S + onset / RATE_HZ))
    s.feed(2000, chunk=12)
    assert [cut.onset_sample for cut in s.answers if isinstance(cut, Cut)] == onsets.tolist()


def test_two_markers_on_one_stamp_are_two_requests() -> None:
    s = session()
    for _ in range(2):
        s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.feed(1000)
    assert [answer.request.index for answer in s.answers] == [0, 1]
    assert s.verdicts() == [None, None]


def test_a_marker_halfway_between_two_samples_belongs_to_the_earlier() -> None:
    s = session()
    s.mark(marker_at(START_S + 300.5 / RATE_HZ))
    s.feed(1000)
    cut = s.only()
    assert isinstance(cut, Cut)
    assert cut.onset_sample == 300
    assert cut.residual_us == pytest.approx(0.5e6 / RATE_HZ)


def test_a_marker_that_comes_later_than_its_data_is_answered_at_once() -> None:
    s = session()
    s.feed(1500)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.take()
    cut = s.only()
    assert isinstance(cut, Cut)
    assert cut.onset_sample == 300


def test_markers_from_the_data_themselves_keep_their_sample_whatever_the_stamps_say() -> None:
    times = regular(2000)
    times += np.random.default_rng(3).uniform(-0.008, 0.014, 2000 // 12 + 1).repeat(12)[:2000]
    s = session(times)
    s.mark(marker_at(float(times[700]) + 0.0015, sample=700))
    s.feed(600)
    s.mark(marker_at(float(times[301]), sample=301))
    s.feed(2000)
    late, early = s.answers
    assert isinstance(early, Cut)
    assert isinstance(late, Cut)
    assert (late.onset_sample, early.onset_sample) == (301, 700)
    assert early.residual_us == pytest.approx(1500.0, abs=1e-3)
    assert late.residual_us == 0.0


def test_samples_of_markers_are_counted_through_all_segments() -> None:
    times = regular(2000)
    times[1000:] += 5.0
    s = session(times)
    s.mark(marker_at(float(times[1300]), sample=1300))
    s.mark(marker_at(float(times[500]), sample=500))
    s.feed(2000)
    first, second = s.answers
    assert isinstance(first, Cut)
    assert isinstance(second, Cut)
    assert (first.segment, first.onset_sample) == (0, 500)
    assert (second.segment, second.onset_sample) == (1, 300)
    assert second.window[-WINDOW.first_sample, 0] == 1300


def test_filtered_windows_are_those_of_the_whole_recording_filtered_at_once() -> None:
    step = design_iir(RATE_HZ, highpass_hz=1.0, lowpass_hz=40.0)
    signal = signal_of([step])
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(2000, 2)) + 0.3
    times = regular(2000)

    def windows(chunk: int) -> list[bytes]:
        track = Track("eeg", signal, {"linear": WINDOW})
        for onset in (600, 900, 1300):
            track.mark(marker_at(START_S + onset / RATE_HZ), onset)
        cuts = []
        for start in range(0, 2000, chunk):
            rows = slice(start, start + chunk)
            track.feed(Chunk(samples[rows], times[rows], times[rows], 0.0))
            cuts += [cut.window.tobytes() for cut in track.take(0.0) if isinstance(cut, Cut)]
        return cuts

    assert len(windows(2000)) == 3
    assert windows(1) == windows(7) == windows(2000)


# ---------------------------------------------------------------- no window, and why


def test_windows_that_start_before_the_front_end_is_warm_are_warming_up() -> None:
    step = design_iir(RATE_HZ, highpass_hz=1.0)
    warm = int(np.ceil(step.warmup_s * RATE_HZ))
    signal = signal_of([step])
    track = Track("eeg", signal, {"linear": WINDOW})
    onset = warm - WINDOW.first_sample
    for index, sample in enumerate((onset - 1, onset)):
        track.mark(marker_at(START_S + sample / RATE_HZ), index)
    times = regular(1000)
    track.feed(Chunk(np.zeros((1000, 2)), times, times, 0.0))
    closed, cut = track.take(0.0)
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.WARMING_UP
    assert str(warm) in closed.reason
    assert isinstance(cut, Cut)
    assert cut.start == warm


@pytest.mark.parametrize("onset", [-2000, -20, -1, 0, 19])
def test_markers_before_or_just_after_the_first_sample_are_warming_up(onset: int) -> None:
    s = session()
    s.mark(marker_at(START_S + onset / RATE_HZ))
    s.feed(500)
    closed = s.only()
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.WARMING_UP


def test_the_first_window_that_fits_is_cut() -> None:
    s = session()
    s.mark(marker_at(START_S + 20 / RATE_HZ))
    s.feed(500)
    assert isinstance(s.only(), Cut)


@pytest.mark.parametrize("jump_s", [0.5, 30.0, -900.0])
def test_requests_around_a_jump_of_the_stamps(jump_s: float) -> None:
    times = regular(2000)
    times[1000:] += jump_s
    s = session(times)
    for sample in (899, 900, 999):
        s.mark(marker_at(START_S + sample / RATE_HZ))
    s.feed(1000)
    assert s.verdicts() == [None]
    s.feed(2000)
    assert s.verdicts() == [None, Verdict.GAP, Verdict.GAP]
    assert s.track.segment == 1
    for sample in (1019, 1020):
        s.mark(marker_at(float(times[sample])))
    s.take()
    assert s.verdicts()[3:] == [Verdict.GAP, None]
    cut = s.answers[-1]
    assert isinstance(cut, Cut)
    assert (cut.segment, cut.onset_sample) == (1, 20)
    assert cut.window[-WINDOW.first_sample, 0] == 1020


def test_a_time_that_the_stamps_passed_twice_has_no_window() -> None:
    times = regular(2000)
    times[1000:] -= 2.0  # so samples 1000 to 1511 repeat the stamps of 488 to 999
    s = session(times)
    s.mark(marker_at(START_S + 899 / RATE_HZ))
    s.mark(marker_at(START_S + 990 / RATE_HZ))
    s.feed(1300)
    assert s.verdicts() == [None, Verdict.GAP]  # the first was answered before the stamps were set back
    s.mark(marker_at(float(times[1200])))
    s.mark(marker_at(float(times[1600])))
    s.feed(2000)
    assert s.verdicts()[2:] == [Verdict.GAP, None]
    cut = s.answers[-1]
    assert isinstance(cut, Cut)
    assert cut.window[-WINDOW.first_sample, 0] == 1600


def test_an_earlier_segment_is_forgotten_when_it_could_only_confuse() -> None:
    times = regular(3000)
    times[1000:] -= 2000 / RATE_HZ
    s = session(times, ring_s=2.0)
    s.feed(2500)
    s.mark(marker_at(float(times[2900])))  # as sample 900 was stamped, long ago
    s.feed(3000)
    assert s.verdicts() == []
    s.mark(marker_at(float(times[2700])))
    s.take()
    cut = s.only()
    assert isinstance(cut, Cut)
    assert cut.window[-WINDOW.first_sample, 0] == 2700


def test_an_onset_inside_a_gap_has_no_window() -> None:
    times = regular(2000)
    times[1000:] += 2.0
    s = session(times)
    s.mark(marker_at(START_S + 1000 / RATE_HZ + 1.0))
    s.feed(1000)
    assert not s.answers
    s.feed(2000)
    closed = s.only()
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.GAP


def test_after_a_gap_the_front_end_warms_up_again() -> None:
    step = design_iir(RATE_HZ, highpass_hz=1.0)
    warm = int(np.ceil(step.warmup_s * RATE_HZ))
    times = regular(2000)
    times[1000:] += 1.0
    track = Track("eeg", signal_of([step]), {"linear": Window(first_sample=0, last_sample=10)})
    for index, sample in enumerate((1000 + warm - 1, 1000 + warm)):
        track.mark(marker_at(float(times[sample])), index)
    track.feed(Chunk(np.full((2000, 2), 0.3), times, times, 0.0))
    closed, cut = track.take(0.0)
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.WARMING_UP
    assert isinstance(cut, Cut)
    assert not cut.window.any()  # a constant offset leaves nothing after the gap either


def test_a_late_marker_still_finds_its_window_before_a_gap() -> None:
    times = regular(2000)
    times[1000:] += 1.0
    s = session(times)
    s.feed(1500)
    s.mark(marker_at(START_S + 800 / RATE_HZ))
    s.take()
    cut = s.only()
    assert isinstance(cut, Cut)
    assert (cut.request.segment, cut.segment, cut.onset_sample) == (1, 0, 800)


def test_a_stream_that_was_followed_before_goes_on_counting_segments() -> None:
    s = session(first_segment=3)
    assert s.track.segment == 3
    for onset in (-500, 10, 300):
        s.mark(marker_at(START_S + onset / RATE_HZ))
    s.feed(1000)
    assert s.verdicts() == [Verdict.GAP, Verdict.GAP, None]
    cut = s.answers[-1]
    assert isinstance(cut, Cut)
    assert (cut.request.segment, cut.segment, cut.onset_sample) == (3, 3, 300)


@pytest.mark.parametrize("speed", [4.0, 50.0])
def test_a_stream_in_fast_motion_gives_the_same_windows(speed: float) -> None:
    s = session(START_S + np.arange(4000) / (speed * RATE_HZ), speed=speed, ring_s=1.0)
    onsets = range(20, 3000, 50)
    for onset in onsets:
        s.mark(marker_at(START_S + onset / (speed * RATE_HZ)))
    s.feed(4000, chunk=500)
    assert [cut.onset_sample for cut in s.answers if isinstance(cut, Cut)] == list(onsets)


def test_a_marker_whose_data_have_left_the_ring_is_late() -> None:
    s = session(ring_s=1.0)
    s.feed(2000)
    for sample in (300, 1700):
        s.mark(marker_at(START_S + sample / RATE_HZ))
    s.take()
    late, cut = s.answers
    assert isinstance(late, Closed)
    assert late.verdict is Verdict.LATE
    assert isinstance(cut, Cut)


def test_a_window_of_which_only_the_first_samples_have_left_the_ring_is_late() -> None:
    s = session(ring_s=1.0)
    s.feed(2000)
    for sample in range(1300, 1500):
        s.mark(marker_at(START_S + sample / RATE_HZ))
    s.take()
    first_cut = s.verdicts().index(None)
    assert first_cut > 0
    assert s.verdicts() == [Verdict.LATE] * first_cut + [None] * (200 - first_cut)


def test_a_marker_older_than_the_segments_held_is_late() -> None:
    times = regular(2000)
    for border in (500, 1000, 1500):
        times[border:] += 1.0
    s = session(times)
    s.feed(2000)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.mark(marker_at(START_S + 300 / RATE_HZ, sample=300))
    s.take()
    assert s.verdicts() == [Verdict.LATE, Verdict.LATE]


def test_a_marker_after_the_last_sample_times_out() -> None:
    s = session(timeout_s=5.0)
    s.feed(2000)
    time = START_S + 3000 / RATE_HZ
    s.mark(marker_at(time))
    end = time + WINDOW.last_sample / RATE_HZ
    assert s.take(now=end + 4.999) == []
    (closed,) = s.take(now=end + 5.001)
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.TIMEOUT
    assert s.take(now=np.inf) == []


def test_a_stream_that_breaks_off_inside_a_window_times_out() -> None:
    s = session(timeout_s=1.0)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.feed(350)
    (closed,) = s.take(now=START_S + 400 / RATE_HZ + 1.001)  # the marker arrived 1 ms after its onset
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.TIMEOUT


def test_a_stream_that_never_begins_times_out() -> None:
    s = session(timeout_s=1.0)
    s.mark(marker_at(START_S))
    assert s.take(now=START_S) == []
    (closed,) = s.take(now=START_S + 10)
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.TIMEOUT


def test_data_that_are_there_are_used_however_late_one_asks() -> None:
    s = session(timeout_s=1.0)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.track.feed(Chunk(s.samples[:500], s.times[:500] - 500.0, s.times[:500], START_S + 10))
    (cut,) = s.take(now=START_S + 1000)
    assert isinstance(cut, Cut)


@pytest.mark.parametrize("time", [np.nan, np.inf, -np.inf])
def test_a_marker_whose_time_is_no_number_gets_a_verdict_and_no_window(time: float) -> None:
    s = session()
    s.feed(500)
    s.mark(marker_at(time))
    s.feed(1000)
    s.take(now=START_S + 1000)
    answers = s.answers + s.track.close(Verdict.SHUTDOWN, "the end")
    assert [type(answer) for answer in answers] == [Closed]


def test_close_ends_what_is_open_once() -> None:
    s = session()
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.mark(marker_at(START_S + 600 / RATE_HZ))
    s.feed(500)
    (closed,) = s.track.close(Verdict.SHUTDOWN, "the end")
    assert closed.verdict is Verdict.SHUTDOWN
    assert closed.request.index == 1
    assert s.track.close(Verdict.SHUTDOWN, "the end") == []
    assert s.take(now=np.inf) == []


# ---------------------------------------------------------------- views and chunks


def test_a_window_is_held_until_newer_samples_take_its_place() -> None:
    s = session(ring_s=1.0)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.feed(401, chunk=401)
    cut = s.only()
    assert isinstance(cut, Cut)
    before = cut.window.copy()
    while s.track.holds(cut):
        np.testing.assert_array_equal(cut.window, before)
        s.feed(s.n_fed + 1)
    assert s.n_fed > 401 + 256
    assert not np.array_equal(cut.window, before)


def test_a_window_stays_held_when_the_stream_breaks_off() -> None:
    times = regular(2000)
    times[450:] += 1.0
    s = session(times, ring_s=0.5)
    s.mark(marker_at(START_S + 300 / RATE_HZ))
    s.feed(450, chunk=450)
    cut = s.only()
    assert isinstance(cut, Cut)
    s.feed(2000)
    s.check(cut)


@pytest.mark.parametrize("ring_s", [0.1, 1.0])
@pytest.mark.parametrize("window", [WINDOW, Window(first_sample=0, last_sample=3)])
def test_a_backlog_larger_than_the_ring_loses_no_window(window: Window, ring_s: float) -> None:
    s = session(regular(4000), {"linear": window}, ring_s=ring_s)
    onsets = range(100, 3800, 7)
    for onset in onsets:
        s.mark(marker_at(START_S + onset / RATE_HZ))
    s.feed(4000, chunk=4000)
    assert [cut.onset_sample for cut in s.answers if isinstance(cut, Cut)] == list(onsets)


def test_samples_with_another_number_of_channels_are_refused() -> None:
    s = session()
    with pytest.raises(ValueError, match=r"expected \(n, 2\)"):
        s.track.feed(Chunk(np.zeros((3, 4)), np.zeros(3), np.zeros(3), 0.0))


Answer = tuple[Request, str, int, int, float, bytes]


def told(answer: Cut | Closed) -> Answer:
    if isinstance(answer, Closed):
        return answer.request, answer.verdict.value, 0, 0, 0.0, answer.reason.encode()
    window = answer.window.tobytes()
    return answer.request, "cut", answer.segment, answer.onset_sample, answer.residual_us, window


@settings(max_examples=50, deadline=None)
@given(
    jumps=st.dictionaries(st.integers(1, 599), st.sampled_from([-2.0, -0.15, 0.15, 1.0, 9.0]), max_size=3),
    scatter_s=st.sampled_from([0.0, 0.014]),
    marks=st.lists(
        st.tuples(st.integers(0, 600), st.floats(-0.5, 4.0), st.booleans()), min_size=1, max_size=12
    ),
    borders=st.lists(st.integers(0, 600), max_size=30),
    ring_s=st.sampled_from([0.25, 1.0, 10.0]),
    is_filtered=st.booleans(),
    most_waiting=st.sampled_from([1000, 3]),
    seed=st.integers(0, 100),
)
def test_each_request_is_answered_once_and_the_same_whatever_the_chunks(
    jumps: dict[int, float],
    scatter_s: float,
    marks: list[tuple[int, float, bool]],
    borders: list[int],
    ring_s: float,
    is_filtered: bool,
    most_waiting: int,
    seed: int,
) -> None:
    """Markers come in at fixed samples; between them the stream comes in other chunks, or all at once."""
    rng = np.random.default_rng(seed)
    times = regular(600) + rng.uniform(-0.5 * scatter_s, scatter_s, 50).repeat(12)
    for at, jump_s in jumps.items():
        times[at:] += jump_s
    samples = np.column_stack([np.arange(600.0), rng.normal(size=600)])
    signal = signal_of([design_iir(RATE_HZ, highpass_hz=2.0)] if is_filtered else [])
    windows = {"whole": WINDOW, "early": Window(first_sample=0, last_sample=3)}
    when_marked = [when for when, _, _ in marks]

    def play(borders: list[int], *, take_often: bool) -> list[Answer]:
        track = Track("eeg", signal, windows, ring_s=ring_s)
        ledger = Ledger()
        answers: list[Answer] = []

        def take(now: float) -> None:
            for answer in track.take(now):
                verdict = answer.verdict if isinstance(answer, Closed) else Verdict.EMITTED
                ledger.close(answer.request, verdict)
                if isinstance(answer, Cut):
                    assert track.holds(answer)
                    if not is_filtered:
                        first = answer.window[0, 0]
                        np.testing.assert_array_equal(
                            answer.window[:, 0], np.arange(first, first + len(answer.window))
                        )
                answers.append(told(answer))

        borders = sorted({0, 600, *borders, *when_marked})
        for start, stop in zip(borders, [*borders[1:], 600], strict=True):
            for index, (when, offset_s, is_exact) in enumerate(marks):
                if when == start:
                    sample = int(offset_s * 150) if is_exact else None
                    for request in track.mark(marker_at(START_S + offset_s, sample=sample), index):
                        ledger.open(request)
            rows = slice(start, stop)
            track.feed(Chunk(samples[rows], times[rows], times[rows], 0.0))
            if take_often:
                take(-np.inf)
        take(np.inf)
        assert not ledger.open_requests
        assert sum(ledger.accounts().requests.values()) == 2 * len(marks)
        return answers

    with patch("rtdecode.signal.track.MOST_WAITING", most_waiting):
        expected = play([], take_often=False)
        assert play([], take_often=True) == expected
        assert play(borders, take_often=True) == expected
        assert play(list(range(600)), take_often=True) == expected


def test_of_more_markers_than_may_wait_the_newest_overflow_and_room_comes_back() -> None:
    run = session(regular(600))
    run.feed(200)
    for _ in range(MOST_WAITING + 5):
        run.mark(marker_at(run.times[250]))
    run.mark(marker_at(run.times[50]))  # its data are there: it need not wait
    closed = [answer for answer in run.take() if isinstance(answer, Closed)]
    assert [answer.verdict for answer in closed] == [Verdict.OVERFLOW] * 5
    assert [answer.request.index for answer in closed] == list(range(MOST_WAITING, MOST_WAITING + 5))
    run.feed(400)
    run.mark(marker_at(run.times[450]))
    run.feed(600)
    verdicts = Counter(answer.verdict if isinstance(answer, Closed) else "cut" for answer in run.answers)
    assert verdicts == {Verdict.OVERFLOW: 5, "cut": MOST_WAITING + 2}


# ---------------------------------------------------------------- bridged gaps


@settings(max_examples=50, deadline=None)
@given(
    lost=st.dictionaries(st.integers(1, 400), st.integers(3, 30), max_size=4),
    borders=st.lists(st.integers(0, 400), max_size=20),
    fill=st.sampled_from(["mark", "interpolate"]),
    shift=st.integers(-15, 15),
    is_filtered=st.booleans(),
)
def test_a_bridged_stream_gives_the_windows_of_one_that_was_filled_by_hand(
    lost: dict[int, int],
    borders: list[int],
    fill: Literal["mark", "interpolate"],
    shift: int,
    is_filtered: bool,
) -> None:
    """``lost``: after so many received samples so many are missing. Markers by time and by sample."""
    n = 400
    samples = np.random.default_rng(0).normal(size=(n, 2))
    where, whole = [], []
    for row in range(n):
        for k in range(lost.get(row, 0)):
            share = (k + 1) / (lost[row] + 1) if fill == "interpolate" else 0.0
            whole.append(samples[row - 1] + share * (samples[row] - samples[row - 1]))
        where.append(len(whole))
        whole.append(samples[row])
    times = START_S + np.array(where) / RATE_HZ
    put_in = ~np.isin(np.arange(len(whole)), where)
    front_end = [design_iir(RATE_HZ, highpass_hz=20.0)] if is_filtered else []
    windows = {"linear": Window(first_sample=-10, last_sample=30)}

    reference = Track("eeg", signal_of(front_end), windows)
    track = Track("eeg", signal_of(front_end), windows, gap_s=0.01, policy=GapPolicy(fill, 30))
    for index, received in enumerate(range(5, n, 20)):
        onset = where[received] + shift
        exact = marker_at(START_S + onset / RATE_HZ, sample=received)
        track.mark(replace(exact, shift=shift), index)
        reference.mark(replace(exact, sample=where[received], shift=shift), index)
        track.mark(replace(exact, sample=None), 1000 + index)
        reference.mark(replace(exact, sample=None), 1000 + index)
    whole_times = START_S + np.arange(len(whole)) / RATE_HZ
    reference.feed(Chunk(np.array(whole), whole_times, whole_times, 0.0))
    expected = reference.take(-np.inf)

    answers = []
    for rows in np.split(np.arange(n), sorted(borders)):
        track.feed(Chunk(samples[rows], times[rows], times[rows], 0.0))
        answers += [(told(answer), answer) for answer in track.take(-np.inf)]
    assert track.segment == 0
    assert track.n_bridged == sum(put_in)

    def without_residual(answer: Answer) -> tuple[object, ...]:
        return (*answer[:4], answer[5])

    assert [without_residual(one) for one, _ in answers] == [without_residual(told(one)) for one in expected]
    for _, answer in answers:
        if isinstance(answer, Cut):
            assert answer.residual_us == pytest.approx(0, abs=1)
            assert answer.bridged_samples == put_in[answer.start : answer.start + 41].sum()


def test_a_delay_from_marker_to_onset_is_time_not_samples_received() -> None:
    times = regular(400)
    times[210:] += 8 / RATE_HZ
    s = session(times, gap_s=0.01, policy=GapPolicy("mark", 8))
    s.mark(replace(marker_at(START_S + 220 / RATE_HZ, sample=200), shift=20))
    s.track.feed(Chunk(s.samples[:400], times, times, 0.0))
    (cut,) = s.track.take(-np.inf)
    assert isinstance(cut, Cut)
    assert cut.onset_sample == 220
    assert cut.window[-WINDOW.first_sample, 0] == 212
    assert cut.bridged_samples == 8


@pytest.mark.parametrize(("sample", "shift"), [(995, 10), (1005, -10), (3, -5)])
def test_a_delay_that_leads_out_of_the_markers_segment_leads_nowhere(sample: int, shift: int) -> None:
    times = regular(2000)
    times[1000:] += 1.0
    s = session(times)
    s.mark(replace(marker_at(float(times[sample]) + shift / RATE_HZ, sample=sample), shift=shift))
    s.feed(2000)
    assert s.verdicts() == [Verdict.WARMING_UP if sample == 3 else Verdict.GAP]


# ---------------------------------------------------------------- continuous mode


def test_a_stride_asks_for_a_window_at_each_of_its_multiples() -> None:
    s = session(regular(500), strides={"linear": 64})
    s.feed(500)
    assert [request.origin for request in s.opened] == ["stride"] * 8
    assert [request.index for request in s.opened] == list(range(8))
    assert [(one.request.index, type(one)) for one in s.answers] == [
        (0, Closed),
        *((n, Cut) for n in range(1, 7)),
    ]
    closed, *cuts = s.answers
    assert isinstance(closed, Closed)
    assert closed.verdict is Verdict.WARMING_UP
    assert [cut.onset_sample for cut in cuts if isinstance(cut, Cut)] == [64 * n for n in range(1, 7)]
    assert all(cut.marker is None for cut in cuts)
    (left,) = s.track.close(Verdict.SHUTDOWN, "the end")
    assert left.request.index == 7


def test_a_decoder_with_a_stride_answers_no_markers() -> None:
    windows = {"marked": WINDOW, "continuous": Window(first_sample=0, last_sample=9)}
    s = session(regular(500), windows, strides={"continuous": 100})
    s.mark(marker_at(START_S + 200 / RATE_HZ))
    assert [request.decoder for request in s.opened] == ["marked"]
    s.feed(500)
    assert Counter(request.decoder for request in s.opened) == {"marked": 1, "continuous": 5}
    assert len(s.answers) == 6


def test_a_stride_is_opened_when_its_onset_comes_and_answered_when_its_window_ends() -> None:
    s = session(regular(500), {"linear": Window(first_sample=0, last_sample=9)}, strides={"linear": 100})
    assert len(s.feed(100)) == 1
    assert len(s.feed(101)) == 1
    s.feed(109)
    assert len(s.answers) == 1
    s.feed(110)
    assert len(s.answers) == 2


def test_strides_whose_data_do_not_come_time_out() -> None:
    s = session(regular(500), timeout_s=1.0, strides={"linear": 64})
    s.feed(300)
    end = START_S + (256 + WINDOW.last_sample) / RATE_HZ
    s.take(now=end + 0.5)
    assert s.verdicts() == [Verdict.WARMING_UP, None, None, None]
    s.take(now=end + 1.5)
    assert s.verdicts()[4:] == [Verdict.TIMEOUT]


@settings(max_examples=50, deadline=None)
@given(
    jumps=st.dictionaries(st.integers(1, 599), st.sampled_from([-2.0, 0.02, 0.15, 1.0]), max_size=3),
    borders=st.lists(st.integers(0, 600), max_size=30),
    stride=st.sampled_from([1, 7, 50, 256]),
    ring_s=st.sampled_from([0.25, 10.0]),
    policy=st.sampled_from([GapPolicy(), GapPolicy("interpolate", 20)]),
    is_filtered=st.booleans(),
)
def test_each_stride_of_each_segment_is_answered_once_as_a_marker_at_its_sample_would_be(
    jumps: dict[int, float],
    borders: list[int],
    stride: int,
    ring_s: float,
    policy: GapPolicy,
    is_filtered: bool,
) -> None:
    times = regular(600)
    for at, jump_s in jumps.items():
        times[at:] += jump_s
    samples = np.random.default_rng(0).normal(size=(600, 2))
    signal = signal_of([design_iir(RATE_HZ, highpass_hz=10.0)] if is_filtered else [])
    windows = {"marked": WINDOW, "continuous": WINDOW}

    def play(borders: list[int]) -> list[Answer]:
        strides = {"continuous": stride}
        track = Track("eeg", signal, windows, strides=strides, ring_s=ring_s, gap_s=0.01, policy=policy)
        ledger = Ledger()
        answers = []
        for sample in range(0, 600, 20):
            for request in track.mark(marker_at(float(times[sample]), sample=sample), sample):
                ledger.open(request)
        for rows in np.split(np.arange(600), sorted(borders)):
            for request in track.feed(Chunk(samples[rows], times[rows], times[rows], 0.0)):
                ledger.open(request)
            for answer in track.take(-np.inf):
                verdict = answer.verdict if isinstance(answer, Closed) else Verdict.EMITTED
                ledger.close(answer.request, verdict)
                answers.append(told(answer))
        for closed in track.close(Verdict.SHUTDOWN, "the end"):
            ledger.close(closed.request, closed.verdict)
            answers.append(told(closed))
        assert not ledger.open_requests
        return answers

    answers = play([])
    assert play(borders) == answers
    assert play(list(range(1, 600))) == answers
    indices: dict[int, list[int]] = {}
    at_onset: dict[tuple[int, int], set[bytes]] = {}
    for request, kind, segment, onset, _, window in answers:
        if request.origin == "stride":
            indices.setdefault(request.segment, []).append(request.index)
        if kind == "cut":
            assert request.origin == "marker" or onset == stride * request.index
            at_onset.setdefault((segment, onset), set()).add(window)
    assert all(of_segment == list(range(len(of_segment))) for of_segment in indices.values())
    assert all(len(same) == 1 for same in at_onset.values())


# ---------------------------------------------------------------- quality


@settings(max_examples=30, deadline=None)
@given(borders=st.lists(st.integers(0, 400), max_size=20), seed=st.integers(0, 100), jump=st.integers(0, 12))
def test_what_is_told_of_windows_with_no_numbers_and_lost_samples_does_not_depend_on_the_chunks(
    borders: list[int], seed: int, jump: int
) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(size=(400, 2))
    samples[rng.random((400, 2)) < 0.02] = np.nan
    samples[220:300, 1] = 0.25
    times = regular(400)
    times[200:] += jump / RATE_HZ
    signal = signal_of([design_iir(RATE_HZ, highpass_hz=20.0)])
    windows = {"linear": Window(first_sample=0, last_sample=50)}

    def play(borders: list[int]) -> list[tuple[Answer, object, int]]:
        policy = GapPolicy("interpolate", 10)
        track = Track(
            "eeg", signal, windows, gap_s=0.01, policy=policy, max_peak_to_peak=np.array([4.0, 4.0])
        )
        for index in range(0, 400, 9):
            track.mark(marker_at(float(times[index]), sample=index), index)
        answers = []
        for rows in np.split(np.arange(400), sorted(borders)):
            track.feed(Chunk(samples[rows], times[rows], times[rows], 0.0))
            for answer in track.take(-np.inf):
                if isinstance(answer, Cut):
                    assert np.isfinite(answer.window).all()
                    answers.append((told(answer), answer.findings, answer.bridged_samples))
        return answers

    expected = play([])
    # One or two samples are too few for a jump; that they are lost is known after the flat ones have come.
    assert any(findings.flat == ("c1",) for _, findings, _ in expected) == (jump not in (1, 2))
    assert any(findings.nan for _, findings, _ in expected)
    assert play(borders) == expected
    assert play(list(range(1, 400))) == expected
