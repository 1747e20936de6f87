from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from rtdecode.decoder import Decoder
from training.bench.models import write_deep, write_ridge
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


def test_the_deep_decoder_has_the_published_module_s_weights_its_linear_maps_folded(
    tmp_path: Path,
) -> None:
    write_deep(tmp_path / "deep.onnx", 272, 1200.0)
    decoder = Decoder(tmp_path / "deep.onnx")
    signal = decoder.manifest.signal
    check_antialias(signal)
    assert (signal.window.n_samples, signal.resampling.n_times) == (1801, 181)
    window = np.random.default_rng(0).standard_normal((1, 1801, 272), np.float32) * np.float32(1e-13)
    outputs = decoder.run(window)
    assert {name: value.shape for name, value in outputs.items()} == {
        "retrieval": (1, 768),
        "reconstruction": (1, 768),
    }
    assert all(np.isfinite(value).all() and value.std() > 0 for value in outputs.values())
    graph = onnx.load(tmp_path / "deep.onnx").graph
    found = sum(
        math.prod(tensor.dims)
        for tensor in graph.initializer
        if tensor.name.startswith("constant_") and tensor.dims
    )
    # Of the 6,424,472 with four subjects and one head, the blocks, the widening and the mean over time stand
    # as they are but for batch normalisation and the offset of the mean; attention, mixing and subject are
    # one matrix, and so are features and head, of which there are two. What follows is mean and SD.
    front, features, head = 2048 * 270 + 270 * 270 + 270 + 4 * 270 * 270, 640 * 2048 + 2048, 2048 * 768 + 768
    kept = 6_424_472 - front - features - head - 4 * 2 * 320 - 1
    assert found == kept + (270 * 272 + 270) + 2 * (640 * 768 + 768) + 2 * 2 * 768
