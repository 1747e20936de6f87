"""The resampling matrix keeps constants, copies what falls on a sample, and interpolates the rest well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Channel, Resampling, SignalContract, Window
from rtdecode.errors import UserError
from rtdecode.signal.resampling import Resampler, resampling_for, resampling_matrix


def window_of(n_samples: int) -> Window:
    return Window(first_sample=-10, last_sample=n_samples - 11)


def matrix_of(n_samples: int, rate_hz: float, target_hz: float) -> np.ndarray:
    window = window_of(n_samples)
    return resampling_matrix(window, rate_hz, resampling_for(window, rate_hz, target_hz))


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "target_hz", "n_times"),
    [
        (1801, 1200, 120, 181),
        (1000, 1000, 250, 250),
        (1001, 1000, 250, 251),
        (205, 256, 100, 80),
        (1, 256, 100, 1),
    ],
)
def test_number_of_points(n_samples: int, rate_hz: float, target_hz: float, n_times: int) -> None:
    assert resampling_for(window_of(n_samples), rate_hz, target_hz).n_times == n_times


@settings(max_examples=60, deadline=None)
@given(
    n_samples=st.integers(1, 150),
    rate_hz=st.sampled_from([0.5, 250.0, 256.0, 300.0, 512.0, 1000.0, 1200.0]),
    share=st.floats(0.05, 1.0),
)
def test_rows_sum_to_one_and_points_stay_inside_the_window(
    n_samples: int, rate_hz: float, share: float
) -> None:
    matrix = matrix_of(n_samples, rate_hz, rate_hz * share)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-12)
    assert matrix.shape[1] == n_samples
    assert -1e-6 <= (n_samples - 1) * share - (len(matrix) - 1) < 1 + 1e-6
    assert np.linalg.norm(matrix, axis=1).max() < 4  # noise is never blown up


def test_equal_rates_give_exactly_the_identity() -> None:
    np.testing.assert_array_equal(matrix_of(50, 256.0, 256.0), np.eye(50))


@pytest.mark.parametrize(("rate_hz", "target_hz"), [(1200.0, 120.0), (1000.0, 250.0), (256.0, 64.0)])
def test_points_on_a_native_sample_are_that_sample(rate_hz: float, target_hz: float) -> None:
    step = int(rate_hz / target_hz)
    np.testing.assert_array_equal(matrix_of(101, rate_hz, target_hz), np.eye(101)[::step])


def test_points_on_a_native_sample_are_that_sample_beside_points_that_are_not() -> None:
    matrix = matrix_of(205, 256.0, 100.0)
    np.testing.assert_array_equal(matrix[25], np.eye(205)[64])
    assert np.count_nonzero(matrix[26]) > 1


@pytest.mark.parametrize(
    ("n_samples", "rate_hz", "target_hz", "highest_hz"),
    [(205, 256, 100, 40), (1001, 1000, 120, 45), (1001, 1000, 300, 120), (309, 512, 120, 45)],
)
def test_sines_in_the_band_are_interpolated_also_at_the_ends(
    n_samples: int, rate_hz: float, target_hz: float, highest_hz: float
) -> None:
    matrix = matrix_of(n_samples, rate_hz, target_hz)
    native_s = np.arange(n_samples) / rate_hz
    target_s = np.arange(len(matrix)) / target_hz
    middle = (target_s > 16 / rate_hz) & (target_s < native_s[-1] - 16 / rate_hz)
    for hz in np.linspace(0.5, highest_hz, 15):
        for phase in (0.0, 1.0, 2.0):
            error = matrix @ np.sin(2 * np.pi * hz * native_s + phase) - np.sin(
                2 * np.pi * hz * target_s + phase
            )
            assert np.abs(error[middle]).max() < 1e-4
            assert np.abs(error).max() < 2e-2


def shifting(n_points: int, rate_hz: float, target_hz: float | None = None) -> Resampler:
    """Of a window that reaches from one sample before the onset's to one after the last point."""
    window = Window(first_sample=-1, last_sample=n_points)
    return Resampler(
        SignalContract(
            channels=(Channel(name="12-3-4", type="voxel", unit="1"),),
            rate_hz=rate_hz,
            front_end=(),
            window=window,
            resampling=resampling_for(window, rate_hz, target_hz or rate_hz, shift_residual=True),
        )
    )


