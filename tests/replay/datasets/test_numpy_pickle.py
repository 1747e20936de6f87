"""Pickles of NumPy data are read without running them; whatever else a pickle holds is refused."""

from __future__ import annotations

import builtins
import os
import pickle
import pickletools
import subprocess
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from replay.datasets.numpy_pickle import StoredArray, read_pickled
from rtdecode.errors import CutShortError, UserError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**100), 2**100) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(-9, 9), inner, max_size=4)
    ),
    max_leaves=12,
)
NUMBERS = npst.arrays(
    st.sampled_from(["<f8", ">f8", "<f4", "i1", "<i2", ">i4", "u8", "?", "c16", "U3", "S4"]),
    npst.array_shapes(min_dims=0, min_side=0, max_side=4),
)
PROTOCOLS = (3, 4, 5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data.npy"


def read(path: Path, content: bytes) -> Any:
    path.write_bytes(content)
    return read_pickled(path)


def saved(path: Path, content: Any) -> bytes:
    """What ``numpy.save`` makes of an object."""
    np.save(path, content, allow_pickle=True)
    return path.read_bytes()


def opened(content: Any) -> Any:
    """All arrays opened, however nested."""
    if isinstance(content, StoredArray):
        return content.open()
    if isinstance(content, dict):
        return {key: opened(item) for key, item in content.items()}
    return type(content)(map(opened, content)) if isinstance(content, list | tuple) else content


def test_what_is_plain_comes_back_as_it_was(path: Path) -> None:
    @given(PLAIN, st.lists(NUMBERS, max_size=3), st.sampled_from(PROTOCOLS), st.booleans())
    def check(plain: Any, arrays: list[np.ndarray], protocol: int, is_saved: bool) -> None:
        arrays += [np.asfortranarray(array) for array in arrays]
        whole = {"plain": plain, "arrays": arrays, "again": arrays}
        found = opened(read(path, saved(path, whole) if is_saved else pickle.dumps(whole, protocol=protocol)))
        assert found["plain"] == plain
        assert len(found["arrays"]) == len(found["again"]) == len(arrays)
        for one, other in zip(found["arrays"], arrays, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_stays_in_the_file(path: Path, protocol: int, core: str, order: Any) -> None:
    numbers = np.arange(300_000.0).reshape((3, 100_000), order=order)
    assert numbers.flags.f_contiguous == (order == "F")
    whole = pickle.dumps({"numbers": numbers, "rate": 1000, "scalar": np.float32(0.5)}, protocol=protocol)
    here = "numpy._core" if b"numpy._core" in whole else "numpy.core"
    for module in ("multiarray", "numeric"):  # as another NumPy would have written it
        old, new = f"{here}.{module}".encode(), f"{core}.{module}".encode()
        whole = whole.replace(bytes([len(old)]) + old, bytes([len(new)]) + new).replace(
            b"c" + old, b"c" + new
        )
    tracemalloc.start()
    try:
        found = read(path, whole)
        array = found["numbers"].open()
        np.testing.assert_array_equal(array[:, 7:9], numbers[:, 7:9])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, numbers)
    assert (found["rate"], found["scalar"]) == (1000, 0.5)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_objects_goes_through_the_same_machine(path: Path, order: Any) -> None:
    objects = np.empty((2, 2), dtype=object, order=order)
    objects[:] = [["a", {"x": [1]}], [None, np.arange(3)]]
    found = opened(read(path, saved(path, {"objects": objects, "numbers": np.ones(3)})))
    assert found["objects"].shape == (2, 2)
    assert found["objects"][0].tolist() == ["a", {"x": [1]}]
    assert found["objects"][1, 0] is None
    assert isinstance(read(path, saved(path, np.ones((2, 3)))), StoredArray)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def called(marker: Path) -> list[Any]:
    """What must never run: each would leave a file."""
    text = f"open({str(marker)!r}, 'w')"
    return [
        Calls(os.system, f"echo > {marker}"),
        Calls(builtins.eval, text),
        Calls(builtins.exec, text),
        Calls(subprocess.call, ["touch", str(marker)]),
        Calls(Path, "x"),
        Calls(getattr, Path, "cwd"),
        Calls(np.load, str(marker)),
        Calls(np.array, [1]),
        Calls(np.ndarray, (1 << 40,)),
        Calls(np.memmap, str(marker), "u1", "w+", 0, (4,)),
        Calls(bytearray, 1 << 40),
        open,
        np.add,
        Path,
        {1, 2},
        frozenset((1, 2)),
        Decimal(1),
        Exception("x"),
        np.random.default_rng(0),
        np.zeros(2, dtype=[("a", "f8")]),
        np.zeros(2, dtype="M8[s]"),
        {(1, 2): 3},
        10**400,
    ]


@pytest.mark.parametrize("index", range(len(called(Path("x")))))
def test_what_is_no_data_is_refused_and_never_run(path: Path, index: int) -> None:
    marker = path.with_name("ran")
    hostile = called(marker)[index]
    within = np.empty(1, dtype=object)
    within[0] = hostile
    for whole in (hostile, [hostile], {"raw_eeg_data": hostile}, {"x": within}, within):
        for protocol in (2, 3, 4, 5):
            with pytest.raises(UserError):
                read(path, pickle.dumps(whole, protocol=protocol))
        with pytest.raises(UserError):
            read(path, saved(path, whole))
    assert not marker.exists()
    assert not path.with_name("ran").exists()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "names os.system, which is no data"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "names posix.system"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "names numpy.load"),
        (b"\x80\x04\x8c\x16numpy._core.multiarray\x8c\x0c__builtins__\x93.", "which is no data"),
        (b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93)R.", "calls ndarray"),
        (b"\x80\x03cnumpy\nndarray\n.", None),
        (b"\x80\x04)\x81.", "has the instruction NEWOBJ"),
        (b"\x80\x04\x82\x01.", "has the instruction EXT1"),
        (b"\x80\x02Pabc\n.", "another protocol"),
        (b"\x80\x04Pabc\n.", "has the instruction PERSID"),
        (b"(ios\nsystem\n.", "has the instruction INST"),
        (b"\x80\x04}b.", "is no pickle of NumPy data"),
        (b"\x80\x04})b.", "sets a state"),
        (b"\x80\x04]\x94h\x00\x8c\x01a.", "is no pickle of NumPy data"),
        (b"\x80\x04h\x07.", "is no pickle of NumPy data"),
        (b"\x80\x04(1u.", "has the instruction POP_MARK"),
        (b"\x80\x04a.", "is no pickle of NumPy data"),
        (b"\x80\x04t.", "is no pickle of NumPy data"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "ends within an array"),
        (b"\x80\x04\x8d" + b"\xff" * 8 + b".", "holds more than"),
        (b"\x80\x04B\xff\xff\xff\x7fabc.", "ends within an array"),
        (b"\x80\x04\x8b\xff\xff\xff\x7f.", "has the instruction LONG4"),
        (b"\x80\x04\x8c\x02\xff\xfe.", "is no pickle of NumPy data"),
        (b"c" + b"x" * 1000, "a line without an end"),
        (b"", "ends too early"),
        (b"\x80", "ends too early"),
        (b"<html>", "is no pickle"),
        (b"\x93NUMPY", "has no header of a .npy file"),
        (b"\x93NUMPY\x01\x00\xff\xff{'descr': '|O'", "has no header of a .npy file"),
        (b"\x93NUMPY\x01\x00\x0a\x00" + b"[" * 9 + b"\n", "has no header of a .npy file"),
        (b"\x93NUMPY\x07\x00\x02\x00{}", "has no header of a .npy file"),
    ],
)
def test_a_pickle_that_was_made_up_is_refused(path: Path, content: bytes, text: str | None) -> None:
    if text is None:  # a name alone is harmless: nothing stands behind it
        assert not isinstance(read(path, content), StoredArray)
        return
    with pytest.raises(UserError, match=text):
        read(path, content)


