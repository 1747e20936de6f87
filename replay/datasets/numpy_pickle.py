"""Pickled NumPy data, read without pickle: arrays, NumPy scalars and plain containers, and nothing else.

A pickle is a program, and whoever loads it runs it. Here a small machine of our own runs the few of its
instructions that describe data: there is no way to name a function other than the five by which NumPy stores
its arrays, types and scalars, and those are not called either; what they would make is made from their
arguments. All else is refused before anything is built.

Numbers stay in the file. What is returned for an array says where they are, and opening it maps that part of
the file into memory: a session of 1.5 GB costs the memory of the samples that are asked for, however many
sessions are open at once, and the system drops pages that it read and nobody uses. (Loading a file at its
first read and dropping it at the next would hold one whole session, and read it from disk twice wherever two
are looked at in turn.) Pickle allows this as it stores an array's numbers in one piece, however large.

The instructions are those of pickle protocols 3 to 5, of :mod:`pickletools`; the header before a pickle in a
``.npy`` file is that of NEP 1.
"""

from __future__ import annotations

import io
import math
import pickletools
import re
import struct
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from replay.recordings.channels import cannot_open
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

MOST_INSTRUCTIONS = 1_000_000
"""The longest pickle that is read; real ones have a tenth of it."""

_MOST_LOADED = 64 << 20
"""Bytes of text and of small arrays that are read into memory; real files have some megabytes."""

_LARGE = 1 << 16
"""Bytes from which on numbers stay in the file."""

_LONGEST_LINE = 256
_MAGIC = b"\x93NUMPY"
_NAMES = {
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("_reconstruct", "scalar"),  # before NumPy 2
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "numpy.core.numeric": ("_frombuffer",),
    "numpy._core.numeric": ("_frombuffer",),
}
"""All that a pickle may name."""

_TYPE_CODE = re.compile(r"\?|b1|[iu][1248]|f[248]|c8|c16|[SU]\d{1,6}|O8?")


class _RefusedError(ValueError):
    """The file holds something other than NumPy data and plain containers; the text says what."""


class _EndedError(_RefusedError):
    """It ends before its content does."""


@dataclass(slots=True)
class _Type:
    """A NumPy type: its code, and the byte order that its state adds."""

    code: str
    order: str = "="

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass(slots=True)
class StoredArray:
    """An array in a file.

    Parameters
    ----------
    path
        The file.
    shape
        Lengths of its axes.
    dtype
        Type of its numbers; of Python objects where it has ``items``.
    is_fortran
        Whether the first axis varies fastest.
    offset
        First byte of its numbers in the file; None where they are in memory.
    numbers
        Bytes of a small array.
    items
        What an array of objects holds, the last axis varying fastest whatever ``is_fortran`` says.
    is_built
        Whether the above have been said.
    """

    path: Path
    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("O"))
    is_fortran: bool = False
    offset: int | None = None
    numbers: bytes = b""
    items: list[Any] | None = None
    is_built: bool = False

    def open(self) -> NDArray[Any]:
        """Give the array, read-only; a large one is read as its numbers are asked for."""
        order: Final = "F" if self.is_fortran else "C"
        if self.items is not None:
            array = np.empty(len(self.items), dtype=object)
            for index, item in enumerate(self.items):  # one by one: an item may be a sequence itself
                array[index] = item
            return array.reshape(self.shape)
        if self.offset is None:
            return np.frombuffer(self.numbers, dtype=self.dtype).reshape(self.shape, order=order)
        return np.memmap(
            self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape, order=order
        )


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes that were left in the file."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class _Global:
    """One of the names that NumPy's pickles use; nothing stands behind it."""

    name: str


def read_pickled(path: Path) -> Any:
    """Read what ``numpy.save`` made of a Python object, or ``pickle.dump`` of one that holds arrays.

    Parameters
    ----------
    path
        A ``.npy`` file, or a pickle under whatever name.

    Returns
    -------
    object
        Dictionaries, lists, tuples, text, bytes, numbers and None; :class:`StoredArray` for an array. An
        array of objects without axes, which ``numpy.save`` puts around a dictionary, stands for what it
        holds. Nothing bounds how deep containers are nested: take what has the type that is expected.

    Raises
    ------
    UserError
        If there is anything else in it, or too much, or it cannot be read;
        :class:`rtdecode.errors.CutShortError` if it ends too early.
    """
    with _refusals(path):
        n_bytes = path.stat().st_size
        with path.open("rb") as file:
            is_npy = file.read(len(_MAGIC)) == _MAGIC
            file.seek(0)
            content = _npy(path, file, n_bytes) if is_npy else _Machine(path, file, n_bytes).run()
    if isinstance(content, StoredArray) and content.items is not None and content.shape == ():
        return content.items[0]
    return content


