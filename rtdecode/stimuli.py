"""Which stimulus a marker means: a table of stimuli, and what maps marker texts to its rows.

A table is a CSV, TSV or parquet file with one row a stimulus (``key`` code or label) or one row a
presentation, in order (``key`` order). Columns: ``stimulus_id`` (always), ``code`` or ``label`` as the key
needs it, and, where known, ``image`` (a path or a pattern, relative to the table), ``category``,
``concept_id``, ``split``, ``repetition``. Every cell is text, so that identifiers such as ``007`` or
``3626115.019498`` stay as they are.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from rtdecode.contracts import Fate
from rtdecode.errors import UserError
from rtdecode.trigger_order import TriggerOrder

log = logging.getLogger(__name__)

Key = Literal["code", "label", "order"]

_KEY_COLUMN = {"code": "code", "label": "label", "order": "code"}
_REMEMBERED = 256
_UNNOTICED_WARNING = 0.05


class StimulusTable:
    """The rows of a stimulus table, all cells text, and how markers name them.

    Parameters
    ----------
    rows
        One row a stimulus, or one a presentation for ``key="order"``; see the module for the columns.
    key
        What a marker's text is compared with: the ``code`` or the ``label`` column, or ``"order"``: the n-th
        marker names row n, and the ``code`` column says which code it must have (as sent: an 8-bit trigger's
        may be the id modulo 256). None where no markers are mapped.
    path
        File that the rows come from; images are found relative to it.

    Raises
    ------
    UserError
        If a column or cell is missing, or a code or label names two rows.
    """

    def __init__(self, rows: pd.DataFrame, key: Key | None, path: Path) -> None:
        self.rows = rows
        self.key = key
        self.path = path
        self.keys: tuple[str, ...] = ()
        self._row_of: dict[str, int] = {}
        self._check_column("stimulus_id")
        if key is None:
            return
        column = _KEY_COLUMN[key]
        self._check_column(column)
        keys = list(rows[column])
        if column == "code":
            keys = [_canonical_code(text) for text in keys]
        self.keys = tuple(keys)
        self._row_of = {text: row for row, text in enumerate(self.keys)}
        if key != "order" and len(self._row_of) < len(self.keys):
            seen: set[str] = set()
            twice = next(text for text in self.keys if text in seen or seen.add(text))  # type: ignore[func-returns-value]
            raise UserError(
                f"{path}: {column} {twice!r} names more than one row; give each stimulus one row, or set "
                'key = "order" where each row is one presentation'
            )

    @classmethod
    def load(cls, path: Path, key: Key | None = "label") -> StimulusTable:
        """Read a table from a ``.csv``, ``.tsv`` or ``.parquet`` file.

        Raises
        ------
        UserError
            If the file is missing, is none of these, cannot be read, or lacks what ``key`` needs.
        """
        return cls(_read(path), key, path)

    def _check_column(self, column: str) -> None:
        if self.rows.empty:
            raise UserError(f"{self.path} has no rows; a stimulus table needs at least one")
        if column not in self.rows:
            why = "" if self.key is None else f", which key = {self.key!r} needs"
            raise UserError(
                f"{self.path} has no column {column!r}{why}; it has {', '.join(map(repr, self.rows.columns))}"
            )
        if (empty := self.rows[column] == "").any():
            raise UserError(f"{self.path}: row {int(empty.argmax()) + 1} has no {column}; fill it in")

    def lookup(self, label: str) -> str | None:
        """Stimulus whose code or label this is; None if there is none. Not for ``key="order"``."""
        text = label.strip() if self.key == "label" else _canonical_code(label)
        row = self._row_of.get(text)
        return None if row is None else self.stimulus(row)

    def stimulus(self, row: int) -> str:
        """Stimulus of a row, counted from 0."""
        return str(self.rows["stimulus_id"].iloc[row])

    def images(self, row: int) -> tuple[Path, ...]:
        """Image files of a row, sorted; empty where the table names none or they are not there."""
        pattern = str(self.rows["image"].iloc[row]) if "image" in self.rows else ""
        if not pattern:
            return ()
        named = self.path.parent / pattern
        if named.is_file():  # first, as a real name may hold what a pattern would read as a wildcard
            return (named,)
        anchor = Path(pattern).anchor
        folder = Path(anchor) if anchor else self.path.parent
        return tuple(sorted(path for path in folder.glob(pattern.removeprefix(anchor)) if path.is_file()))

    def pictures(self) -> dict[str, tuple[Path, ...]]:
        """Image files of each stimulus for which the table has an entry, in the table's order.

        Raises
        ------
        UserError
            If the table names no images, a file is not there, or one stimulus has two different entries.
        """
        if "image" not in self.rows or (self.rows["image"] == "").all():
            raise UserError(f"{self.path} names no images: give it a column 'image'")
        entry: dict[str, str] = {}
        files: dict[str, tuple[Path, ...]] = {}
        for row, (stimulus, pattern) in enumerate(
            zip(self.rows["stimulus_id"], self.rows["image"], strict=True)
        ):
            if not pattern or entry.get(stimulus) == pattern:
                continue
            if stimulus in entry:
                raise UserError(
                    f"{self.path} names two images for {stimulus}: {entry[stimulus]} and {pattern}"
                )
            if not (found := self.images(row)):
                raise UserError(f"{self.path}: no file matches {pattern}, the image of {stimulus}")
            entry[stimulus], files[stimulus] = pattern, found
        return files


@dataclass(frozen=True, slots=True)
class Mapping:
    """What one marker means; ``stimulus_id`` is None where it is ignored, or its stimulus is not known."""

    stimulus_id: str | None
    fate: Fate
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One loss of step: which trigger (from 0), its code, and the row (from 0) and code that were due.

    ``row`` and ``due`` are None where the table had ended.
    """

    trigger: int
    code: str
    row: int | None
    due: str | None


