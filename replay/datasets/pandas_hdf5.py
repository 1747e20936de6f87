"""Tables that pandas wrote as HDF5, in its fixed format, read without pickle.

A table is a group of blocks of columns of one type: ``block0_items`` names the columns of
``block0_values``, shape (rows, columns). Names are pickled where text and numbers name columns of one table;
:mod:`replay.datasets.numpy_pickle` reads those. Values that are objects are not read: they may be most of a
file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replay.datasets.numpy_pickle import read_pickled_objects
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replay.datasets.hdf5 import Hdf5


@dataclass(frozen=True, eq=False, slots=True)
class Block:
    """Columns of one type.

    Parameters
    ----------
    columns
        Their names, as text.
    numbers
        ``h5py.Dataset`` of shape (rows, columns), readable as long as its file is open.
    """

    columns: tuple[str, ...]
    numbers: Any


def frame_blocks(file: Hdf5, wanted: Iterable[str]) -> tuple[Block, ...]:
    """Blocks of the one table in a file that have any of the columns that are wanted; none is read yet.

    Raises
    ------
    UserError
        If there is no such table, or more than one, or the values of such a block are no numbers.
    """
    frames = [name for name in file.names() if "block0_items" in file.names(name)]
    if len(frames) != 1:
        raise UserError(
            f"{file.path}: holds {len(frames) or 'no'} tables in pandas' fixed format, not one; "
            "get another file"
        )
    (frame,) = frames
    numbers = sorted(
        int(match[1]) for name in file.names(frame) if (match := re.fullmatch(r"block(\d+)_items", name))
    )
    columns = frozenset(wanted)
    blocks = [_block(file, f"{frame}/block{number}", columns) for number in numbers]
    return tuple(block for block in blocks if block is not None)


def _block(file: Hdf5, stem: str, wanted: frozenset[str]) -> Block | None:
    """Block of numbers; None where it has none of the wanted columns: its values are not looked at."""
    pickle = file.stored_object(f"{stem}_items")
    items = (
        file.dataset(f"{stem}_items", shape=(None,), kinds="iuS")[()].tolist()
        if pickle is None
        else read_pickled_objects(file.path, pickle)
    )
    names = tuple(one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one) for one in items)
    if wanted.isdisjoint(names):
        return None
    return Block(names, file.dataset(f"{stem}_values", shape=(None, len(items)), kinds="iufb"))
