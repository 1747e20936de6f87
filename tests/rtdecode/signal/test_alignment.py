"""The sample taken nearest to a time is a pure function of the stamps, or it is said why there is none."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.alignment import (
    SETTLE_S,
    START_S,
    Alignment,
    OutsideError,
    SampleClock,
)
from rtdecode.signal.ring import LeftRingError, NotYetError
from rtdecode.signal.trust import SHIFT_S

RATE_HZ = 256.0  # a power of two: regular stamps are exact
ENOUGH = 10_000


def clock_of(
    stamps: npt.NDArray[np.float64],
    borders: list[int] | None = None,
    capacity: int = ENOUGH,
    rate_hz: float = RATE_HZ,
) -> SampleClock:
    clock = SampleClock(rate_hz, capacity)
    for part in np.split(stamps, sorted(borders or [])):
        if clock.append(part) < len(part):
            break
    return clock


def regular(n: int, start: float = 100.0, rate_hz: float = RATE_HZ) -> npt.NDArray[np.float64]:
    return start + np.arange(n) / rate_hz


def bursts(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Stamps as Bluetooth headsets send them: in bursts of 12, each off by -8 to 14 ms, in whole ms."""
    offset = np.random.default_rng(seed).uniform(-0.008, 0.014, n // 12 + 1).repeat(12)[:n]
    return np.round(regular(n) + offset, 3)


def ask(clock: SampleClock, time: float) -> Alignment | type[Exception]:
    try:
        return clock.nearest(time)
    except LookupError as error:
        return type(error)


# ---------------------------------------------------------------- regular stamps


@pytest.mark.parametrize("rate_hz", [0.5, 10.0, 256.0, 300.0, 512.0, 1000.0, 1200.0, 16384.0])
@pytest.mark.parametrize("start_s", [0.0, 1e6])
def test_on_a_grid_the_line_is_exact_at_any_rate(rate_hz: float, start_s: float) -> None:
    n = max(50, round(5 * rate_hz))
    clock = clock_of(regular(n, start_s, rate_hz), rate_hz=rate_hz, capacity=n)
    clock.finish()
    for sample in np.linspace(0, n - 1, 40).astype(int).tolist():
        for offset in (-0.49, 0.0, 0.49):
            found = clock.nearest(start_s + (sample + offset) / rate_hz)
            assert found.sample == sample
            assert found.residual_us == pytest.approx(offset * 1e6 / rate_hz, abs=0.01)
            assert found.uncertainty_us < 0.1


@pytest.mark.parametrize("drift_ppm", [-100.0, 100.0])
def test_drift_of_a_steady_clock_is_followed_exactly_for_an_hour(drift_ppm: float) -> None:
    rate_hz = 20.0
    stamps = regular(72_000, rate_hz=rate_hz * (1 + drift_ppm * 1e-6))
    clock = clock_of(stamps, rate_hz=rate_hz, capacity=72_000)
    for sample in range(30, 71_990, 997):
        found = clock.nearest(stamps[sample] + 0.004)
        assert found.sample == sample
        assert found.residual_us == pytest.approx(4000.0, abs=1.0)
        assert found.uncertainty_us < 1.0


@pytest.mark.parametrize("off", [-0.002, 0.002])
def test_a_rate_that_is_not_the_announced_one_is_found_out(off: float) -> None:
    stamps = regular(2560, rate_hz=RATE_HZ * (1 + off))
    clock = clock_of(stamps)
    for sample in range(20, 2500, 97):
        found = clock.nearest(stamps[sample])
        assert found.sample == sample
        assert abs(found.residual_us) < 1.0


def test_a_stream_in_fast_motion_is_aligned_like_one_in_real_time() -> None:
    clock = SampleClock(RATE_HZ, ENOUGH, speed=50.0)
    clock.append(regular(2560, rate_hz=50 * RATE_HZ))
    for sample in (0, 20, 1000):
        found = clock.nearest(100.0 + sample / (50 * RATE_HZ) + 1e-6)
        assert (found.sample, found.residual_us) == (sample, pytest.approx(1.0, abs=0.01))


@pytest.mark.parametrize("rate_hz", [256.0, 300.0, 1200.0])
def test_ties_go_to_the_earlier_sample(rate_hz: float) -> None:
    clock = clock_of(regular(1200, rate_hz=rate_hz), rate_hz=rate_hz)
    for sample in range(10, 600):
        found = clock.nearest(100.0 + (sample + 0.5) / rate_hz)
        assert (found.sample, found.residual_us) == (sample, pytest.approx(0.5e6 / rate_hz, abs=0.01))
        assert clock.nearest(100.0 + (sample + 0.5) / rate_hz + 1e-6).sample == sample + 1


@pytest.mark.parametrize(("offset_us", "sample"), [(-1500.0, 20), (0.0, 20), (1500.0, 20), (2500.0, 21)])
def test_the_residual_is_positive_where_the_time_is_later_than_the_sample(
    offset_us: float, sample: int
) -> None:
    time = 100.0 + 20 / RATE_HZ + offset_us * 1e-6
    found = clock_of(regular(200)).nearest(time)
    assert found.sample == sample
    assert found.residual_us == pytest.approx(offset_us - (sample - 20) * 1e6 / RATE_HZ, abs=1e-3)


# ---------------------------------------------------------------- stamps that scatter


@pytest.mark.parametrize("seed", range(10))
def test_the_uncertainty_tells_how_far_the_line_is_off(seed: int) -> None:
    stamps, times = bursts(5120, seed), regular(5120) + 0.003  # the bursts' mean delay
    clock = clock_of(stamps)
    for sample in range(50, 5000, 61):
        found = clock.nearest(times[sample])
        error_us = times[sample] * 1e6 - found.residual_us - times[found.sample] * 1e6
        assert abs(error_us) < 4.0 * found.uncertainty_us
    assert found.uncertainty_us < 1200.0


def test_one_chunk_says_nothing_of_how_stamps_scatter_and_two_very_little() -> None:
    for n in (20, 40):
        clock = clock_of(bursts(n, seed=0))
        clock.finish()
        assert clock.nearest(100.01).uncertainty_us > 50_000


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 50),
    borders=st.lists(st.integers(0, 700), max_size=10),
    time=st.floats(99.9, 102.9),
    lost_at=st.integers(150, 900),
    step_s=st.sampled_from([-0.05, 0.0, 12 / RATE_HZ]),
    back_after=st.sampled_from([5, 12, 60, 1000]),
    jittered=st.booleans(),
    ended=st.booleans(),
)
def test_what_is_found_does_not_depend_on_chunks_nor_on_how_much_more_has_come(
    seed: int,
    borders: list[int],
    time: float,
    lost_at: int,
    step_s: float,
    back_after: int,
    jittered: bool,
    ended: bool,
) -> None:
    stamps = bursts(700, seed) if jittered else regular(700)
    stamps[lost_at : lost_at + back_after] += step_s
    whole, chunked = SampleClock(RATE_HZ, ENOUGH), SampleClock(RATE_HZ, ENOUGH)
    taken = whole.append(stamps)
    if ended:
        whole.finish()
    expected = ask(whole, time)
    n = 0
    for part in np.split(stamps, sorted(borders)):
        n += chunked.append(part)
        if n and not isinstance(answer := ask(chunked, time), type):
            assert answer == expected
        if n == taken:
            break
    assert n == taken
    if ended:
        chunked.finish()
    assert ask(chunked, time) == expected
    assert chunked.trusted == whole.trusted
    samples = range(1, whole.trusted + 1)
    assert [chunked.known(n) for n in samples] == [whole.known(n) for n in samples]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 20), time=st.floats(100.1, 102.0))
