"""What was published as DeepRecon and as GOD."""

from __future__ import annotations

from dataclasses import dataclass

from replay.datasets.dataset import About, Form, KnownFault, Variant

_OPENNEURO = "https://openneuro.org/datasets/"
_DEEPRECON_BLOCKS = "https://doi.org/10.6084/m9.figshare.7033577"
_GOD_BLOCKS = "https://doi.org/10.6084/m9.figshare.7387130"

ONE_BACK = KnownFault(
    subjects=(),
    text="in each run 5 blocks show the image before once more, for the subject to press a button",
    rule="these blocks are left out",
)
_NUMBERS = KnownFault(
    subjects=(),
    text="stimulus_id is a number without its zeros: 3626115.019498 is n03626115_19498",
    rule="read as text of 8 and 6 digits, never as a number",
)
_NOT_IMAGES = KnownFault(
    subjects=(),
    text="sessions of imagery, geometrical shapes and letters lie beside those of natural images",
    rule="they are not read",
)
_ORDER = KnownFault(
    subjects=(),
    text="nothing tells whether a test session came before a training session",
    rule="training sessions come first",
)
_CAUTION = (
    "each response is the mean over its block, some seconds late, after movement and a trend were taken out "
    "with the whole run at hand, and it is relative to the mean of that run"
)
_RAW_CAUTION = (
    "volumes lie where the head was: a mask fits only those runs that share its grid, and no voxel is the "
    "same place in two sessions until they are aligned"
)
_IMAGES = (
    "ImageNet (Fall 2011), folders training and test with n03626115_19498.JPEG and so on: "
    "https://github.com/KamitaniLab/GenericObjectDecoding"
)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Sessions that showed one set of images.

    Parameters
    ----------
    name
        As in ``ses-perceptionTest01``.
    split
        ``train`` or ``test``; images of it lie in the folder ``folder``.
    folder
        Of the images.
    n_sessions
        Of each subject; None where they differ.
    n_runs
        Of each subject.
    n_images, n_repetitions
        How many, and how often each is shown.
    data_type
        What says so in a file of responses that holds several; None where each has its own.
    """

    name: str
    split: str
    folder: str
    n_sessions: int | None
    n_runs: int
    n_images: int
    n_repetitions: int
    data_type: int | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """One of the two studies.

    Parameters
    ----------
    about
        What was published.
    accession
        On OpenNeuro.
    blocks_source
        Where the responses come from.
    experiments
        Those that showed natural images, training first.
    n_volumes
        Of a run.
    responses
        File of responses: ``{subject}``, ``{number}`` and ``{experiment}`` stand for the subject's label and
        number, and the name of the experiment.
    """

    about: About
    accession: str
    blocks_source: str
    experiments: tuple[Experiment, ...]
    n_volumes: int
    responses: str

    @property
    def raw_source(self) -> str:
        """Where the raw runs come from."""
        return f"{_OPENNEURO}{self.accession}"


def _variants(raw: str, responses: str, sign: str) -> tuple[Variant, ...]:
    return (
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(f"{raw}_events.tsv", f"{raw}_bold.nii.gz", "a mask (--mask)"),
            signs=("sub-*/ses-perception*/func/*_task-perception_run-*",),
            caution=_RAW_CAUTION,
        ),
        Variant(name="blocks", form=Form.BETAS, layout=(responses,), signs=(sign,), caution=_CAUTION),
    )


DEEPRECON = Study(
    about=About(
        name="deeprecon",
        title="DeepRecon",
        reference="Shen, Horikawa, Majima, Kamitani 2019, PLOS Computational Biology 15, e1006633",
        licence="CC0",
        device="fMRI, 3 T",
        source=f"{_OPENNEURO}ds001506; blocks: {_DEEPRECON_BLOCKS}",
        images=_IMAGES,
        variants=_variants(
            "sub-XX/ses-perceptionNaturalImage{Training,Test}XX/func/"
            "sub-XX_ses-perceptionNaturalImage{Training,Test}XX_task-perception_run-XX",
            "sub-XX_perceptionNaturalImage{Training,Test}_original_VC.h5",
            "sub-*_perceptionNaturalImage*_original_VC.h5",
        ),
        subjects=("01", "02", "03"),
        n_sessions=(18, 18, 18),
        n_channels=None,
        rate_hz=0.5,
        onset_step_s=8.0,
        n_train=6000,
        n_train_repetitions=5,
        n_concepts=150,
        n_test_images=50,
        n_repetitions=24,
        known_faults=(_NUMBERS, ONE_BACK, _NOT_IMAGES, _ORDER),
    ),
    accession="ds001506",
    blocks_source=_DEEPRECON_BLOCKS,
    experiments=(
        Experiment(
            name="perceptionNaturalImageTraining",
            split="train",
            folder="training",
            n_sessions=15,
            n_runs=120,
            n_images=1200,
            n_repetitions=5,
        ),
        Experiment(
            name="perceptionNaturalImageTest",
            split="test",
            folder="test",
            n_sessions=3,
            n_runs=24,
            n_images=50,
            n_repetitions=24,
        ),
    ),
    n_volumes=239,
    responses="sub-{subject}_{experiment}_original_VC.h5",
)

GOD = Study(
    about=About(
        name="god",
        title="GOD",
        reference="Horikawa, Kamitani 2017, Nature Communications 8, 15037",
        licence="CC0",
        device="fMRI, 3 T",
        source=f"{_OPENNEURO}ds001246; blocks: {_GOD_BLOCKS}",
        images=_IMAGES,
        variants=_variants(
            "sub-XX/ses-perception{Training,Test}XX/func/"
            "sub-XX_ses-perception{Training,Test}XX_task-perception_run-XX",
            "Subject{1-5}.h5",
            "Subject[1-5].h5",
        ),
        subjects=("01", "02", "03", "04", "05"),
        n_sessions=(),
        n_channels=None,
        rate_hz=1 / 3,
        onset_step_s=9.0,
        n_train=1200,
        n_concepts=150,
        n_test_images=50,
        n_repetitions=35,
        known_faults=(_NUMBERS, ONE_BACK, _NOT_IMAGES, _ORDER),
    ),
    accession="ds001246",
    blocks_source=_GOD_BLOCKS,
    experiments=(
        Experiment(
            name="perceptionTraining",
            split="train",
            folder="training",
            n_sessions=None,
            n_runs=24,
            n_images=1200,
            n_repetitions=1,
            data_type=1,
        ),
        Experiment(
            name="perceptionTest",
            split="test",
            folder="test",
            n_sessions=None,
            n_runs=35,
            n_images=50,
            n_repetitions=35,
            data_type=2,
        ),
    ),
    n_volumes=178,
    responses="Subject{number}.h5",
)