def read_pickled_objects(path: Path, pickle: bytes) -> list[Any]:
    """Read a pickled array of objects that lies within a file of another format.

    Parameters
    ----------
    path
        That file, for what is said of it.
    pickle
        The pickle.

    Returns
    -------
    list
        What the array holds, in C order, see :func:`read_pickled`; arrays within it are not to be opened.

    Raises
    ------
    UserError
        As for :func:`read_pickled`, or if it is no such array.
    """
    with _refusals(path):
        content = _Machine(path, io.BytesIO(pickle), len(pickle)).run()
        if not isinstance(content, StoredArray) or content.items is None:
            raise _RefusedError("holds a pickle that is no array of objects")
        return content.items


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Say with the file's name what is wrong with it."""
    try:
        yield
    except OSError as error:
        raise cannot_open(path, error) from error
    except (IndexError, KeyError, TypeError, ValueError, struct.error) as error:
        text = str(error) if isinstance(error, _RefusedError) else "is no pickle of NumPy data"
        kind = CutShortError if isinstance(error, _EndedError) else UserError
        raise kind(f"{path}: {text}; get it again from where it was published") from error


def _npy(path: Path, file: BinaryIO, n_bytes: int) -> Any:
    """Content of a ``.npy`` file."""
    try:
        version = np.lib.format.read_magic(file)
        read_header = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that Python 2 wrote it
            shape, is_fortran, dtype = read_header(file)
    except Exception as error:  # NumPy's reader raises whatever the bytes of a damaged header lead to
        raise _RefusedError("has no header of a .npy file") from error
    if dtype.hasobject:
        if dtype != np.dtype("O"):
            raise _RefusedError("holds records of objects")
        return _Machine(path, file, n_bytes).run()
    array = StoredArray(path)
    _fill(array, shape, dtype, is_fortran, _Span(file.tell(), n_bytes - file.tell()))
    return array


def _fill(
    array: StoredArray, shape: Any, dtype: np.dtype[Any], is_fortran: Any, numbers: bytes | _Span | list[Any]
) -> None:
    """Say what is in an array; refuses numbers that are not as many as its shape says."""
    if array.is_built or not isinstance(shape, tuple) or len(shape) > 32 or not isinstance(is_fortran, bool):
        raise _RefusedError("holds an array that is none")
    if not all(type(length) is int and 0 <= length < 1 << 48 for length in shape):
        raise _RefusedError("holds an array of impossible shape")
    if dtype.kind not in "biufcSUO" or dtype.subdtype is not None:
        raise _RefusedError("holds an array of a type that is no number or text")
    size = math.prod(shape)
    if dtype.hasobject != isinstance(numbers, list):
        raise _RefusedError("holds an array whose numbers are none")
    found: int
    if isinstance(numbers, list):
        array.items, found, expected = numbers, len(numbers), size
    elif isinstance(numbers, _Span):
        found, expected = numbers.length, size * dtype.itemsize
        array.offset = numbers.offset if expected else None  # nothing cannot be mapped
    else:
        array.numbers, found, expected = numbers, len(numbers), size * dtype.itemsize
    array.shape, array.dtype, array.is_fortran, array.is_built = shape, dtype, is_fortran, True
    if found < expected:
        raise _EndedError(f"holds {found:,} of the {expected:,} bytes of an array")
    if found > expected:
        raise _RefusedError(f"holds {found:,} bytes for an array of {expected:,}")


