"""Missing channels are rebuilt from their neighbours as well as the field is smooth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.errors import UserError
from rtdecode.signal.repair import interpolation_matrix


def cap(n: int = 64, seed: int = 0) -> npt.NDArray[np.float64]:
    """Sensors spread evenly over the upper part of a head of 9 cm radius, off the origin."""
    height = np.linspace(0.98, -0.3, n)
    angle = np.arange(n) * np.pi * (3 - np.sqrt(5))
    radius = np.sqrt(1 - height**2)
    sphere = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), height])
    return 0.09 * sphere + [0.01, -0.02, 0.04] + np.random.default_rng(seed).normal(0, 5e-4, (n, 3))


@settings(max_examples=30, deadline=None)
@given(missing=st.lists(st.integers(0, 63), max_size=10))
def test_channels_that_are_there_pass_unchanged_and_missing_ones_are_not_used(missing: list[int]) -> None:
    matrix = interpolation_matrix(cap(), missing)
    there = [channel for channel in range(64) if channel not in missing]
    np.testing.assert_array_equal(matrix[there], np.eye(64)[there])
    assert not matrix[np.ix_(missing, missing)].any()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, atol=1e-9)


def test_a_smooth_field_is_rebuilt() -> None:
    positions = cap()
    x, y, z = (positions - positions.mean(axis=0)).T / 0.09
    field = 20e-6 * (x + 0.5 * y - z + x * y - 0.7 * z * x)
    missing = [5, 20, 33, 48]
    rebuilt = interpolation_matrix(positions, missing) @ field
    assert np.abs(rebuilt - field)[missing].max() < 0.03 * np.ptp(field)


def test_it_agrees_with_mne() -> None:
    mne = pytest.importorskip("mne")
    montage = mne.channels.make_standard_montage("biosemi32")
    names = montage.ch_names
    data = np.random.default_rng(0).normal(0, 1e-5, (len(names), 50))
    raw = mne.io.RawArray(data.copy(), mne.create_info(names, 100.0, "eeg"), verbose="error")
    raw.set_montage(montage)
    raw.info["bads"] = ["Pz"]
    raw.interpolate_bads(verbose="error")
    positions = np.array([channel["loc"][:3] for channel in raw.info["chs"]])
    ours = interpolation_matrix(positions, [names.index("Pz")]) @ data
    theirs = raw.get_data("Pz")[0]
    assert np.corrcoef(ours[names.index("Pz")], theirs)[0, 1] > 0.99


def test_with_nothing_missing_nothing_changes() -> None:
    np.testing.assert_array_equal(interpolation_matrix(cap(8), []), np.eye(8))


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(UserError, match="3 of 6 channels are missing: at least 4 must be there"):
        interpolation_matrix(cap(6), [0, 1, 2])
