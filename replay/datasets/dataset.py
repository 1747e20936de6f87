"""What all public datasets have in common: what was published, and how a copy is checked against it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from rtdecode.contracts import Contract
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replay.datasets.report import Report


class KnownFault(Contract):
    """Something odd that was published so.

    Parameters
    ----------
    subjects
        Labels of those it is true of; empty: of all.
    text
        What is odd.
    rule
        What is made of it.
    """

    subjects: tuple[str, ...]
    text: str
    rule: str


class About(Contract):
    """What a dataset's authors published.

    Parameters
    ----------
    name
        As the command line names it.
    title, reference, licence
        As the authors state them.
    device
        What was recorded with.
    source
        Where it comes from, and how to get it.
    layout
        Which files are read, relative to the root.
    subjects
        Labels, without ``sub-``.
    n_sessions
        Sessions of each subject.
    n_channels
        Channels of a recording, the reference excluded.
    rate_hz
        Sampling rate.
    onset_step_s
        Seconds from one image's onset to the next.
    n_train
        Training trials of a subject, each of another image.
    n_concepts
        Concepts that they show.
    n_test_images, n_repetitions
        Test images, and how often each is shown.
    known_faults
        What is odd in it.
    """

    name: str
    title: str
    reference: str
    licence: str
    device: str
    source: str
    layout: tuple[str, ...]
    subjects: tuple[str, ...]
    n_sessions: int
    n_channels: int
    rate_hz: float
    onset_step_s: float
    n_train: int
    n_concepts: int
    n_test_images: int
    n_repetitions: int
    known_faults: tuple[KnownFault, ...]

    @property
    def n_test(self) -> int:
        """Test trials of a subject."""
        return self.n_test_images * self.n_repetitions


class Dataset(ABC):
    """A public dataset. Copies are the user's: they are read, never written, and nothing is downloaded."""

    about: ClassVar[About]

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Labels of the subjects that a user names (``10``, ``sub-10``); all where none is named.

        Raises
        ------
        UserError
            If the dataset has no such subject.
        """
        known = self.about.subjects
        wanted = {name.removeprefix("sub-") for name in names}
        if unknown := sorted(wanted - set(known)):
            raise UserError(
                f"{self.about.title} has no subject {shorten(unknown)}; it has {known[0]} to {known[-1]}"
            )
        return tuple(label for label in known if not wanted or label in wanted)

    @abstractmethod
    def validate(self, root: Path, subjects: Sequence[str], progress: Callable[[], None]) -> Report:
        """Say what is in a copy, from metadata alone.

        Parameters
        ----------
        root
            Folder of the copy.
        subjects
            Labels of the subjects to look at.
        progress
            Called after each of them.

        Raises
        ------
        UserError
            If the folder holds no copy of this dataset.
        """