class _Machine:
    """Runs a pickle's instructions as far as they describe data.

    Parameters
    ----------
    path, file
        The file, open at the pickle's first byte.
    n_bytes
        Its size.
    """

    def __init__(self, path: Path, file: BinaryIO, n_bytes: int) -> None:
        self._path = path
        self._file = file
        self._n_bytes = n_bytes
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._arrays: list[StoredArray] = []
        self._n_loaded = 0

    def run(self) -> Any:
        """Give what the pickle describes."""
        for _ in range(MOST_INSTRUCTIONS):
            code = self._bytes(1)
            if code == b".":
                content = self._pop()
                if self._stack or not all(array.is_built for array in self._arrays):
                    raise _RefusedError("is no pickle of NumPy data")
                return content
            instruction = _INSTRUCTIONS.get(code)
            if instruction is None:
                name = _OPCODE_NAMES.get(code)
                raise _RefusedError(f"has the instruction {name}" if name else "is no pickle")
            instruction(self)
        raise _RefusedError(f"has more than {MOST_INSTRUCTIONS:,} instructions")

    # --- bytes ---

    def _bytes(self, n: int) -> bytes:
        """Read bytes into memory."""
        self._n_loaded += n
        if self._n_loaded > _MOST_LOADED:
            raise _RefusedError(f"holds more than {_MOST_LOADED >> 20} MB beside its arrays")
        read = self._file.read(n) if n <= self._n_bytes else b""
        if len(read) < n:
            raise _EndedError("ends too early")
        return read

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _numbers(self, n: int) -> bytes | _Span:
        """Read bytes, or pass over many."""
        if n < _LARGE:
            return self._bytes(n)
        start = self._file.tell()
        if n > self._n_bytes - start:
            raise _EndedError(f"ends within an array, at {self._n_bytes - start:,} of its {n:,} bytes")
        self._file.seek(n, 1)
        return _Span(start, n)

    def _line(self) -> str:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            if len(line) < _LONGEST_LINE:
                raise _EndedError("ends too early")
            raise _RefusedError("has a line without an end")
        return line[:-1].decode("ascii", "replace")

    # --- stack ---

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise _RefusedError("is no pickle of NumPy data")
        return self._stack.pop()

    def _push(self, item: Any) -> None:
        self._stack.append(item)

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _top(self, kind: type | None = None) -> Any:
        """Give the item on top, which stays there; it must be of a kind where one is given."""
        item = self._pop()
        self._push(item)
        if kind is not None and type(item) is not kind:
            raise _RefusedError("is no pickle of NumPy data")
        return item

    # --- instructions ---

    def _protocol(self) -> None:
        if not 3 <= self._number("B") <= 5:
            raise _RefusedError("is a pickle of another protocol than 3 to 5")

    def _frame(self) -> None:
        self._number("<Q")  # where it ends: all that is in it is read as it comes

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _whole(self) -> None:
        n = self._number("B")
        if n > 16:
            raise _RefusedError("holds a whole number of more than 16 bytes")
        self._push(int.from_bytes(self._bytes(n), "little", signed=True))

    def _text(self, form: str) -> None:
        self._push(self._bytes(self._number(form)).decode("utf-8"))

    def _tuple(self, n: int | None) -> None:
        items = self._since_mark() if n is None else [self._pop() for _ in range(n)][::-1]
        self._push(tuple(items))

    def _append(self, *, many: bool) -> None:
        items = self._since_mark() if many else [self._pop()]
        self._top(list).extend(items)

    def _set(self, *, many: bool) -> None:
        items = self._since_mark() if many else [self._pop() for _ in range(2)][::-1]
        keys = items[::2]
        if len(items) % 2 or not all(isinstance(key, str | int) for key in keys):
            raise _RefusedError("holds a dictionary whose keys are neither text nor whole numbers")
        self._top(dict).update(zip(keys, items[1::2], strict=True))

    def _put(self, index: int) -> None:
        self._memo[index] = self._top()

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    def _name(self, module: str, name: str) -> None:
        if name not in _NAMES.get(module, ()):
            raise _RefusedError(f"names {module}.{name}"[:100] + ", which is no data")
        self._push(_Global(name))

    def _global(self) -> None:
        self._name(self._line(), self._line())

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(module) is not str or type(name) is not str:
            raise _RefusedError("is no pickle of NumPy data")
        self._name(module, name)

    def _reduce(self) -> None:
        arguments, called = self._pop(), self._pop()
        if type(arguments) is not tuple or type(called) is not _Global:
            raise _RefusedError("calls something")
        self._push(getattr(self, f"_make_{called.name.strip('_')}")(*arguments))

    def _build(self) -> None:
        state, item = self._pop(), self._top()
        if type(state) is not tuple:
            raise _RefusedError("sets a state that is none of NumPy")
        if type(item) is StoredArray:
            version, shape, kind, is_fortran, numbers = state
            if version != 1:
                raise _RefusedError("holds an array of an unknown version")
            self._fill(item, shape, kind, is_fortran, numbers)
        elif type(item) is _Type:
            version, order, *nested = state[:5]
            if version not in (3, 4) or order not in ("<", ">", "|", "=") or nested != [None, None, None]:
                raise _RefusedError("holds records")
            item.order = order
        else:
            raise _RefusedError("sets a state")

    # --- what NumPy's names stand for ---

    def _make_ndarray(self, *_: Any) -> Any:
        raise _RefusedError("calls ndarray")

    def _make_dtype(self, code: Any, *_: Any) -> _Type:
        if type(code) is not str or not _TYPE_CODE.fullmatch(code):
            raise _RefusedError("holds an array of a type that is no number or text")
        return _Type(code)

    def _make_reconstruct(self, kind: Any, shape: Any, _: Any) -> StoredArray:
        if kind != _Global("ndarray") or shape != (0,):
            raise _RefusedError("holds an array of another kind")
        self._arrays.append(StoredArray(self._path))
        return self._arrays[-1]

    def _make_frombuffer(self, numbers: Any, kind: Any, shape: Any, order: Any) -> StoredArray:
        if type(order) is not str:  # and so can be a key: what it is may be nested without end
            raise _RefusedError("holds an array that is none")
        array = StoredArray(self._path)
        self._fill(array, shape, kind, {"C": False, "F": True}[order], numbers)
        return array

    def _make_scalar(self, kind: Any, numbers: Any) -> Any:
        array = StoredArray(self._path)
        self._fill(array, (), kind, False, numbers)
        if array.items is not None or array.offset is not None:
            raise _RefusedError("holds a number that is none")
        return array.open()[()]

    def _fill(self, array: StoredArray, shape: Any, kind: Any, is_fortran: Any, numbers: Any) -> None:
        if type(kind) is not _Type or type(numbers) not in (bytes, _Span, list):
            raise _RefusedError("holds an array whose numbers are none")
        _fill(array, shape, kind.dtype, is_fortran, numbers)