def test_it_is_known_as_soon_as_it_says_it_was_settled_and_not_before(seed: int, time: float) -> None:
    stamps = bursts(700, seed)
    settled = clock_of(stamps).nearest(time).settled
    assert settled >= START_S * RATE_HZ
    clock_of(stamps[:settled]).nearest(time)
    with pytest.raises(NotYetError):
        clock_of(stamps[: settled - 1]).nearest(time)


def test_a_time_that_the_stream_has_not_passed_by_enough_waits() -> None:
    clock = clock_of(regular(256))
    clock.nearest(100.0 + 255 / RATE_HZ - SETTLE_S)
    with pytest.raises(NotYetError):
        clock.nearest(100.0 + 255 / RATE_HZ - SETTLE_S + 1e-6)
    with pytest.raises(NotYetError):
        clock_of(regular(0)).nearest(100.0)


def test_the_first_third_of_a_second_waits_until_it_is_over() -> None:
    n = 13 * math.ceil(START_S * RATE_HZ / 13)  # whole blocks
    with pytest.raises(NotYetError):
        clock_of(regular(n - 1)).nearest(100.0)
    assert clock_of(regular(n)).nearest(100.0).settled == n


# ---------------------------------------------------------------- stamps off the line


@pytest.mark.parametrize("chunk", [1, 7, 1000])
@pytest.mark.parametrize("step_s", [-0.05, -1 / RATE_HZ, 1 / RATE_HZ, 12 / RATE_HZ])
@pytest.mark.parametrize("at", [150, 700])
def test_stamps_that_stay_off_the_line_end_the_segment_before_the_first_of_them(
    step_s: float, at: int, chunk: int
) -> None:
    stamps = regular(1000)
    stamps[at:] += step_s
    over = at + int(np.ceil(SHIFT_S * RATE_HZ))
    clock = SampleClock(RATE_HZ, ENOUGH)
    taken = [clock.append(part) for part in np.split(stamps, range(chunk, 1000, chunk))]
    assert sum(taken) == over
    assert clock.trusted == at
    clock.finish()
    assert clock.precedes(stamps[at - 1] + 0.6 / RATE_HZ)
    assert clock.nearest(stamps[at - 1]).sample == at - 1
    assert clock.known(at) == at