@settings(max_examples=60, deadline=None)
@given(
    n_points=st.integers(1, 40),
    rate_hz=st.sampled_from([0.4, 1 / 1.5, 0.625, 100.0]),
    share=st.floats(0.3, 1.0),
    shift=st.floats(-1.0, 1.0),
)
def test_whatever_the_residual_the_weights_of_a_point_sum_to_one(
    n_points: int, rate_hz: float, share: float, shift: float
) -> None:
    resampler = shifting(n_points, rate_hz, share * rate_hz)
    assert resampler.matrices.shape == (3, resampler.matrices.shape[1], n_points + 2)
    constant = np.full((n_points + 2, 1), 1000.0, np.float32)
    np.testing.assert_allclose(resampler(constant, shift / rate_hz), 1000.0, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    n_points=st.integers(1, 40),
    rate_hz=st.sampled_from([0.4, 1 / 1.5, 100.0]),
    shift=st.floats(-1.0, 1.0),
)
def test_points_are_read_off_a_parabola_at_the_time_of_the_picture(
    n_points: int, rate_hz: float, shift: float
) -> None:
    resampler = shifting(n_points, rate_hz)
    place = np.arange(-1.0, n_points + 1.0)[:, None]
    course = np.concatenate([place, 3.0 - 2.0 * place + 0.5 * place**2], axis=1).astype(np.float32)
    points = np.arange(n_points) + shift
    expected = np.stack([points, 3.0 - 2.0 * points + 0.5 * points**2], axis=1)
    np.testing.assert_allclose(resampler(course, shift / rate_hz), expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(resampler(course, 0.0), course[1:-1])


def test_a_residual_beyond_what_the_window_holds_goes_as_far_as_that() -> None:
    resampler = shifting(5, 0.4)
    course = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    for sign, samples in ((1, course[2:]), (-1, course[:-2])):
        for residual_s in (2.5, 2.6, 1e9):
            np.testing.assert_allclose(resampler(course, sign * residual_s), samples, rtol=1e-5)


@pytest.mark.parametrize(
    ("repetition_s", "nearest", "shifted"), [(1.5, 0.18, 0.035), (2.0, 0.24, 0.07), (2.5, 0.29, 0.11)]
)
def test_a_haemodynamic_response_is_read_at_the_time_of_the_picture(
    repetition_s: float, nearest: float, shifted: float
) -> None:
    residuals_s = np.linspace(-0.5, 0.5, 41) * repetition_s
    before, after = [], []
    volumes_s = repetition_s * np.arange(-1.0, round(20 / repetition_s) + 1.0)
    resampler = shifting(len(volumes_s) - 2, 1 / repetition_s)
    for residual_s in residuals_s:
        course = response(volumes_s - residual_s)  # the picture came later than the volume
        truth = response(volumes_s[1:-1])
        points = resampler(course[:, None].astype(np.float32), float(residual_s))[:, 0]
        before.append(course[1:-1] - truth)
        after.append(points - truth)
    sd = np.std(response(volumes_s[1:-1]))
    assert shifted / 2 < np.sqrt(np.mean(np.square(after))) / sd < shifted
    assert nearest / 2 < np.sqrt(np.mean(np.square(before))) / sd < nearest * 1.2


def response(seconds: np.ndarray) -> np.ndarray:
    """Two gamma functions that peak 5 and 15 s after the event, the second a sixth of the first."""
    seconds = np.maximum(seconds, 0.0)
    return seconds**5 * np.exp(-seconds) / 120 - seconds**15 * np.exp(-seconds) / 1307674368000 / 6


def test_a_window_too_short_to_be_shifted_is_refused() -> None:
    with pytest.raises(ValueError, match="can be shifted"):
        SignalContract(
            channels=(Channel(name="12-3-4", type="voxel", unit="1"),),
            rate_hz=0.4,
            front_end=(),
            window=Window(first_sample=0, last_sample=1),
            resampling=Resampling(rate_hz=0.4, n_times=1, shift_residual=True),
        )


@pytest.mark.parametrize("target_hz", [0.0, -1.0, 257.0])
def test_a_rate_that_cannot_be_reached_is_refused(target_hz: float) -> None:
    with pytest.raises(UserError, match="target rate"):
        resampling_for(window_of(100), 256.0, target_hz)
