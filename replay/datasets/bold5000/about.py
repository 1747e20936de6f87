"""What was published as BOLD5000."""

from __future__ import annotations

from dataclasses import dataclass

from replay.datasets.dataset import About, Form, KnownFault, Variant

ACCESSION = "ds001499"
TASK = "5000scenes"
SOURCE = f"https://openneuro.org/datasets/{ACCESSION}"
BETAS_SOURCE = "https://doi.org/10.1184/R1/14456124"
BETAS = "GLMbetas-TYPED-FITHRF-GLMDENOISE-RR"
_RUN = "sub-CSI{1-4}/ses-XX/func/sub-CSI{1-4}_ses-XX_task-5000scenes_run-XX"

STOPPED = KnownFault(
    subjects=("CSI4",),
    text="stopped after 9 sessions: 3,108 trials",
    rule="counted against 9 sessions; which images it saw is not counted",
)
THREE_TIMES = KnownFault(
    subjects=("CSI1", "CSI2", "CSI3"),
    text="one of the 113 repeated images was shown three times, not four",
    rule="5,254 trials are expected",
)
REPEATED = KnownFault(
    subjects=(),
    text="images shown more than once have rep_ before their type, or before their name",
    rule="rep_ is taken off; these are the test images",
)
NO_PLACE = KnownFault(
    subjects=(),
    text="headers of the responses do not tell where their voxels lie, those of the masks do",
    rule="a mask is taken voxel by voxel, where it has their shape",
)
NO_CONCEPT = KnownFault(
    subjects=(),
    text="images of COCO show many things",
    rule="they have no concept, and are on no side of the concept-disjoint split",
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """What each subject has.

    Parameters
    ----------
    n_runs
        Runs, by subject.
    n_session_runs
        Runs that a session may have.
    n_run_trials, n_run_volumes
        Trials and volumes of a run.
    n_images
        Images by their source, as the event tables call it.
    uncounted
        Subjects who did not see all images; of which they saw, nothing was published.
    """

    n_runs: dict[str, int]
    n_session_runs: tuple[int, ...]
    n_run_trials: int
    n_run_volumes: int
    n_images: dict[str, int]
    uncounted: tuple[str, ...] = STOPPED.subjects


PUBLISHED = Published(
    n_runs={"CSI1": 142, "CSI2": 142, "CSI3": 142, "CSI4": 84},
    n_session_runs=(9, 10),
    n_run_trials=37,
    n_run_volumes=194,
    n_images={"coco": 2000, "imagenet": 1916, "scenes": 1000},
)

ABOUT = About(
    name="bold5000",
    title="BOLD5000",
    reference="Chang, Pyles, Marcus, Gupta, Tarr, Aminoff 2019, Scientific Data 6, 49",
    licence="CC0",
    device="fMRI, 3 T",
    source=f"{SOURCE}; betas: {BETAS_SOURCE}",
    images="BOLD5000_Stimuli/Scene_Stimuli/Presented_Stimuli: https://bold5000-dataset.github.io/website",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(f"{_RUN}_events.tsv", f"{_RUN}_bold.nii.gz", "a mask (--mask)"),
            signs=(f"sub-CSI*/ses-*/func/*_task-{TASK}_run-*",),
            caution="volumes lie where the head was: a mask fits only those runs that share its grid, and no "
            "voxel is the same place in two sessions until they are aligned",
        ),
        Variant(
            name="fmriprep",
            form=Form.CONTINUOUS,
            layout=(
                f"{_RUN}_events.tsv",
                f"derivatives/fmriprep/{_RUN}_bold_space-T1w_preproc.nii.gz",
                "a mask (--mask), such as derivatives/spm/sub-CSI1/sub-CSI1_mask-LHEarlyVis.nii.gz",
            ),
            signs=(f"derivatives/fmriprep/sub-CSI*/ses-*/func/*_task-{TASK}_run-*_preproc.nii*",),
            caution="movement and distortion were corrected with the whole of a run at hand",
        ),
        Variant(
            name="betas",
            form=Form.BETAS,
            layout=(
                f"CSI{{1-4}}_{BETAS}_ses-XX.nii.gz",
                "CSI{1-4}_imgnames.txt",
                "CSI{1-4}_brainmask.nii.gz, or another mask (--mask)",
            ),
            signs=(f"CSI*_{BETAS}_ses-*.nii*",),
            caution="each response was fitted with volumes that came later, of its session and of others; "
            "haemodynamic response, noise and shrinkage were chosen by looking at repeated images, which are "
            "the test images",
        ),
    ),
    subjects=("CSI1", "CSI2", "CSI3", "CSI4"),
    n_sessions=(15, 15, 15, 9),
    n_channels=None,
    rate_hz=0.5,
    onset_step_s=10.0,
    n_train=4803,
    n_concepts=0,
    n_test_images=113,
    n_repetitions=4,
    known_faults=(STOPPED, THREE_TIMES, REPEATED, NO_PLACE, NO_CONCEPT),
)