def stored(shape: bytes, numbers: bytes) -> bytes:
    """An array of doubles whose shape and bytes are given as instructions."""
    return b"".join(
        [
            b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R",
            b"(K\x01" + shape,
            b"cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89" + numbers + b"tb.",
        ]
    )


@pytest.mark.parametrize(
    ("shape", "numbers", "kind", "text"),
    [
        (b"K\x03\x85", b"C\x10" + bytes(16), CutShortError, "16 of the 24 bytes"),
        (b"K\x01\x85", b"C\x10" + bytes(16), UserError, "16 bytes for an array of 8"),
        (b"\x8a\x06" + b"\xff" * 5 + b"\x7f\x85", b"C\x00", CutShortError, "0 of the"),
        (b"\x8a\x07" + b"\xff" * 6 + b"\x7f\x85", b"C\x00", UserError, "impossible shape"),
        (b"J\xff\xff\xff\xff\x85", b"C\x08" + bytes(8), UserError, "impossible shape"),
        (b"\x88\x85", b"C\x08" + bytes(8), UserError, "impossible shape"),
        (b"K\x01", b"C\x08" + bytes(8), UserError, "an array that is none"),
        (b"K\x01\x85", b"]", UserError, "whose numbers are none"),
        (b"K\x01\x85", b"N", UserError, "whose numbers are none"),
    ],
)
def test_an_array_whose_bytes_do_not_fill_its_shape_is_refused(
    path: Path, shape: bytes, numbers: bytes, kind: type[UserError], text: str
) -> None:
    assert read(path, stored(b"K\x01\x85", b"C\x08" + bytes(8))).open().tolist() == [0.0]
    with pytest.raises(kind, match=text):
        read(path, stored(shape, numbers))