@pytest.mark.parametrize("step_s", [-0.05, 0.02, 0.05])
def test_while_stamps_are_off_the_line_nothing_is_said_and_then_as_if_they_had_not_been(
    step_s: float,
) -> None:
    stamps = regular(1000)
    stamps[500:520] += step_s
    time = 100.0 + 505 / RATE_HZ
    clock = clock_of(stamps[:519])
    assert clock.trusted == 500
    assert clock.nearest(100.0 + 480 / RATE_HZ).sample == 480
    with pytest.raises(NotYetError):
        clock.nearest(time)
    clock.append(stamps[519:520])
    assert clock.trusted == 500
    clock.append(stamps[520:])
    assert clock.trusted == 1000
    assert clock.known(510) == 521
    found = clock.nearest(time)
    assert found.sample == 505
    assert found.settled == 521
    assert abs(found.residual_us) < 500.0


def test_stamps_that_begin_to_scatter_are_followed() -> None:
    """A stream that was regular begins to come in bursts; nearly all stamps are off the line at first."""
    stamps = bursts(12 * 256, seed=1) - 0.003
    stamps[: 3 * 256] = regular(3 * 256)
    clock = clock_of(stamps)
    assert clock.append(regular(0)) == 0
    assert clock.trusted > 2000
    for sample in range(1600, 2900, 50):
        assert abs(clock.nearest(regular(3072)[sample]).sample - sample) <= 1


@pytest.mark.parametrize(("rate_hz", "sd", "at_most"), [(1000.0, 0.1, 0), (256.0, 0.2, 4), (256.0, 0.5, 26)])
def test_trust_lags_only_where_stamps_scatter_by_more_than_a_tenth_of_a_period(
    rate_hz: float, sd: float, at_most: int
) -> None:
    stamps = regular(5000, rate_hz=rate_hz) + np.random.default_rng(0).normal(0, sd / rate_hz, 5000)
    clock = clock_of(stamps, rate_hz=rate_hz)
    lags = [clock.known(n) - n for n in range(1000, clock.trusted)]
    assert np.median(lags) <= at_most
    assert np.mean(np.array(lags) > at_most) < 0.05


