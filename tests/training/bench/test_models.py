from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from rtdecode.decoder import Decoder
from training.bench.models import write_renamed, write_ridge
from training.export import check_antialias

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def ridge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ridge") / "ridge.onnx"
    write_ridge(path, 4, 500.0)
    return path


def test_the_ridge_decoder_is_one_that_the_service_takes(ridge: Path) -> None:
    decoder = Decoder(ridge)
    signal = decoder.manifest.signal
    check_antialias(signal)
    assert (signal.window.n_samples, signal.resampling.n_times) == (501, 121)
    window = np.random.default_rng(0).standard_normal((1, 501, 4), np.float32) * 1e-5
    embedding = decoder.run(window.astype(np.float32))["embedding"]
    assert embedding.shape == (1, 1024)
    assert 0.3 < embedding.std() < 3  # neither saturated nor zero
    assert decoder.manifest.simulated


def test_a_copy_differs_in_its_name_alone(ridge: Path, tmp_path: Path) -> None:
    write_renamed(ridge, tmp_path / "copy.onnx", "other")
    one, other = Decoder(ridge), Decoder(tmp_path / "copy.onnx")
    assert (one.name, other.name) == ("ridge", "other")
    assert other.manifest.model_copy(update={"name": "ridge"}) == one.manifest
    window = np.ones((1, 501, 4), np.float32)
    np.testing.assert_array_equal(one.run(window)["embedding"], other.run(window)["embedding"])
