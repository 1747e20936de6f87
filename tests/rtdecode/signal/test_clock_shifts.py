"""Whose jump it was: the clock's, or that of what was lost; time is synthetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.clock_shifts import FEWEST_MARKERS, ClockShifts, set_clock
from rtdecode.signal.markers import Marker

PERIOD_S = 0.004
CHUNK = 10
LATENCY_S = 0.02


class Stream:
    """Chunks in time; ``off`` is what the clock is off, ``late`` what arrives late."""

    def __init__(self) -> None:
        self.shifts = ClockShifts(0.1)
        self.shifts.connect(PERIOD_S)
        self.now = 1000.0
        self.found = 0

    def send(self, seconds: float, *, off: float = 0.0, late: float = 0.0) -> float:
        for _ in range(round(seconds / PERIOD_S / CHUNK)):
            times = self.now + np.arange(CHUNK) * PERIOD_S
            self.now += CHUNK * PERIOD_S
            was_off = self.shifts.shift_s != 0
            self.shifts.add(times + off, float(times[-1]) + LATENCY_S + late)
            self.found += self.shifts.shift_s != 0 and not was_off
        return self.shifts.shift_s

    def lose(self, seconds: float) -> None:
        self.now += seconds

    def mark(self, n: int = 1, *, off: float = 0.0, late: float = 0.005) -> bool:
        """Send markers; say whether the last one's sender is believed to have been set with the stream."""
        for i in range(n):
            time = self.now + off
            follows = self.shifts.follows(Marker("m", "", time, time, arrival=self.now + late + i % 2 * 0.01))
        return follows


@pytest.fixture
def stream() -> Stream:
    stream = Stream()
    stream.send(2)
    stream.mark(5)
    return stream


@pytest.mark.parametrize("off", [0.2, 0.5, 3.0, 1000.0, -0.2, -3.0, -1000.0])
def test_a_clock_that_was_set_is_found_and_whose_markers_follow_is_seen_from_several(
    stream: Stream, off: float
) -> None:
    stream.send(0.1)
    assert stream.send(1, off=off) == pytest.approx(-off)
    assert stream.found == 1
    assert ("ahead" if off > 0 else "back") in set_clock(stream.shifts.shift_s)
    assert not stream.mark(20)
    assert not stream.mark(FEWEST_MARKERS - 1, off=off)
    assert stream.mark(off=off)  # one sender stamps both
    assert not stream.mark()


@pytest.mark.parametrize("off", [0.5, -0.5])
def test_markers_that_come_as_late_as_the_clock_was_set_back_or_as_early_do_not_follow_it(
    stream: Stream, off: float
) -> None:
    stream.send(0.1)
    stream.send(1, off=off)
    for _ in range(10):
        assert not stream.mark(FEWEST_MARKERS - 1, late=-off)
        assert not stream.mark()


def test_a_sender_whose_lateness_varies_by_as_much_as_the_shift_is_not_believed(stream: Stream) -> None:
    for _ in range(5):
        stream.mark(late=0.5)
    stream.send(0.1)
    stream.send(1, off=-0.5)
    assert not stream.mark(10, off=-0.5)


def test_a_sender_that_was_not_heard_before_is_not_believed() -> None:
    stream = Stream()
    stream.send(2)
    stream.send(1, off=-0.5)
    assert not stream.mark(10, off=-0.5)


def test_markers_that_came_just_before_the_clock_was_found_off_count_with_those_after(stream: Stream) -> None:
    stream.send(0.1)
    stream.mark(FEWEST_MARKERS - 1, off=-0.5)
    stream.send(1, off=-0.5)
    assert stream.mark(off=-0.5)


@pytest.mark.parametrize("off", [0.5, -0.5, 100.0, -100.0])
def test_a_clock_that_was_set_while_the_stream_was_away_is_found(stream: Stream, off: float) -> None:
    stream.lose(0.7)
    stream.shifts.connect(2 * PERIOD_S)
    stream.shifts.connect(PERIOD_S)
    assert stream.send(1, off=off) == pytest.approx(-off)
    stream.shifts.connect(PERIOD_S)
    assert stream.send(1, off=off) == pytest.approx(-off)
    stream.lose(3)
    stream.shifts.connect(PERIOD_S)
    assert stream.send(1) == 0


def test_a_stream_that_comes_back_may_be_a_little_slower_for_good(stream: Stream) -> None:
    stream.shifts.connect(PERIOD_S)
    assert stream.send(1, late=0.06) == 0
    assert stream.send(0.04, off=-3, late=0.06) > 0
    assert stream.send(1, late=0.06) == 0


def test_a_stream_that_comes_back_with_a_backlog_is_believed_once_stamps_arrive_as_usual(
    stream: Stream,
) -> None:
    stream.shifts.connect(PERIOD_S)
    assert stream.send(0.2, late=0.5) == pytest.approx(0.5)
    assert stream.send(0.2) == 0


def test_stamps_of_the_future_are_wrong_from_the_beginning_and_until_the_clock_is_set_right() -> None:
    stream = Stream()
    assert stream.send(3, off=0.5) == pytest.approx(LATENCY_S - 0.5)
    assert stream.send(1) == 0
    assert stream.send(1, off=-0.5) == pytest.approx(0.5)


