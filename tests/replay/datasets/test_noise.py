from __future__ import annotations

import numpy as np
import pytest

from replay.datasets.noise import BLOCK, OVERLAP, BlockNoise, Component, frequencies, unit_variance

RATE_HZ = 1000.0


def white(n_channels: int, seed: int = 0) -> BlockNoise:
    flat = unit_variance(np.ones_like(frequencies(RATE_HZ)))[:, None]
    return BlockNoise([Component(flat, np.eye(n_channels))], n_channels, (seed,))


def test_blocks_are_the_same_in_any_order() -> None:
    first, again = white(3), white(3)
    forwards = [first.block(index) for index in (0, 1, 2)]
    backwards = [again.block(index) for index in (2, 1, 0)]
    for one, other in zip(forwards, reversed(backwards), strict=True):
        assert one.shape == (BLOCK, 3)
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_noise() -> None:
    assert abs(np.corrcoef(white(1, 0).block(0)[:, 0], white(1, 1).block(0)[:, 0])[0, 1]) < 0.05


def test_variance_is_one_inside_the_cross_fade_and_outside() -> None:
    block = white(40).block(1).astype(float)
    assert block[:OVERLAP].var() == pytest.approx(1.0, abs=0.02)
    assert block[OVERLAP:].var() == pytest.approx(1.0, abs=0.01)


def test_blocks_join_without_a_step() -> None:
    frequency = frequencies(RATE_HZ)
    slow = unit_variance(np.exp(-frequency / 2))[:, None]
    noise = BlockNoise([Component(slow, np.eye(8))], 8, (1,))
    joined = np.concatenate([noise.block(0), noise.block(1)])
    steps = np.abs(np.diff(joined, axis=0)).max(axis=1)
    assert steps[BLOCK - 1] < 3 * steps.mean()


def test_mixing_gives_channels_their_covariance() -> None:
    mixing = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -2.0]])
    flat = unit_variance(np.ones_like(frequencies(RATE_HZ)))[:, None]
    samples = BlockNoise([Component(flat, mixing)], 3, (2,)).block(0).astype(float)
    np.testing.assert_allclose(np.cov(samples.T), mixing.T @ mixing, atol=0.1)


def test_components_without_power_are_silent() -> None:
    silent = Component(np.zeros((len(frequencies(RATE_HZ)), 1)), np.eye(2))
    assert not BlockNoise([silent], 2, (0,)).block(0).any()
