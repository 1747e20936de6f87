"""Windows of known stimuli on disk: one float32 array a session, memory-mapped, and one table of trials."""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.lib import format as npy
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtdecode.contracts import SignalContract
from rtdecode.errors import MismatchError, UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

COLUMNS: dict[str, str] = {
    "subject": "string",
    "session": "string",
    "run": "string",
    "block": "string",
    "onset_sample": "int64",
    "onset_s": "float64",
    "recorded_s": "float64",
    "stimulus_id": "string",
    "concept_id": "string",
    "category": "string",
    "repetition": "Int64",
    "split_original": "string",
    "split_concept_disjoint": "string",
    "split_future_session": "string",
    "residual_us": "Float64",
    "quality": "string",
    "simulated": "bool",
}
"""Columns of ``trials.parquet`` and their types; what is unknown is null.

``onset_sample`` counts from the first sample of the run's recording, ``onset_s`` is the same in seconds;
``recorded_s`` is the subject's cumulative recording time at the onset, breaks between recordings excluded.
``repetition`` counts the subject's showings of the stimulus from 1. ``residual_us`` is the picture's time
minus that of the onset sample.

The splits say ``train`` or ``test``. ``split_original`` is the table's own; ``split_concept_disjoint`` is the
same but for training stimuli whose concept occurs in the test, which are ``excluded``;
``split_future_session`` is ``test`` in each subject's last session, and null where there is only one.
``block`` is what the table says of the stimulus; where it says something else at each showing it is null.
``quality`` is null: offline nothing judges a trial yet.
"""

_REQUIRED = ("subject", "session", "run", "onset_sample", "onset_s", "recorded_s", "simulated")
_HEADER = "trialset.json"
_TABLE = "trials.parquet"
_CHECKED = 16
_SCAN_BYTES = 64 * 2**20


class _SessionFile(BaseModel):
    """One array of windows ``(n_trials, n_times, n_channels)``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subject: str
    session: str
    file: str = Field(pattern=r"^[A-Za-z0-9_-]+\.npy$")
    n_trials: int = Field(ge=0)


class _Header(BaseModel):
    """Content of ``trialset.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = Field(default=1, ge=1, le=1)
    signal: SignalContract
    signal_sha256: str
    sessions: tuple[_SessionFile, ...]
    native_rows: tuple[int, ...]
    left_out: dict[str, int]
    extras: dict[str, Any]


def signal_hash(signal: SignalContract) -> str:
    """Hash of all that shapes a window: the signal contract without the sensor positions.

    Positions tell where a channel sat on one day; they do not enter the window, and differ between the
    sessions of one MEG subject.
    """
    bare = [channel.model_copy(update={"position_m": None}) for channel in signal.channels]
    return signal.model_copy(update={"channels": tuple(bare)}).sha256()


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
            If there is none at ``path``, if a file is missing, truncated or of another shape, or if a window
            holds NaN or infinity.
        MismatchError
            If the hash of the front end is not the one that was stored.
        """
        folder = Path(path)
        header = _read_header(folder)
        if signal_hash(header.signal) != header.signal_sha256:
            raise MismatchError(
                f"{folder / _HEADER} was changed: its front end is not the one its windows went through; "
                "prepare the recordings again"
            )
        shape = (header.signal.resampling.n_times, len(header.signal.channels))
        arrays = tuple(_open_array(folder / part.file, (part.n_trials, *shape)) for part in header.sessions)
        native = np.empty((0, header.signal.window.n_samples, shape[1]), np.float32)
        if header.native_rows:
            native = _open_array(folder / "native.npy", (len(header.native_rows), *native.shape[1:]))
        located = np.array(
            [(index, row) for index, part in enumerate(header.sessions) for row in range(part.n_trials)],
            dtype=np.int64,
        ).reshape(-1, 2)
        return cls(
            path=folder,
            signal=header.signal,
            trials=_read_table(folder / _TABLE, len(located)),
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

        Where resampling leaves the rate as it is these are windows of the set, else those that the writer was
        given beside.

        Returns
        -------
        rows : array of shape (k,)
            Row numbers of the trials, among those selected.
        windows : array of shape (k, n_samples, n_channels), float32
            After the front end, at the native rate.
        """
        if self.signal.resampling.rate_hz == self.signal.rate_hz:
            rows = np.linspace(0, len(self), min(_CHECKED, len(self)), endpoint=False).astype(np.int64)
            return rows, self.windows(rows)
        by_row = {row: index for index, row in enumerate(self._native_rows)}
        rows = np.array([i for i, row in enumerate(self._rows) if row in by_row], dtype=np.int64)
        return rows, self._native[[by_row[row] for row in self._rows[rows]]]


