"""Opens a TrialSet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from pydantic import ValidationError

from replay.trials.layout import COLUMNS, HEADER, NATIVE, TABLE, Header, signal_hash
from rtdecode.errors import MismatchError, UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rtdecode.contracts import SignalContract

_REQUIRED = ("subject", "session", "run", "onset_sample", "onset_s", "recorded_s", "simulated")
_CHECKED = 16


@dataclass(frozen=True)
class TrialSet:
    """Windows of known stimuli, and what is known about each.

    Made by :class:`TrialSetWriter`, opened with :meth:`open`. Rows of ``trials`` and of :meth:`windows` are
    the same trials in the same order; :meth:`select` keeps the arrays on disk and narrows the rows.

    Parameters
    ----------
    path
        The folder.
    signal
        Front end, window and resampling that the windows went through.
    trials
        Table with the columns of :data:`COLUMNS`, numbered from 0.
    left_out
        Trials that have no window here, by reason.
    extras
        What the maker wrote down besides.
    """

    path: Path
    signal: SignalContract
    trials: pd.DataFrame
    left_out: Mapping[str, int]
    extras: Mapping[str, Any]
    _arrays: tuple[np.ndarray, ...]
    _located: np.ndarray
    """``(n, 2)``: array and row in it, of each trial."""
    _native: np.ndarray
    _native_rows: np.ndarray
    """Row of each native window in the whole set, whatever is selected."""
    _rows: np.ndarray
    """Row of each trial in the whole set."""

    def __len__(self) -> int:
        return len(self.trials)

    @property
    def signal_sha256(self) -> str:
        """See :func:`signal_hash`."""
        return signal_hash(self.signal)

    @property
    def simulated(self) -> bool:
        """True if any trial was simulated."""
        return bool(self.trials["simulated"].any())

    @property
    def hours(self) -> float:
        """Recording time that these trials span: first onset to last window's end of each run, summed."""
        spans = self.trials.groupby(["subject", "session", "run"])["recorded_s"].agg(["min", "max"])
        window_s = self.signal.window.n_samples / self.signal.rate_hz
        return float((spans["max"] - spans["min"] + window_s).sum()) / 3600

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a TrialSet and check it.

        Raises
        ------
        UserError
            If there is none at ``path``, or a file is missing, or of another shape or size. The windows are
            not read: that they are finite the writer has seen to.
        MismatchError
            If the hash of the front end is not the one that was stored.
        """
        folder = Path(path)
        header = _read_header(folder)
        if signal_hash(header.signal) != header.signal_sha256:
            raise MismatchError(
                f"{folder / HEADER} was changed: its front end is not the one its windows went through; "
                "prepare the recordings again"
            )
        shape = (header.signal.resampling.n_times, len(header.signal.channels))
        arrays = tuple(_open_array(folder / part.file, (part.n_trials, *shape)) for part in header.sessions)
        native = np.empty((0, header.signal.window.n_samples, shape[1]), np.float32)
        if header.native_rows:
            native = _open_array(folder / NATIVE, (len(header.native_rows), *native.shape[1:]))
        located = np.array(
            [(index, row) for index, part in enumerate(header.sessions) for row in range(part.n_trials)],
            dtype=np.int64,
        ).reshape(-1, 2)
        return cls(
            path=folder,
            signal=header.signal,
            trials=_read_table(folder / TABLE, len(located)),
            left_out=header.left_out,
            extras=header.extras,
            _arrays=arrays,
            _located=located,
            _native=native,
            _native_rows=np.array(header.native_rows, dtype=np.int64),
            _rows=np.arange(len(located)),
        )

    def select(self, rows: np.ndarray | Sequence[int] | pd.Series) -> Self:
        """Only these trials, by a mask ``(n,)`` or by row numbers, in the order given."""
        chosen = np.asarray(rows)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise ValueError(f"a mask of shape {chosen.shape} for {len(self)} trials")
            chosen = np.flatnonzero(chosen)
        chosen = chosen.astype(np.int64)
        return type(self)(
            path=self.path,
            signal=self.signal,
            trials=self.trials.iloc[chosen].reset_index(drop=True),
            left_out=self.left_out,
            extras=self.extras,
            _arrays=self._arrays,
            _located=self._located[chosen],
            _native=self._native,
            _native_rows=self._native_rows,
            _rows=self._rows[chosen],
        )

    def windows(self, rows: np.ndarray | Sequence[int] | None = None) -> np.ndarray:
        """Read windows into memory.

        Parameters
        ----------
        rows
            Row numbers; all trials where None.

        Returns
        -------
        array of shape (n, n_times, n_channels), float32
        """
        located = self._located if rows is None else self._located[np.asarray(rows, dtype=np.int64)]
        shape = (self.signal.resampling.n_times, len(self.signal.channels))
        windows = np.empty((len(located), *shape), np.float32)
        for index, array in enumerate(self._arrays):
            here = np.flatnonzero(located[:, 0] == index)
            windows[here] = array[located[here, 1]]
        return windows

    def native_windows(self) -> tuple[np.ndarray, np.ndarray]:
        """Give some windows as they were before resampling, for checks of an exported decoder.

        Where resampling changes nothing these are windows of the set, else those that the writer was
        given beside.

        Returns
        -------
        rows : array of shape (k,)
            Row numbers of the trials, among those selected.
        windows : array of shape (k, n_samples, n_channels), float32
            After the front end, at the native rate.
        """
        if not self.signal.resamples:
            rows = np.linspace(0, len(self), min(_CHECKED, len(self)), endpoint=False).astype(np.int64)
            return rows, self.windows(rows)
        by_row = {row: index for index, row in enumerate(self._native_rows)}
        rows = np.array([i for i, row in enumerate(self._rows) if row in by_row], dtype=np.int64)
        return rows, self._native[[by_row[row] for row in self._rows[rows]]]


def _read_header(folder: Path) -> Header:
    try:
        text = (folder / HEADER).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"no TrialSet at {folder} ({HEADER}: {error.strerror}): make one with 'rtdecode train prepare'"
        ) from error
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{folder / HEADER} is no TrialSet header: {validation_line(error)}") from error


def _open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, np.float32)
    try:
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): prepare the recordings again") from error
    if array.shape != shape or array.dtype != np.dtype("<f4"):
        raise UserError(
            f"{path} holds {array.dtype} {array.shape}, its TrialSet says float32 {shape}: "
            "prepare the recordings again"
        )
    if path.stat().st_size != array.offset + array.nbytes:
        raise UserError(f"{path} is longer than its {shape[0]} windows: prepare the recordings again")
    return array


def _read_table(path: Path, n_trials: int) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is missing or damaged: prepare the recordings again") from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise UserError(f"{path} has no column {', '.join(missing)}: prepare the recordings again")
    if len(table) != n_trials:
        raise UserError(
            f"{path} has {len(table)} trials, the windows beside it {n_trials}: prepare the recordings again"
        )
    if empty := [name for name in _REQUIRED if table[name].isna().any()]:
        raise UserError(f"{path} lacks values of {', '.join(empty)}: prepare the recordings again")
    return table.astype(COLUMNS)
