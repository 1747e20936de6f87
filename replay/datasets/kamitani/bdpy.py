"""Files of bdpy and BrainDecoderToolbox2: a matrix of samples by columns, and what each column is.

``/dataset`` holds the numbers, ``/metadata/key`` names, and ``/metadata/value`` (keys by columns) says which
columns have them: that of ``Run`` has a 1 in its row, voxels one in that of their region. Older files call
the two ``dataSet`` and ``metaData``. Numbers that stand for words are told by ``/vmap``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.hdf5 import open_hdf5
from replay.datasets.kamitani.images import image_name
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.hdf5 import Hdf5

_NAMES = (("dataset", "metadata"), ("dataSet", "metaData"))
_STIMULUS = ("stimulus_id", "stimulus_name", "Label")
"""Columns that tell the image, in the order in which they are believed."""

_MOST_KEYS = 10_000
_MOST_SAMPLES = 1_000_000
_MOST_COLUMNS = 4_000_000
_BLOCK = 64 << 20
"""Bytes that are read at once."""


@dataclass(frozen=True, eq=False, slots=True)
class BrainData:
    """What is in a file, its voxels' numbers excepted.

    Parameters
    ----------
    path
        The file.
    name
        Of the matrix in it.
    n_samples
        Rows of the matrix.
    voxels : array of int64, shape (n_voxels,)
        Columns of the region.
    places : array of shape (3, n_voxels), optional
        Where they are, as the file tells it.
    images
        Image of each sample; None where its number is none.
    data_type, session, run : array of shape (n_samples,), optional
        Columns of these names; None where there is none.
    """

    path: Path
    name: str
    n_samples: int
    voxels: NDArray[np.int64]
    places: NDArray[np.float64] | None
    images: tuple[str | None, ...]
    data_type: NDArray[np.float64] | None
    session: NDArray[np.float64] | None
    run: NDArray[np.float64] | None

    def reader(self, rows: NDArray[np.int64]) -> Callable[[int, int], NDArray[np.float32]]:
        """Read voxels of some samples, which are ``rows`` of the matrix, in increasing order."""

        def read(start: int, stop: int) -> NDArray[np.float32]:
            wanted = rows[start:stop]
            out = np.empty((len(wanted), len(self.voxels)), dtype=np.float32)
            with open_hdf5(self.path) as file:
                matrix = file.dataset(self.name, shape=(self.n_samples, None), kinds="f")
                n = max(1, _BLOCK // (matrix.dtype.itemsize * matrix.shape[1]))
                at = 0
                while at < len(wanted):
                    first = wanted[at]
                    end = at + int(np.searchsorted(wanted[at:], first + n))
                    block = matrix[first : wanted[end - 1] + 1]
                    out[at:end] = block[wanted[at:end] - first][:, self.voxels]
                    at = end
            return out

        return read


def read_brain_data(path: Path, region: str) -> BrainData:
    """Look at a file: what its samples and columns are.

    Parameters
    ----------
    path
        The file.
    region
        Such as ``ROI_VC``.

    Raises
    ------
    UserError
        If it is missing, damaged or none of bdpy's, or has no such region or no images.
    """
    with open_hdf5(path) as file:
        there = file.names()
        names = next((names for names in _NAMES if set(names) <= set(there)), None)
        if names is None:
            raise UserError(f"{path}: has no dataset and metadata, so is none of bdpy's; get it again")
        name, described = names
        matrix = file.dataset(name, shape=(None, None), kinds="f")
        n_samples, n_columns = matrix.shape
        if matrix.dtype.itemsize < 8:
            raise UserError(
                f"{path}: {name} is {matrix.dtype}, too coarse to tell images by their numbers; get it again"
            )
        if n_samples > _MOST_SAMPLES or n_columns > _MOST_COLUMNS:
            raise UserError(
                f"{path}: {name} is {n_samples:,} × {n_columns:,} numbers, more than are read; get it again"
            )
        keys = [key.strip() for key in file.texts(f"{described}/key", _MOST_KEYS)]
        values = file.dataset(f"{described}/value", shape=(len(keys), n_columns))

        def columns(key: str) -> NDArray[np.int64]:
            return np.flatnonzero(key in keys and values[keys.index(key)] == 1)

        def numbers(key: str) -> NDArray[np.float64] | None:
            found = columns(key)
            return None if len(found) != 1 else np.asarray(matrix[:, found[0]], dtype=np.float64)

        voxels = columns(region)
        if not len(voxels):
            raise UserError(f"{path}: no column is of the region {region}; get another file")
        stimulus = next((key for key in _STIMULUS if len(columns(key)) == 1), None)
        told = None if stimulus is None else numbers(stimulus)
        if stimulus is None or told is None:
            raise UserError(f"{path}: no column is {' or '.join(_STIMULUS)}; get another file")
        axes = [f"voxel_{axis}" for axis in "xyz"]
        places = (
            np.stack([values[keys.index(axis)][voxels] for axis in axes]).astype(np.float64)
            if set(axes) <= set(keys)
            else None
        )
        words = _words(file, f"vmap/{stimulus}")
        return BrainData(
            path=path,
            name=name,
            n_samples=n_samples,
            voxels=voxels,
            places=places,
            # at six digits the number is the text that it was made from
            images=tuple(image_name(f"{number:.6f}") or words.get(f"{number:g}") for number in told.tolist()),
            data_type=numbers("DataType"),
            session=numbers("Session"),
            run=numbers("Run"),
        )


def _words(file: Hdf5, group: str) -> dict[str, str]:
    """Names of images by the whole numbers that stand for them."""
    found: dict[str, str] = {}
    for number in file.names(group)[:_MOST_SAMPLES]:
        word = file.text(f"{group}/{number}")
        name = image_name(word)
        if name is not None and number.removesuffix(".0").isdecimal():
            found[number.removesuffix(".0")] = name
    return found
