"""The pictures of the Natural Scenes Dataset: all in one HDF5 file, for all datasets that showed them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.hdf5 import open_hdf5
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.datasets.dataset import ReadPicture


@contextmanager
def nsd_pictures(source: Path, n_images: int) -> Iterator[ReadPicture]:
    """Open ``nsd_stimuli.hdf5``, for as long as a block runs; stimuli are its images' numbers, from 0.

    Raises
    ------
    UserError
        If it is missing or damaged, or holds something else.
    """
    with open_hdf5(source) as file:
        pictures = file.dataset("imgBrick", shape=(n_images, None, None, 3), kinds="u")
        if pictures.dtype != np.uint8:
            raise UserError(f"{source}: imgBrick holds {pictures.dtype}, no bytes; get another file")
        yield lambda stimulus_id: pictures[int(stimulus_id)]


def picture_name(image: int) -> str:
    """File of an image, as taken out of ``nsd_stimuli.hdf5``."""
    return f"nsd{image:05d}.png"
