"""DeepRecon and GOD: raw runs in BIDS, and responses in files of bdpy, of the newer and of the older kind."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import h5py
import nibabel
import numpy as np

from miniatures import Miniature, write_pictures
from replay.datasets.kamitani import DEEPRECON, GOD, Experiment, Kamitani, Study

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHAPE = (3, 2, 2)
N_RUN_TRIALS, N_TRAIN_RUNS, N_TEST_RUNS = 20, 2, 2
N_TRAIN_IMAGES, N_TEST_IMAGES = 10, 4
N_COLUMNS_BEFORE = 6
"""Columns of the matrix before the first voxel."""

TRAIN = [f"n{3000000 + 17 * number:08d}_{19498 - 1300 * number}" for number in range(N_TRAIN_IMAGES)]
TEST = [f"n{1443537 + 1000 * number:08d}_{109 + 9000 * number}" for number in range(N_TEST_IMAGES)]


@dataclass(frozen=True, kw_only=True)
class KamitaniCopy(Miniature):
    """With the paths of its files."""

    study: Study

    def run_file(self, ending: str, session: str, run: int = 1) -> Path:
        folder = self.root / f"sub-01/ses-{session}/func"
        return folder / f"sub-01_ses-{session}_task-perception_run-{run:02d}_{ending}"


def write_deeprecon(folder: Path) -> KamitaniCopy:
    """Raw runs, of which one training session and two test sessions; imagery beside them."""
    return _write_runs(_start(folder, _small(DEEPRECON), "raw"))


def write_god(folder: Path) -> KamitaniCopy:
    """Raw runs; blocks that show an image again are told only by the image before."""
    return _write_runs(_start(folder, _small(GOD), "raw"))


def write_deeprecon_blocks(folder: Path) -> KamitaniCopy:
    """Two files of the newer kind, whose runs are numbered in each session."""
    made = _start(folder, _small(DEEPRECON), "blocks")
    for experiment in made.study.experiments:
        samples = [(0, *sample) for sample in _samples(made.study, experiment)]
        path = made.root / f"sub-01_{experiment.name}_original_VC.h5"
        _write_bdpy(path, samples, older=False)
    return replace(made, mask=None)


def write_god_blocks(folder: Path) -> KamitaniCopy:
    """One file of the older kind: no sessions, and imagery as the third type."""
    made = _start(folder, _small(GOD), "blocks")
    samples = [
        (number, *sample)
        for number, experiment in enumerate(made.study.experiments, 1)
        for sample in _samples(made.study, experiment)
    ]
    samples += [(3, 1, 1, "n01443537")] * 4
    _write_bdpy(made.root / "Subject1.h5", samples, older=True)
    return replace(made, mask=None)


def _small(study: Study) -> Study:
    train, test = study.experiments
    n_train = N_TRAIN_RUNS * N_RUN_TRIALS
    n_test = N_TEST_RUNS * N_RUN_TRIALS
    experiments = (
        replace(
            train,
            n_sessions=train.n_sessions and 1,
            n_runs=N_TRAIN_RUNS,
            n_images=N_TRAIN_IMAGES,
            n_repetitions=n_train // N_TRAIN_IMAGES,
        ),
        replace(
            test,
            n_sessions=test.n_sessions and 2,
            n_runs=N_TEST_RUNS,
            n_images=N_TEST_IMAGES,
            n_repetitions=n_test // N_TEST_IMAGES,
        ),
    )
    about = study.about.model_copy(
        update={
            "n_train": n_train,
            "n_train_repetitions": n_train // N_TRAIN_IMAGES,
            "n_concepts": N_TRAIN_IMAGES,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": n_test // N_TEST_IMAGES,
        }
    )
    blocks = N_RUN_TRIALS + 1  # one is shown again
    n_volumes = round((32 + blocks * about.onset_step_s + 6) * about.rate_hz)
    return replace(study, about=about, experiments=experiments, n_volumes=n_volumes)


def _start(folder: Path, study: Study, variant: str) -> KamitaniCopy:
    root = folder / "copy"
    root.mkdir(parents=True)
    made = KamitaniCopy(
        root=root,
        dataset=Kamitani(study),
        study=study,
        images=folder / "images",
        subject="01",
        session=_session(study, study.experiments[0], 0),
        run="01",
        variant=variant,
        mask=folder / "mask.nii.gz",
        speed=20 * study.about.onset_step_s if variant == "blocks" else 100.0,
    )
    if variant == "blocks" and study.about.name == "god":
        made = replace(made, session="perceptionTraining")
    for images, experiment in zip((TRAIN, TEST), study.experiments, strict=True):
        write_pictures(made.images, (f"{experiment.folder}/{image}.JPEG" for image in images))
    inside = np.zeros(SHAPE, dtype=np.uint8)
    inside[1:] = 1
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), folder / "mask.nii.gz")
    return made


def _session(study: Study, experiment: Experiment, run: int) -> str:
    """Test runs are in a session of their own each, where there are two."""
    return f"{experiment.name}{run + 1 if experiment.split == 'test' else 1:02d}"


def _shown(study: Study, experiment: Experiment) -> list[list[str]]:
    """Images of each run."""
    images = TRAIN if experiment.split == "train" else TEST
    shown = images * experiment.n_repetitions
    return [shown[start : start + N_RUN_TRIALS] for start in range(0, len(shown), N_RUN_TRIALS)]


def _samples(study: Study, experiment: Experiment) -> Iterator[tuple[int, int, str]]:
    """Session, run in it, and image of each response."""
    for number, images in enumerate(_shown(study, experiment)):
        is_test = experiment.split == "test"
        for image in images:
            yield (number + 1 if is_test else 1), (1 if is_test else number + 1), image


def _number(image: str) -> str:
    """What ``stimulus_id`` says: trailing zeros are kept as the tables do, leading ones are not."""
    synset, _, image_number = image.removeprefix("n").partition("_")
    return f"{int(synset)}.{int(image_number):06d}" if image_number else str(int(synset))


def _write_runs(made: KamitaniCopy) -> KamitaniCopy:
    study = made.study
    description = {"Name": study.about.title, "DatasetDOI": f"10.18112/openneuro.{study.accession}.v1.3.1"}
    (made.root / "dataset_description.json").write_text(json.dumps(description))
    is_god = study.about.name == "god"
    columns = "onset duration event_type stimulus_id stimulus_name category_index image_index response_time"
    if is_god:
        columns = columns.replace("event_type", "trial_no event_type")
    step_s, first_s = int(study.about.onset_step_s), 33 if is_god else 32
    rng = np.random.default_rng(3)
    for experiment in study.experiments:
        for number, images in enumerate(_shown(study, experiment)):
            session = _session(study, experiment, number)
            run = 1 if experiment.split == "test" else number + 1
            blocks = [(image, False) for image in images]
            blocks.insert(4, (images[3], True))
            rest = "rest" if is_god else "-1"
            lines = [columns, _line(is_god, 0, first_s, 1, rest, "n/a", "n/a")]
            for place, (image, again) in enumerate(blocks):
                kind = "stimulus" if is_god else str(1 + again)
                onset_s = first_s + step_s * place
                lines.append(_line(is_god, onset_s, step_s, place + 2, kind, _number(image), image))
            lines.append(
                _line(is_god, first_s + step_s * len(blocks), 6, len(blocks) + 2, rest, "n/a", "n/a")
            )
            path = made.run_file("events.tsv", session, run)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(line.replace(" ", "\t") + "\n" for line in lines), newline="\n")
            sidecar = {"RepetitionTime": round(1 / study.about.rate_hz, 3), "TaskName": "perception"}
            made.run_file("bold.json", session, run).write_text(json.dumps(sidecar))
            volumes = rng.normal(1000, 10, (*SHAPE, study.n_volumes)).astype(np.int16)
            image_4d = nibabel.Nifti1Image(volumes, np.eye(4))
            image_4d.header.set_zooms((1, 1, 1, 1 / study.about.rate_hz))
            image_4d.header.set_xyzt_units("mm", "sec")
            nibabel.save(image_4d, made.run_file("bold.nii.gz", session, run))
    imagery = made.root / "sub-01" / "ses-imagery01" / "func"
    imagery.mkdir(parents=True)
    (imagery / "sub-01_ses-imagery01_task-imagery_run-01_events.tsv").write_text("onset\tduration\n")
    return made


def _line(is_god: bool, onset: int, duration: int, trial: int, kind: str, number: str, name: str) -> str:
    trials = [str(trial)] if is_god else []
    return " ".join([str(onset), str(duration), *trials, kind, number, name, "n/a", "n/a", "n/a"])


def _write_bdpy(path: Path, samples: list[tuple[int, int, int, str]], *, older: bool) -> None:
    """Write a file as bdpy does: a matrix in double precision, and a row of 1 and NaN for each key."""
    rng = np.random.default_rng(11)
    n_voxels = 8
    voxels = rng.normal(size=(len(samples), n_voxels))
    columns: dict[str, np.ndarray] = {
        "DataType": np.array([float(kind) for kind, *_ in samples]),
        "Session": np.array([float(session) for _, session, *_ in samples]),
        "Run": np.array([float(run) for *_, run, _ in samples]),
        "Block": np.arange(len(samples), dtype=float),
        "stimulus_id": np.array([float(_number(image)) for *_, image in samples]),
        "category_index": np.zeros(len(samples)),
    }
    if older:
        columns["Label"] = columns.pop("stimulus_id")
        columns["MotionParameter"] = columns.pop("Session")
    assert len(columns) == N_COLUMNS_BEFORE
    matrix = np.column_stack([*columns.values(), voxels])
    keys, values = [], []
    for place, key in enumerate(columns):
        keys.append(key)
        values.append(np.full(matrix.shape[1], np.nan))
        values[-1][place] = 1
    rows = {
        "VoxelData": np.ones(n_voxels),
        "voxel_x": np.arange(n_voxels) * 2.0,
        "voxel_y": np.arange(n_voxels) * -2.0,
        "voxel_z": np.ones(n_voxels),
        "ROI_V1": np.arange(n_voxels) < 3,
        "ROI_VC": np.arange(n_voxels) < 6,
    }
    for key, row in rows.items():
        keys.append(key)
        values.append(np.concatenate([np.full(N_COLUMNS_BEFORE, np.nan), row.astype(float)]))
    name, described = ("dataSet", "metaData") if older else ("dataset", "metadata")
    with h5py.File(path, "w") as file:
        file[name] = matrix
        file[f"{described}/key"] = np.array(keys, dtype="S") if older else keys
        file[f"{described}/description"] = [f"1 = {key}" for key in keys]
        file[f"{described}/value"] = np.array(values)
        if not older:
            file["header/ctime"] = "2019-01-01 00:00:00"
            file.create_group("vmap")
