"""Losses where a segment begins are told from late chunks, from bursts and from a rate that is off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.lost import hides_losses

N = 91
UNDECIDED = 13


def told(periods: np.ndarray) -> bool | None:
    return hides_losses(periods / 256.0, 1 / 256.0, UNDECIDED)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    lost=st.lists(st.integers(20, 70), min_size=1, max_size=3, unique=True),
    sd=st.floats(0, 0.4),
    ppm=st.floats(-500, 500),
)
def test_lost_samples_are_told_however_many_and_though_stamps_scatter(
    seed: int, lost: list[int], sd: float, ppm: float
) -> None:
    off = np.random.default_rng(seed).normal(0, 1, N) * sd + np.arange(N) * ppm * 1e-6
    assert told(off) is not True
    assert told(off + np.searchsorted(sorted(lost), np.arange(N), side="right"))


@pytest.mark.parametrize("at", [1, 2, 77])
def test_on_even_stamps_a_loss_is_told_from_the_first_sample_on(at: int) -> None:
    assert told(np.where(np.arange(N) < at, 0.0, 1.0))


def test_what_is_late_at_the_end_may_yet_come_back() -> None:
    off = np.where(np.arange(N + UNDECIDED) < 80, 0.0, 5.0)
    assert told(off[:N]) is None
    assert told(off)
    off[90:] = 0.0
    assert told(off) is False


@pytest.mark.parametrize("n", [1, 5, 13])
@pytest.mark.parametrize("at", [0, 5, 40, 78])
def test_a_sender_that_was_held_up_has_lost_nothing(n: int, at: int) -> None:
    off = np.random.default_rng(0).normal(0, 0.02, N)
    off[at : at + n] += 8.0
    assert not told(off)


@pytest.mark.parametrize("sd", [0.1, 0.25, 0.5, 1.0, 2.0])
def test_bursts_and_a_rate_that_is_off_are_no_losses(sd: float) -> None:
    rng = np.random.default_rng(0)
    bursts = [rng.normal(0, sd, N // 12 + 2).repeat(12)[rng.integers(12) :][:N] for _ in range(200)]
    assert sum(told(off) is True for off in bursts) <= 2
    for rate in (-0.02, -0.002, 0.002, 0.02):
        assert not told(np.arange(N) * rate + rng.normal(0, 0.02, N))


def test_too_few_stamps_tell_nothing() -> None:
    assert not hides_losses(np.zeros(1), 1 / 256.0, 0)
    assert not hides_losses(np.array([np.nan]), 1 / 256.0, 0)
