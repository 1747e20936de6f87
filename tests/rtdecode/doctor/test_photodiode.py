from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.doctor.photodiode import find_flashes, match_flashes


def photodiode(
    flashes: np.ndarray,
    rate_hz: float,
    stop_s: float,
    *,
    noise: float = 0.0,
    lit_s: float = 0.08,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A patch that takes a millisecond to light up, half of it before the flash's time."""
    times = np.arange(round(stop_s * rate_hz)) / rate_hz
    values = np.zeros(times.size)
    for flash in flashes:
        values += np.clip((times - flash) / 1e-3 + 0.5, 0, 1) * (times < flash + lit_s)
    return values + noise * np.random.default_rng(seed).standard_normal(times.size), times


@st.composite
def presentations(draw: st.DrawFn) -> dict:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(15, 50))
    soa_s = draw(st.sampled_from([0.2, 0.5, 1.0]))
    markers = 1.0 + np.cumsum(soa_s * rng.uniform(0.9, 1.3, n))
    return {
        "rng": rng,
        "markers": markers,
        "delay_s": draw(st.floats(-0.05, 0.15)),
        "jitter_s": draw(st.sampled_from([0.0, 0.001, 0.004])),
        "rate_hz": draw(st.sampled_from([256.0, 500.0, 1000.0, 1200.0])),
        "offset": draw(st.sampled_from([0.0, -3.0, 1e-2])),
        "scale": draw(st.sampled_from([1.0, 1e-6, 4e3])),
        "noise": draw(st.sampled_from([0.0, 0.01, 0.05])),
    }


@settings(max_examples=60)
@given(presentations())
def test_a_planted_delay_is_recovered_within_a_sample(shown: dict) -> None:
    rng, markers = shown["rng"], shown["markers"]
    flashes = markers + shown["delay_s"] + shown["jitter_s"] * rng.standard_normal(markers.size)
    values, times = photodiode(flashes, shown["rate_hz"], markers[-1] + 1, noise=shown["noise"])
    found = find_flashes(values * shown["scale"] + shown["offset"], times)
    assert found.times.size == flashes.size
    timing = match_flashes(markers, found.times)
    assert (timing.n_missing, timing.n_extra) == (0, 0)
    sample_s = 1 / shown["rate_hz"]
    np.testing.assert_allclose(timing.delays_s, flashes - markers, atol=sample_s)
    assert abs(timing.median_s - np.median(flashes - markers)) <= sample_s
    assert abs(timing.sd_s - np.std(flashes - markers)) <= sample_s


@settings(max_examples=60)
@given(presentations(), st.data())
def test_missing_and_extra_flashes_are_counted_and_do_not_move_the_delay(shown: dict, data) -> None:
    markers, delay_s = shown["markers"], shown["delay_s"]
    n = markers.size
    gone = data.draw(st.sets(st.integers(0, n - 1), max_size=n // 5), label="markers without flash")
    unasked = data.draw(st.sets(st.integers(0, n - 1), max_size=n // 5), label="flashes without marker")
    kept = [index for index in range(n) if index not in gone]
    sent = [index for index in range(n) if index not in unasked]
    values, times = photodiode(
        markers[kept] + delay_s, shown["rate_hz"], markers[-1] + 1, noise=shown["noise"]
    )
    timing = match_flashes(markers[sent], find_flashes(values, times).times)
    both = set(kept) & set(sent)
    assert timing.delays_s.size == len(both)
    assert (timing.n_missing, timing.n_extra) == (len(sent) - len(both), len(kept) - len(both))
    assert abs(timing.median_s - delay_s) <= 1 / shown["rate_hz"]


@given(st.integers(0, 2**32 - 1), st.sampled_from(["noise", "uniform", "hum", "flat", "drift"]))
def test_a_channel_without_flashes_has_none(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(5000) / 500
    values = {
        "noise": rng.standard_normal(times.size),
        "uniform": rng.uniform(0, 1, times.size),
        "hum": np.sin(2 * np.pi * 50 * times + rng.uniform(0, 6)),
        "flat": np.full(times.size, rng.standard_normal()),
        "drift": times * rng.standard_normal(),
    }[kind]
    assert find_flashes(values, times).times.size == 0


def test_the_flicker_of_the_screen_is_one_flash() -> None:
    """A backlight that is strobed at 120 Hz goes dark within each flash."""
    times = np.arange(4000) / 2000
    lit = ((times % 0.5) < 0.1) & (((times % (1 / 120)) * 120) < 0.5) & (times > 0.4)
    assert find_flashes(lit.astype(float), times).times.size == 3


def test_noise_around_the_threshold_makes_no_flashes() -> None:
    rng = np.random.default_rng(3)
    times = np.arange(3000) / 1000
    slow = np.clip(0.5 - 2 * np.cos(2 * np.pi * times), 0, 1)  # rises for 80 ms, three times
    assert find_flashes(slow + 0.05 * rng.standard_normal(times.size), times).times.size == 3


def test_samples_that_are_no_numbers_do_no_harm() -> None:
    values, times = photodiode(np.array([1.0, 2.0, 3.0]), 500.0, 4.0)
    values[10] = np.nan
    np.testing.assert_allclose(find_flashes(values, times).times, [1, 2, 3], atol=2e-3)


def test_of_equally_common_delays_the_one_nearest_to_zero_is_meant() -> None:
    markers = np.arange(1, 40) * 0.1
    assert match_flashes(markers, markers + 0.03).median_s == pytest.approx(0.03)


def test_without_markers_or_flashes_nothing_matches() -> None:
    some, none = np.array([1.0, 2.0]), np.empty(0)
    for markers, flashes in ((some, none), (none, some), (none, none), (some, some + 10)):
        timing = match_flashes(markers, flashes)
        assert (timing.n_missing, timing.n_extra, timing.delays_s.size) == (markers.size, flashes.size, 0)
