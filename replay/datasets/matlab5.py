"""Arrays of numbers in MATLAB's level 5 files (``.mat`` of versions 5 to 7), read within bounds.

A file of unknown origin must not choose how much memory is taken, nor bring the process down, which SciPy's
reader lets it do. The format: MathWorks, MAT-File Format (R2024a). A header of 128 bytes is followed by
elements, each a tag (type and length) and its content, some of them packed by zlib.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from replay.recordings.channels import cannot_open
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_HEADER = 128
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_INT8, _INT32, _UINT32, _MATRIX, _PACKED = 1, 5, 6, 14, 15
_NUMERIC_CLASSES = range(6, 16)
_COMPLEX = 0x0800
_MOST_DIMS, _MOST_ELEMENTS = 32, 100


class _EndedError(ValueError):
    """It ends before its content does."""


def read_numbers(path: Path, names: Collection[str], largest: int) -> dict[str, NDArray[np.float64]]:
    """Read arrays of numbers by their names; others are passed over, as are those that hold no numbers.

    Parameters
    ----------
    path
        The file.
    names
        Those that are wanted.
    largest
        Bytes that the file, or one array of it unpacked, may have at most.

    Returns
    -------
    dict
        Those that are there, float64, in their own shapes.

    Raises
    ------
    UserError
        If it cannot be read; :class:`rtdecode.errors.CutShortError` if it ends too early.
    """
    try:
        if path.stat().st_size > largest:
            raise UserError(f"{path}: is too large for what it is to hold; get another file")
        content = path.read_bytes()
    except OSError as error:
        raise cannot_open(path, error) from error
    try:
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None or content[124:126] not in (b"\x00\x01", b"\x01\x00"):
            raise ValueError("no header of MATLAB 5 to 7")
        found = {}
        for number, (kind, element) in enumerate(_elements(content[_HEADER:], order)):
            if number == _MOST_ELEMENTS:
                raise ValueError(f"more than {_MOST_ELEMENTS} arrays")
            if kind == _PACKED:
                kind, element = _unpacked(element, order, largest)
            if kind == _MATRIX and (array := _array(element, order, names)) is not None:
                found[array[0]] = array[1]
        return found
    except _EndedError as error:
        raise CutShortError(f"{path}: ends too early; restore a complete copy") from error
    except (ValueError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as MATLAB's ({error}); restore a complete copy") from error


def _elements(content: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Types and contents of elements that follow each other."""
    at = 0
    while at < len(content):
        kind, n_bytes, start, after = _tag(content, at, order)
        yield kind, content[start : start + n_bytes]
        at = after


def _tag(content: bytes, at: int, order: str) -> tuple[int, int, int, int]:
    """Type and length of an element, where its content starts, and where the next element does."""
    if len(content) - at < 8:
        raise _EndedError
    first, second = (int(word) for word in np.frombuffer(content, f"{order}u4", 2, at))
    if first >> 16:  # up to four bytes lie in the tag itself
        kind, n_bytes, start, after = first & 0xFFFF, first >> 16, at + 4, at + 8
        if n_bytes > 4:
            raise ValueError("a small element that is none")
        return kind, n_bytes, start, after
    padding = 0 if first == _PACKED else -second % 8
    if second > len(content) - at - 8:
        raise _EndedError
    return first, second, at + 8, at + 8 + second + padding


def _unpacked(packed: bytes, order: str, largest: int) -> tuple[int, bytes]:
    """The one element that was packed."""
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(packed, largest)
    if unpacker.unconsumed_tail:
        raise ValueError("an array is too large")
    kind, n_bytes, start, _ = _tag(content, 0, order)
    return kind, content[start : start + n_bytes]


def _array(element: bytes, order: str, names: Collection[str]) -> tuple[str, NDArray[np.float64]] | None:
    """Name and numbers of a matrix; None where it is not wanted, or holds no real numbers."""
    parts = _elements(element, order)
    flags, dims, name = (next(parts, (0, b"")) for _ in range(3))
    if (flags[0], dims[0], name[0]) != (_UINT32, _INT32, _INT8) or len(flags[1]) != 8 or len(dims[1]) % 4:
        raise ValueError("a matrix that is none")
    called = name[1].decode("ascii", "replace")
    word = int(np.frombuffer(flags[1], f"{order}u4", 1)[0])
    if called not in names or word & 0xFF not in _NUMERIC_CLASSES or word & _COMPLEX:
        return None
    shape = np.frombuffer(dims[1], f"{order}i4").tolist()
    kind, numbers = next(parts, (0, b""))
    if kind not in _TYPES or not 2 <= len(shape) <= _MOST_DIMS or min(shape) < 0:
        raise ValueError(f"{called} is no array of numbers")
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    if len(numbers) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{called} has other numbers than its shape says")
    return called, np.frombuffer(numbers, dtype).astype(np.float64).reshape(shape, order="F")
