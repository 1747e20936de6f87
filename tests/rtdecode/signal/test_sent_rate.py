"""A stream that sends faster or slower than it announces is found out; one that loses samples is not."""

from __future__ import annotations

import numpy as np
import pytest

from rtdecode.signal.sent_rate import SentRate

RATE_HZ = 256.0


def play(watch: SentRate, stamps: np.ndarray, chunk: int = 13) -> float | None:
    for start in range(0, len(stamps), chunk):
        watch.add(stamps[start : start + chunk])
    return watch.wrong_hz


@pytest.mark.parametrize("factor", [0.9, 0.98, 1.02, 2.0])
def test_a_wrong_rate_is_told_and_over_when_it_is_right(factor: float) -> None:
    watch = SentRate(RATE_HZ)
    sent_hz = factor * RATE_HZ
    stamps = 1000.0 + np.arange(round(15 * RATE_HZ)) / sent_hz
    assert play(watch, stamps) == pytest.approx(sent_hz)
    assert play(watch, stamps[-1] + np.arange(1, 15 * RATE_HZ) / RATE_HZ) is None


@pytest.mark.parametrize("chunk", [1, 13, 5000])
def test_scatter_gaps_and_a_clock_that_is_set_are_no_wrong_rate(chunk: int) -> None:
    stamps = 1000.0 + np.arange(5000) / RATE_HZ
    stamps += np.random.default_rng(0).normal(scale=0.002, size=5000)
    stamps[1000:] += 0.3
    stamps[2500:] -= 50.0
    assert play(SentRate(RATE_HZ), stamps, chunk) is None


def test_stamps_that_stand_still_or_are_no_numbers_say_nothing() -> None:
    assert play(SentRate(RATE_HZ), np.full(5000, 7.0)) is None
    assert play(SentRate(RATE_HZ), np.full(5000, np.nan)) is None