def test_a_bomb_costs_neither_time_nor_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = b"\x80\x04)\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60))
    nested = b"\x80\x04)" + b"\x85" * 200_000
    with pytest.raises(UserError, match="is no pickle of NumPy data"):
        read(path, doubled + b".")  # what lies on the stack is not used up
    for key in (doubled, nested):  # as a key each would be hashed, all of its 2 ** 60 leaves
        with pytest.raises(UserError, match="neither text nor whole numbers"):
            read(path, b"\x80\x04}" + key + b"Ns.")
    assert isinstance(read(path, nested + b"."), tuple)
    text = b"X\x00\x00\x00\x03" + bytes(3 << 24)
    with pytest.raises(UserError, match="more than 64 MB beside its arrays"):
        read(path, b"\x80\x04]\x94" + text * 2)
    monkeypatch.setattr("replay.datasets.numpy_pickle.MOST_INSTRUCTIONS", 1000)
    with pytest.raises(UserError, match="more than 1,000 instructions"):
        read(path, b"\x80\x04]" + b"Na" * 600 + b".")


def test_a_file_that_was_cut_is_truncated_wherever_it_was_cut(path: Path) -> None:
    whole = {"raw_eeg_data": np.ones((3, 5000)), "ch_names": ["a", "b"], "times": np.arange(9.0)}
    kinds = [saved(path, whole), *(pickle.dumps(whole, protocol=protocol) for protocol in PROTOCOLS)]

    @given(st.sampled_from(kinds), st.data())
    def cut(content: bytes, data: st.DataObject) -> None:
        n = data.draw(st.integers(0, len(content) - 1))
        with pytest.raises(UserError) as refused:
            read(path, content[:n])
        in_header = content.startswith(b"\x93NUMPY") and n < 128
        assert in_header or isinstance(refused.value, CutShortError) or "without an end" in str(refused.value)

    cut()


def test_whatever_is_changed_in_a_file_it_is_read_or_refused(path: Path) -> None:
    whole = {"raw_eeg_data": np.ones((3, 3000)), "ch_names": ["a", "b"], "rate": np.float64(5), "o": None}
    kinds = [saved(path, whole), *(pickle.dumps(whole, protocol=protocol) for protocol in PROTOCOLS)]

    @given(st.sampled_from(kinds), st.data())
    def change(content: bytes, data: st.DataObject) -> None:
        numbers = content.find(bytes(np.ones(9)))
        place = data.draw(st.integers(0, numbers) | st.integers(numbers + 72_000, len(content) - 1))
        new = data.draw(st.binary(max_size=3))
        try:
            read(path, content[:place] + new + content[place + 1 :])
        except UserError:
            return

    change()


def test_random_instructions_are_read_or_refused(path: Path) -> None:
    codes = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
    pieces = st.sampled_from(codes) | st.sampled_from([b"cnumpy\ndtype\n", b"cnumpy\nndarray\n", b"K\x01"])

    @given(st.lists(pieces | st.binary(max_size=3), max_size=60))
    def run(parts: list[bytes]) -> None:
        try:
            read(path, b"\x80\x04" + b"".join(parts) + b".")
        except UserError:
            return

    run()
