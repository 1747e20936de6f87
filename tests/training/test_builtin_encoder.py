from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from replay.datasets.encoder import WEIGHTS_FILE, BuiltinEncoder
from replay.datasets.world import World, WorldSettings
from training.builtin_encoder import DIM, build, fit_readout, gabor_bank, main, run, what_is_shown

if TYPE_CHECKING:
    from pathlib import Path

TINY = World(WorldSettings(n_test_per_category=1, n_train_per_category=6))


@pytest.mark.timeout(400)  # learns from all 3000 pictures, as the shipped file did
def test_a_freshly_built_encoder_has_the_shipped_embedding_space() -> None:
    fresh = build(World())
    images = np.stack(list(World().images(range(120))))
    ours, shipped = run(fresh, images), BuiltinEncoder().encode(images)
    # Inner products, which a rotation among directions of equal variance (another BLAS) leaves alone.
    difference = ours @ ours.T - shipped @ shipped.T
    assert np.abs(difference).max() <= 1e-2 * np.mean(np.sum(shipped**2, axis=1))
    assert {p.key: p.value for p in fresh.metadata_props} == {
        p.key: p.value for p in onnx.load(WEIGHTS_FILE).metadata_props
    }


def test_building_twice_gives_the_same_bytes() -> None:
    first, second = (build(TINY).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second


def test_command_writes_an_encoder_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.builtin_encoder.World", lambda: TINY)
    result = CliRunner().invoke(main, ["--out", str(tmp_path / "encoder.onnx")])
    assert result.exit_code == 0
    digest = hashlib.sha256((tmp_path / "encoder.onnx").read_bytes()).hexdigest()
    encoder = BuiltinEncoder(tmp_path / "encoder.onnx")
    assert encoder.space.weights_sha256 == digest
    assert encoder.encode([TINY.image(0)]).shape == (1, DIM)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["encoder.onnx", "encoder.sha256"]


def test_filters_are_blind_to_a_constant_and_of_unit_norm() -> None:
    bank = gabor_bank(11, 2.4, 6.5, 8)
    assert bank.shape == (16, 11, 11)
    np.testing.assert_allclose(bank.sum(axis=(1, 2)), 0.0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(bank, axis=(1, 2)), 1.0)


def test_targets_are_centred_and_one_row_a_picture() -> None:
    rows = TINY.table[TINY.table["split"] == "train"]
    targets = what_is_shown(rows, np.stack(list(TINY.images(rows["index"]))))
    assert len(targets) == len(rows)
    np.testing.assert_allclose(targets.mean(axis=0), 0.0, atol=1e-9)


def test_readout_is_centred_with_unit_mean_variance() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3.0, 2.0, size=(300, 400)).astype(np.float32)
    targets = features[:, :100] @ rng.normal(size=(100, 90))
    weights, bias = fit_readout(features, targets - targets.mean(axis=0))
    embedded = features @ weights + bias
    np.testing.assert_allclose(embedded.mean(axis=0), 0.0, atol=1e-3)
    assert embedded.var() == pytest.approx(1.0, rel=0.02)
