"""What all public datasets have in common: what was published, how a copy is checked, and how it is read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import pandas as pd

from replay.datasets.report import Report, SubjectReport
from replay.datasets.survey import Survey
from rtdecode.contracts import Contract
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from replay.recordings.recording import Recording


ReadPicture = Callable[[str], "NDArray[np.uint8]"]
"""Stimulus to its picture, shape ``(height, width, 3)``."""


class Form(StrEnum):
    """What kind of signals was released."""

    CONTINUOUS = "continuous"
    """Samples or volumes as they were recorded: what a live stream looks like."""

    EPOCHS = "epochs"
    """Cut around each image: a recording with a break before each epoch."""

    BETAS = "betas"
    """One response an image, fitted afterwards: a recording of one sample a trial."""


class Variant(Contract):
    """One of the forms in which a dataset exists.

    Parameters
    ----------
    name
        As the command line names it.
    form
        What kind of signals it holds.
    layout
        Which files are read, relative to the root.
    signs
        Patterns of files of which one shows that a copy holds this variant.
    tmin_s, tmax_s
        Epochs: the window that each holds, seconds from onset.
    caution
        What was done to it that no live stream can have had done, or else limits its use; empty: nothing.
    no_amounts
        Why no curve over the amount of data may be drawn from it; empty: it may.
    """

    name: str
    form: Form
    layout: tuple[str, ...]
    signs: tuple[str, ...]
    tmin_s: float | None = None
    tmax_s: float | None = None
    caution: str = ""
    no_amounts: str = ""


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
    images
        Where the images come from, and which folder of them is to be named.
    variants
        The forms in which it exists, the one that is closest to a live stream first.
    subjects
        Labels, without ``sub-``.
    n_sessions
        Sessions of each subject, in their order; none where that was not published.
    n_channels
        Channels of a recording, the reference excluded; None where they are voxels of a mask.
    rate_hz
        Sampling rate; of fMRI, volumes a second.
    onset_step_s
        Seconds from one image's onset to the next.
    n_train
        Training trials of a subject.
    n_train_repetitions
        How often each training image is shown.
    n_concepts
        Concepts that they show; 0 where nothing is said of that.
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
    images: str
    variants: tuple[Variant, ...]
    subjects: tuple[str, ...]
    n_sessions: tuple[int, ...]
    n_channels: int | None
    rate_hz: float
    onset_step_s: float
    n_train: int
    n_train_repetitions: int = 1
    n_concepts: int
    n_test_images: int
    n_repetitions: int
    known_faults: tuple[KnownFault, ...]

    @property
    def n_test(self) -> int:
        """Test trials of a subject."""
        return self.n_test_images * self.n_repetitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What of a copy is asked for.

    Parameters
    ----------
    subjects
        Labels, as :meth:`Dataset.select` gives them.
    variant
        Name of the variant; None: the one that is there.
    mask
        fMRI: image whose voxels above zero are the channels; ``{subject}`` stands for the label.
    """

    subjects: tuple[str, ...]
    variant: str | None = None
    mask: Path | None = None

    def mask_of(self, subject: str) -> Path | None:
        """Mask of one subject."""
        return None if self.mask is None else Path(str(self.mask).replace("{subject}", subject))


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """What is read of one subject, or of one recording; see :class:`Content`.

    Parameters
    ----------
    recordings, files, remarks
        As there.
    stimuli
        What was shown, in any order and as often as it was.
    """

    recordings: list[Recording] = field(default_factory=list)
    stimuli: list[Stimulus] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Content:
    """What of a copy is read.

    Parameters
    ----------
    variant
        The form that it has.
    recordings
        In the order in which they were recorded, subject by subject. A marker's label is its stimulus.
    stimuli
        As :func:`stimulus_table` makes it.
    files
        Those that the recordings and markers come from.
    remarks
        What was handled by rule, a line each.
    """

    variant: Variant
    recordings: tuple[Recording, ...]
    stimuli: pd.DataFrame
    files: tuple[Path, ...]
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(cls, variant: Variant, parts: Sequence[Part]) -> Self:
        """Join what was read part by part.

        Raises
        ------
        UserError
            If two parts say different things of one stimulus.
        """
        return cls(
            variant=variant,
            recordings=tuple(recording for part in parts for recording in part.recordings),
            stimuli=stimulus_table(stimulus for part in parts for stimulus in part.stimuli),
            files=tuple(file for part in parts for file in part.files),
            remarks=tuple(remark for part in parts for remark in part.remarks),
        )

    def recording(self, session: str | None, run: str | None) -> Recording:
        """Give the one recording of this session and run; either may be left out where there is but one.

        Raises
        ------
        UserError
            If there is none, or more than one.
        """
        wanted = {"session": session, "run": run}
        found = [
            recording
            for recording in self.recordings
            if all(text is None or getattr(recording, name) == text for name, text in wanted.items())
        ]
        if len(found) == 1:
            return found[0]
        there = shorten(
            [f"{one.subject}/{one.session or '-'}/{one.run or '-'}" for one in found or self.recordings]
        )
        if found:
            raise UserError(f"{len(found)} recordings are meant (subject/session/run): {there}; name one")
        raise UserError(f"no such recording; there are (subject/session/run) {there}")


