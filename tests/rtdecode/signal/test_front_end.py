"""The front end gives the same bits for any chunking, and starts at the steady state of its first sample."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import sosfilt, sosfilt_zi

from rtdecode.signal.design import (
    design_iir,
    running_demean,
    running_detrend,
    running_robust_scale,
    running_zscore,
)
from rtdecode.signal.front_end import FrontEnd

if TYPE_CHECKING:
    from rtdecode.contracts import FrontEndStep

RATE_HZ = 250.0
BAND = design_iir(RATE_HZ, highpass_hz=0.5, lowpass_hz=40.0, order=4, highpass_order=2)
FRONT_ENDS: dict[str, list[FrontEndStep]] = {
    "none": [],
    "iir": [BAND],
    "lowpass": [design_iir(RATE_HZ, lowpass_hz=40.0, order=3, family="cheby2")],
    "demean": [running_demean(0.5)],
    "detrend": [running_detrend(0.5)],
    "zscore": [running_zscore(0.5)],
    "robust": [running_robust_scale(0.5)],
    "all": [BAND, running_demean(0.6), running_detrend(0.3), running_zscore(0.7), running_robust_scale(0.4)],
}
N_SAMPLES = 300


def eeg(n_channels: int, seed: int = 0, n_samples: int = N_SAMPLES) -> npt.NDArray[np.float64]:
    """Noise of 20 µV on an offset of 300 mV that drifts."""
    rng = np.random.default_rng(seed)
    drift = rng.normal(0, 2e-6, (n_samples, n_channels)).cumsum(axis=0)
    return rng.normal(0, 20e-6, (n_samples, n_channels)) + drift + 0.3


def run(
    steps: list[FrontEndStep], samples: npt.NDArray[np.float64], borders: list[int] | None = None
) -> npt.NDArray[np.float32]:
    front_end = FrontEnd(steps, samples.shape[1], RATE_HZ)
    return np.concatenate([front_end.process(chunk) for chunk in np.split(samples, sorted(borders or []))])


@pytest.mark.parametrize("kind", FRONT_ENDS)
@settings(max_examples=25, deadline=None)
@given(
    borders=st.lists(st.integers(0, N_SAMPLES), max_size=15),
    n_channels=st.sampled_from([1, 2, 3, 8, 17, 64]),
    seed=st.integers(0, 5),
)
def test_any_chunking_gives_the_same_bits(kind: str, borders: list[int], n_channels: int, seed: int) -> None:
    samples = eeg(n_channels, seed)
    whole = run(FRONT_ENDS[kind], samples)
    assert run(FRONT_ENDS[kind], samples, borders).tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_single_samples_and_one_huge_chunk_give_the_same_bits(kind: str) -> None:
    samples = eeg(5, n_samples=3000)
    whole = run(FRONT_ENDS[kind], samples)
    assert run(FRONT_ENDS[kind], samples, list(range(3000))).tobytes() == whole.tobytes()


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_memory_layout_and_company_of_other_channels_do_not_matter(kind: str) -> None:
    samples = eeg(16)
    whole = run(FRONT_ENDS[kind], samples)
    assert run(FRONT_ENDS[kind], np.asfortranarray(samples)).tobytes() == whole.tobytes()
    assert run(FRONT_ENDS[kind], np.repeat(samples, 2, axis=1)[:, ::2]).tobytes() == whole.tobytes()
    for channel in (0, 7, 15):
        alone = run(FRONT_ENDS[kind], samples[:, [channel]])
        assert alone.tobytes() == whole[:, [channel]].tobytes()


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_the_future_does_not_matter(kind: str) -> None:
    samples = eeg(3)
    changed = samples.copy()
    changed[200:] += 1.0
    before = run(FRONT_ENDS[kind], samples)[:200]
    assert run(FRONT_ENDS[kind], changed)[:200].tobytes() == before.tobytes()


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_output_is_float32_and_of_the_same_shape_also_when_empty(kind: str) -> None:
    front_end = FrontEnd(FRONT_ENDS[kind], 4, RATE_HZ)
    for n in (0, 1, 7):
        out = front_end.process(eeg(4, n_samples=n))
        assert out.shape == (n, 4)
        assert out.dtype == np.float32


@pytest.mark.parametrize("kind", FRONT_ENDS)
def test_reset_forgets_everything(kind: str) -> None:
    samples = eeg(3)
    front_end = FrontEnd(FRONT_ENDS[kind], 3, RATE_HZ)
    front_end.process(eeg(3, seed=9))
    front_end.reset()
    assert front_end.process(samples).tobytes() == run(FRONT_ENDS[kind], samples).tobytes()


def test_without_steps_samples_pass_unchanged() -> None:
    samples = np.arange(20.0).reshape(10, 2)
    np.testing.assert_array_equal(run([], samples), samples)


@pytest.mark.parametrize("shape", [(5,), (5, 2), (1, 5, 3)])
def test_samples_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(n, 3\)"):
        FrontEnd([], 3, RATE_HZ).process(np.zeros(shape))


@pytest.mark.parametrize("kind", ["iir", "demean", "detrend", "zscore", "all"])
def test_of_a_constant_offset_of_300_mv_nothing_at_all_is_left(kind: str) -> None:
    assert not run(FRONT_ENDS[kind], np.full((1000, 3), 0.3)).any()


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_low_highpass_treats_a_signal_on_300_mv_as_it_would_without(order: int) -> None:
    step = design_iir(RATE_HZ, highpass_hz=0.1, order=order)
    samples = eeg(2, n_samples=5000) - 0.3
    difference = run([step], samples + 0.3) - run([step], samples)
    assert np.abs(difference).max() < 1e-12  # volts: a millionth of a microvolt


def test_a_lowpass_starts_on_the_first_sample() -> None:
    out = run(FRONT_ENDS["lowpass"], np.full((50, 2), 0.3))
    np.testing.assert_allclose(out, 0.3, rtol=1e-6)


@pytest.mark.parametrize("kind", ["iir", "lowpass"])
def test_the_start_is_the_steady_state_of_the_first_sample(kind: str) -> None:
    samples = eeg(2) - 0.3
    sos = np.array(FRONT_ENDS[kind][0].sections)  # type: ignore[union-attr]
    state = sosfilt_zi(sos)[:, :, None] * samples[0]
    expected, _ = sosfilt(sos, samples, axis=0, zi=state)
    np.testing.assert_allclose(run(FRONT_ENDS[kind], samples), expected, rtol=1e-6, atol=1e-12)


def test_two_filters_in_a_row_are_one_after_the_other() -> None:
    highpass = design_iir(RATE_HZ, highpass_hz=0.5)
    lowpass = design_iir(RATE_HZ, lowpass_hz=30.0)
    samples = eeg(2)
    both = run([design_iir(RATE_HZ, highpass_hz=0.5, lowpass_hz=30.0)], samples)
    np.testing.assert_allclose(run([highpass, lowpass], samples), both, atol=1e-11)


def weighted_past(n: int, time_constant_s: float) -> npt.NDArray[np.float64]:
    return np.exp(-np.arange(n)[::-1] / (time_constant_s * RATE_HZ))


@pytest.mark.parametrize("n", [1, 2, 10, 100, 300])
def test_the_running_demean_leaves_what_differs_from_the_weighted_mean_of_the_past(n: int) -> None:
    samples = eeg(3)
    out = run(FRONT_ENDS["demean"], samples)[n - 1]
    mean = np.average(samples[:n], axis=0, weights=weighted_past(n, 0.5))
    np.testing.assert_allclose(out, samples[n - 1] - mean, rtol=1e-5, atol=1e-11)


@pytest.mark.parametrize("n", [2, 3, 10, 100, 300])
def test_the_running_detrend_is_a_weighted_line_fit_to_the_past(n: int) -> None:
    samples = eeg(3)
    out = run(FRONT_ENDS["detrend"], samples)[n - 1]
    weight = np.sqrt(weighted_past(n, 0.5))[:, None]
    line = np.column_stack([np.ones(n), np.arange(n)])
    fit = np.linalg.lstsq(line * weight, (samples[:n] - samples[0]) * weight, rcond=None)[0]
    np.testing.assert_allclose(out, samples[n - 1] - samples[0] - line[-1] @ fit, rtol=1e-4, atol=1e-11)


def test_the_running_detrend_leaves_nothing_of_a_line() -> None:
    line = 1000.0 + 3.0 * np.arange(500.0)[:, None]
    assert np.abs(run([running_detrend(0.2)], line)).max() < 1e-6


@pytest.mark.parametrize("n", [2, 3, 10, 100, 300])
def test_the_running_zscore_uses_the_weighted_mean_and_sd_of_the_past(n: int) -> None:
    samples = eeg(3)
    out = run(FRONT_ENDS["zscore"], samples)[n - 1]
    weight = weighted_past(n, 0.5)
    mean = np.average(samples[:n], axis=0, weights=weight)
    sd = np.sqrt(np.average((samples[:n] - mean) ** 2, axis=0, weights=weight))
    np.testing.assert_allclose(out, (samples[n - 1] - mean) / sd, rtol=1e-5)


def test_the_running_zscore_of_a_flat_channel_is_zero_until_it_moves() -> None:
    samples = np.zeros((20, 1))
    samples[10] = 1.0
    out = run(FRONT_ENDS["zscore"], samples)
    assert not out[:10].any()
    assert out[10] > 1


def test_what_is_no_number_never_becomes_one() -> None:
    samples = eeg(2)
    samples[50, 0] = np.nan
    for kind in FRONT_ENDS:
        out = run(FRONT_ENDS[kind], samples)
        assert np.isnan(out[50, 0])
        assert np.isfinite(out[:, 1]).all()


@pytest.mark.parametrize("gain", [1e-13, 1e-6, 1.0, 1e3])
def test_the_running_robust_scale_brings_any_gain_to_one_once_warm(gain: float) -> None:
    step = running_robust_scale(2.0)
    samples = np.random.default_rng(1).normal(0, gain, (5000, 4))
    out = run([step], samples)[int(step.warmup_s * RATE_HZ) :]
    np.testing.assert_allclose(np.median(np.abs(out), axis=0), 1.0, rtol=0.1)


def test_the_running_robust_scale_follows_a_change_of_gain_and_shrugs_off_an_artefact() -> None:
    samples = np.random.default_rng(2).normal(0, 1.0, (8000, 2))
    samples[3000] = 1e6
    samples[4000:] *= 5
    out = run([running_robust_scale(2.0)], samples)
    np.testing.assert_allclose(np.median(np.abs(out[3001:4000]), axis=0), 1.0, rtol=0.15)
    np.testing.assert_allclose(np.median(np.abs(out[6500:]), axis=0), 1.0, rtol=0.15)


def test_the_filter_is_scipys_to_the_bit_with_and_without_its_inner_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = importlib.util.find_spec("rtdecode.signal.front_end")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "scipy.signal._sosfilt", None)  # as if scipy had renamed it
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    step = design_iir(256.0, highpass_hz=1.0, lowpass_hz=40.0)
    samples = np.random.default_rng(0).normal(size=(300, 3))
    expected = sosfilt(np.array(step.sections), samples - samples[0], axis=0).astype(np.float32)
    for front_end in (FrontEnd([step], 3, 256.0), without.FrontEnd([step], 3, 256.0)):
        parts = [front_end.process(part) for part in np.split(samples, [1, 7, 150])]
        np.testing.assert_array_equal(np.concatenate(parts), expected)
