"""BOLD5000: runs in BIDS, raw and as fMRIPrep leaves them, and responses of version 2."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np

from miniatures import Miniature, write_pictures
from replay.datasets.bold5000 import ABOUT, Bold5000, Published

if TYPE_CHECKING:
    from pathlib import Path

N_SESSIONS, N_SESSION_RUNS, N_RUN_TRIALS = 2, 2, 10
N_RUNS = N_SESSIONS * N_SESSION_RUNS
N_TRIALS = N_RUNS * N_RUN_TRIALS
N_REPEATED, N_REPETITIONS = 4, 3
N_VOLUMES = 3 + 5 * N_RUN_TRIALS + 6
SHAPE = (4, 3, 3)
BETAS = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR"
N_IMAGES = {"coco": 11, "imagenet": 11, "scenes": 10}
_COLUMNS = "onset duration Subj Sess Run Trial ImgName ImgType StimOn(s) StimOff(s) Response RT stim_file"


@dataclass(frozen=True, kw_only=True)
class Bold5000Copy(Miniature):
    """With the paths of its files."""

    def run_file(self, ending: str, session: int = 1, run: int = 1) -> Path:
        folder = self.root / f"sub-CSI1/ses-{session:02d}/func"
        return folder / f"sub-CSI1_ses-{session:02d}_task-5000scenes_run-{run:02d}_{ending}"

    def betas_file(self, session: int = 1) -> Path:
        return self.root / f"CSI1_{BETAS}_ses-{session:02d}.nii.gz"


def write_bold5000(folder: Path) -> Bold5000Copy:
    """Raw runs of one subject, a mask and the images."""
    made = _start(folder, "raw")
    _write_tables(made)
    rng = np.random.default_rng(5)
    for session, run in _runs():
        volumes = rng.normal(1000, 10, (*SHAPE, N_VOLUMES)).astype(np.int16)
        _save(volumes, made.run_file("bold.nii.gz", session, run), np.diag([2.0, 2.0, 2.0, 1.0]), 2.0)
    return made


def write_bold5000_fmriprep(folder: Path) -> Bold5000Copy:
    """The same runs after fMRIPrep, beside their tables; the raw volumes were not fetched."""
    made = _start(folder, "fmriprep")
    _write_tables(made)
    rng = np.random.default_rng(6)
    for session, run in _runs():
        place = made.run_file("bold_space-T1w_preproc.nii.gz", session, run).relative_to(made.root)
        path = made.root / "derivatives" / "fmriprep" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        volumes = rng.normal(1000, 10, (*SHAPE, N_VOLUMES)).astype(np.float32)
        _save(volumes, path, np.diag([2.0, 2.0, 2.0, 1.0]), 2.0)
    return made


def write_bold5000_betas(folder: Path) -> Bold5000Copy:
    """Responses of one subject: headers without a place, and a voxel that one session lacks."""
    made = _start(folder, "betas")
    rng = np.random.default_rng(7)
    for session in range(1, N_SESSIONS + 1):
        responses = rng.normal(size=(*SHAPE, N_SESSION_RUNS * N_RUN_TRIALS)).astype(np.float32)
        if session == 2:
            responses[1, 1, 1] = np.nan
        _save(responses, made.betas_file(session), np.diag([-2.0, -2.0, 2.0, 1.0]))
    names = [name for name, _ in _shown()]
    (made.root / "CSI1_imgnames.txt").write_text("".join(f"{name}\n" for name in names), newline="\n")
    inside = np.ones(SHAPE, dtype=np.uint8)
    inside[0] = 0
    _save(inside, made.root / "CSI1_brainmask.nii.gz", np.diag([2.0, 2.0, 2.0, 1.0]))
    return replace(made, mask=None)


def _start(folder: Path, variant: str) -> Bold5000Copy:
    root = folder / "copy"
    root.mkdir(parents=True)
    small = ABOUT.model_copy(
        update={
            "n_sessions": (N_SESSIONS,) * 4,
            "n_train": N_TRIALS - N_REPEATED * N_REPETITIONS,
            "n_test_images": N_REPEATED,
            "n_repetitions": N_REPETITIONS,
        }
    )
    published = Published(
        n_runs=dict.fromkeys(ABOUT.subjects, N_RUNS),
        n_session_runs=(N_SESSION_RUNS,),
        n_run_trials=N_RUN_TRIALS,
        n_run_volumes=N_VOLUMES,
        n_images=N_IMAGES,
    )
    made = Bold5000Copy(
        root=root,
        dataset=Bold5000(small, published),
        images=folder / "Presented_Stimuli",
        subject="CSI1",
        session="02",
        run=None if variant == "betas" else "01",
        variant=variant,
        mask=folder / "mask.nii.gz",
        speed=200.0 if variant == "betas" else 64.0,
    )
    folders = {"coco": "COCO", "imagenet": "ImageNet", "scenes": "Scene"}
    write_pictures(made.images, (f"{folders[kind.removeprefix('rep_')]}/{name}" for name, kind in _shown()))
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[1:, 1:] = 1
    _save(inside, folder / "mask.nii.gz", np.diag([2.0, 2.0, 2.0, 1.0]))
    return made


def _runs() -> list[tuple[int, int]]:
    return [(s, r) for s in range(1, N_SESSIONS + 1) for r in range(1, N_SESSION_RUNS + 1)]


def _shown() -> list[tuple[str, str]]:
    """Name and type of the image of each trial: the last of each three trials is a repeated one."""
    once = iter(range(N_TRIALS))
    names = {
        "coco": "COCO_train2014_{:012d}.jpg",
        "imagenet": "n0193{:04d}_63.JPEG",
        "scenes": "elevatorOutside{}.jpg",
    }
    shown = []
    for trial in range(N_TRIALS):
        is_repeated = trial % 3 == 2 and trial < 3 * N_REPEATED * N_REPETITIONS
        number = trial // 3 % N_REPEATED if is_repeated else N_REPEATED + next(once)
        kind = list(names)[number % 3]
        shown.append((names[kind].format(number + 1), f"{'rep_' * is_repeated}{kind}"))
    return shown


def _write_tables(made: Bold5000Copy) -> None:
    description = {"Name": "BOLD5000", "DatasetDOI": "10.18112/openneuro.ds001499.v1.3.1"}
    (made.root / "dataset_description.json").write_text(json.dumps(description))
    shown = iter(_shown())
    for session, run in _runs():
        lines = [_COLUMNS.replace(" ", "\t")]
        for trial in range(N_RUN_TRIALS):
            name, kind = next(shown)
            onset_s = 6.0367 + 9.995 * trial
            lines.append(
                f"{onset_s:.4f}\t1.0008\t1\t{session}\t{run}\t{trial + 1}\t{name}\t{kind}\t{onset_s:.4f}\t"
                f"{onset_s + 1:.4f}\t2\t1.9\t{name}"
            )
        path = made.run_file("events.tsv", session, run)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("".join(f"{line}\r\n" for line in lines).encode())


def _save(voxels: np.ndarray, path: Path, affine: np.ndarray, repetition_s: float | None = None) -> None:
    image = nibabel.Nifti1Image(voxels, affine)
    if repetition_s is not None:
        image.header.set_zooms((2, 2, 2, repetition_s))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
