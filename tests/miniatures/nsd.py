"""NSD: volumes with design tables, betas in both formats, and one design for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import nibabel
import numpy as np
from scipy.io import savemat

from miniatures import Miniature
from replay.datasets.nsd import ABOUT, Expected, Nsd

if TYPE_CHECKING:
    from pathlib import Path

N_SESSIONS, N_RUNS, N_SLOTS, N_BLANK = 2, 2, 24, 4
N_TRIALS = N_RUNS * (N_SLOTS - N_BLANK)  # of a session
N_SHARED, N_OWN, N_IMAGES = 6, 22, 120
GRID = (4, 3, 5)
SUBJECT, REST_SESSION = "01", 2


@dataclass(frozen=True, kw_only=True)
class NsdCopy(Miniature):
    """With its design, which counts from 1, and what is inside the mask."""

    design: dict[str, np.ndarray]
    inside: np.ndarray

    @property
    def design_path(self) -> Path:
        return self.root / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"

    @property
    def mask_path(self) -> Path:
        return (
            self.root / "nsddata" / "ppdata" / f"subj{SUBJECT}" / "func1pt8mm" / "roi" / "nsdgeneral.nii.gz"
        )

    def run_file(self, kind: str, session: int, run: int, ending: str) -> Path:
        folder = self.root / "nsddata_timeseries" / "ppdata" / f"subj{SUBJECT}" / "func1pt8mm" / kind
        return folder / f"{kind}_session{session:02d}_run{run:02d}.{ending}"

    def betas(self, session: int) -> Path:
        folder = self.root / "nsddata_betas" / "ppdata" / f"subj{SUBJECT}" / "func1pt8mm"
        ending = "hdf5" if session == 1 else "nii.gz"
        return folder / "betas_fithrf_GLMdenoise_RR" / f"betas_session{session:02d}.{ending}"

    def shown(self, session: int) -> list[int]:
        """Images of a session, from 0, by the formula that was published."""
        order, images = self.design["masterordering"][0], self.design["subjectim"][int(SUBJECT) - 1]
        first = (session - 1) * N_TRIALS
        return [int(images[int(order[trial]) - 1]) - 1 for trial in range(first, first + N_TRIALS)]


def write_nsd_timeseries(folder: Path) -> NsdCopy:
    """Write both sessions of subject 01: four runs, and two at rest in the second."""
    made = _write_shared(folder, "timeseries", run="01", speed=30.0)
    rng = np.random.default_rng(1)
    pattern = made.design["stimpattern"]
    for session in range(1, N_SESSIONS + 1):
        images = iter(made.shown(session))
        rests = session == REST_SESSION
        for run in range(1, N_RUNS + 2 * rests + 1):
            place = run - 1 - rests
            rows = np.zeros(3 * N_SLOTS, int)
            if 0 <= place < N_RUNS:
                for slot in np.flatnonzero(pattern[session - 1, place]):
                    rows[3 * slot] = next(images) + 1
                table = made.run_file("design", session, run, "tsv")
                table.parent.mkdir(parents=True, exist_ok=True)
                table.write_text("".join(f"{row}\n" for row in rows))
            volumes = rng.integers(800, 1200, (*GRID, 3 * N_SLOTS + 1)).astype(np.int16)
            image = nibabel.Nifti1Image(volumes, np.diag([1.8, 1.8, 1.8, 1.0]))
            image.header.set_zooms((1.8, 1.8, 1.8, 1.333))
            image.header.set_xyzt_units("mm", "sec")
            path = made.run_file("timeseries", session, run, "nii.gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(image, path)
    return made


def write_nsd_betas(folder: Path) -> NsdCopy:
    """Write both sessions of subject 01, one in each format."""
    made = _write_shared(folder, "betas", run=None, speed=80.0)
    rng = np.random.default_rng(2)
    for session in range(1, N_SESSIONS + 1):
        betas = rng.integers(-900, 900, (N_TRIALS, *reversed(GRID))).astype(np.int16)
        path = made.betas(session)
        path.parent.mkdir(parents=True, exist_ok=True)
        if session == 1:
            with h5py.File(path, "w") as file:
                file.create_dataset("betas", data=betas, chunks=(N_TRIALS, 1, 1, 1))
        else:
            nibabel.save(nibabel.Nifti1Image(betas.T, np.diag([1.8, 1.8, 1.8, 1.0])), path)
    return made


def _write_shared(folder: Path, variant: str, run: str | None, speed: float) -> NsdCopy:
    design = _design()
    order = design["masterordering"][0]
    inside = np.random.default_rng(3).random(GRID) < 0.4
    made = NsdCopy(
        root=folder / "copy",
        dataset=Nsd(
            ABOUT.model_copy(update={"n_sessions": (2, 2, 1, 1, 2, 1, 2, 1)}),
            Expected(
                n_images=N_IMAGES,
                test_trials={n: int((order[: n * N_TRIALS] <= N_SHARED).sum()) for n in (1, 2)},
                voxels={SUBJECT: int(inside.sum())},
                rest_sessions={SUBJECT: (REST_SESSION, REST_SESSION)},
            ),
        ),
        images=folder / "nsd_stimuli.hdf5",
        subject=SUBJECT,
        session="01",
        run=run,
        variant=variant,
        speed=speed,
        design=design,
        inside=inside,
    )
    made.design_path.parent.mkdir(parents=True)
    savemat(made.design_path, design, do_compression=True)
    made.mask_path.parent.mkdir(parents=True)
    # ROIs hold -1 outside of the cortex, and lie elsewhere than the volumes, by their affine
    roi = np.where(inside, 1, np.where(np.arange(inside.size).reshape(GRID) % 2, 0, -1)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(roi, np.diag([-1.8, 1.8, 1.8, 1.0])), made.mask_path)
    _write_stim_info(made)
    rng = np.random.default_rng(4)
    coarse = rng.integers(0, 256, (N_IMAGES, 4, 4, 3), dtype=np.uint8)
    with h5py.File(made.images, "w") as file:
        file.create_dataset(
            "imgBrick", data=coarse.repeat(8, axis=1).repeat(8, axis=2), chunks=(1, 32, 32, 3)
        )
    return made


def _design() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    n_trials = N_SESSIONS * N_TRIALS
    order = rng.permutation(np.tile(np.arange(1, N_SHARED + N_OWN + 1), 3)[:n_trials])
    ids = rng.permutation(N_IMAGES) + 1
    shared, others = np.sort(ids[:N_SHARED]), ids[N_SHARED:]
    images = [np.concatenate([shared, rng.choice(others, N_OWN, replace=False)]) for _ in range(8)]
    pattern = np.ones((N_SESSIONS, N_RUNS, N_SLOTS))
    pattern[:, :, [0, 5, 11, N_SLOTS - 1]] = 0
    return {
        "masterordering": order[None].astype(float),
        "subjectim": np.array(images, dtype=float),
        "sharedix": shared[None].astype(float),
        "stimpattern": pattern,
        "basiccnt": np.zeros((3, N_SESSIONS)),
    }


def _write_stim_info(made: NsdCopy) -> None:
    shared = set(made.design["sharedix"][0].astype(int) - 1)
    lines = [",cocoId,cocoSplit,cropBox,loss,nsdId,flagged,BOLD5000,shared1000,subject1"]
    lines += [
        f'{image},{532481 + image},val2017,"(0, 0, 0.1671875, 0.1671875)",0.1,{image},False,False,'
        f"{image in shared},0"
        for image in range(N_IMAGES)
    ]
    path = made.design_path.with_name("nsd_stim_info_merged.csv")
    path.write_text("".join(f"{line}\n" for line in lines))
