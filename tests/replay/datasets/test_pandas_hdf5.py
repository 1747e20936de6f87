"""Tables that pandas wrote as HDF5, without pickle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra 'data'")

import h5py
from miniatures.things_fmri import write_frame

from replay.datasets.hdf5 import open_hdf5
from replay.datasets.pandas_hdf5 import frame_blocks
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_blocks_of_numbers_are_found_by_their_columns(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(5, 3))
    write_frame(tmp_path / "some.h5", values)
    with open_hdf5(tmp_path / "some.h5") as file:
        trials, ids = frame_blocks(file)
        assert (trials.columns, ids.columns) == (("0", "1", "2"), ("voxel_id",))
        np.testing.assert_array_equal(trials.numbers[:, 1], values[:, 1])
        assert ids.numbers[:, 0].tolist() == list(range(5))


def test_what_is_pickled_is_passed_over(tmp_path: Path) -> None:
    write_frame(tmp_path / "some.h5", np.zeros((5, 3)))
    with h5py.File(tmp_path / "some.h5", "a") as file:
        del file["ResponseData/block0_items"]
        names = file["ResponseData"].create_dataset("block0_items", (1,), h5py.vlen_dtype(np.uint8))
        names[0] = np.frombuffer(b"cos\nsystem\n(S'true'\ntR.", np.uint8)
    with open_hdf5(tmp_path / "some.h5") as file:
        (block,) = frame_blocks(file)
        assert block.columns == ("voxel_id",)


@pytest.mark.parametrize(("groups", "text"), [((), "no tables"), (("a", "b"), "2 tables")])
def test_other_files_are_refused(tmp_path: Path, groups: tuple[str, ...], text: str) -> None:
    with h5py.File(tmp_path / "some.h5", "w") as file:
        file["else"] = np.zeros(3)
        for group in groups:
            file[f"{group}/block0_items"] = np.arange(2)
    with open_hdf5(tmp_path / "some.h5") as opened, pytest.raises(UserError, match=f"holds {text}"):
        frame_blocks(opened)
