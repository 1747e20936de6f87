"""Tables that pandas wrote as HDF5, without pickle."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra 'data'")

import h5py
from hypothesis import given
from hypothesis import strategies as st
from miniatures.things_fmri import store_object, write_frame

from replay.datasets.hdf5 import open_hdf5
from replay.datasets.pandas_hdf5 import frame_blocks
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_blocks_of_numbers_are_found_by_their_columns(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    write_frame(tmp_path / "some.h5", values)
    with open_hdf5(tmp_path / "some.h5") as file:
        trials, ids = frame_blocks(file, ["1", "voxel_id"])
        assert (trials.columns, ids.columns) == (("0", "1", "2"), ("voxel_id",))
        np.testing.assert_array_equal(trials.numbers[:, 1], values[:, 1])
        assert ids.numbers[:, 0].tolist() == list(range(5))


def test_names_that_are_numbers_alone_are_read_as_well(tmp_path: Path) -> None:
    write_frame(tmp_path / "some.h5", np.zeros((5, 3)))
    with h5py.File(tmp_path / "some.h5", "a") as file:
        del file["ResponseData/block0_items"]
        file["ResponseData/block0_items"] = np.arange(3)
    with open_hdf5(tmp_path / "some.h5") as file:
        assert frame_blocks(file, ["2"])[0].columns == ("0", "1", "2")


def test_of_columns_that_are_not_wanted_nothing_is_looked_at(tmp_path: Path) -> None:
    write_frame(tmp_path / "some.h5", np.zeros((5, 3)))
    with h5py.File(tmp_path / "some.h5", "a") as file:
        del file["ResponseData/block0_values"]
        store_object(file["ResponseData"], "block0_values", ["whatever"])
    with open_hdf5(tmp_path / "some.h5") as file:
        (block,) = frame_blocks(file, ["voxel_id"])
        assert block.columns == ("voxel_id",)
    with (
        open_hdf5(tmp_path / "some.h5") as file,
        pytest.raises(UserError, match="block0_values holds object, which is not read"),
    ):
        frame_blocks(file, ["1"])


def test_a_pickle_that_would_run_something_is_refused_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "some.h5"
    write_frame(path, np.zeros((5, 3)))
    with h5py.File(path, "a") as file:
        del file["ResponseData/block0_items"]
        names = file["ResponseData"].create_dataset("block0_items", (1,), h5py.vlen_dtype(np.uint8))
        names[0] = np.frombuffer(b"\x80\x04cos\nsystem\n\x8c\x04true\x85R.", np.uint8)
    with pytest.raises(UserError, match=r"names os\.system") as raised, open_hdf5(path) as file:
        frame_blocks(file, ["1"])
    assert str(raised.value).startswith(f"{path}: ")


@pytest.mark.parametrize(("groups", "text"), [((), "no tables"), (("a", "b"), "2 tables")])
def test_other_files_are_refused(tmp_path: Path, groups: tuple[str, ...], text: str) -> None:
    with h5py.File(tmp_path / "some.h5", "w") as file:
        file["else"] = np.zeros(3)
        for group in groups:
            file[f"{group}/block0_items"] = np.arange(2)
    with open_hdf5(tmp_path / "some.h5") as opened, pytest.raises(UserError, match=f"holds {text}"):
        frame_blocks(opened, ["1"])


def test_a_damaged_heap_of_names_is_read_or_refused(tmp_path: Path) -> None:
    """The HDF5 library reads some of these for ever."""
    path = tmp_path / "some.h5"
    write_frame(path, np.zeros((5, 3)))
    whole = path.read_bytes()
    heap = whole.index(b"GCOL")

    @given(st.integers(heap, heap + 300), st.binary(min_size=1, max_size=8))
    def damage(place: int, change: bytes) -> None:
        path.write_bytes(whole[:place] + change + whole[place + len(change) :])
        with suppress(UserError), open_hdf5(path) as file:
            frame_blocks(file, ["1"])

    damage()
