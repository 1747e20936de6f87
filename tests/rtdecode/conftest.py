"""A lab, and the decoder that a service of it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from index_decoder import index_manifest, write_index_decoder
from lab import Lab

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    """Its window is the 101 samples from the onset on."""
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, 100)))
    return tmp_path / "d.onnx"
