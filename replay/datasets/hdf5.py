"""HDF5 files of unknown origin: what they promise is checked before anything of it is read.

h5py is imported only here, and only when such a file is opened.
"""

from __future__ import annotations

import math
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.channels import cannot_open
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import BinaryIO

_BLOSC = 32001
_PACKED = {1: 1032, 32000: 88, _BLOSC: 4096}
"""How many bytes each packed one may become at most, by HDF5's number of gzip, LZF and Blosc."""

_HARMLESS = (2, 3)
"""Bytes in another order, and sums to check them by: no other filter is opened."""

_LARGEST_CHUNK, _LARGEST_HEAP = 256 << 20, 64 << 20
"""Bytes that one number, or one object, may cost: a chunk is unpacked, and a heap read, as a whole."""

_LONGEST_TEXT = 1000


@contextmanager
def open_hdf5(path: Path) -> Iterator[Hdf5]:
    """Open a file for as long as the block runs; what the block cannot read of it is a user's error.

    Raises
    ------
    UserError
        If it is missing, no HDF5, or damaged; :class:`rtdecode.errors.CutShortError` if it was cut off.
    """
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path}: HDF5 needs the extra data; install it: uv sync --extra data") from error
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such file; check the path")
        if not h5py.is_hdf5(path):
            raise UserError(f"{path}: is no HDF5 file; restore a complete copy")
        with h5py.File(path, "r") as file:
            yield Hdf5(path, file)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno and error.filename:
            raise cannot_open(path, error) from error
        reason = (str(error).strip("'\"").splitlines() or [""])[0].rstrip(".;")
        kind = CutShortError if "truncated" in reason else UserError
        raise kind(f"{path}: cannot be read as HDF5 ({reason}); restore a complete copy") from error


