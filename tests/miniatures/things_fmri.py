"""THINGS-fMRI: raw runs in BIDS, and the table of betas as pandas writes it."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import h5py
import nibabel
import numpy as np

from miniatures import Miniature, write_pictures
from replay.datasets.things_fmri import ABOUT, Expected, ThingsFmri

if TYPE_CHECKING:
    from pathlib import Path

N_SESSIONS, N_RUNS, N_TRAIN, N_TEST, N_CATCH = 2, 2, 12, 4, 2
N_ROWS = N_TRAIN + N_TEST + N_CATCH  # of a run
N_TEST_IMAGES, N_CONCEPTS = N_RUNS * N_TEST, 10  # two of which are not tested
N_VOLUMES = 2 + 3 * N_ROWS + 6
GRID = (4, 3, 2)
MISSING = ("02", 2, 1)
COLUMNS = (
    *("onset", "duration", "trial_type", "category_nr", "exemplar_nr", "test_image_nr"),
    *("things_category_nr", "things_exemplar_nr", "response_time", "file_path"),
)


class Trial(NamedTuple):
    session: int
    run: int
    onset_s: float
    kind: str
    image: str


@dataclass(frozen=True, kw_only=True)
class ThingsFmriCopy(Miniature):
    """With the paths of its files, and the trials of each subject."""

    trials: dict[str, list[Trial]] = field(default_factory=dict)

    def run_file(self, session: int, run: int, ending: str, subject: str = "01") -> Path:
        name = f"sub-{subject}_ses-things{session:02d}_task-things_run-{run:02d}_{ending}"
        return self.root / f"sub-{subject}" / f"ses-things{session:02d}" / "func" / name

    def beta_file(self, name: str) -> Path:
        return self.root / "betas_csv" / f"sub-01_{name}"


def write_things_fmri_raw(folder: Path) -> ThingsFmriCopy:
    """Write the runs of subjects 01 and 02, of whom the latter's run 1 of session 2 is missing."""
    mask = folder / "mask_{subject}.nii.gz"
    made = _copy(folder, "raw", mask=mask, session="things01", run="02", speed=30.0)
    description = {"Name": "THINGS-fMRI", "DatasetDOI": "doi:10.18112/openneuro.ds004192.v1.0.5"}
    (made.root / "dataset_description.json").write_text(json.dumps(description))
    for number, subject in enumerate(("01", "02")):
        rng = np.random.default_rng(number)
        inside = np.arange(np.prod(GRID)).reshape(GRID) % 3 == number
        _save(folder / f"mask_{subject}.nii.gz", inside.astype(np.uint8))
        for session in range(1, N_SESSIONS + 1):
            for run in range(1, N_RUNS + 1):
                if (subject, session, run) == MISSING:
                    continue
                events = made.run_file(session, run, "events.tsv", subject)
                events.parent.mkdir(parents=True, exist_ok=True)
                _write_events(events, [one for one in made.trials[subject] if one[:2] == (session, run)])
                made.run_file(session, run, "bold.json", subject).write_text('{"RepetitionTime": 1.5}')
                volumes = rng.integers(400, 900, (*GRID, N_VOLUMES)).astype(np.int16)
                _save(made.run_file(session, run, "bold.nii.gz", subject), volumes)
    return made


def write_things_fmri_betas(folder: Path) -> ThingsFmriCopy:
    """Write the table of subject 01: all voxels of the grid, half of which are in V1 or left FFA."""
    made = _copy(folder, "betas", session="things02", speed=60.0)
    made.beta_file("x").parent.mkdir(parents=True)
    places = np.argwhere(np.ones(GRID, bool))
    shown = [one for one in made.trials["01"] if one.kind != "catch"]
    values = np.random.default_rng(1).normal(scale=0.1, size=(len(places), len(shown)))
    write_frame(made.beta_file("ResponseData.h5"), values)
    lines = ["trial_type,session,run,subject_id,trial_id,stimulus,concept"]
    for number, one in enumerate(shown):
        concept, name = one.image.split("/")
        kind = {"exp": "train", "test": "test"}[one.kind]
        lines.append(f"{kind},{one.session},{one.run},1,{number},{name},{concept}")
    made.beta_file("StimulusMetadata.csv").write_text("".join(f"{line}\n" for line in lines))
    regions = "nc_singletrial,nc_testset,V1,LO1 (prf),lFFA,glasser-V1,glasser-p9-,46v,glasser-a9-,46v"
    lines = [f"voxel_id,subject_id,voxel_x,voxel_y,voxel_z,{regions}"]
    for number, place in enumerate(places):
        inside = f"{int(number % 4 == 0)},0,{int(number % 4 == 1)}"
        lines.append(f"{number},1,{','.join(map(str, place))},1.5,12.25,{inside},1,0,0,0,0")
    made.beta_file("VoxelMetadata.csv").write_text("".join(f"{line}\n" for line in lines))
    return made


