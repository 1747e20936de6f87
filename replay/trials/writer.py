"""Writes a TrialSet."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from numpy.lib import format as npy

from replay.trials.layout import COLUMNS, HEADER, NATIVE, TABLE, Header, SessionFile, signal_hash
from rtdecode.errors import MismatchError, UserError
from rtdecode.output import replaced_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from rtdecode.contracts import SignalContract


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
        If something that is no TrialSet lies at ``path``, or, on leaving, the folder cannot be written or the
        one that lies there cannot be replaced.
    """

    def __init__(self, path: Path | str, signal: SignalContract) -> None:
        self.path = Path(path)
        self.signal = signal
        if self.path.exists() and not (self.path / HEADER).is_file():
            raise UserError(f"{self.path} exists and is no TrialSet: choose another folder")
        self._replaced = replaced_folder(self.path)
        self._shape = (signal.resampling.n_times, len(signal.channels))
        self._sessions: dict[tuple[str, str], _OpenSession] = {}
        self._native: list[tuple[tuple[str, str], int, np.ndarray]] = []
        self.left_out: dict[str, int] = {}
        self._extras: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._folder = self._replaced.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as last:
            last.push(self._replaced)
            last.callback(self._close)
            if error is not None:
                raise error
            self._finish()

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
            _write_array(self._folder / NATIVE, np.stack([window for *_, window in self._native]))
        _table([trial for part in self._sessions.values() for trial in part.trials]).to_parquet(
            self._folder / TABLE, index=False
        )
        header = Header(
            signal=self.signal,
            signal_sha256=signal_hash(self.signal),
            sessions=tuple(
                SessionFile(subject=key[0], session=key[1], file=part.path.name, n_trials=len(part.trials))
                for key, part in self._sessions.items()
            ),
            native_rows=tuple(first_row[key] + row for key, row, _ in self._native),
            left_out=self.left_out,
            extras=self._extras,
        )
        (self._folder / HEADER).write_text(header.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def _close(self) -> None:
        for part in self._sessions.values():
            part.array.close()


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