def test_a_segment_that_lost_samples_while_it_began_is_over_and_says_nothing() -> None:
    stamps = np.delete(regular(200), 40)
    clock = SampleClock(RATE_HZ, ENOUGH)
    taken = clock.append(stamps)
    assert START_S * RATE_HZ <= taken < START_S * RATE_HZ + 13
    assert clock.append(stamps[taken:]) == 0
    clock.finish()
    assert clock.trusted == 0
    with pytest.raises(OutsideError):
        clock.nearest(stamps[60])


# ---------------------------------------------------------------- borders, memory


def test_the_first_and_the_last_sample_reach_half_a_period_outwards() -> None:
    clock = clock_of(regular(256))
    clock.finish()
    half, last = 0.5 / RATE_HZ, 100.0 + 255 / RATE_HZ
    assert clock.nearest(100.0 - half - 1e-7).sample == -1
    assert clock.nearest(100.0 - half + 1e-7).sample == 0
    assert clock.nearest(last + half).sample == 255
    with pytest.raises(OutsideError):
        clock.nearest(last + half + 1e-7)
    covered = [clock.covers(time) for time in (100.0, last + half, last + 2 * half)]
    assert covered == [True, True, False]
    assert [clock.precedes(time) for time in (99.0, last + half, last + 2 * half)] == [False, False, True]


def test_the_first_sample_may_have_been_stamped_late() -> None:
    clock = clock_of(regular(256))
    assert clock.covers(100.0 - 0.99 * SETTLE_S)
    assert not clock.covers(100.0 - 1.01 * SETTLE_S)
    stamps = regular(1000)
    stamps[:2] += 0.02
    assert clock_of(stamps).nearest(100.0 + 2 / RATE_HZ).sample == 2


def test_a_time_before_the_first_sample_by_the_line_has_a_negative_sample() -> None:
    found = clock_of(regular(1000)).nearest(100.0 - 0.015)
    assert found.sample == -4


def test_a_segment_that_ends_early_settles_with_what_it_has() -> None:
    clock = clock_of(regular(80))
    with pytest.raises(NotYetError):
        clock.nearest(100.1)
    clock.finish()
    found = clock.nearest(100.1)
    assert (found.sample, found.settled) == (26, 80)
    assert found.uncertainty_us < 0.1


def test_a_segment_that_goes_on_may_come_to_cover_any_later_time() -> None:
    clock = clock_of(regular(64))
    assert clock.covers(1e9)
    assert not clock.precedes(1e9)
    assert not clock.covers(99.0)
    empty = clock_of(regular(0))
    assert not empty.covers(100.0)
    empty.finish()
    with pytest.raises(OutsideError):
        empty.nearest(100.0)


def test_a_time_whose_line_is_no_longer_held_is_refused_and_not_put_on_another() -> None:
    stamps = regular(10_000)
    clock = clock_of(stamps, capacity=256)
    answers = [ask(clock, time) for time in stamps[:-50].tolist()]
    held = next(i for i, answer in enumerate(answers) if answer is not LeftRingError)
    assert 10_000 - 4 * 256 < held < 10_000 - 256
    for sample, answer in enumerate(answers[held:], held):
        assert isinstance(answer, Alignment)
        assert answer.sample == sample
    with pytest.raises(OutsideError):
        clock.nearest(99.0)


def test_a_time_that_is_no_number_is_never_put_on_a_sample() -> None:
    clock = clock_of(regular(200))
    for time in (np.nan, -np.inf):
        with pytest.raises(OutsideError):
            clock.nearest(time)
    with pytest.raises(NotYetError):
        clock.nearest(np.inf)
    no_number = clock_of(np.array([np.nan]))
    no_number.finish()
    with pytest.raises(OutsideError):
        no_number.nearest(100.0)


def test_a_slow_stream_is_aligned_after_four_samples() -> None:
    rate_hz = 1 / 1.5
    stamps = regular(20, rate_hz=rate_hz)
    clock = clock_of(stamps[:3], rate_hz=rate_hz)
    with pytest.raises(NotYetError):
        clock.nearest(100.5)
    clock.append(stamps[3:])
    found = clock.nearest(100.5)
    assert (found.sample, found.settled) == (0, 4)
    assert (found.residual_us, found.uncertainty_us) == (pytest.approx(5e5), pytest.approx(0.0, abs=0.1))
