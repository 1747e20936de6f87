"""MATLAB's files, as SciPy writes them, and what is made of hostile ones."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.io import savemat

from replay.datasets.matlab5 import read_numbers
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from pathlib import Path

LARGEST = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.mat"


@pytest.mark.parametrize("packed", [False, True])
def test_arrays_of_numbers_are_read_as_they_were_written(path: Path, packed: bool) -> None:
    kinds = st.sampled_from([np.float64, np.float32, np.int16, np.uint8, np.int32, np.uint16, np.bool_])
    shapes = array_shapes(min_dims=2, max_dims=3, max_side=4)

    @given(kinds.flatmap(lambda kind: arrays(kind, shapes)))
    def write(values: np.ndarray) -> None:
        savemat(path, {"wanted": values, "other": np.zeros((2, 2))}, do_compression=packed)
        found = read_numbers(path, ["wanted"], LARGEST)
        np.testing.assert_array_equal(found.pop("wanted"), values.astype(np.float64))
        assert not found

    write()


def test_what_holds_no_real_numbers_is_passed_over(path: Path) -> None:
    content: dict[str, Any] = {
        "text": "words",
        "complex": np.ones((2, 2)) * 1j,
        "struct": {"a": 1},
        "cell": np.array([["a"], [2]], dtype=object),
        "numbers": np.eye(2),
    }
    savemat(path, content)
    assert list(read_numbers(path, list(content), LARGEST)) == ["numbers"]


def test_other_files_are_refused(path: Path) -> None:
    savemat(path, {"a": np.zeros((300, 300))})
    whole = path.read_bytes()
    for content, kind, text in [
        (b"", UserError, "no header"),
        (b"<!DOCTYPE html>" * 40, UserError, "no header"),
        (whole[:124] + b"\x00\x02IM" + whole[128:], UserError, "no header"),
        (whole[:9000], CutShortError, "ends too early"),
        (whole + whole, UserError, "too large"),
        (whole[:128] + bomb(), UserError, "an array is too large"),
        (whole[:128] + b"\x01\x00\x01\x00\x00\x00\x00\x00" * 101, UserError, "more than 100 arrays"),
    ]:
        path.write_bytes(content)
        with pytest.raises(kind, match=text) as raised:
            read_numbers(path, ["a"], LARGEST)
        assert str(raised.value).startswith(f"{path}: ")
    with pytest.raises(UserError, match=r"some\.mat"):
        read_numbers(path.with_name("none") / "some.mat", ["a"], LARGEST)


def bomb() -> bytes:
    """A hundred megabytes of nothing, packed."""
    packed = zlib.compress(bytes(100 << 20))
    return np.array([15, len(packed)], "<u4").tobytes() + packed


@pytest.mark.parametrize("packed", [False, True])
def test_whatever_is_changed_is_read_or_refused(path: Path, packed: bool) -> None:
    savemat(path, {"a": np.arange(6.0).reshape(2, 3), "b": np.ones((1, 4))}, do_compression=packed)
    whole = path.read_bytes()

    @given(st.integers(0, len(whole) - 1), st.none() | st.binary(min_size=1, max_size=8))
    def damage(place: int, change: bytes | None) -> None:
        path.write_bytes(
            whole[:place] if change is None else whole[:place] + change + whole[place + len(change) :]
        )
        with suppress(UserError):
            read_numbers(path, ["a", "b"], LARGEST)

    damage()