class Dataset(ABC):
    """A public dataset. Copies are the user's: they are read, never written, and nothing is downloaded.

    Parameters
    ----------
    about
        What was published.
    """

    def __init__(self, about: About) -> None:
        self.about = about

    def select(self, names: Sequence[str]) -> tuple[str, ...]:
        """Labels of the subjects that a user names (``1``, ``01``, ``sub-01``); all where none is named.

        Raises
        ------
        UserError
            If the dataset has no such subject.
        """
        known = self.about.subjects
        wanted = {_bare(name): name for name in names}
        if unknown := sorted(name for bare, name in wanted.items() if bare not in map(_bare, known)):
            raise UserError(
                f"{self.about.title} has no subject {shorten(unknown)}; it has {known[0]} to {known[-1]}"
            )
        return tuple(label for label in known if not wanted or _bare(label) in wanted)

    def variant(self, root: Path, name: str | None) -> Variant:
        """Variant of this name; the one that is in a copy where none is named.

        Raises
        ------
        UserError
            If there is no such variant, the copy holds none, or more than one and none is named.
        """
        self.check_variant(name)
        variants = {variant.name: variant for variant in self.about.variants}
        if not root.is_dir():
            raise UserError(f"{root}: no such folder; name the one that holds {self.about.title}")
        there = [one for one in variants.values() if self.holds(root, one)]
        found = [one for one in there if name in (None, one.name)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(one.name for one in found)
            raise UserError(f"{root} holds {self.about.title} as {names}: name one of them (--variant)")
        files = shorten(
            [file for one in variants.values() if name in (None, one.name) for file in one.layout]
        )
        raise UserError(
            f"{root} holds no {self.about.title}{f' as {name}' if name else ''}: there is no {files}"
        )

    def holds(self, root: Path, variant: Variant) -> bool:
        """Whether a copy holds a variant: one of the files that show it is there."""
        return any(any(root.glob(sign)) for sign in variant.signs)

    def check_variant(self, name: str | None) -> None:
        """Refuse a name that no variant has; None is none.

        Raises
        ------
        UserError
            If there is no such variant.
        """
        names = [variant.name for variant in self.about.variants]
        if name is not None and name not in names:
            raise UserError(f"{self.about.title} has no variant {name!r}; known are {', '.join(names)}")

    def survey(self, root: Path) -> Survey:
        """Begin a look at a copy; what it lacks is to be got again from where it was published."""
        return Survey(root, f"get it again from {self.about.source}")

    def report(
        self, survey: Survey, variant: str, found: Sequence[SubjectReport], asked: Sequence[str]
    ) -> Report:
        """Put together what a look at a copy found.

        Parameters
        ----------
        survey
            The look, with its findings.
        variant
            Which form the copy has, in words.
        found
            Of each subject that is there.
        asked
            Labels of the subjects that were asked for; those that were not found are absent.
        """
        there = {subject.subject for subject in found}
        return Report(
            dataset=self.about.name,
            root=str(survey.root),
            variant=variant,
            source=self.about.source,
            subjects=tuple(found),
            absent_subjects=tuple(label for label in asked if label not in there),
            findings=tuple(survey.findings),
        )

    @abstractmethod
    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from metadata alone.

        Parameters
        ----------
        root
            Folder of the copy.
        subjects
            Labels of the subjects to look at.
        progress
            Called after each of them.
        variant
            Name of the variant to look at; None: the one that is there.

        Raises
        ------
        UserError
            If the folder holds no copy of this dataset, or several variants and none is named.
        """

    @abstractmethod
    def open(self, root: Path, selection: Selection) -> Content:
        """Open what is asked for: recordings, read as they are needed, and their stimuli.

        Raises
        ------
        UserError
            If the copy lacks something that is needed, or it is damaged.
        """

    def pictures(self, source: Path) -> AbstractContextManager[ReadPicture]:
        """Open the one file in which the pictures were published, for as long as a block runs.

        Raises
        ------
        UserError
            If it is damaged; always, of a dataset whose pictures were published otherwise.
        """
        raise UserError(f"{source} is no folder; name one: {self.about.images}")


def _bare(name: str) -> str:
    """What tells a subject from others, however it is written: ``sub-01``, ``subj01``, ``01`` or ``1``."""
    return name.removeprefix("sub-").removeprefix("subj").lstrip("0")


class Stimulus(NamedTuple):
    """One image, as a table of stimuli says it.

    Parameters
    ----------
    stimulus_id
        What markers of it say.
    image
        Its file, relative to the folder of images, with forward slashes; empty where there is none.
    concept_id
        What it shows.
    split
        ``train`` or ``test``, as the authors divided them.
    block
        Part of the recording in which it was shown, where that is one; else empty.
    """

    stimulus_id: str
    image: str
    concept_id: str
    split: str
    block: str = ""


def stimulus_table(stimuli: Iterable[Stimulus]) -> pd.DataFrame:
    """Table of stimuli, one row each in the order in which they first appear; all cells text.

    Returns
    -------
    DataFrame
        Columns ``stimulus_id``, ``label`` (the same), ``image``, ``concept_id``, ``split`` and ``block``, see
        :mod:`rtdecode.stimuli`.

    Raises
    ------
    UserError
        If two say different things of one stimulus.
    """
    said: dict[str, Stimulus] = {}
    for stimulus in stimuli:
        before = said.setdefault(stimulus.stimulus_id, stimulus)
        if before[:-1] != stimulus[:-1]:
            field, one, other = next(
                said for said in zip(Stimulus._fields, before, stimulus, strict=True) if said[1] != said[2]
            )
            raise UserError(
                f"stimulus {stimulus.stimulus_id} has {field} {one!r} in one place and {other!r} in another: "
                "each has one; mend the tables, or leave that column out"
            )
        if before.block != stimulus.block:
            said[stimulus.stimulus_id] = before._replace(block="")
    table = pd.DataFrame(list(said.values()), columns=list(Stimulus._fields), dtype=object)
    table.insert(1, "label", table["stimulus_id"])
    return table
