"""The built-in world: rendered pictures of everyday objects, so that everything runs with nothing downloaded.

A picture depends on the world's seed and its own index alone. The test pictures come first, so a world with
more training pictures keeps the same test set.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import Field

from replay.datasets.outlines import CATEGORIES
from replay.datasets.rendering import BACKGROUNDS, COLOURS, LAYOUTS, TEXTURES, Scene, render
from rtdecode.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

_STREAM = 0x0B1EC7
"""Keeps the world's random numbers apart from those of simulated subjects with the same seed."""


class WorldSettings(Contract):
    """What the world holds.

    Parameters
    ----------
    seed
        Decides every picture, together with its index.
    n_test_per_category, n_train_per_category
        Pictures of each of the 24 categories, held out and for training.
    size_px
        Width and height of a picture, pixels.
    """

    seed: int = Field(default=0, ge=0)
    n_test_per_category: int = Field(default=5, ge=1)
    n_train_per_category: int = Field(default=125, ge=0)
    size_px: int = Field(default=64, ge=16)


class World:
    """A few thousand pictures, rendered when asked for.

    Parameters
    ----------
    settings
        What it holds; the defaults make 120 test and 3000 training pictures of 64 x 64 pixels.

    Attributes
    ----------
    simulated : bool
        Always True.
    """

    simulated = True

    def __init__(self, settings: WorldSettings | None = None) -> None:
        self.settings = settings or WorldSettings()

    def __len__(self) -> int:
        settings = self.settings
        return len(CATEGORIES) * (settings.n_test_per_category + settings.n_train_per_category)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a picture, in order of index.

        Columns: ``stimulus_id``, ``index``, ``category``, ``concept_id`` (object, colour and texture
        together), ``split`` (``test`` or ``train``), ``simulated``, and all factors of
        :class:`~replay.datasets.rendering.Scene`.
        """
        n_test = len(CATEGORIES) * self.settings.n_test_per_category
        rows = []
        for index in range(len(self)):
            scene = self.scene(index)
            rows.append(
                {
                    "stimulus_id": self.stimulus_id(index),
                    "index": index,
                    "concept_id": f"{scene.category}-{scene.colour}-{scene.texture}",
                    "split": "test" if index < n_test else "train",
                    "simulated": True,
                    **asdict(scene),
                }
            )
        return pd.DataFrame(rows)

    def stimulus_id(self, index: int) -> str:
        """Name of one picture, e.g. ``w0-00007-cross``: world seed, index, category."""
        return f"w{self.settings.seed}-{self._checked(index):05d}-{CATEGORIES[index % len(CATEGORIES)]}"

    def scene(self, index: int) -> Scene:
        """Tell what one picture shows; categories take turns, all else is drawn from (seed, index)."""
        rng = np.random.default_rng((_STREAM, self.settings.seed, self._checked(index)))

        def one_of(names: Sequence[str]) -> str:
            return names[int(rng.integers(len(names)))]

        size = rng.uniform(0.5, 0.8)
        reach = 0.5 * (1.0 - size)  # where the bounding square touches the frame
        x, y = rng.uniform(-0.75, 0.75, size=2) * reach
        return Scene(
            category=CATEGORIES[index % len(CATEGORIES)],
            colour=one_of(tuple(COLOURS)),
            texture=one_of(TEXTURES),
            background=one_of(tuple(BACKGROUNDS)),
            layout=one_of(LAYOUTS),
            size=float(size),
            x=float(x),
            y=float(y),
            tilt_deg=float(rng.normal(0.0, 9.0)),
            hue_shift_deg=float(rng.uniform(-9.0, 9.0)),
            lightness_shift=float(rng.uniform(-0.035, 0.035)),
            texture_deg=float(45.0 * rng.integers(4) + rng.uniform(-12.0, 12.0)),
            texture_scale=float(rng.uniform(0.85, 1.3)),
            ground_deg=float(rng.uniform(0.0, 360.0)),
        )

    def image(self, index: int) -> NDArray[np.uint8]:
        """Pixels of one picture, array of shape (size_px, size_px, 3), sRGB."""
        return render(self.scene(index), self.settings.size_px)

    def images(self, indices: Iterable[int] | None = None) -> Iterator[NDArray[np.uint8]]:
        """Pixels of several pictures, one after another; all of them by default."""
        return (self.image(int(index)) for index in (range(len(self)) if indices is None else indices))

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"this world has pictures 0 to {len(self) - 1}, there is no {index}")
        return index
