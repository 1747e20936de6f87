"""What was published as THINGS-fMRI, and what a copy is counted against."""

from __future__ import annotations

from pathlib import PurePosixPath

from replay.datasets.dataset import About, Form, KnownFault, Stimulus, Variant
from rtdecode.contracts import Contract

ACCESSION = "ds004192"
VOLUMES_FROM = f"https://openneuro.org/datasets/{ACCESSION}"
BETAS_FROM = "https://doi.org/10.25452/figshare.plus.20492835"
STEP_S = 1.5
"""Repetition time."""

NO_RUN = KnownFault(
    subjects=("02",),
    text="run 7 of session 3 is missing",
    rule="not expected",
)
CATCH = KnownFault(
    subjects=(),
    text="10 trials of each run are catch trials, which showed images made by a program",
    rule="not read; the table of betas leaves them out too",
)
TESTED_TRAINED = KnownFault(
    subjects=(),
    text="nearly all concepts of test images are trained on too, with other images",
    rule="the original split has them; the concept-disjoint one leaves their training trials out",
)


class Expected(Contract):
    """What the published files hold, beside what :data:`ABOUT` says.

    Parameters
    ----------
    n_runs
        Of a session.
    n_volumes
        Of a run.
    n_catch
        Catch trials of a run.
    missing_runs
        Subject, session and run, the latter two from 1.
    voxels
        Rows of the table of betas, by subject, where they are known.
    """

    n_runs: int
    n_volumes: int
    n_catch: int
    missing_runs: tuple[tuple[str, int, int], ...]
    voxels: dict[str, int]


EXPECTED = Expected(
    n_runs=10, n_volumes=284, n_catch=10, missing_runs=(("02", 3, 7),), voxels={"01": 211_339}
)

ABOUT = About(
    name="things-fmri",
    title="THINGS-fMRI",
    reference="Hebart, Contier, Teichmann, Rockter, Zheng, Kidder et al. 2023, eLife 12, e82580",
    licence="CC0",
    device="fMRI 3T",
    source=f"{VOLUMES_FROM}; betas: {BETAS_FROM}",
    images="the THINGS images, one folder a concept: https://osf.io/jum2f",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(
                "sub-XX/ses-thingsNN/func/sub-XX_ses-thingsNN_task-things_run-NN_events.tsv",
                "sub-XX/ses-thingsNN/func/sub-XX_ses-thingsNN_task-things_run-NN_bold.{nii.gz,json}",
            ),
            signs=("sub-*/ses-things*/func/*_task-things_*",),
            caution="sessions are not aligned with one another: where the head lay otherwise no mask fits "
            "all of them; align the volumes first, under the same names",
        ),
        Variant(
            name="betas",
            form=Form.BETAS,
            layout=(
                "betas_csv/sub-XX_{ResponseData.h5,StimulusMetadata.csv,VoxelMetadata.csv} as figshare, or "
                "derivatives/ICA-betas/sub-XX/voxel-metadata/sub-XX_task-things_{voxel-wise-responses.h5,"
                "stimulus-metadata.tsv,voxel-metadata.tsv} as OpenNeuro has them",
            ),
            signs=(
                "betas_csv/sub-*_ResponseData.h5",
                "betas_csv/sub-*_StimulusMetadata.csv",
                "derivatives/ICA-betas/sub-*/voxel-metadata/sub-*_task-things_*",
            ),
            caution="fitted to whole runs, the responses to later images included, after noise components "
            "were found in all of them: no live stream can be",
        ),
    ),
    subjects=("01", "02", "03"),
    n_sessions=(12, 12, 12),
    n_channels=None,
    rate_hz=1 / STEP_S,
    onset_step_s=4.5,
    n_train=8640,
    n_concepts=720,
    n_test_images=100,
    n_repetitions=12,
    known_faults=(NO_RUN, CATCH, TESTED_TRAINED),
)


def session_name(session: int) -> str:
    """Label of a session, from 1."""
    return f"things{session:02d}"


def stimulus(image: str, split: str) -> Stimulus:
    """Stimulus of an image, named as in the folder of images: ``dog/dog_12s.jpg``."""
    path = PurePosixPath(image)
    return Stimulus(path.stem, image, path.parent.as_posix(), split)