@dataclass(frozen=True, slots=True)
class MappingReport:
    """Account of all markers so far: ``accepted == mapped + unknown``.

    Parameters
    ----------
    accepted, ignored
        Markers that are stimuli, and those that the table does not name.
    mapped, unknown
        Accepted markers whose stimulus was named, and those that came while out of step.
    mismatches, resynchronised
        How often step was lost, and found again.
    last_mismatches
        The newest of them, oldest first.
    in_step
        Whether the next trigger is expected to name its row.
    next_row
        That row, from 0 (``key="order"`` only).
    """

    accepted: int
    ignored: int
    mapped: int
    unknown: int
    mismatches: int = 0
    resynchronised: int = 0
    last_mismatches: tuple[Mismatch, ...] = ()
    in_step: bool = True
    next_row: int | None = None


class StimulusMapper:
    """Maps marker texts to stimuli as they come; each is answered at once and for good.

    With ``key="order"`` a marker whose code no row has is ignored and does not count; the others follow the
    table as :mod:`rtdecode.trigger_order` says, and an accepted marker's stimulus is None rather than wrong.

    Parameters
    ----------
    table
        The stimuli, and the key that names them.
    """

    def __init__(self, table: StimulusTable) -> None:
        self.table = table
        self._ignored = self._mapped = self._unknown = self._mismatches = self._resynchronised = 0
        self._last_mismatches: deque[Mismatch] = deque(maxlen=_REMEMBERED)
        self._order = TriggerOrder(table.keys) if table.key == "order" else None
        if self._order is not None:
            _warn_of_poor_codes(self._order, table.path)

    def map(self, label: str) -> Mapping:
        """Say what a marker means, given all markers before it."""
        mapping = self._look_up(label) if self._order is None else self._follow(self._order, label)
        if mapping.fate is Fate.IGNORED:
            self._ignored += 1
        elif mapping.stimulus_id is None:
            self._unknown += 1
        else:
            self._mapped += 1
        return mapping

    def report(self) -> MappingReport:
        """Account of all markers so far."""
        return MappingReport(
            accepted=self._mapped + self._unknown,
            ignored=self._ignored,
            mapped=self._mapped,
            unknown=self._unknown,
            mismatches=self._mismatches,
            resynchronised=self._resynchronised,
            last_mismatches=tuple(self._last_mismatches),
            in_step=self._order is None or self._order.in_step,
            next_row=None if self._order is None else self._order.next_row,
        )

    def _look_up(self, label: str) -> Mapping:
        stimulus_id = self.table.lookup(label)
        if stimulus_id is None:
            return Mapping(
                None, Fate.IGNORED, f"no row of {self.table.path.name} has {self.table.key} {label!r}"
            )
        return Mapping(stimulus_id, Fate.ACCEPTED)

    def _follow(self, order: TriggerOrder, label: str) -> Mapping:
        code = _canonical_code(label)
        if not order.knows(code):
            return Mapping(None, Fate.IGNORED, f"no row of {self.table.path.name} has code {label!r}")
        was_in_step, due_row = order.in_step, order.next_row
        row = order.follow(code)
        if row is None:
            if not was_in_step:
                return Mapping(None, Fate.ACCEPTED, "stimulus unknown: out of step with the table")
            due = self.table.keys[due_row] if due_row < len(order) else None
            self._mismatches += 1
            trigger = self._mapped + self._unknown
            self._last_mismatches.append(Mismatch(trigger, code, None if due is None else due_row, due))
            wants = "the table has ended" if due is None else f"row {due_row + 1} has code {due!r}"
            reason = f"stimulus unknown: trigger {trigger + 1} has code {code!r} but {wants}"
            log.warning("%s: %s; out of step", self.table.path, reason)
            return Mapping(None, Fate.ACCEPTED, reason)
        if was_in_step:
            return Mapping(self.table.stimulus(row), Fate.ACCEPTED)
        self._resynchronised += 1
        reason = f"in step again at row {row + 1}, {row - due_row:+d} from counting on"
        log.warning("%s: %s", self.table.path, reason)
        return Mapping(self.table.stimulus(row), Fate.ACCEPTED, reason)