def test_stamps_that_arrive_a_little_before_their_time_from_the_beginning_are_believed() -> None:
    stream = Stream()
    assert stream.send(3, off=0.08) == 0


@pytest.mark.parametrize("off", [0.5, -0.5])
def test_it_stays_found_over_a_gap_and_until_the_clock_is_right_again(stream: Stream, off: float) -> None:
    stream.send(1, off=off)
    stream.lose(1)
    assert stream.send(3, off=off) == pytest.approx(-off)
    assert stream.send(1) == 0
    assert not stream.mark()
    assert stream.found == 1


def test_what_is_lost_late_or_both_is_no_shift(stream: Stream) -> None:
    stream.lose(0.5)
    assert stream.send(1) == 0
    assert stream.send(1, late=0.7) == 0
    stream.lose(2)
    assert stream.send(1, late=0.07) == 0
    stream.lose(0.3)
    assert stream.send(1) == 0
    assert not stream.found


def test_what_comes_much_later_than_usual_after_a_loss_is_believed_once_it_comes_as_usual(
    stream: Stream,
) -> None:
    stream.lose(2)
    assert stream.send(1, late=0.4) == pytest.approx(0.4)
    assert stream.send(0.2) == 0


def test_a_clock_that_was_set_back_within_a_gap_is_found(stream: Stream) -> None:
    stream.lose(2)
    assert stream.send(1, off=-0.4) == pytest.approx(0.4)


def test_a_backlog_at_the_beginning_makes_no_later_gap_a_shift() -> None:
    stream = Stream()
    stream.send(0.2, late=0.7)
    stream.lose(1)
    assert stream.send(5) == 0


def test_a_clock_that_returns_with_a_late_chunk_is_believed_once_stamps_arrive_as_usual(
    stream: Stream,
) -> None:
    stream.send(1, off=3)
    assert stream.send(0.2, late=0.4) == pytest.approx(0.4)
    assert stream.send(0.2) == 0


def test_a_clock_that_drifts_into_the_future_long_after_a_gap_is_not_this_faults(stream: Stream) -> None:
    stream.lose(1)
    for step in range(100):
        stream.send(0.2, off=step * 0.001)
    assert stream.shifts.shift_s == 0


def test_a_stamp_that_is_no_number_changes_nothing(stream: Stream) -> None:
    stream.shifts.add(np.full(3, math.nan), stream.now)
    stream.shifts.add(np.empty(0), stream.now)
    stream.shifts.follows(Marker("m", "", math.nan, math.nan, arrival=stream.now))
    assert stream.send(1) == 0
    stream.shifts.add(np.full(3, math.nan), stream.now)
    assert stream.send(1, off=-0.5) == pytest.approx(0.5)


@given(
    ppm=st.floats(-300, 300),
    latency_s=st.floats(0.005, 0.1),
    worse_s=st.floats(0, 0.08),
    off_s=st.one_of(st.floats(-3, -0.15), st.floats(0.25, 3)),
    stays=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_a_clock_that_drifts_and_a_network_that_became_slower_make_one_wrong_stamp_no_lasting_doubt(
    ppm: float, latency_s: float, worse_s: float, off_s: float, stays: bool
) -> None:
    """100 ppm are 60 ms in ten minutes: more than stamps may arrive late after a jump."""
    shifts = ClockShifts(0.1)
    shifts.connect(PERIOD_S)
    n, at = 100, 1500
    for i in range(at + 50):
        taken = (i + 1) * n * PERIOD_S
        lag_s = latency_s + (worse_s if i >= at - 50 else 0)
        is_off = i >= at if stays else i == at
        time = taken * (1 + ppm * 1e-6) + (off_s if is_off else 0)
        shifts.add(time - np.arange(n)[::-1] * PERIOD_S, taken + lag_s)
        if i == at and off_s < 0 and ppm <= 0:
            assert shifts.shift_s == pytest.approx(-off_s, abs=0.02)
    if not stays:
        assert shifts.shift_s == 0
    elif off_s < 0 and ppm <= 0:  # else it may have been a clock that was set right
        assert shifts.shift_s == pytest.approx(-off_s, abs=0.02)


def test_a_clock_that_ran_ahead_and_is_set_right_is_believed(stream: Stream) -> None:
    for step in range(200):  # 200 ppm for ten minutes
        stream.send(3, off=step * 0.0006)
    assert stream.send(1) == 0
    assert not stream.found
    assert stream.send(1, off=-0.5) == pytest.approx(0.5, abs=0.02)


def test_a_clock_that_ran_ahead_and_is_set_back_too_far_is_not_set_right(stream: Stream) -> None:
    for step in range(200):
        stream.send(3, off=step * 0.0006)
    assert stream.send(1, off=-0.5) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(("late_s", "is_set"), [(1.1, False), (1.4, True)])
def test_a_slow_stream_may_be_late_by_half_of_its_period_after_a_loss(late_s: float, *, is_set: bool) -> None:
    shifts = ClockShifts(0.1)
    shifts.connect(2.5)
    for number in (*range(10), 12):
        time = 1000.0 + 2.5 * number
        shifts.add(np.array([time]), time + 3.0 + (late_s if number == 12 else 0.0))
    assert (shifts.shift_s != 0) is is_set
