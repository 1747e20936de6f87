"""``nsd_expdesign.mat``: which image was shown in which trial, to whom."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.matlab5 import read_numbers
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_N_DIMS = {"masterordering": 2, "subjectim": 2, "sharedix": 2, "stimpattern": 3}
_LARGEST, _LARGEST_ARRAY = 16 << 20, 1 << 20
"""Bytes, and numbers of one array; the real ones are below a megabyte and 80,000."""

_LARGEST_WHOLE = 2**53

VOLUMES_A_TRIAL = 3
"""Volumes of 4/3 s in a trial of 4 s."""


@dataclass(frozen=True, eq=False)
class Design:
    """Images count from 0, as do trials, sessions and runs.

    Parameters
    ----------
    images : array of shape (n_subjects, n_trials), int64
        Image of each trial, in order.
    shared : array of shape (n_shared,), int64
        Those that all subjects were to see: the test images.
    pattern : array of shape (n_sessions, n_runs, n_slots), bool
        In which slots of a run there was a trial.
    """

    images: NDArray[np.int64]
    shared: NDArray[np.int64]
    pattern: NDArray[np.bool_]

    @property
    def n_runs(self) -> int:
        """Runs of a session, those at rest not counted."""
        return int(self.pattern.shape[1])

    @property
    def n_volumes(self) -> int:
        """Volumes of a run: one more than its slots hold."""
        return VOLUMES_A_TRIAL * int(self.pattern.shape[2]) + 1

    @cached_property
    def run_ends(self) -> NDArray[np.int64]:
        """One past the last trial of each run, shape ``(n_sessions, n_runs)``."""
        return np.cumsum(self.pattern.sum(axis=2)).reshape(self.pattern.shape[:2])

    def session(self, subject: str, session: int) -> NDArray[np.int64]:
        """Images of a session's trials."""
        ends = np.concatenate([[0], self.run_ends[:, -1]])
        return self.images[int(subject) - 1, ends[session] : ends[session + 1]]

    def run(self, subject: str, session: int, run: int) -> NDArray[np.int64]:
        """Images of a run's trials."""
        ends = np.concatenate([[0], self.run_ends.reshape(-1)])
        place = session * self.n_runs + run
        return self.images[int(subject) - 1, ends[place] : ends[place + 1]]

    def is_shared(self, images: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these are test images."""
        return np.isin(images, self.shared)


def read_design(path: Path, n_images: int, n_subjects: int, n_sessions: int) -> Design:
    """Read the file, whose numbers count from 1.

    Parameters
    ----------
    path
        The file.
    n_images, n_subjects, n_sessions
        Images, subjects, and sessions that there are.

    Raises
    ------
    UserError
        If it is missing or damaged, or its arrays do not fit each other.
    """
    arrays = _arrays(path)
    order, shared = arrays["masterordering"][0], arrays["sharedix"][0]
    subject_images, pattern = arrays["subjectim"], arrays["stimpattern"]
    for name, values, most in (
        ("masterordering", order, subject_images.shape[1]),
        ("subjectim", subject_images, n_images),
        ("sharedix", shared, n_images),
    ):
        if values.min() < 1 or values.max() > most:
            raise _refusal(
                path, f"{name} counts from {values.min():,} to {values.max():,}, not from 1 to {most:,}"
            )
    if (len(subject_images), len(pattern)) != (n_subjects, n_sessions):
        raise _refusal(
            path,
            f"tells of {len(subject_images)} subjects in {len(pattern)} sessions, not of {n_subjects} in "
            f"{n_sessions}",
        )
    if not np.isin(pattern, (0, 1)).all() or pattern.sum() != len(order):
        raise _refusal(path, f"stimpattern does not place the {len(order):,} trials of masterordering")
    if not all(np.isin(shared, images).all() for images in subject_images):
        raise _refusal(path, "images of sharedix are not all in each row of subjectim")
    return Design(subject_images[:, order - 1] - 1, shared - 1, pattern.astype(bool))


def _arrays(path: Path) -> dict[str, NDArray[np.int64]]:
    """Arrays of whole numbers, each of the dimensions that it must have."""
    if not path.is_file():
        raise UserError(f"{path}: is not there; it says which image was shown when")
    there = read_numbers(path, _N_DIMS, _LARGEST)
    for name, n_dims in _N_DIMS.items():
        if name not in there:
            raise _refusal(path, f"has no numbers {name}")
        numbers = there[name]
        if numbers.ndim != n_dims or not 0 < numbers.size <= _LARGEST_ARRAY:
            raise _refusal(path, f"{name} has shape {numbers.shape}")
        if not (np.abs(numbers) < _LARGEST_WHOLE).all() or np.any(numbers != np.floor(numbers)):
            raise _refusal(path, f"{name} holds other than whole numbers")
    return {name: numbers.astype(np.int64) for name, numbers in there.items()}


def _refusal(path: Path, reason: str) -> UserError:
    return UserError(f"{path}: {reason}; restore a complete copy")
