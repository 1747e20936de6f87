"""Responses of BOLD5000, version 2: one 4-D NIfTI file a session, and one list of images a subject."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.bold5000.about import BETAS
from replay.datasets.bold5000.images import find_image
from replay.datasets.bold5000.opened import Opened
from replay.datasets.bold5000.runs import image_counts
from replay.datasets.report import Count, Kind, SubjectReport
from replay.datasets.volume_files import VolumeFiles
from replay.recordings import Markers
from replay.recordings.nifti import check_nifti, read_mask
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from replay.datasets.bold5000.about import Published
    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey
    from replay.recordings import Recording
    from replay.recordings.nifti import Mask


class BetasSubject:
    """The responses of one subject."""

    def __init__(
        self, about: About, published: Published, survey: Survey, subject: str, n_sessions: int
    ) -> None:
        self.about = about
        self.published = published
        self.survey = survey
        self.subject = subject
        self.sessions = [f"{number:02d}" for number in range(1, n_sessions + 1)]
        self.names = survey.root / f"{subject}_imgnames.txt"
        self.mask = survey.root / f"{subject}_brainmask.nii.gz"
        self.place = self.names

    def is_there(self, names: frozenset[str]) -> bool:
        """Whether the root, which holds these names, has this subject."""
        return any(name.startswith(f"{self.subject}_") for name in names)

    def report(self) -> tuple[SubjectReport, int, int]:
        """Say what is there, and how many lists and files of responses."""
        names = self._names()
        images = [image for name in names or () if (image := find_image(name)) is not None]
        if names is not None and len(images) < len(names):
            strange = next(name for name in names if find_image(name) is None)
            n = len(names) - len(images)
            self.survey.tell(
                self.names, Kind.ODD, f"{n} of {len(names):,} lines are no image: {strange[:60]!r}"
            )
        n_trials = self.published.n_runs[self.subject] * self.published.n_run_trials
        if names is not None and len(names) != n_trials:
            kind = Kind.TRUNCATED if len(names) < n_trials else Kind.ODD
            self.survey.tell(self.names, kind, f"{len(names):,} lines where {n_trials:,} were published")
        lengths = self._check_files(len(names) if names is not None else None)
        counts = {
            "sessions": Count(found=len(lengths), expected=len(self.sessions)),
            "listed images": Count(found=None if names is None else len(images), expected=n_trials),
        }
        if names is not None:
            counts |= image_counts(self.subject, images, self.published, self.about.n_test_images)
        report = SubjectReport(
            subject=self.subject,
            counts=counts,
            onset_unit="",
            last_onset_s=None,
            signal_s=None,
            responses=Count(found=sum(lengths.values()), expected=n_trials),
            excluded="",
        )
        return report, names is not None, len(lengths)

    def read(self, mask_path: Path | None) -> Opened:
        """Open all sessions, which must be there: the list of images counts through them.

        Raises
        ------
        UserError
            If a file is missing or damaged, or the list and the responses differ in length.
        """
        names = self._names()
        if names is None:
            self.survey.refuse()
        mask_path = self.mask if mask_path is None else mask_path
        mask = replace(read_mask(mask_path), affine=None)
        files = [self._file(session) for session in self.sessions]
        for file in files:
            check_nifti(file, 4)  # now, not at the last of its trials
        opened = self._open(files, mask)
        n_trials = sum(recording.n_samples for recording in opened)
        if n_trials != len(names):
            raise UserError(
                f"{self.names}: {len(names):,} images are listed for {n_trials:,} responses; "
                f"{self.survey.again}"
            )
        images = [find_image(name) for name in names]
        # voxels outside a session's own field of view are no numbers, in all of its trials
        finite = np.logical_and.reduce([np.isfinite(recording.read(0, 1)[0]) for recording in opened])
        remarks = []
        if not finite.all():
            mask = _narrowed(mask, finite)
            opened = self._open(files, mask)
            remarks.append(
                f"{self.subject}: {np.sum(~finite):,} of {len(finite):,} voxels have no response in some "
                "session, and are left out"
            )
        recordings, begin = [], 0
        for session, recording in zip(self.sessions, opened, strict=True):
            shown = list(enumerate(images[begin : begin + recording.n_samples]))
            begin += recording.n_samples
            markers = Markers(
                np.array([trial for trial, image in shown if image is not None], dtype=np.int64),
                [image.stimulus_id for _, image in shown if image is not None],
            )
            recordings.append(
                replace(recording, markers=markers, subject=self.subject, session=session, run="")
            )
        if n_lost := sum(image is None for image in images):
            remarks.append(f"{self.subject}: {n_lost:,} responses to what is no image are left out")
        return Opened(
            recordings=recordings,
            shown=[image for image in images if image is not None],
            files=[self.names, mask_path, *files],
            remarks=remarks,
        )

    def _open(self, files: list[Path], mask: Mask) -> list[Recording]:
        volumes = VolumeFiles(mask, 1 / self.about.onset_step_s)
        return [volumes.recording(file) for file in files]

    def _file(self, session: str) -> Path:
        return self.survey.root / f"{self.subject}_{BETAS}_ses-{session}.nii.gz"

    def _names(self) -> list[str] | None:
        """Names of the images in order; None, and told, where there is no list."""
        text = self.survey.text(self.names)
        return None if text is None else [line for line in text.split("\n") if line.strip()]

    def _check_files(self, n_listed: int | None) -> dict[str, int]:
        """Trials of each session whose header can be read."""
        shapes: dict[str, tuple[int, ...]] = {}
        for session in self.sessions:
            path = self._file(session)
            header = self.survey.attempt(path, partial(check_nifti, path, 4))
            if header is not None:
                shapes[session] = header[0]
        allowed = [n * self.published.n_run_trials for n in self.published.n_session_runs]
        for session, shape in shapes.items():
            if shape[3] not in allowed:
                published = " or ".join(map(str, allowed))
                text = f"{shape[3]} responses where {published} were published"
                self.survey.tell(self._file(session), Kind.ODD, text)
        mask = self.survey.attempt(self.mask, partial(check_nifti, self.mask, 3))
        for session, shape in shapes.items():
            if mask is not None and shape[:3] != mask[0]:
                text = f"its volumes are {shape[:3]}, {self.mask.name} is {mask[0]}"
                self.survey.tell(self._file(session), Kind.ODD, text)
        n_found = sum(shape[3] for shape in shapes.values())
        if n_listed is not None and len(shapes) == len(self.sessions) and n_found != n_listed:
            self.survey.tell(self.names, Kind.ODD, f"{n_listed:,} lines for {n_found:,} responses")
        return {session: shape[3] for session, shape in shapes.items()}


def _narrowed(mask: Mask, kept: np.ndarray) -> Mask:
    """Mask of those of its voxels that are kept, shape ``(n_inside,)``."""
    inside = mask.inside.copy()
    inside[mask.inside] = kept
    if not inside.any():
        raise UserError(f"{mask.path}: none of its voxels has responses in all sessions; give another mask")
    return replace(mask, inside=inside)
