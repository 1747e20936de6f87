from __future__ import annotations

import numpy as np
import pytest

from training.patterns import haufe_patterns, temporal_generalisation


def test_patterns_show_the_source_and_not_the_noise_that_weights_suppress() -> None:
    """One source in channel 0, noise that 0 and 1 share: the weights use channel 1, the pattern does not."""
    rng = np.random.default_rng(0)
    source, noise = rng.normal(size=(2, 20000))
    x = np.column_stack([source + noise, noise]) + 5.0
    weights = np.array([[1.0], [-1.0]])
    np.testing.assert_allclose(haufe_patterns(x, weights), [[1.0], [0.0]], atol=0.02)


def test_an_output_that_never_varies_has_no_pattern() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    assert (haufe_patterns(x, np.zeros((3, 2))) == 0).all()


def test_a_code_that_stays_generalises_and_one_that_moves_does_not() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(200, 2))
    windows = np.zeros((200, 3, 4))
    windows[:, 0, :2] = windows[:, 1, :2] = targets  # the same channels at two times,
    windows[:, 2, 2:] = targets  # others at the third
    windows += 0.1 * rng.normal(size=windows.shape)
    code = np.eye(4)
    weights = np.stack([code[:, :2], code[:, :2], code[:, 2:]])
    matrix = temporal_generalisation(windows, weights, np.zeros((3, 2)), targets)
    assert matrix[:2, :2] == pytest.approx(1.0, abs=0.02)
    assert matrix[2, 2] == pytest.approx(1.0, abs=0.02)
    assert np.abs(matrix[2, :2]).max() < 0.3
    assert np.abs(matrix[:2, 2]).max() < 0.3
