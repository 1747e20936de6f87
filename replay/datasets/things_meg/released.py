"""The released epochs: one MNE file a subject, split in four."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.datasets.epochs import epochs_recording
from replay.datasets.report import Count, Kind, SubjectReport
from replay.recordings.mne_raw import info_channels
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey
    from replay.datasets.things_meg.attributes import Attributes
    from replay.recordings import Recording


@dataclass(frozen=True, slots=True)
class ReleasedEpochs:
    """Epochs of a subject; numbers are read as they are asked for."""

    path: Path
    epochs: Any

    @property
    def numbers(self) -> list[int]:
        """Event value of each epoch: its image's THINGS number, or another one in a catch trial."""
        values: list[int] = self.epochs.events[:, 2].tolist()
        return values

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        """Read epochs, shape ``(stop - start, n_channels, n_times)``, as they were scaled."""
        try:
            data: NDArray[np.float64] = self.epochs.get_data(item=slice(start, stop), verbose="error")
        except Exception as error:  # whatever a damaged part leads to
            raise UserError(
                f"{self.path}: cannot be read ({error}); get it again with all its parts"
            ) from error
        if len(data) != stop - start:
            raise UserError(
                f"{self.path}: epochs {start} to {stop} are not in it; get it again with all its parts"
            )
        return data


class ReleasedSubject:
    """The epochs of one subject.

    Parameters
    ----------
    about
        What was published.
    survey
        Reads the copy.
    subject
        Whose.
    n_parts
        How many files they are in.
    n_catch
        Catch trials.
    """

    def __init__(self, about: About, survey: Survey, subject: str, n_parts: int, n_catch: int) -> None:
        self.about = about
        self.survey = survey
        self.subject = subject
        self.n_epochs = about.n_train + about.n_test + n_catch
        stem = survey.root / "derivatives" / "preprocessed" / f"preprocessed_P{subject[-1]}-epo"
        self.files = [
            stem.with_name(f"{stem.name}{f'-{part}' if part else ''}.fif") for part in range(n_parts)
        ]
        (self.variant,) = (one for one in about.variants if one.name == "epochs")

    def report(self, attributes: Attributes | None) -> SubjectReport:
        """Say what is there; of the files, tables of epochs alone are read."""
        released = self._open()
        n = None if released is None else len(released.epochs.events)
        if released is not None:
            self._check(released, attributes)
        shown = () if attributes is None else attributes.stimuli
        split = [None if one is None else one.split for one in shown]
        counts = {
            "train trials": Count(found=split.count("train") if shown else None, expected=self.about.n_train),
            "test trials": Count(found=split.count("test") if shown else None, expected=self.about.n_test),
        }
        return SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="",
            last_onset_s=None,
            signal_s=None,
            responses=Count(found=n, expected=self.n_epochs),
            excluded="",
        )

    def read(self, attributes: Attributes) -> Iterator[Recording]:
        """Give a recording a run, in order."""
        released = self._open() or self.survey.refuse()
        if not self._check(released, attributes):
            self.survey.refuse()
        channels = info_channels(released.epochs.info)
        begin = 0
        for (session, run), group in groupby(attributes.runs):
            end = begin + len(list(group))
            labels = ["" if one is None else one.stimulus_id for one in attributes.stimuli[begin:end]]
            yield epochs_recording(
                f"preprocessed_P{self.subject[-1]}_ses-{session}_run-{run}",
                channels=channels,
                rate_hz=float(released.epochs.info["sfreq"]),
                n_times=len(released.epochs.times),
                onset=int(np.argmin(np.abs(released.epochs.times))),
                labels=labels,
                read=_Part(released, begin).read,
                subject=self.subject,
                session=session,
                run=run,
            )
            begin = end

    def _open(self) -> ReleasedEpochs | None:
        sizes = [self.survey.size(path) for path in self.files]
        if None in sizes:
            return None
        path = self.files[0]
        return self.survey.attempt(path, lambda: _open_epochs(path))

    def _check(self, released: ReleasedEpochs, attributes: Attributes | None) -> bool:
        """Tell what is not as published; whether each epoch's image is known."""
        times_s, tell = released.epochs.times, self.survey.tell
        low_s, high_s = self.variant.tmin_s, self.variant.tmax_s
        if (
            low_s is None
            or high_s is None
            or not np.allclose((times_s[0], times_s[-1]), (low_s, high_s), atol=1e-6)
        ):
            text = f"epochs of {times_s[0]:g} to {times_s[-1]:g} s where {low_s} to {high_s} s were published"
            tell(released.path, Kind.ODD, text)
            return False
        n = len(released.epochs.events)
        if n != self.n_epochs:
            tell(released.path, Kind.ODD, f"{n:,} epochs where {self.n_epochs:,} were published")
        if attributes is None:
            return False
        if n != len(attributes.numbers):
            text = f"{n:,} epochs for {len(attributes.numbers):,} rows of its table of trials"
            tell(released.path, Kind.ODD, text)
            return False
        other = sum(
            number is not None and number != value
            for number, value in zip(attributes.numbers, released.numbers, strict=True)
        )
        if other:
            tell(
                released.path,
                Kind.ODD,
                f"{other:,} epochs are of another image than its table of trials says",
            )
        return not other


@dataclass(frozen=True, slots=True)
class _Part:
    """The epochs of one run."""

    released: ReleasedEpochs
    begin: int

    def read(self, start: int, stop: int) -> NDArray[np.float64]:
        return self.released.read(self.begin + start, self.begin + stop)


def _open_epochs(path: Path) -> ReleasedEpochs:
    import mne

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of names, which are as they were published
            epochs = mne.read_epochs(path, proj=False, preload=False, verbose="error")
    except Exception as error:  # MNE's readers raise whatever the damaged bytes lead to
        reason = (str(error).splitlines() or [""])[0].rstrip(".;") or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as epochs ({reason}); get it again with all its parts"
        ) from error
    return ReleasedEpochs(path, epochs)