_OPCODE_NAMES = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}
_BY_NAME: dict[str, Callable[[_Machine], None]] = {
    "PROTO": _Machine._protocol,
    "FRAME": _Machine._frame,
    "MARK": _Machine._mark,
    "NONE": lambda machine: machine._push(None),
    "NEWTRUE": lambda machine: machine._push(True),
    "NEWFALSE": lambda machine: machine._push(False),
    "BININT": lambda machine: machine._push(machine._number("<i")),
    "BININT1": lambda machine: machine._push(machine._number("B")),
    "BININT2": lambda machine: machine._push(machine._number("<H")),
    "LONG1": _Machine._whole,
    "BINFLOAT": lambda machine: machine._push(machine._number(">d")),
    "SHORT_BINUNICODE": lambda machine: machine._text("B"),
    "BINUNICODE": lambda machine: machine._text("<I"),
    "BINUNICODE8": lambda machine: machine._text("<Q"),
    "SHORT_BINBYTES": lambda machine: machine._push(machine._numbers(machine._number("B"))),
    "BINBYTES": lambda machine: machine._push(machine._numbers(machine._number("<I"))),
    "BINBYTES8": lambda machine: machine._push(machine._numbers(machine._number("<Q"))),
    "BYTEARRAY8": lambda machine: machine._push(machine._numbers(machine._number("<Q"))),
    "EMPTY_TUPLE": lambda machine: machine._push(()),
    "TUPLE": lambda machine: machine._tuple(None),
    "TUPLE1": lambda machine: machine._tuple(1),
    "TUPLE2": lambda machine: machine._tuple(2),
    "TUPLE3": lambda machine: machine._tuple(3),
    "EMPTY_LIST": lambda machine: machine._push([]),
    "APPEND": lambda machine: machine._append(many=False),
    "APPENDS": lambda machine: machine._append(many=True),
    "EMPTY_DICT": lambda machine: machine._push({}),
    "SETITEM": lambda machine: machine._set(many=False),
    "SETITEMS": lambda machine: machine._set(many=True),
    "BINPUT": lambda machine: machine._put(machine._number("B")),
    "LONG_BINPUT": lambda machine: machine._put(machine._number("<I")),
    "MEMOIZE": lambda machine: machine._put(len(machine._memo)),
    "BINGET": lambda machine: machine._get(machine._number("B")),
    "LONG_BINGET": lambda machine: machine._get(machine._number("<I")),
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}
_INSTRUCTIONS = {
    opcode.code.encode("latin-1"): _BY_NAME[opcode.name]
    for opcode in pickletools.opcodes
    if opcode.name in _BY_NAME
}
