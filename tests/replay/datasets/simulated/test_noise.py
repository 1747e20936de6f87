from __future__ import annotations

import numpy as np
import pytest

from replay.datasets.simulated.noise import BlockNoise, Blocks, Component

RATE_HZ = 1000.0
BLOCKS = Blocks(chunk=32768, overlap=4096)
BLOCK = len(BLOCKS)
FREQUENCY = BLOCKS.frequencies(RATE_HZ)
FLAT = BLOCKS.unit_variance(np.ones_like(FREQUENCY))[:, None]


def white(n_channels: int, seed: int = 0) -> BlockNoise:
    return BlockNoise([Component(FLAT, np.eye(n_channels))], n_channels, (seed,), BLOCKS)


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
    assert block[: BLOCKS.overlap].var() == pytest.approx(1.0, abs=0.02)
    assert block[BLOCKS.overlap :].var() == pytest.approx(1.0, abs=0.01)


def test_blocks_join_without_a_step() -> None:
    slow = BLOCKS.unit_variance(np.exp(-FREQUENCY / 2))[:, None]
    noise = BlockNoise([Component(slow, np.eye(8))], 8, (1,), BLOCKS)
    joined = np.concatenate([noise.block(0), noise.block(1)])
    steps = np.abs(np.diff(joined, axis=0)).max(axis=1)
    assert steps[BLOCK - 1] < 3 * steps.mean()


def test_mixing_gives_channels_their_covariance() -> None:
    mixing = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -2.0]])
    samples = BlockNoise([Component(FLAT, mixing)], 3, (2,), BLOCKS).block(0).astype(float)
    np.testing.assert_allclose(np.cov(samples.T), mixing.T @ mixing, atol=0.1)


def test_components_without_power_are_silent() -> None:
    silent = Component(np.zeros((len(FREQUENCY), 1)), np.eye(2))
    assert not BlockNoise([silent], 2, (0,), BLOCKS).block(0).any()


def test_without_a_mixing_each_channel_has_a_source_of_its_own() -> None:
    block = BlockNoise([Component(2 * FLAT, None)], 3, (4,), BLOCKS).block(1).astype(float)
    np.testing.assert_allclose(np.cov(block.T), 4 * np.eye(3), atol=0.1)


def test_autocovariance_is_that_of_the_samples_at_all_places() -> None:
    blocks = Blocks(chunk=64, overlap=16)
    amplitude = blocks.unit_variance(1 / blocks.frequencies(RATE_HZ))[:, None]
    noise = BlockNoise([Component(amplitude, None)], 4000, (3,), blocks)
    samples = np.concatenate([noise.block(index) for index in range(5)]).astype(float)
    expected = blocks.autocovariance(amplitude)[:, 0]
    assert expected[0] == pytest.approx(1.0)
    n = 3 * len(blocks)
    for lag in (0, 1, 5, 20, 50, 63, 70):
        found = np.mean(samples[:n] * samples[lag : lag + n])
        assert found == pytest.approx(expected[lag] if lag < 64 else 0.0, abs=0.01)
