"""What was published as THINGS-MEG, and what is odd in it."""

from __future__ import annotations

from typing import NamedTuple

from replay.datasets.dataset import About, Form, KnownFault, Variant

ACCESSION = "ds004212"
N_REFERENCES = 28
N_CATCH = 2400
N_RUNS = 10
"""Runs of a session."""

N_PARTS = 4
"""Files of a subject's epochs."""

BAD_CHANNEL = "MRO11-1609"

OTHER_TYPE = KnownFault(
    subjects=(),
    text="channels.tsv types the MEG sensors OTHER",
    rule="they are MEG sensors, as the recording itself says",
)
SHADOW = KnownFault(
    subjects=("BIGMEG1",),
    text="a file of macOS's lies beside an event table, and is no text",
    rule="it is not read",
)
ONSET = KnownFault(
    subjects=(),
    text="onset may be what the computer noted, about 150 ms off the optical sensor",
    rule="the column sample is taken, which is the optical sensor's",
)
MALFUNCTION = KnownFault(
    subjects=(),
    text=f"sensor {BAD_CHANNEL} malfunctioned, by the experimenters' notes",
    rule="it is of type misc: not taken unless it is named",
)


class Dropout(NamedTuple):
    """A moment at which the signal dropped out."""

    subject: str
    session: str
    run: str
    start_s: float
    duration_s: float = 0.2


DROPOUTS = (Dropout("BIGMEG1", "11", "05", 13.4), Dropout("BIGMEG2", "10", "03", 59.8))
DROPOUT_S = 1.0
"""Images shown so near to a dropout have no marker."""

DROPPED = KnownFault(
    subjects=("BIGMEG1", "BIGMEG2"),
    text="the signal drops out for 0.2 s: "
    + ", ".join(
        f"{one.subject} session {one.session} run {one.run} at {one.start_s:g} s" for one in DROPOUTS
    ),
    rule=f"raw, images within {DROPOUT_S:g} s of it have no marker",
)

ABOUT = About(
    name="things-meg",
    title="THINGS-MEG",
    reference="Hebart, Contier, Teichmann, Rockter, Zheng, Kidder, Corriveau, Vaziri-Pashkam, Baker 2023, "
    "eLife 12, e82580",
    licence="CC0",
    device="MEG (CTF)",
    source=f"https://openneuro.org/datasets/{ACCESSION}",
    images="the THINGS images, one folder a concept: https://osf.io/jum2f",
    variants=(
        Variant(
            name="raw",
            form=Form.CONTINUOUS,
            layout=(
                "sourcedata/sample_attributes_PX.csv",
                "sub-BIGMEGX/ses-XX/meg/sub-BIGMEGX_ses-XX_task-main_run-XX_{events.tsv,channels.tsv,meg.json}",
                "sub-BIGMEGX/ses-XX/meg/sub-BIGMEGX_ses-XX_task-main_run-XX_meg.ds",
            ),
            signs=("sub-BIGMEG*/ses-*/meg/*_task-main_*",),
        ),
        Variant(
            name="epochs",
            form=Form.EPOCHS,
            layout=(
                "sourcedata/sample_attributes_PX.csv",
                "derivatives/preprocessed/preprocessed_PX-epo{,-1,-2,-3}.fif",
            ),
            signs=("derivatives/preprocessed/preprocessed_P*-epo*.fif",),
            tmin_s=-0.1,
            tmax_s=1.3,
            caution="filtered from 0.1 to 40 Hz without phase, which looks ahead, and every epoch scaled by "
            "its own time before onset",
        ),
    ),
    subjects=tuple(f"BIGMEG{number}" for number in range(1, 5)),
    n_sessions=(12,) * 4,
    n_channels=272,
    rate_hz=1200.0,
    onset_step_s=1.5,
    n_train=22_248,
    n_concepts=1854,
    n_test_images=200,
    n_repetitions=12,
    known_faults=(OTHER_TYPE, SHADOW, ONSET, MALFUNCTION, DROPPED),
)
