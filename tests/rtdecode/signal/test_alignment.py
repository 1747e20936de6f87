"""The nearest sample is a pure function of the stamps, or it is said why there is none."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.alignment import SETTLE_S, Alignment, OutsideError, SampleClock
from rtdecode.signal.ring import LeftRingError, NotYetError

RATE_HZ = 256.0  # a power of two: regular stamps are exact


def clock_of(
    stamps: npt.NDArray[np.float64], borders: list[int] | None = None, capacity: int = 10_000
) -> SampleClock:
    clock = SampleClock(RATE_HZ, capacity)
    for part in np.split(stamps, sorted(borders or [])):
        clock.append(part)
    return clock


def regular(n: int, start: float = 100.0) -> npt.NDArray[np.float64]:
    return start + np.arange(n) / RATE_HZ


def bursts(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Stamps as Bluetooth headsets send them: in bursts of 12, each off by -8 to 14 ms, in whole ms."""
    offset = np.random.default_rng(seed).uniform(-0.008, 0.014, n // 12 + 1).repeat(12)[:n]
    return np.round(regular(n) + offset, 3)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 50), jittered=st.booleans(), time=st.floats(100.0, 101.9))
def test_nearest_is_the_sample_with_the_nearest_stamp_also_where_stamps_step_back(
    seed: int, jittered: bool, time: float
) -> None:
    stamps = bursts(600, seed) if jittered else regular(600)
    if time <= stamps[0] - 0.5 / RATE_HZ:
        return
    found = clock_of(stamps).nearest(time)
    assert found.sample == np.argmin(np.abs(stamps - time))
    assert found.residual_us == pytest.approx((time - stamps[found.sample]) * 1e6)


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 50),
    borders=st.lists(st.integers(0, 300), max_size=10),
    time=st.floats(99.9, 101.4),
    ended=st.booleans(),
)
def test_what_is_found_does_not_depend_on_chunks_nor_on_how_much_more_has_come(
    seed: int, borders: list[int], time: float, ended: bool
) -> None:
    def ask(clock: SampleClock) -> Alignment | type[Exception]:
        try:
            return clock.nearest(time)
        except LookupError as error:
            return type(error)

    stamps = bursts(300, seed)
    whole, chunked = clock_of(stamps), SampleClock(RATE_HZ, 10_000)
    if ended:
        whole.finish()
    expected = ask(whole)
    for part in np.split(stamps, sorted(borders)):
        chunked.append(part)
        if chunked.end and not isinstance(answer := ask(chunked), type):
            assert answer == expected
    if ended:
        chunked.finish()
    assert ask(chunked) == expected


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 20), time=st.floats(100.1, 101.0))
def test_it_is_known_as_soon_as_it_says_it_was_settled_and_not_before(seed: int, time: float) -> None:
    stamps = bursts(300, seed)
    settled = clock_of(stamps).nearest(time).settled
    assert stamps[settled - 1] >= time + SETTLE_S
    clock_of(stamps[:settled]).nearest(time)
    with pytest.raises(NotYetError):
        clock_of(stamps[: settled - 1]).nearest(time)


def test_what_was_said_once_is_not_taken_back_by_a_nearer_stamp_that_comes_later() -> None:
    stamps = regular(100)
    stamps[60:] -= 0.09
    time = float(stamps[65])  # sample 42 had been nearest when the stamps had passed by enough
    known = clock_of(stamps[:60]).nearest(time)
    assert known.sample == 42
    assert clock_of(stamps).nearest(time) == known


def test_ties_go_to_the_earlier_sample() -> None:
    clock = clock_of(regular(100))
    found = clock.nearest(100.0 + 10.5 / RATE_HZ)
    assert (found.sample, found.residual_us) == (10, 0.5e6 / RATE_HZ)
    assert clock.nearest(np.nextafter(100.0 + 10.5 / RATE_HZ, 101.0)).sample == 11