def write_frame(path: Path, values: np.ndarray) -> None:
    """A table as pandas writes it in its fixed format: voxels by trials, and their numbers first.

    Columns are named by text and numbers: lists of names that are not all text are pickled.
    """
    n_voxels, n_trials = values.shape
    with h5py.File(path, "w") as file:
        frame = file.create_group("ResponseData")
        frame.attrs["pandas_type"] = np.bytes_(b"frame")
        store_object(frame, "axis0", np.array(["voxel_id", *range(n_trials)], dtype=object))
        frame["axis1"] = np.arange(n_voxels)
        store_object(frame, "block0_items", np.array(range(n_trials), dtype=object))
        frame["block0_values"] = values
        frame["block1_items"] = np.array([b"voxel_id"])
        frame["block1_values"] = np.arange(n_voxels)[:, None]


def store_object(group: h5py.Group, name: str, item: object) -> None:
    """A list of one object, as PyTables stores it."""
    stored = group.create_dataset(name, (1,), h5py.vlen_dtype(np.uint8))
    stored[0] = np.frombuffer(pickle.dumps(item, protocol=5), np.uint8)


def _copy(folder: Path, variant: str, **options: object) -> ThingsFmriCopy:
    n_runs = N_SESSIONS * N_RUNS
    small = ABOUT.model_copy(
        update={
            "n_sessions": (N_SESSIONS,) * 3,
            "n_train": n_runs * N_TRAIN,
            "n_concepts": N_CONCEPTS,
            "n_test_images": N_TEST_IMAGES,
            "n_repetitions": N_SESSIONS,
        }
    )
    expected = Expected(
        n_runs=N_RUNS,
        n_volumes=N_VOLUMES,
        n_catch=N_CATCH,
        missing_runs=(MISSING,),
        voxels={"01": int(np.prod(GRID))},
    )
    trials = {subject: _trials(int(subject)) for subject in ("01", "02")}
    images = folder / "images"
    shown = [one.image for mine in trials.values() for one in mine if one.kind != "catch"]
    write_pictures(images, shown)
    root = folder / "copy"
    root.mkdir(parents=True)
    return ThingsFmriCopy(
        root=root,
        dataset=ThingsFmri(small, expected),
        images=images,
        subject="01",
        variant=variant,
        trials=trials,
        **options,
    )


def _trials(seed: int) -> list[Trial]:
    rng = np.random.default_rng(seed)
    trials = []
    exemplar = 0
    for session in range(1, N_SESSIONS + 1):
        for run in range(1, N_RUNS + 1):
            kinds = ["exp"] * N_TRAIN + ["test"] * N_TEST + ["catch"] * N_CATCH
            rows = []
            for number, kind in enumerate(kinds):
                concept = f"thing{number % N_CONCEPTS}"
                if kind == "exp":
                    exemplar += 1
                    image = f"{concept}/{concept}_{exemplar:02d}s.jpg"
                elif kind == "test":
                    test = (run - 1) * N_TEST + number - N_TRAIN
                    image = f"thing{test % N_CONCEPTS}/thing{test % N_CONCEPTS}_t{test}n.jpg"
                else:
                    image = f"catch{number:03d}.jpg"
                rows.append((kind, image))
            order = rng.permutation(len(rows))
            trials += [
                Trial(session, run, 3.0 + 4.5 * place, *rows[number]) for place, number in enumerate(order)
            ]
    return trials


def _write_events(path: Path, trials: list[Trial]) -> None:
    lines = ["\t".join(COLUMNS)]
    for one in trials:
        cells = dict.fromkeys(COLUMNS, "n/a") | {
            "onset": f"{one.onset_s:.1f}",
            "duration": "0.5",
            "trial_type": one.kind,
            "file_path": one.image,
        }
        lines.append("\t".join(cells.values()))
    path.write_text("".join(f"{line}\n" for line in lines))


def _save(path: Path, voxels: np.ndarray) -> None:
    image = nibabel.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0]))
    if voxels.ndim == 4:
        image.header.set_zooms((2, 2, 2, 1.5))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
