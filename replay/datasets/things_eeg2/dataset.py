"""A copy of THINGS-EEG2: checked, and opened raw or pre-processed.

Raw: two pickled dictionaries a session, training and test, with the events in a channel of their own. Two
pre-processed forms of it are about under the same file names, and only what is in the files tells them apart.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replay.datasets.dataset import (
    About,
    Content,
    Dataset,
    Form,
    KnownFault,
    Selection,
    Variant,
    stimulus_table,
)
from replay.datasets.epochs import epochs_recording
from replay.datasets.report import Count, Kind, Report, SubjectReport
from replay.datasets.things_eeg2.images import IMAGE_METADATA, read_images
from replay.datasets.things_eeg2.signals import TARGET, read_epochs, read_raw
from replay.recordings import Markers, Recording
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from replay.datasets.dataset import Stimulus
    from replay.datasets.survey import Survey
    from replay.datasets.things_eeg2.images import Images
    from replay.datasets.things_eeg2.signals import EpochPart, RawPart

PARTS = ("training", "test")
_NPY_MAGIC = b"\x93NUMPY"
_WHITENED = "resampled by a filter that looks ahead, and whitened by covariances over whole sessions"
_SHUFFLED = (
    "repetition order is shuffled and session identity lost: nobody can tell which trials an earlier end of "
    "recording would have left"
)

_TARGETS = KnownFault(
    subjects=(),
    text=f"trials with the target that was to be answered with a key have the code {TARGET}",
    rule="they have no marker",
)
_SEAMS = KnownFault(
    subjects=(),
    text="a session's training was recorded in parts, joined end to end, and nothing says where",
    rule="read as one stretch: the filter takes a seam for a step of the signal",
)
_ORDER = KnownFault(
    subjects=(),
    text="nothing says whether a session's training or its test was recorded first",
    rule="training is put first",
)
_LEADING = KnownFault(
    subjects=(),
    text="times of the 63 channels at 250 Hz says when 300 samples are, of which the first 50 were cut off",
    rule="the last of its values are taken",
)


@dataclass(frozen=True, slots=True)
class _Shape:
    """Epochs of a pre-processed form."""

    n_channels: int
    n_times: int
    rate_hz: float


_SHAPES = {"preprocessed-17": _Shape(17, 100, 100.0), "preprocessed-63": _Shape(63, 250, 250.0)}

ABOUT = About(
    name="things-eeg2",
    title="THINGS-EEG2",
    reference="Gifford, Dwivedi, Roig, Cichy 2022, NeuroImage 264, 119754",
    licence="CC BY 4.0",
    device="EEG",
    source="https://osf.io/3jk45",
    images="training_images and test_images, one folder a concept: https://osf.io/y63gw",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(IMAGE_METADATA, "sub-XX/ses-XX/raw_eeg_{training,test}.npy"),
            signs=("sub-*/ses-*/raw_eeg_*.npy",),
        ),
        Variant(
            name="preprocessed-17",
            form=Form.EPOCHS,
            layout=(IMAGE_METADATA, "sub-XX/preprocessed_eeg_{training,test}.npy, saved with numpy.save"),
            signs=("sub-*/preprocessed_eeg_*.npy",),
            tmin_s=-0.2,
            tmax_s=0.79,
            caution=_WHITENED,
            no_amounts=_SHUFFLED,
        ),
        Variant(
            name="preprocessed-63",
            form=Form.EPOCHS,
            layout=(IMAGE_METADATA, "sub-XX/preprocessed_eeg_{training,test}.npy, a pickle"),
            signs=("sub-*/preprocessed_eeg_*.npy",),
            tmin_s=0.0,
            tmax_s=0.996,
            caution=_WHITENED,
            no_amounts=_SHUFFLED,
        ),
    ),
    subjects=tuple(f"{number:02d}" for number in range(1, 11)),
    n_sessions=(4,) * 10,
    n_channels=63,
    rate_hz=1000.0,
    onset_step_s=0.2,
    n_train=66_160,
    n_train_repetitions=4,
    n_concepts=1654,
    n_test_images=200,
    n_repetitions=80,
    known_faults=(_TARGETS, _SEAMS, _ORDER, _LEADING),
)


class ThingsEeg2(Dataset):
    """THINGS-EEG2 as OSF gives it, raw or pre-processed, and as pre-processed by others at 250 Hz."""

    def __init__(self, about: About = ABOUT) -> None:
        super().__init__(about)

    def holds(self, root: Path, variant: Variant) -> bool:
        """Whether a copy holds a variant; both pre-processed ones have the same file names."""
        there = next((path for sign in variant.signs for path in sorted(root.glob(sign))), None)
        if there is None or variant.form is Form.CONTINUOUS:
            return there is not None
        try:
            with there.open("rb") as file:
                is_npy = file.read(len(_NPY_MAGIC)) == _NPY_MAGIC
        except OSError:
            return False
        return is_npy == (variant.name == "preprocessed-17")

    def validate(
        self,
        root: Path,
        subjects: Sequence[str],
        progress: Callable[[], None],
        variant: str | None = None,
    ) -> Report:
        """Say what is in a copy; of the signals, only the channel of events is read."""
        form = self.variant(root, variant)
        survey = self.survey(root)
        path = root / IMAGE_METADATA
        images = survey.attempt(path, lambda: read_images(path))
        if images is not None:
            self._check_images(survey, path, images)
        found = []
        for subject in subjects:
            if (root / f"sub-{subject}").is_dir():
                one = _Subject(self.about, survey, subject, images)
                raw = form.form is Form.CONTINUOUS
                found.append(one.report_raw() if raw else one.report_epochs(_SHAPES[form.name]))
            progress()
        for fault in (_TARGETS, _SEAMS, _ORDER) if form.form is Form.CONTINUOUS else ():
            survey.tell(root, Kind.KNOWN, fault.text, fault.rule)
        return self.report(survey, form.name, found, subjects)

    def open(self, root: Path, selection: Selection) -> Content:
        """Open two recordings a session, or two a subject, each image's codes as its marker."""
        variant = self.variant(root, selection.variant)
        survey = self.survey(root)
        path = root / IMAGE_METADATA
        images = survey.attempt(path, lambda: read_images(path)) or survey.refuse()
        raw = variant.form is Form.CONTINUOUS
        recordings: list[Recording] = []
        files, remarks = [path], []
        for subject in selection.subjects:
            one = _Subject(self.about, survey, subject, images)
            for recording, file in one.read_raw() if raw else one.read_epochs():
                recordings.append(recording)
                files.append(file)
            remarks += one.remarks
        return Content(
            variant=variant,
            recordings=tuple(recordings),
            stimuli=stimulus_table((*images.training, *images.test)),
            files=tuple(files),
            remarks=(*(fault.text for fault in (_SEAMS, _ORDER) if raw), *remarks),
        )

    def _check_images(self, survey: Survey, path: Path, images: Images) -> None:
        about = self.about
        for what, n, expected in (
            ("training images", len(images.training), about.n_train // about.n_train_repetitions),
            ("concepts", len({one.concept_id for one in images.training}), about.n_concepts),
            ("test images", len(images.test), about.n_test_images),
        ):
            if n != expected:
                survey.tell(path, Kind.ODD, f"{n:,} {what} where {expected:,} were published")


class _Subject:
    """The files of one subject."""

    def __init__(self, about: About, survey: Survey, subject: str, images: Images | None) -> None:
        self.about = about
        self.survey = survey
        self.subject = subject
        self.images = images
        self.folder = survey.root / f"sub-{subject}"
        self.remarks: list[str] = []
        index = about.subjects.index(subject)
        self.sessions = [f"{number:02d}" for number in range(1, about.n_sessions[index] + 1)]
        self.n_trials = {"training": about.n_train, "test": about.n_test}

    def report_raw(self) -> SubjectReport:
        shown: dict[str, list[str]] = {part: [] for part in PARTS}
        n_samples, n_channels, n_read = 0, set(), 0
        last_onset_s = 0.0
        for session, part, path in self._raw_files():
            file = self._attempt_raw(path)
            if file is None:
                continue
            n_read += 1
            n_channels.add(file.n_electrodes)
            self._check("channels", path, file.n_electrodes, self.about.n_channels)
            self._check("Hz", path, file.rate_hz, self.about.rate_hz)
            events = file.events()
            codes = self._known_codes(path, part, [code for code in events.label if code != TARGET])
            self._check("trials", path, len(codes), self.n_trials[part] // len(self.sessions), session)
            shown[part] += codes
            if len(events):
                last_onset_s = n_samples / file.rate_hz + float(events.sample[-1]) / file.rate_hz
            n_samples += file.n_samples
        repetitions = {part: Counter(codes) for part, codes in shown.items()}
        counts = {
            "train trials": (len(shown["training"]), self.about.n_train),
            "train images": (
                len(repetitions["training"]),
                self.about.n_train // self.about.n_train_repetitions,
            ),
            "test trials": (len(shown["test"]), self.about.n_test),
            "test images": (len(repetitions["test"]), self.about.n_test_images),
            "test repetitions": (min(repetitions["test"].values(), default=0), self.about.n_repetitions),
            "channels": (min(n_channels, default=0), self.about.n_channels or 0),
        }
        return SubjectReport(
            subject=self.subject,
            counts={
                name: Count(found=found if n_read else None, expected=expected)
                for name, (found, expected) in counts.items()
            },
            onset_unit="samples",
            last_onset_s=last_onset_s if n_read else None,
            signal_s=n_samples / self.about.rate_hz if n_read else None,
            excluded="",
        )

    def report_epochs(self, shape: _Shape) -> SubjectReport:
        counts: dict[str, Count] = {}
        n_epochs = 0
        for part in PARTS:
            path = self._epochs_file(part)
            file = self._attempt_epochs(path)
            n_images = self.about.n_test_images
            n_repetitions = self.about.n_repetitions
            if part == "training":
                n_repetitions = self.about.n_train_repetitions
                n_images = self.about.n_train // n_repetitions
            expected = (n_images, n_repetitions, shape.n_channels, shape.n_times)
            name = "train" if part == "training" else part
            found: tuple[int | None, ...] = (None, None, None, None)
            if file is not None:
                found = file.array.shape
                n_epochs += file.n_epochs
                self._check("Hz", path, file.rate_hz, shape.rate_hz)
                if found != expected:
                    self.survey.tell(path, Kind.ODD, f"shape {found} where {expected} was published")
                if file.n_leading:
                    self.survey.tell(path, Kind.KNOWN, _LEADING.text, _LEADING.rule)
            for index, what in enumerate(("images", "repetitions", "channels", "samples an epoch")):
                counts[f"{name} {what}"] = Count(found=found[index], expected=expected[index])
        return SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="",
            last_onset_s=None,
            signal_s=None,
            responses=Count(found=n_epochs, expected=self.about.n_train + self.about.n_test),
            excluded="",
        )

    def read_raw(self) -> Iterator[tuple[Recording, Path]]:
        """Open each session's training and test; the files of numbers stay where they are."""
        for session, part, path in self._raw_files():
            file = self._attempt_raw(path) or self.survey.refuse()
            events = file.events()
            stimuli = self._stimuli(part)
            chosen = [
                (sample, stimuli[int(code) - 1].stimulus_id)
                for sample, code in zip(events.sample.tolist(), events.label, strict=True)
                if code != TARGET and 0 < int(code) <= len(stimuli)
            ]
            n_targets = events.label.count(TARGET)
            if unknown := len(events) - n_targets - len(chosen):
                self.remarks.append(
                    f"{path.name} of session {session}: {unknown} events of no image left out"
                )
            markers = Markers.in_order([sample for sample, _ in chosen], [label for _, label in chosen])
            yield (
                Recording(
                    name=f"sub-{self.subject}_ses-{session}_{part}",
                    rate_hz=file.rate_hz,
                    channels=file.channels,
                    n_samples=file.n_samples,
                    markers=markers,
                    reader=file.read,
                    subject=self.subject,
                    session=session,
                    run=part,
                ),
                path,
            )

    def read_epochs(self) -> Iterator[tuple[Recording, Path]]:
        """Open training and test."""
        for part in PARTS:
            path = self._epochs_file(part)
            file = self._attempt_epochs(path) or self.survey.refuse()
            stimuli = self._stimuli(part)
            if len(stimuli) != file.array.shape[0]:
                raise UserError(
                    f"{path}: holds {file.array.shape[0]:,} images where {IMAGE_METADATA} lists "
                    f"{len(stimuli):,}; get both again from {self.about.source}"
                )
            yield (
                epochs_recording(
                    f"sub-{self.subject}_{part}",
                    channels=file.channels,
                    rate_hz=file.rate_hz,
                    n_times=file.array.shape[3],
                    onset=file.onset,
                    labels=[one.stimulus_id for one in stimuli for _ in range(file.n_repetitions)],
                    read=file.read,
                    subject=self.subject,
                    run=part,
                ),
                path,
            )

    def _raw_files(self) -> Iterator[tuple[str, str, Path]]:
        for session in self.sessions:
            for part in PARTS:
                yield session, part, self.folder / f"ses-{session}" / f"raw_eeg_{part}.npy"

    def _epochs_file(self, part: str) -> Path:
        return self.folder / f"preprocessed_eeg_{part}.npy"

    def _attempt_raw(self, path: Path) -> RawPart | None:
        return self.survey.attempt(path, lambda: read_raw(path))

    def _attempt_epochs(self, path: Path) -> EpochPart | None:
        return self.survey.attempt(path, lambda: read_epochs(path))

    def _stimuli(self, part: str) -> tuple[Stimulus, ...]:
        return () if self.images is None else self.images.of(part)

    def _known_codes(self, path: Path, part: str, codes: list[str]) -> list[str]:
        """Codes that an image has; others are told."""
        n = len(self._stimuli(part))
        known = [code for code in codes if 0 < int(code) <= n] if self.images else codes
        if strange := len(codes) - len(known):
            self.survey.tell(path, Kind.ODD, f"{strange:,} events whose code is no image's")
        return known

    def _check(
        self, what: str, path: Path, found: float, expected: float | None, session: str | None = None
    ) -> None:
        if found != expected:
            where = f" in session {session}" if session else ""
            self.survey.tell(path, Kind.ODD, f"{found:,g} {what}{where} where {expected:,g} were published")
