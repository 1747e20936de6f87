"""The files of one subject, in either form: what is there, and its recordings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from replay.datasets.nsd.about import Expected
    from replay.datasets.nsd.design import Design
    from replay.datasets.report import Count
    from replay.datasets.survey import Survey
    from replay.recordings import Recording
    from replay.recordings.nifti import Mask

FOLDER = "func1pt8mm"


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at a subject's files found.

    Parameters
    ----------
    shown
        Images of each run or session that is there and right, in order of trials.
    counts
        By what was counted.
    signal_s
        Seconds of volumes; None where there are none.
    responses
        Betas; None of volumes.
    """

    shown: list[NDArray[np.int64]]
    counts: dict[str, Count]
    signal_s: float | None = None
    responses: Count | None = None


class SubjectFiles(ABC):
    """Files of one subject.

    Parameters
    ----------
    survey
        Reads the copy, and keeps what is wrong.
    design
        What was shown.
    expected
        What the published files hold.
    subject
        Label.
    n_sessions
        Sessions that were recorded.
    """

    parts: str
    """What its recordings are called: runs, or sessions."""

    def __init__(
        self, survey: Survey, design: Design, expected: Expected, subject: str, n_sessions: int
    ) -> None:
        self.survey = survey
        self.design = design
        self.expected = expected
        self.subject = subject
        self.n_sessions = n_sessions

    def folder(self, part: str) -> Path:
        """Folder of this subject in a part of the dataset, such as ``nsddata_betas``."""
        return self.survey.root / part / "ppdata" / f"subj{self.subject}" / FOLDER

    @property
    @abstractmethod
    def n_parts(self) -> int:
        """Recordings that there would be were all files there."""

    @abstractmethod
    def look(self, grid: tuple[int, ...] | None) -> Found:
        """Say what is there, from tables and headers; ``grid`` is the mask's, where that could be read."""

    @abstractmethod
    def recordings(self, mask: Mask) -> Iterator[tuple[Recording, tuple[Path, ...]]]:
        """Open what is there, with the files that each comes from.

        Raises
        ------
        UserError
            If something of it is damaged.
        """
