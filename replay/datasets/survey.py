"""A look at somebody's copy of a dataset: reads small files, whatever is in them, and keeps what is wrong."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import pandas as pd

from replay.datasets.report import Finding, Kind
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_LARGEST_TABLE = 16 << 20
_LARGEST_TEXT = 1 << 20
"""Bytes; real tables have a quarter of it, real headers and sidecars far less."""

_Found = TypeVar("_Found")

_ANNEX_POINTER = b"/annex/objects/"  # what git-annex leaves in place of an unlocked file's content


@dataclass(frozen=True, slots=True)
class Table:
    """A TSV or CSV file.

    Parameters
    ----------
    rows
        Those that have as many cells as the header, in order, every cell text; the index is their number in
        the file, from 1.
    n_broken
        How many have not, the last one excepted.
    ends_within_row
        Whether the last row has too few cells: the file was cut off.
    """

    rows: pd.DataFrame
    n_broken: int
    ends_within_row: bool


class Survey:
    """Reads what is under one folder; what is wrong is kept, and none of it raises.

    Parameters
    ----------
    root
        Folder of the copy.
    again
        Advice for a file that is missing or damaged: where to get it.
    """

    def __init__(self, root: Path, again: str) -> None:
        self.root = root
        self.again = again
        self.findings: list[Finding] = []

    def tell(self, path: Path, kind: Kind, text: str, advice: str | None = None) -> None:
        """Keep a finding; without ``advice`` it is to get the file again."""
        self.findings.append(
            Finding(
                path=_printable(path.relative_to(self.root).as_posix()),
                kind=kind,
                text=_printable(text),
                advice=self.again if advice is None else advice,
            )
        )

    def refuse(self) -> NoReturn:
        """Raise the last finding.

        Raises
        ------
        UserError
            Always: what is needed cannot be read.
        """
        last = self.findings[-1]
        raise UserError(f"{self.root / last.path}: {last.text}; {last.advice}")

    def attempt(self, path: Path, read: Callable[[], _Found]) -> _Found | None:
        """Give what reading a file gives; None, and told, where it or its content is missing or refused.

        Raises
        ------
        UserError
            If it is not the file's fault: an extra is not installed.
        """
        if self.size(path) is None:
            return None
        try:
            return read()
        except UserError as error:
            if isinstance(error.__cause__, ImportError):
                raise
            kind = Kind.TRUNCATED if isinstance(error, CutShortError) else Kind.ODD
            self.tell(path, kind, str(error).removeprefix(f"{path}: ").rpartition("; ")[0] or str(error))
            return None

    def names(self, folder: Path) -> frozenset[str]:
        """Names of what is in a folder; none, and told, where it cannot be read."""
        try:
            return frozenset(path.name for path in folder.iterdir())
        except FileNotFoundError:
            self.tell(folder, Kind.MISSING, "is not there")
        except OSError as error:
            self.tell(folder, Kind.ODD, f"cannot be read: {error.strerror}", "make it a readable folder")
        return frozenset()

    def size(self, path: Path) -> int | None:
        """Size of a file in bytes; None, and told, where it or its content is missing."""
        try:
            if not path.is_file():
                if path.is_symlink():
                    self.tell(path, Kind.MISSING, "a link to content that is not here", _fetch(path))
                elif path.exists():
                    self.tell(path, Kind.ODD, "is no file")
                else:
                    self.tell(path, Kind.MISSING, "is not there")
                return None
            n_bytes = path.stat().st_size
            with path.open("rb") as file:
                if file.read(len(_ANNEX_POINTER)) == _ANNEX_POINTER:
                    self.tell(path, Kind.MISSING, "only git-annex's pointer is here", _fetch(path))
                    return None
        except OSError as error:
            self.tell(path, Kind.ODD, f"cannot be read: {error.strerror or error}", "make it readable")
            return None
        if n_bytes == 0:
            self.tell(path, Kind.TRUNCATED, "is empty")
            return None
        return n_bytes

    def text(self, path: Path, *, encoding: str = "utf-8", largest: int = _LARGEST_TEXT) -> str | None:
        """Text of a file, each line end one character; None, and told, where it cannot be read."""
        n_bytes = self.size(path)
        if n_bytes is None:
            return None
        if n_bytes > largest:
            self.tell(path, Kind.ODD, f"{n_bytes:,} bytes are too many for such a file; it was not read")
            return None
        try:
            text = path.read_bytes().decode(encoding)
        except OSError as error:
            self.tell(path, Kind.ODD, f"cannot be read: {error.strerror or error}", "make it readable")
        except UnicodeDecodeError as error:
            self.tell(path, Kind.ODD, f"is no {encoding.upper()} text (byte {error.start})")
        else:
            if "\0" not in text:
                return text.removeprefix("\ufeff").replace("\r\n", "\n")
            self.tell(path, Kind.ODD, "is no text: it holds zero bytes")
        return None

    def json(self, path: Path) -> dict[str, Any] | None:
        """JSON object in a file; None, and told, where there is none."""
        text = self.text(path)
        if text is None:
            return None
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.tell(path, Kind.ODD, f"is no JSON: {str(error).partition(': ')[0]}")
            return None
        if not isinstance(found, dict):
            self.tell(path, Kind.ODD, "is no JSON object")
            return None
        return found

    def tell_cells(self, path: Path, cells: pd.Series[str], strange: pd.Series[bool], what: str) -> None:
        """Keep, where some cells of a column are strange, how many and the first of them.

        Parameters
        ----------
        path
            The table.
        cells
            The column, by its rows' numbers in the file.
        strange
            Which of them.
        what
            What they are, in words that lead to ``in 2 of 10 rows``.
        """
        if strange.any():
            row = int(strange.idxmax())
            n, first = int(strange.sum()), cells[row][:60]
            self.tell(
                path, Kind.ODD, f"{what} in {n:,} of {len(cells):,} rows, the first {row:,} ({first!r})"
            )

    def table(self, path: Path, needed: Sequence[str]) -> Table | None:
        """Rows of a TSV or CSV file; None, and told, where it cannot be read or lacks a needed column.

        Rows with too few or too many cells are left out and told.
        """
        text = self.text(path, largest=_LARGEST_TABLE)
        if text is None:
            return None
        if "\n" not in text:
            self.tell(path, Kind.TRUNCATED, "ends within its first line")
            return None
        try:
            header, *cells = _cells(text)
        except csv.Error as error:
            self.tell(path, Kind.ODD, f"is no table: {str(error).partition(' - ')[0]}")
            return None
        if lacking := [name for name in needed if name not in header]:
            self.tell(path, Kind.ODD, f"has no column {', '.join(lacking)}")
            return None
        if len(set(header)) < len(header):
            self.tell(path, Kind.ODD, "names a column twice")
            return None
        whole = [number for number, row in enumerate(cells) if len(row) == len(header)]
        ends_within_row = bool(cells) and len(cells[-1]) < len(header)
        rows = pd.DataFrame(
            [cells[number] for number in whole], columns=header, index=[n + 1 for n in whole], dtype=object
        )
        n_broken = len(cells) - len(whole) - ends_within_row
        if n_broken:
            broken = next(n for n, row in enumerate(cells) if len(row) != len(header))
            self.tell(
                path,
                Kind.ODD,
                f"not the {len(header)} cells of the header in {n_broken:,} of {len(cells):,} rows, "
                f"the first {broken + 1:,}",
            )
        return Table(rows, n_broken, ends_within_row)


def separator(header: str) -> str:
    """What separates the columns of a table, by its first line: there are ``.tsv`` with commas."""
    return "," if "," in header and "\t" not in header else "\t"


def _cells(text: str) -> list[list[str]]:
    lines = text.removesuffix("\n").split("\n")
    return list(csv.reader(lines)) if separator(lines[0]) == "," else [line.split("\t") for line in lines]


def _printable(text: str) -> str:
    """Text of unknown origin so that no terminal obeys it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _fetch(path: Path) -> str:
    return f"fetch it: datalad get {_printable(path.name)}, in its folder"
