"""A copy of Alljoined1: checked, and opened session by session.

No concepts were published: each image is its own.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replay.datasets.alljoined1.session import TIMES_SHOWN, Session, n_electrodes
from replay.datasets.dataset import (
    About,
    Content,
    Dataset,
    Form,
    KnownFault,
    Selection,
    Stimulus,
    Variant,
    stimulus_table,
)
from replay.datasets.nsd_pictures import nsd_pictures, picture_name
from replay.datasets.report import Count, Kind, Report, SubjectReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from replay.datasets.dataset import ReadPicture
    from replay.datasets.survey import Survey
    from replay.recordings import Recording

N_PICTURES = 73_000
_TEST_IMAGES = "test_indices.json"

_BROKEN = KnownFault(
    subjects=("02", "03", "07", "08"),
    text="one session's signal or table is broken or missing: subj02 session 2, subj03 session 1, subj07 "
    "session 2, subj08 session 2",
    rule="that session is not read",
)
_BROKEN_SESSIONS = (("02", "2"), ("03", "1"), ("07", "2"), ("08", "2"))
_KEPT = KnownFault(
    subjects=(),
    text="tables hold the trials that the authors kept after a look at all of the signal",
    rule="all triggers of known images are read",
)
_NO_SPLIT = KnownFault(
    subjects=(),
    text=f"which images are the test's is told by {_TEST_IMAGES}, which is not among the data",
    rule="it is read where it lies beside the folders raw and 05_125; else no image is on either side",
)

ABOUT = About(
    name="alljoined1",
    title="Alljoined1",
    reference="Xu, Aristimunha, Feucht, Qian, Liu et al. 2024, arXiv 2404.05553",
    licence="CC BY-NC-ND 4.0",
    device="EEG",
    source="https://osf.io/kqgs8",
    images="nsd_stimuli.hdf5 of the Natural Scenes Dataset, https://naturalscenesdataset.org, or a folder of "
    f"what was taken out of it; {_TEST_IMAGES}: https://github.com/Alljoined/alljoined-dataset1, folder "
    "1_preprocessing/final_dataset",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(_TEST_IMAGES, "raw/subjXX_sessionX_eeg.fif", "05_125/subjXX_sessionX.h5"),
            signs=("raw/subj*_session*_eeg.fif",),
        ),
    ),
    subjects=tuple(f"{number:02d}" for number in range(1, 9)),
    n_sessions=(2,) * 8,
    n_channels=64,
    rate_hz=512.0,
    onset_step_s=0.625,
    n_train=6144,
    n_train_repetitions=8,
    n_concepts=0,
    n_test_images=192,
    n_repetitions=8,
    known_faults=(_BROKEN, _KEPT, _NO_SPLIT),
)


class Alljoined1(Dataset):
    """Alljoined1 as OSF gives it.

    Parameters
    ----------
    about
        What was published.
    n_pictures
        Pictures of NSD.
    """

    def __init__(self, about: About = ABOUT, n_pictures: int = N_PICTURES) -> None:
        super().__init__(about)
        self.n_pictures = n_pictures

    @property
    def n_images(self) -> int:
        """Images of a session."""
        return self.about.n_train // self.about.n_train_repetitions + self.about.n_test_images

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy, from its tables and the headers of its signals."""
        form = self.variant(root, variant)
        survey = self.survey(root)
        tested = self._tested(survey)
        if tested is None:
            survey.tell(root, Kind.KNOWN, _NO_SPLIT.text, _NO_SPLIT.rule)
        elif len(tested) != self.about.n_test_images:
            text = f"{len(tested):,} images where {self.about.n_test_images:,} were published"
            survey.tell(root / _TEST_IMAGES, Kind.ODD, text)
        survey.tell(root, Kind.KNOWN, _KEPT.text, _KEPT.rule)
        found = []
        for subject in subjects:
            files = [file for session in ("1", "2") for file in Session(survey, subject, session).files]
            if any(path.exists() for path in files):
                found.append(self._report(survey, subject, tested))
            progress()
        return self.report(survey, form.name, found, subjects)

    def open(self, root: Path, selection: Selection) -> Content:
        """Open a recording a session; its markers are the codes of known images."""
        variant = self.variant(root, selection.variant)
        survey = self.survey(root)
        tested = self._tested(survey)
        if survey.findings:
            survey.refuse()
        recordings: list[Recording] = []
        files: list[Path] = [] if tested is None else [root / _TEST_IMAGES]
        remarks = [_KEPT.text + ": " + _KEPT.rule]
        if tested is None:
            remarks.append(f"{_NO_SPLIT.text}: {_NO_SPLIT.rule}")
        for subject in selection.subjects:
            if subject in _BROKEN.subjects:
                remarks.append(f"subj{subject}: {_BROKEN.text}: {_BROKEN.rule}")
            for session in self._sessions(survey, subject):
                recording, remark = session.read(self.n_pictures)
                recordings.append(recording)
                files += session.files
                remarks += [remark] if remark else []
        shown = sorted({int(label) for recording in recordings for label in recording.markers.label})
        return Content(
            variant=variant,
            recordings=tuple(recordings),
            stimuli=stimulus_table(
                Stimulus(str(image), picture_name(image), "", _split(image, tested)) for image in shown
            ),
            files=tuple(files),
            remarks=tuple(remarks),
        )

    def pictures(self, source: Path) -> AbstractContextManager[ReadPicture]:
        """Open ``nsd_stimuli.hdf5``, for as long as a block runs."""
        return nsd_pictures(source, self.n_pictures)

    def _sessions(self, survey: Survey, subject: str) -> list[Session]:
        n = self.about.n_sessions[self.about.subjects.index(subject)]
        names = [str(number) for number in range(1, n + 1)]
        return [Session(survey, subject, name) for name in names if (subject, name) not in _BROKEN_SESSIONS]

    def _tested(self, survey: Survey) -> frozenset[int] | None:
        """Test images; None where the list of them is not there, or, told, where it is none."""
        path = survey.root / _TEST_IMAGES
        if not path.exists():
            return None
        text = survey.text(path) or "null"
        try:
            listed = json.loads(text)
        except (ValueError, RecursionError):
            listed = None
        if not isinstance(listed, list) or not all(
            type(image) is int and 0 <= image < self.n_pictures for image in listed
        ):
            survey.tell(path, Kind.ODD, "is no list of NSD's numbers of images")
            return None
        return frozenset(listed)

    def _report(self, survey: Survey, subject: str, tested: frozenset[int] | None) -> SubjectReport:
        sessions = self._sessions(survey, subject)
        images: set[int] = set()
        n_trials, n_channels, n_read, signal_s, last_s = 0, set(), 0, 0.0, None
        for session in sessions:
            recording = session.signal(self.about)
            trials = session.trials(self.n_pictures)
            if recording is not None:
                n_read += 1
                n_channels.add(n_electrodes(recording))
                signal_s += recording.duration_s
            if trials is not None:
                n_trials += len(trials.images)
                images |= set(trials.images.tolist())
                last_s = float(trials.samples[-1]) / self.about.rate_hz if len(trials.samples) else last_s
                session.check(trials, self.n_images)
        if subject in _BROKEN.subjects:
            survey.tell(survey.root / "raw", Kind.KNOWN, f"subj{subject}: {_BROKEN.text}", _BROKEN.rule)
        counts = {
            "sessions": Count(found=n_read, expected=len(sessions)),
            "trials kept": Count(
                found=n_trials or None, expected=len(sessions) * self.n_images * TIMES_SHOWN
            ),
            "images": Count(found=len(images) or None, expected=self.n_images),
            "channels": Count(found=min(n_channels, default=None), expected=self.about.n_channels or 0),
        }
        if tested is not None:
            counts["test images"] = Count(
                found=len(images & tested) if images else None, expected=self.about.n_test_images
            )
        return SubjectReport(
            subject=subject,
            counts=counts,
            onset_unit="s",
            last_onset_s=last_s,
            signal_s=signal_s if n_read else None,
            excluded="",
        )


def _split(image: int, tested: frozenset[int] | None) -> str:
    if tested is None:
        return ""
    return "test" if image in tested else "train"
