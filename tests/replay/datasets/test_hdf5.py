"""What of an HDF5 file is opened, and what is refused with its name."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.datasets.hdf5 import open_hdf5
from rtdecode.errors import CutShortError, UserError

h5py = pytest.importorskip("h5py", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = np.arange(24, dtype=np.int16).reshape(4, 3, 2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "some.h5"
    with h5py.File(made, "w") as file:
        file["group/plain"] = VALUES
        file.create_dataset("packed", data=VALUES, chunks=(2, 3, 2), compression="gzip")
        file["text"] = np.array([b"one", b"two"])
        file["word"] = "zw\u00f6lf"
        file["words"] = ["one", "zw\u00f6lf"]
        file["tiny"] = 1.0
        file["kind"] = np.dtype("<f8")
    return made


def read(path: Path, name: str, *shape: int | None, kinds: str = "iuf") -> np.ndarray:
    with open_hdf5(path) as file:
        return file.dataset(name, shape=shape, kinds=kinds)[()]


def test_what_is_there_is_read(path: Path) -> None:
    np.testing.assert_array_equal(read(path, "/group/plain", 4, None, 2), VALUES)
    np.testing.assert_array_equal(read(path, "packed", None, 3, 2), VALUES)
    assert read(path, "text", None, kinds="S").tolist() == [b"one", b"two"]
    with open_hdf5(path) as file:
        assert (file.names("group"), file.names("nothing")) == (("plain",), ())
        assert file.texts("text", 2) == ("one", "two")
        assert file.text("word") == "zw\u00f6lf"
        assert file.texts("words", 2) == ("one", "zw\u00f6lf")


@pytest.mark.parametrize(
    ("name", "shape", "text"),
    [
        ("other", (4,), "has no other; get another file"),
        ("group", (4,), "group is no array"),
        ("kind", (4,), "kind is no array"),
        ("group/plain/deeper", (4,), "has no group/plain/deeper"),
        ("group/plain", (4, 3), "has shape"),
        ("group/plain", (4, 3, 5), "where 4 × 3 × 5 is needed"),
        ("text", (2,), "text holds |S3, which is not read"),
    ],
)
def test_what_is_not_as_needed_is_refused(path: Path, name: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(UserError, match=text) as raised:
        read(path, name, *shape)
    assert str(raised.value).startswith(f"{path}: ")


def promise_more(file: h5py.File) -> None:
    """A terabyte of which nothing was written."""
    file.create_dataset("hostile", (1 << 40,), np.int8, chunks=(1 << 20,), compression="gzip")


def promise_chunks(file: h5py.File) -> None:
    file.create_dataset("hostile", (300 << 20,), np.int8, chunks=(300 << 20,), compression="gzip")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), np.int8)
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (4,))
    file.create_virtual_dataset("hostile", layout)


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (promise_more, "hostile promises 1,099,511,627,776 bytes"),
        (promise_chunks, "chunks too large"),
        (virtual, "lies in other files"),
        (
            lambda file: file.create_dataset("hostile", (4,), np.int8, external=[("raw.bin", 0, 4)]),
            "lies in other files",
        ),
        (lambda file: file.__setitem__("hostile", h5py.ExternalLink("elsewhere.h5", "x")), "is a link"),
        (lambda file: file.__setitem__("hostile", h5py.SoftLink("/packed")), "is a link"),
        (lambda file: file.create_dataset("hostile", (4,), h5py.string_dtype()), "holds object"),
        (
            lambda file: file.create_dataset("hostile", (4,), h5py.vlen_dtype(np.uint8)),
            "holds object, which is not read",
        ),
    ],
    ids=["promise", "chunk", "virtual", "raw", "external", "soft", "text", "lists"],
)
def test_what_leaves_the_file_or_is_more_than_it_holds_is_refused(
    path: Path, write: Callable[[h5py.File], object], text: str
) -> None:
    with h5py.File(path, "a") as file:
        write(file)
    with pytest.raises(UserError, match=text):
        read(path, "hostile", None)


def test_a_file_that_was_cut_off_is_told_from_another_kind(path: Path, tmp_path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)
    with pytest.raises(CutShortError, match="restore a complete copy"):
        read(path, "group/plain", 4, 3, 2)
    other = tmp_path / "page.h5"
    other.write_text("<!DOCTYPE html>")
    for where, text in [(other, "is no HDF5 file"), (tmp_path / "none.h5", "no such file")]:
        with pytest.raises(UserError, match=text):
            read(where, "x", 1)


def test_damage_found_on_reading_is_told_with_the_files_name(path: Path) -> None:
    whole = path.read_bytes()
    with h5py.File(path) as file:
        chunk = file["packed"].id.get_chunk_info(0)
    path.write_bytes(
        whole[: chunk.byte_offset] + b"\xff" * chunk.size + whole[chunk.byte_offset + chunk.size :]
    )
    with pytest.raises(UserError, match="cannot be read as HDF5") as raised:
        read(path, "packed", 4, 3, 2)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_blosc_is_read_where_the_extra_is_there_and_other_packings_are_not(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin", reason="needs the extra 'data'")
    with h5py.File(path, "a") as file:
        for name, packing in (("blosc", hdf5plugin.Blosc(cname="blosclz")), ("bzip2", hdf5plugin.BZip2())):
            file.create_dataset(name, data=VALUES, chunks=VALUES.shape, compression=packing)
        file.create_dataset("shuffled", data=VALUES, chunks=VALUES.shape, shuffle=True, fletcher32=True)
    np.testing.assert_array_equal(read(path, "blosc", 4, 3, 2), VALUES)
    np.testing.assert_array_equal(read(path, "shuffled", 4, 3, 2), VALUES)
    with pytest.raises(UserError, match="packed in a way that is not read"):
        read(path, "bzip2", 4, 3, 2)
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(UserError, match="Blosc, which needs the extra data; install it"):
        read(path, "blosc", 4, 3, 2)


def test_names_that_are_no_text_and_types_that_are_no_numbers_are_passed_over(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file[b"group/\xff\xfe"] = VALUES
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(file.id, b"time", h5py.h5t.UNIX_D32LE, space)
    with open_hdf5(path) as opened:
        assert opened.names("group") == ("plain",)
    with pytest.raises(UserError, match="time holds what is not read"):
        read(path, "time", 2)


def test_a_type_that_was_damaged_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["one/only"] = np.array([b"a" * 77])
    whole = path.read_bytes()
    # the message of a text's type: class 3 of version 1, padding and character set, its length of 77 bytes
    place = whole.index(b"\x13\x01\x00\x00\x4d\x00\x00\x00")
    path.write_bytes(whole[: place + 1] + b"\xf1" + whole[place + 2 :])
    with pytest.raises(UserError, match="one/only holds what is not read"):
        read(path, "one/only", None, kinds="S")
