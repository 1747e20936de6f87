"""What lies in the folder of a TrialSet: ``trialset.json``, ``trials.parquet``, arrays of windows."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from rtdecode.contracts import SignalContract

HEADER = "trialset.json"
TABLE = "trials.parquet"
NATIVE = "native.npy"
"""Windows before resampling, of some trials."""

COLUMNS: dict[str, str] = {
    "subject": "string",
    "session": "string",
    "run": "string",
    "block": "string",
    "onset_sample": "int64",
    "onset_s": "float64",
    "recorded_s": "float64",
    "stimulus_id": "string",
    "concept_id": "string",
    "category": "string",
    "repetition": "Int64",
    "split_original": "string",
    "split_concept_disjoint": "string",
    "split_future_session": "string",
    "residual_us": "Float64",
    "quality": "string",
    "simulated": "bool",
}
"""Columns of ``trials.parquet`` and their types; what is unknown is null.

``onset_sample`` counts from the first sample of the run's recording, ``onset_s`` is the same in seconds;
``recorded_s`` is the subject's cumulative recording time at the onset, breaks between recordings excluded.
``repetition`` counts the subject's showings of the stimulus from 1. ``residual_us`` is the picture's time
minus that of the onset sample.

The splits say ``train`` or ``test``. ``split_original`` is the table's own; ``split_concept_disjoint`` is the
same but for training stimuli whose concept occurs in the test, which are ``excluded``;
``split_future_session`` is ``test`` in each subject's last session; where there is only one, in the last
fifth of its runs, or of the blocks of its only run; and null where that is one, too, or just the test of
``split_original``. Earlier trials of stimuli that are shown again then are ``excluded``, unless that were
40 % of them (stimuli are categories). In all three, training trials whose window shares samples with a test
trial's are ``excluded``.
``block`` is what the table says of the stimulus; where it says something else at each showing it is null.
``quality`` is null: offline nothing judges a trial yet.
"""


class SessionFile(BaseModel):
    """One array of windows ``(n_trials, n_times, n_channels)``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    subject: str
    session: str
    file: str = Field(pattern=r"^[A-Za-z0-9_-]+\.npy$")
    n_trials: int = Field(ge=0)


class Header(BaseModel):
    """Content of ``trialset.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    schema_version: int = Field(default=1, ge=1, le=1)
    signal: SignalContract
    signal_sha256: str
    sessions: tuple[SessionFile, ...]
    native_rows: tuple[int, ...]
    left_out: dict[str, int]
    extras: dict[str, Any]


def signal_hash(signal: SignalContract) -> str:
    """Hash of all that shapes a window: the signal contract without the sensor positions.

    Positions tell where a channel sat on one day; they do not enter the window, and differ between the
    sessions of one MEG subject.
    """
    bare = [channel.model_copy(update={"position_m": None}) for channel in signal.channels]
    return signal.model_copy(update={"channels": tuple(bare)}).sha256()
