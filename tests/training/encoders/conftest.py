"""Small networks and a few pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from small_networks import save_clip, save_vit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """Eleven pictures of several sizes, one of them transparent in part and one turned by its EXIF."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(9):
        pixels = rng.integers(0, 255, (40 + 7 * index, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    see_through = rng.integers(0, 255, (50, 40, 4), dtype=np.uint8)
    Image.fromarray(see_through).save(folder / "transparent.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(rng.integers(0, 255, (48, 80, 3), dtype=np.uint8)).save(
        folder / "turned.jpg", exif=exif, quality=95
    )
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def make_clip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a small CLIP model."""
    return lambda *args, **changes: save_clip(tmp_path_factory.mktemp("clip"), *args, **changes)


@pytest.fixture(scope="session")
def make_vit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """File of random weights of a small network of timm."""
    return lambda *args, **keys: save_vit(
        tmp_path_factory.mktemp("vit") / "weights.safetensors", *args, **keys
    )
