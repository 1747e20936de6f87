"""A stamp jumps where it is off by more than a gap, and where even steps show that samples were lost."""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.steps import EVEN_S, Steps

RATE_HZ = 256.0


def jumping(steps: list[float], rate_hz: float) -> list[int]:
    jumps = Steps(rate_hz, 0.1)
    assert jumps.jumps([0.0]) == [0]
    return jumps.jumps(accumulate(steps))


def test_steps_are_jumps_where_they_are_off_by_more_than_a_gap_or_no_number() -> None:
    assert jumping([0.01, 0.109, 0.111, -0.089, -0.091, 5.0, -5.0], 100) == [2, 4, 5, 6]
    assert jumping([1.5, 2.2, 2.3, 0.8, 0.7], 1 / 1.5) == [2, 4]
    assert Steps(100, 0.1).jumps([1.0, np.nan, 1.02, 1.03]) == [0, 1, 2]


@pytest.mark.parametrize("n_lost", [1, 2, 5])
@pytest.mark.parametrize("scatter", [0.0, 0.02])
def test_even_steps_tell_each_lost_sample_from_the_first_second_on(n_lost: int, scatter: float) -> None:
    stamps = np.arange(900) + np.random.default_rng(0).uniform(-scatter, scatter, 900)
    enough = math.ceil(EVEN_S * RATE_HZ)
    kept = np.ones(900, bool)
    for at in (5, enough - 30, enough + 90, 400, 430, 700):
        kept[at : at + n_lost] = False
    found = Steps(RATE_HZ, 0.1).jumps((stamps[kept] / RATE_HZ).tolist())
    after = np.flatnonzero(np.diff(np.flatnonzero(kept)) > 1) + 1
    assert found == [0, *(at for at in after if at > enough)]


@settings(max_examples=50, deadline=None)
@given(
    late=st.floats(0.3, 25).filter(lambda late: abs(late - round(late)) > 0.03),
    n=st.integers(1, 50),
    borders=st.lists(st.integers(0, 1000), max_size=10),
)
def test_a_sender_that_is_held_up_makes_no_jump_and_chunks_do_not_matter(
    late: float, n: int, borders: list[int]
) -> None:
    stamps = np.arange(1000.0)
    stamps[300 : 300 + n] += late
    stamps[450:] += 1
    stamps[900:] += 1
    jumps = Steps(RATE_HZ, 0.1)
    found, first = [], 0
    for part in np.split(stamps / RATE_HZ, sorted(borders)):
        found += [first + at for at in jumps.jumps(part.tolist())]
        first += len(part)
    assert found == [0, 900]


@pytest.mark.parametrize("chunk", [12, 32, 100])
@pytest.mark.parametrize("seed", range(3))
def test_chunks_that_are_even_within_are_not_taken_for_even_stamps(chunk: int, seed: int) -> None:
    """Stamps that liblsl deduces for all samples of a chunk but one; that one is stamped when it leaves."""
    off = np.random.default_rng(seed).normal(0, 1.0, 76_800 // chunk + 1).repeat(chunk)[:76_800]
    assert Steps(RATE_HZ, 0.1).jumps(((np.arange(76_800) + off) / RATE_HZ).tolist()) == [0]


def test_a_burst_that_is_sent_in_two_parts_is_no_lost_sample() -> None:
    off = np.random.default_rng(0).normal(0, 1.0, 100).repeat(12)
    off[605:612] += 1.4
    assert Steps(RATE_HZ, 0.1).jumps(((np.arange(1200) + off) / RATE_HZ).tolist()) == [0]


@pytest.mark.parametrize("stamp", [math.inf, -math.inf, math.nan])
def test_a_stamp_that_is_no_time_is_a_jump_also_among_bursts(stamp: float) -> None:
    off = np.random.default_rng(0).normal(0, 1.0, 50).repeat(12)
    stamps = (np.arange(600) + off) / RATE_HZ
    stamps[500] = stamp
    assert Steps(RATE_HZ, 0.1).jumps(stamps.tolist()) == [0, 500, 501]