def test_equal_stamps_go_to_the_earlier_sample() -> None:
    stamps = regular(100)
    stamps[11] = stamps[10]
    assert clock_of(stamps).nearest(stamps[10]).sample == 10


@pytest.mark.parametrize(("offset_us", "sample"), [(-1500.0, 20), (0.0, 20), (1500.0, 20), (2500.0, 21)])
def test_the_residual_is_positive_where_the_time_is_later_than_the_sample(
    offset_us: float, sample: int
) -> None:
    time = 100.0 + 20 / RATE_HZ + offset_us * 1e-6
    found = clock_of(regular(100)).nearest(time)
    assert found.sample == sample
    assert found.residual_us == pytest.approx(offset_us - (sample - 20) * 1e6 / RATE_HZ, abs=1e-3)


def test_a_time_that_no_stamp_has_passed_by_enough_waits() -> None:
    clock = clock_of(regular(64))
    clock.nearest(100.0 + 63 / RATE_HZ - SETTLE_S)
    with pytest.raises(NotYetError):
        clock.nearest(100.0 + 63 / RATE_HZ - SETTLE_S + 1e-6)
    with pytest.raises(NotYetError):
        clock_of(regular(0)).nearest(100.0)


def test_the_first_and_the_last_sample_reach_half_a_period_outwards() -> None:
    clock = clock_of(regular(64))
    clock.finish()
    half, last = 0.5 / RATE_HZ, 100.0 + 63 / RATE_HZ
    with pytest.raises(OutsideError):
        clock.nearest(100.0 - half)
    assert clock.nearest(np.nextafter(100.0 - half, 101.0)).sample == 0
    assert clock.nearest(last + half).sample == 63
    with pytest.raises(OutsideError):
        clock.nearest(np.nextafter(last + half, 101.0))
    covered = [clock.covers(time) for time in (100.0 - half, 100.0, last + half, last + 2 * half)]
    assert covered == [False, True, True, False]
    assert [clock.precedes(time) for time in (99.0, last + half, last + 2 * half)] == [False, False, True]


def test_a_segment_that_goes_on_may_come_to_cover_any_later_time() -> None:
    clock = clock_of(regular(64))
    assert clock.covers(1e9)
    assert not clock.precedes(1e9)
    assert not clock.covers(99.0)
    assert not clock_of(regular(0)).covers(100.0)


def test_a_time_whose_stamps_are_no_longer_held_is_refused_and_not_put_on_the_oldest_sample() -> None:
    clock = clock_of(regular(1000), capacity=100)
    oldest = 100.0 + 900 / RATE_HZ
    with pytest.raises(LeftRingError):
        clock.nearest(101.0)
    with pytest.raises(LeftRingError):
        clock.nearest(oldest)
    assert clock.nearest(oldest + SETTLE_S).sample == 913
    with pytest.raises(OutsideError):
        clock.nearest(99.0)


def test_a_time_that_is_no_number_is_never_put_on_a_sample() -> None:
    clock = clock_of(regular(100))
    for time in (np.nan, -np.inf):
        with pytest.raises(OutsideError):
            clock.nearest(time)
    with pytest.raises(NotYetError):
        clock.nearest(np.inf)


def test_a_sample_that_is_known_is_kept_and_the_time_gives_the_residual() -> None:
    clock = clock_of(regular(100), capacity=50)
    found = clock.exact(70, 100.0 + 72 / RATE_HZ)
    assert (found.sample, found.settled) == (70, 71)
    assert found.residual_us == pytest.approx(2e6 / RATE_HZ)
    with pytest.raises(NotYetError):
        clock.exact(100, 100.0)
    with pytest.raises(LeftRingError):
        clock.exact(10, 100.0)


def test_stamps_can_be_looked_up() -> None:
    clock = clock_of(regular(100), capacity=50)
    assert (clock.first, clock.end) == (50, 100)
    assert clock.stamp(60) == 100.0 + 60 / RATE_HZ
