"""The resampling matrix keeps constants, copies what falls on a sample, and interpolates the rest well."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Window
from rtdecode.errors import UserError
from rtdecode.signal.resampling import resampling_for, resampling_matrix


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


@pytest.mark.parametrize("target_hz", [0.0, -1.0, 257.0])
def test_a_rate_that_cannot_be_reached_is_refused(target_hz: float) -> None:
    with pytest.raises(UserError, match="target rate"):
        resampling_for(window_of(100), 256.0, target_hz)