class Hdf5:
    """An open file.

    Parameters
    ----------
    path
        Where it is.
    file
        The open ``h5py.File``.
    """

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        self._file = file

    def names(self, group: str = "/") -> tuple[str, ...]:
        """Names in a group; none where there is no such group.

        Raises
        ------
        UserError
            If the way to it leaves the file.
        """
        found = self._find(group)
        if found is None or not hasattr(found, "keys"):
            return ()
        return tuple(name for name in found if isinstance(name, str))  # bytes, where it is no text

    def dataset(self, name: str, *, shape: Sequence[int | None], kinds: str = "iuf") -> Any:
        """Give a dataset; nothing of it is read yet.

        Parameters
        ----------
        name
            Path from the root, with slashes.
        shape
            That it must have; None for a length that may be any.
        kinds
            Letters of the NumPy kinds that its numbers may be; ``S`` for text of a fixed length.

        Returns
        -------
        h5py.Dataset
            Open as long as the file is.

        Raises
        ------
        UserError
            If it is not there, lies in another file, or is of another shape or kind;
            :class:`rtdecode.errors.CutShortError` if the file is too small for it.
        """
        import h5py

        found = self._find(name)
        if found is None:
            raise self._refusal(f"has no {name}", "get another file")
        try:
            is_array = isinstance(found, h5py.Dataset) and hasattr(found, "dtype")
        except TypeError as error:  # of a type that NumPy has none for
            raise self._refusal(f"{name} holds what is not read", "get another file") from error
        if not is_array:
            raise self._refusal(f"{name} is no array", "get another file")
        if found.dtype.kind not in kinds:
            raise self._refusal(f"{name} holds {found.dtype}, which is not read", "get another file")
        if found.shape is None or not _fits(found.shape, shape):
            wanted = " × ".join("any" if n is None else f"{n:,}" for n in shape)
            raise self._refusal(
                f"{name} has shape {found.shape} where {wanted} is needed", "get another file"
            )
        if found.is_virtual or found.external:
            raise self._refusal(f"{name} lies in other files, which are not opened", "get another file")
        self._check_size(name, found)
        return found

    def text(self, name: str) -> str:
        """Read one text, cut after 1,000 characters.

        Raises
        ------
        UserError
            As for :meth:`dataset`.
        """
        found = self.dataset(name, shape=(), kinds="SO")
        self._check_text(name, found)
        return _text(found[()])

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """Read a list of texts, of a fixed length or each of its own, one after the other.

        Parameters
        ----------
        name
            Path from the root, with slashes.
        most
            How many there may be; each is cut as :meth:`text` cuts it.

        Raises
        ------
        UserError
            As for :meth:`dataset`, or if there are more.
        """
        found = self.dataset(name, shape=(None,), kinds="SO")
        self._check_text(name, found)
        if len(found) > most:
            raise self._refusal(f"{name} holds {len(found):,} texts, more than {most:,}", "get another file")
        return tuple(_text(found[n]) for n in range(len(found)))

    def _check_text(self, name: str, found: Any) -> None:
        import h5py

        if h5py.check_string_dtype(found.dtype) is None:
            raise self._refusal(f"{name} holds objects, which are not read", "get another file")

    def stored_object(self, name: str) -> bytes | None:
        """Pickle of the one object in a list of objects as PyTables writes it; None where it is none.

        It lies in a heap of the file, which is read here: the HDF5 library never comes back from one that was
        damaged in some ways.

        Raises
        ------
        UserError
            If the way to it leaves the file.
        """
        import h5py

        found = self._find(name)
        if not isinstance(found, h5py.Dataset) or found.shape != (1,):
            return None
        made, of_file = found.id.get_create_plist(), self._file.id.get_create_plist()
        is_plain = made.get_nfilters() == 0 and of_file.get_sizes() == (8, 8) and not of_file.get_userblock()
        try:
            is_object = h5py.check_vlen_dtype(found.dtype) == np.uint8
        except TypeError:  # of a type that NumPy has none for
            return None
        if not is_object or not is_plain:
            return None
        if found.chunks is None:
            place = found.id.get_offset()
        else:
            place = found.id.get_chunk_info(0).byte_offset if found.id.get_num_chunks() else None
        if place is None:
            return None
        with self.path.open("rb") as file:
            n_bytes, address, index = struct.unpack("<IQI", _read_at(file, place, 16))
            return _heap_object(file, address, index)[:n_bytes]

    def _find(self, name: str) -> Any:
        import h5py

        found: Any = self._file
        for part in filter(None, name.split("/")):
            if not isinstance(found, h5py.Group) or part not in found:
                return None
            if not isinstance(found.get(part, getlink=True), h5py.HardLink):
                raise self._refusal(f"{name} is a link, which is not followed", "get another file")
            found = found[part]
        return found

    def _check_size(self, name: str, found: Any) -> None:
        """Refuse what the file cannot hold: it was cut off, or made to fill the memory."""
        promised = math.prod(found.shape) * found.dtype.itemsize
        stored = found.id.get_storage_size()
        if found.chunks is None:
            offset = found.id.get_offset() or 0  # tiny ones lie in their own header, and have none
            there = min(stored, self.path.stat().st_size - offset)
            most = there
        else:
            packings = self._packings(name, found)
            if math.prod(found.chunks) * found.dtype.itemsize > _LARGEST_CHUNK:
                raise self._refusal(f"{name} has chunks too large to read", "repack it with h5repack")
            there = min(stored, self.path.stat().st_size)
            most = there * math.prod(_PACKED[packing] for packing in packings)
        if promised > most:
            raise CutShortError(
                f"{self.path}: {name} promises {promised:,} bytes, and the file's {there:,} cannot hold "
                "them; restore a complete copy"
            )

    def _packings(self, name: str, found: Any) -> list[int]:
        """How a dataset is packed, each by its number; refuses what is not read, and loads what reads it."""
        filters = found.id.get_create_plist()
        numbers = [filters.get_filter(index)[0] for index in range(filters.get_nfilters())]
        packings = [number for number in numbers if number not in _HARMLESS]
        if not set(packings) <= set(_PACKED) or len(packings) > 1:
            raise self._refusal(f"{name} is packed in a way that is not read", "repack it with h5repack")
        if _BLOSC in packings:
            try:
                import hdf5plugin  # noqa: F401  what it holds is registered as it is imported
            except ImportError as error:
                raise UserError(
                    f"{self.path}: is packed with Blosc, which needs the extra data; install it: "
                    "uv sync --extra data"
                ) from error
        return packings

    def _refusal(self, reason: str, advice: str) -> UserError:
        return UserError(f"{self.path}: {reason}; {advice}")


def _text(content: bytes) -> str:
    return bytes(content).decode("utf-8", "replace")[:_LONGEST_TEXT]


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(
        n is None or n == there for n, there in zip(wanted, shape, strict=True)
    )


def _read_at(file: BinaryIO, place: int, n_bytes: int) -> bytes:
    file.seek(place)
    content = file.read(n_bytes)
    if len(content) < n_bytes:
        raise ValueError("truncated file")
    return content


def _heap_object(file: BinaryIO, address: int, index: int) -> bytes:
    """Object of a global heap collection: HDF5 File Format Specification 3.0, III.E."""
    signature, version, size = struct.unpack("<4sB3xQ", _read_at(file, address, 16))
    if signature != b"GCOL" or version != 1 or size > _LARGEST_HEAP:
        raise ValueError("no heap where one is named")
    content = _read_at(file, address, size)
    at = 16
    while at + 16 <= size:
        number, length = struct.unpack_from("<H6xQ", content, at)
        if number == index and at + 16 + length <= size:
            return content[at + 16 : at + 16 + length]
        if number == 0:  # the rest is free
            break
        at += 16 + length + -length % 8
    raise ValueError("no object where one is named")
