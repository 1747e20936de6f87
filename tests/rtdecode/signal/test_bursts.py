"""Bursts that are short tell of lost samples, those of any length do not; times are in sample periods."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.alignment import SampleClock
from rtdecode.signal.bursts import Bursts, burst_length

RATE_HZ = 256.0
LENGTH = 12
N = 840

Stamps = npt.NDArray[np.float64]


def in_bursts(seed: int, n: int = N, length: int = LENGTH) -> Stamps:
    """Steps from burst to burst are uneven, and would be if a sample were lost in them."""
    steps = np.random.default_rng(seed).choice([-0.6, -0.4, -0.3, 0.3, 0.4, 0.6], n // length + 1)
    return np.arange(n) + np.cumsum(steps).repeat(length)[:n]


def polled(seed: int, every: float, jitter: float, n: int = N) -> Stamps:
    """A sender that stamps what is there each time that it looks."""
    looks = np.arange(1, 2 * n) * every + np.abs(np.random.default_rng(seed).normal(0, jitter, 2 * n - 1))
    numbers = np.arange(n)
    ends = np.floor(looks).astype(int)
    at = np.searchsorted(ends, numbers, side="right")
    return looks[at] - (ends[at] - numbers)


def excess(stamps: Stamps) -> Stamps:
    return stamps - np.arange(len(stamps))


@pytest.mark.parametrize("lost", [None, 40, 47, 48])
def test_bursts_are_known_by_their_length_also_where_one_is_short(lost: int | None) -> None:
    stamps = in_bursts(0, 100)
    assert burst_length(excess(stamps if lost is None else np.delete(stamps, lost)), 1.0) == LENGTH


@pytest.mark.parametrize(
    "off",
    [
        np.zeros(100),
        np.random.default_rng(0).normal(0, 0.2, 100),
        np.floor(np.arange(100) / 12) * 0.4 - np.arange(100) * 0.4 / 12,
        np.where(np.arange(100) < 50, 0.0, 3.0),
    ],
    ids=["even", "jitter", "rounded", "one step"],
)
def test_stamps_that_are_even_or_jitter_or_are_rounded_come_in_no_bursts(off: Stamps) -> None:
    assert burst_length(off, 1.0) is None


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    lost=st.integers(20, N - 30 * 20),  # in the first burst it would not show, and that is not trusted
    phase=st.integers(0, LENGTH - 1),
    length=st.integers(4, 20),
)
def test_no_sample_after_a_lost_one_is_ever_certain(seed: int, lost: int, phase: int, length: int) -> None:
    stamps = np.delete(in_bursts(seed, length=length)[phase:], lost)
    bursts = Bursts(length, stamps[0], 1.0, N)
    for stamp in stamps.tolist():
        if not bursts.watch([stamp]):
            break
        assert bursts.certain <= lost
    else:
        pytest.fail("the segment goes on")


def test_a_loss_between_two_bursts_that_are_whole_is_the_same_as_none() -> None:
    """Where it is lost before samples are put into bursts, nothing in the stamps tells."""
    late = np.arange(48) // LENGTH % 2 * 0.375
    lost = np.delete(np.arange(49.0), 24) + late
    later = late + (np.arange(48) >= 24)
    np.testing.assert_array_equal(lost, np.arange(48.0) + later)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    within=st.lists(st.tuples(st.integers(8, 50), st.integers(1, LENGTH - 1)), max_size=6),
)
def test_a_burst_that_is_sent_in_parts_has_lost_nothing(seed: int, within: list[tuple[int, int]]) -> None:
    stamps = in_bursts(seed)
    for burst, at in within:
        stamps[burst * LENGTH + at : (burst + 1) * LENGTH] += 0.13
    bursts = Bursts(LENGTH, stamps[0], 1.0, N)
    assert bursts.watch(stamps.tolist()) == N
    assert bursts.certain >= N - LENGTH


@pytest.mark.parametrize("every_nth", [5, 10, 19])
def test_bursts_that_are_sent_in_parts_after_a_short_one_do_not_hold_back_for_ever(every_nth: int) -> None:
    lost = 21 * LENGTH - 1
    stamps = in_bursts(0, 4 * N)
    for burst in range(24, len(stamps) // LENGTH, every_nth):
        stamps[burst * LENGTH + 5 : (burst + 1) * LENGTH] += 0.13
    bursts = Bursts(LENGTH, stamps[0], 1.0, N)
    assert bursts.watch(np.delete(stamps, lost).tolist()) < lost + 30 * LENGTH
    assert bursts.certain <= lost


@pytest.mark.parametrize("every", [11.6, 11.9, 12.1, 12.4])
@pytest.mark.parametrize("jitter", [0.2, 0.8])
@pytest.mark.parametrize("seed", range(3))
def test_bursts_of_what_there_was_at_a_time_vary_and_hold_nothing_back(
    every: float, jitter: float, seed: int
) -> None:
    n = 3000
    stamps = polled(seed, every, jitter, n) / RATE_HZ
    clock = SampleClock(RATE_HZ, n)
    assert clock.append(stamps) == n
    assert clock.trusted == n


def test_stamps_that_become_even_hold_nothing_back() -> None:
    stamps = np.concatenate([in_bursts(0), in_bursts(0)[-1] + np.arange(1.0, N + 1)])
    bursts = Bursts(LENGTH, stamps[0], 1.0, N)
    assert bursts.watch(stamps.tolist()) == 2 * N
    assert bursts.vary
    assert bursts.certain == 2 * N


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1000),
    kind=st.sampled_from(["bursts", "lost", "parts", "polled", "long"]),
    at=st.integers(100, N - 100),
    borders=st.lists(st.integers(0, N), max_size=12),
)
def test_when_samples_were_trusted_does_not_depend_on_chunks(
    seed: int, kind: str, at: int, borders: list[int]
) -> None:
    stamps = in_bursts(seed)
    if kind == "lost":
        stamps = np.delete(stamps, at)
    elif kind == "parts":
        stamps[at : at + 5] += 0.13
    elif kind == "polled":
        stamps = polled(seed, 11.7, 0.5)
    elif kind == "long":
        stamps[at:] = in_bursts(seed + 1, N - at) + at
    clock, since = SampleClock(RATE_HZ, N), [0]
    taken = 0
    for stamp in stamps / RATE_HZ:
        if not clock.append(np.array([stamp])):
            break
        taken += 1
        since += [taken] * (clock.trusted + 1 - len(since))
    chunked = SampleClock(RATE_HZ, N)
    n = 0
    for part in np.split(stamps / RATE_HZ, sorted(borders)):
        n += chunked.append(part)
        if n == taken:
            break
    assert n == taken
    assert chunked.trusted == clock.trusted == len(since) - 1
    begun = since[1] if len(since) > 1 else 0
    for samples in range(1, clock.trusted + 1):
        assert chunked.known(samples) == clock.known(samples)
        assert max(begun, clock.known(samples)) == since[samples]
