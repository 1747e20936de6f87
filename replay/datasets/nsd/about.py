"""What was published as NSD, and what of it a copy is counted against."""

from __future__ import annotations

from replay.datasets.dataset import About, Form, KnownFault, Variant
from rtdecode.contracts import Contract

REST = KnownFault(
    subjects=("01", "02", "05", "07"),
    text="sessions of 14 runs begin and end with a run at rest (01 and 05: 21 to 38, 02 and 07: 21 to 30)",
    rule="their runs 1 and 14 are not read",
)
ONE_BASED = KnownFault(
    subjects=(),
    text="images count from 1 in nsd_expdesign.mat and the design tables, from 0 in nsd_stim_info_merged.csv "
    "and nsd_stimuli.hdf5",
    rule="all count from 0 here: a stimulus is its place in nsd_stimuli.hdf5",
)
FEWER_SESSIONS = KnownFault(
    subjects=("03", "04", "06", "08"),
    text="did not come to all of the 40 sessions",
    rule="counted against those that were recorded",
)
NO_CONCEPT = KnownFault(
    subjects=(),
    text="images of COCO show many things",
    rule="they have no concept, and are on no side of the concept-disjoint split",
)
_DESIGN = "nsddata/experiments/nsd/nsd_expdesign.mat"
_MASK = "nsddata/ppdata/subjNN/func1pt8mm/roi/nsdgeneral.nii.gz"
_SESSIONS = (40, 40, 32, 30, 40, 32, 40, 30)


class Expected(Contract):
    """What the published files hold, beside what :data:`ABOUT` says.

    Parameters
    ----------
    n_images
        In ``nsd_stimuli.hdf5``.
    test_trials
        Trials of the shared images in so many sessions from the first: they tell the published design from
        another.
    voxels
        Of ``nsdgeneral``, by subject.
    rest_sessions
        First and last session that begin and end with a run at rest, by subject.
    """

    n_images: int
    test_trials: dict[int, int]
    voxels: dict[str, int]
    rest_sessions: dict[str, tuple[int, int]]


EXPECTED = Expected(
    n_images=73_000,
    test_trials={40: 3000, 37: 2770, 32: 2371, 30: 2188},
    voxels={"01": 15_724, "02": 14_278, "05": 13_039, "07": 12_682},
    rest_sessions={"01": (21, 38), "05": (21, 38), "02": (21, 30), "07": (21, 30)},
)

ABOUT = About(
    name="nsd",
    title="NSD",
    reference="Allen, St-Yves, Wu, Breedlove, Prince, Dowdle et al. 2022, Nature Neuroscience 25, 116",
    licence="the authors' data access agreement",
    device="fMRI 7T",
    source="https://naturalscenesdataset.org",
    images="nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5, of which those that were shown are taken",
    variants=(
        Variant(
            name="timeseries",
            form=Form.CONTINUOUS,
            layout=(
                _DESIGN,
                _MASK,
                "nsddata_timeseries/ppdata/subjNN/func1pt8mm/timeseries/timeseries_sessionNN_runNN.nii.gz",
                "nsddata_timeseries/ppdata/subjNN/func1pt8mm/design/design_sessionNN_runNN.tsv",
            ),
            signs=(
                "nsddata_timeseries/ppdata/subj*/func1pt8mm/timeseries/timeseries_session*.nii.gz",
                "nsddata_timeseries/ppdata/subj*/func1pt8mm/design/design_session*.tsv",
            ),
            caution="resampled in time and space with later volumes (slice times, head motion, sessions "
            "aligned), which no live stream can be",
        ),
        Variant(
            name="betas",
            form=Form.BETAS,
            layout=(
                _DESIGN,
                _MASK,
                "nsddata_betas/ppdata/subjNN/func1pt8mm/betas_fithrf_GLMdenoise_RR/"
                "betas_sessionNN.{hdf5,nii.gz}",
            ),
            signs=(
                "nsddata_betas/ppdata/subj*/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session*.hdf5",
                "nsddata_betas/ppdata/subj*/func1pt8mm/betas_fithrf_GLMdenoise_RR/betas_session*.nii.gz",
            ),
            caution="fitted to whole sessions, the responses to later images included, which no live stream "
            "can be; response shape, noise and shrinkage were chosen by how images repeat, test images too",
        ),
    ),
    subjects=tuple(f"{number:02d}" for number in range(1, 9)),
    n_sessions=_SESSIONS,
    n_channels=None,
    rate_hz=0.75,
    onset_step_s=4.0,
    n_train=27_000,
    n_train_repetitions=3,
    n_concepts=0,
    n_test_images=1000,
    n_repetitions=3,
    known_faults=(REST, ONE_BASED, FEWER_SESSIONS, NO_CONCEPT),
)