class TrialSetWriter:
    """Writes a TrialSet trial by trial into a temporary folder, and moves it into place at the end.

    Use as a context manager: an exception inside removes everything that was written.

    Parameters
    ----------
    path
        The folder to make. A TrialSet that lies there is replaced; anything else is left alone and refused.
    signal
        Front end, window and resampling of all windows.

    Raises
    ------
    UserError
        If something that is no TrialSet lies at ``path``.
    """

    def __init__(self, path: Path | str, signal: SignalContract) -> None:
        self.path = Path(path)
        self.signal = signal
        if self.path.exists() and not (self.path / _HEADER).is_file():
            raise UserError(f"{self.path} exists and is no TrialSet: choose another folder")
        self._folder = self.path.with_name(f".{self.path.name}.{uuid.uuid4().hex}.partial")
        self._shape = (signal.resampling.n_times, len(signal.channels))
        self._sessions: dict[tuple[str, str], _OpenSession] = {}
        self._native: list[tuple[tuple[str, str], int, np.ndarray]] = []
        self.left_out: dict[str, int] = {}
        self._extras: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            for part in self._sessions.values():
                part.array.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(
        self,
        window: np.ndarray,
        trial: Mapping[str, Any],
        signal: SignalContract | None = None,
        native: np.ndarray | None = None,
    ) -> None:
        """Append one trial.

        Parameters
        ----------
        window : array of shape (n_times, n_channels)
            After front end, cut and resampling.
        trial
            Values of :data:`COLUMNS` by name; those left away are null.
        signal
            What this window went through, where it comes from elsewhere than the writer's maker.
        native : array of shape (n_samples, n_channels), optional
            The window before resampling, kept beside for checks.

        Raises
        ------
        MismatchError
            If ``signal`` has another hash than the TrialSet's.
        UserError
            If the window holds NaN or infinity.
        """
        if signal is not None and signal_hash(signal) != signal_hash(self.signal):
            raise MismatchError(
                "windows of two front ends in one TrialSet: prepare all recordings with the same settings"
            )
        if unknown := set(trial) - set(COLUMNS):
            raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
        if window.shape != self._shape:
            raise ValueError(f"window of shape {window.shape}, the TrialSet holds {self._shape}")
        where = f"run {trial['run']!r}, sample {trial['onset_sample']}"
        if not np.isfinite(window).all():
            raise UserError(f"the window at {where} holds NaN or infinity: mend or leave out that recording")
        key = (str(trial["subject"]), str(trial["session"]))
        if key not in self._sessions:
            self._sessions[key] = _OpenSession(
                self._folder / f"windows_{len(self._sessions):03d}.npy", self._shape
            )
        part = self._sessions[key]
        if native is not None:
            self._native.append((key, len(part.trials), np.array(native, np.float32)))
        part.append(window, trial)

    @property
    def n_trials(self) -> int:
        """Trials added so far."""
        return sum(len(part.trials) for part in self._sessions.values())

    def leave_out(self, reason: str, n: int = 1) -> None:
        """Count trials that get no window."""
        self.left_out[reason] = self.left_out.get(reason, 0) + n

    def note(self, **extras: Any) -> None:
        """Write something JSON holds into the TrialSet's ``extras``."""
        self._extras.update(extras)

    def _finish(self) -> None:
        for part in self._sessions.values():
            part.finish()
        first_row = dict(
            zip(
                self._sessions,
                np.cumsum([0, *(len(part.trials) for part in self._sessions.values())]).tolist(),
                strict=False,
            )
        )
        if self._native:
            _write_array(self._folder / "native.npy", np.stack([window for *_, window in self._native]))
        _table([trial for part in self._sessions.values() for trial in part.trials]).to_parquet(
            self._folder / _TABLE, index=False
        )
        header = _Header(
            signal=self.signal,
            signal_sha256=signal_hash(self.signal),
            sessions=tuple(
                _SessionFile(subject=key[0], session=key[1], file=part.path.name, n_trials=len(part.trials))
                for key, part in self._sessions.items()
            ),
            native_rows=tuple(first_row[key] + row for key, row, _ in self._native),
            left_out=self.left_out,
            extras=self._extras,
        )
        (self._folder / _HEADER).write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self._move()

    def _move(self) -> None:
        if not self.path.exists():
            self._folder.replace(self.path)
            return
        old = self._folder.with_suffix(".old")
        self.path.replace(old)
        try:
            self._folder.replace(self.path)
        except OSError:
            old.replace(self.path)
            raise
        shutil.rmtree(old, ignore_errors=True)


class _OpenSession:
    """An ``.npy`` file that grows by one window at a time; its length is written at the end."""

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        self.path = path
        self.shape = shape
        self.trials: list[Mapping[str, Any]] = []
        self.array = path.open("w+b")
        self._write_header()

    def append(self, window: np.ndarray, trial: Mapping[str, Any]) -> None:
        self.array.write(np.ascontiguousarray(window, dtype="<f4").tobytes())
        self.trials.append(trial)

    def finish(self) -> None:
        self.array.seek(0)
        self._write_header()
        self.array.close()

    def _write_header(self) -> None:
        # NumPy pads the header so that the first axis may grow in place.
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(self.trials), *self.shape)}
        npy.write_array_header_1_0(self.array, header)


def _table(trials: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    rows = list(trials)
    return pd.DataFrame(
        {name: pd.array([row.get(name) for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    )


def _write_array(path: Path, array: np.ndarray) -> None:
    np.save(path, array.astype("<f4", copy=False), allow_pickle=False)


def _read_header(folder: Path) -> _Header:
    try:
        text = (folder / _HEADER).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"no TrialSet at {folder} ({_HEADER}: {error.strerror}): make one with 'rtdecode train prepare'"
        ) from error
    try:
        return _Header.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{folder / _HEADER} is no TrialSet header: {validation_line(error)}") from error


def _open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, np.float32)
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is missing or damaged ({error}): prepare the recordings again") from error
    if array.shape != shape or array.dtype != np.dtype("<f4"):
        raise UserError(
            f"{path} holds {array.dtype} {array.shape}, its TrialSet says float32 {shape}: "
            "prepare the recordings again"
        )
    block = max(1, _SCAN_BYTES // (4 * int(np.prod(shape[1:]))))
    for start in range(0, shape[0], block):
        finite = np.isfinite(array[start : start + block]).all(axis=(1, 2))
        if not finite.all():
            raise UserError(
                f"{path}: window {start + int(np.argmin(finite))} holds NaN or infinity; "
                "prepare the recordings again"
            )
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