def _warn_of_poor_codes(order: TriggerOrder, path: Path) -> None:
    advice = "send codes that vary, e.g. the row's number modulo 256"
    if order.unnoticed > _UNNOTICED_WARNING:
        share = f"{100 * order.unnoticed:.0f} %"
        log.warning(
            "%s: a missed trigger would go unnoticed at first in %s of cases; %s", path, share, advice
        )
    if order.agreement > len(order):
        log.warning("%s: the codes repeat so much that step, once lost, is lost for good; %s", path, advice)


def _canonical_code(text: str) -> str:
    """Whole numbers without leading zeros or sign; other codes as they are."""
    text = text.strip()
    return str(int(text)) if re.fullmatch(r"\+?[0-9]+", text) else text


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"there is no stimulus table {path}; correct `table` in the configuration")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            rows = pd.read_parquet(path)
            rows = pd.DataFrame({str(name): rows[name].map(_cell_text) for name in rows}, dtype=object)
        elif suffix in {".csv", ".tsv"}:
            rows = pd.read_csv(
                path,
                sep="," if suffix == ".csv" else "\t",
                dtype=str,
                na_filter=False,
                encoding="utf-8-sig",
                index_col=False,
            )
        else:
            raise UserError(f"{path} is no stimulus table; give a .csv, .tsv or .parquet file")
    except (
        OSError,
        ValueError,
    ) as error:  # what pandas and pyarrow raise for files that are not what they say
        raise UserError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from error
    rows.columns = rows.columns.str.strip()
    return rows.apply(lambda column: column.str.strip())


def _cell_text(value: object) -> str:
    """Text of a typed cell; missing values are empty, whole numbers have no decimal point."""
    if value is None or value is pd.NA or value != value:  # only NaN differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
