"""The table beside a TrialSet's windows: what was shown, and on which side of each split a trial is."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replay.trials import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replay.recordings.recording import Recording
    from rtdecode.contracts import Window
    from rtdecode.stimuli import StimulusTable
    from training.prepare import PlannedTrial

_MOST_EXCLUDED = 0.4
"""Stimuli are held out of the training side where that costs less than this share of it."""

_LAST_PART = 0.2
"""Share of the runs, or blocks, of an only session that stands for a future one."""


def trial_table(
    recordings: Sequence[Recording],
    planned: Sequence[Sequence[PlannedTrial]],
    stimuli: StimulusTable | None,
    window: Window,
) -> pd.DataFrame:
    """Fill in the columns of :data:`replay.trials.COLUMNS`, splits included.

    Parameters
    ----------
    recordings
        In the order in which they were recorded.
    planned
        The trials of each.
    stimuli
        What is known of the stimuli; None where nothing is.
    window
        What is cut around each onset: a training trial whose window shares samples with a test trial's is
        ``excluded`` from that split.

    Returns
    -------
    DataFrame
        One row a trial, in the order of ``planned``.
    """
    described = {} if stimuli is None else _describe(stimuli.rows)
    recorded_s: defaultdict[str, float] = defaultdict(float)
    shown: Counter[tuple[str, str]] = Counter()
    rows: list[dict[str, Any]] = []
    for recording, trials in zip(recordings, planned, strict=True):
        for trial in trials:
            subject, stimulus_id = recording.subject, trial.admission.stimulus_id
            onset_s = trial.onset / recording.rate_hz
            row: dict[str, Any] = {
                "subject": subject,
                "session": recording.session,
                "run": run_name(recording),
                "onset_sample": trial.onset,
                "onset_s": onset_s,
                "recorded_s": recorded_s[subject] + onset_s,
                "stimulus_id": stimulus_id,
                "residual_us": trial.residual_us,
                "simulated": recording.simulated,
            }
            if stimulus_id is not None:
                shown[subject, stimulus_id] += 1
                row |= {"repetition": shown[subject, stimulus_id], **described.get(stimulus_id, {})}
            rows.append(row)
        recorded_s[recording.subject] += recording.duration_s
    table = pd.DataFrame(
        {name: pd.array([row.get(name) for row in rows], dtype=kind) for name, kind in COLUMNS.items()}
    )
    if table.empty:
        return table
    table["split_future_session"] = _future_session(table, recordings)
    for column in ("split_original", "split_concept_disjoint", "split_future_session"):
        table.loc[_overlaps_test(table, column, window.n_samples), column] = "excluded"
    return table


def run_name(recording: Recording) -> str:
    """Run of a recording; its name where it has none."""
    return recording.run or recording.name


def _describe(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """Say of each stimulus what the table does, in the names of a TrialSet's columns."""
    names = {
        "block": "block",
        "category": "category",
        "concept_id": "concept_id",
        "split": "split_original",
    }
    by_stimulus = table.groupby("stimulus_id", sort=False)
    described: dict[str, dict[str, str]] = {str(stimulus): {} for stimulus in by_stimulus.groups}
    for name, column in names.items():
        if name not in table:
            continue
        # A table of presentations may say something else each time: then it says nothing of the stimulus.
        for stimulus, texts in by_stimulus[name].unique().items():
            if len(texts) == 1 and texts[0]:
                described[str(stimulus)][column] = str(texts[0])
    told = [row for row in described.values() if {"concept_id", "split_original"} <= row.keys()]
    tested = {row["concept_id"] for row in told if row["split_original"] == "test"}
    for row in told:
        is_leak = row["split_original"] != "test" and row["concept_id"] in tested
        row["split_concept_disjoint"] = "excluded" if is_leak else row["split_original"]
    return described


def _future_session(table: pd.DataFrame, recordings: Sequence[Recording]) -> pd.Series:
    """Earlier sessions against each subject's last one; where there is one session, its last runs or blocks.

    Training trials, of any subject, of stimuli that the test shows again are excluded, unless stimuli are
    categories that all sessions show: then little would be left. Where the last part is the authors' test and
    nothing else it is no later session, and a subject has none.
    """
    split = pd.Series(pd.NA, index=table.index, dtype="string")
    parts: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for recording in recordings:
        parts[recording.subject].append((recording.session, run_name(recording)))
    for subject, runs in parts.items():
        sessions = list(dict.fromkeys(session for session, _ in runs))
        mine = table["subject"] == subject
        if len(sessions) > 1:
            later = mine & (table["session"] == sessions[-1])
        else:
            column = "run" if len(runs) > 1 else "block"
            names = table.loc[mine, column].dropna().unique().tolist()
            if len(names) < 2:
                continue
            later = mine & table[column].isin(names[-math.ceil(_LAST_PART * len(names)) :])
            mine &= table[column].notna()
        is_test = table["split_original"].eq("test").fillna(False)
        if later.any() and (later == (mine & is_test)).all():
            continue
        split[mine & ~later], split[later] = "train", "test"
    # whoever is tested on a stimulus: a fit on several people sees the trials of all of them
    earlier = split.eq("train").fillna(False)
    tested = table.loc[split.eq("test").fillna(False), "stimulus_id"].dropna().unique()
    again = earlier & table["stimulus_id"].isin(tested)
    if again.sum() < _MOST_EXCLUDED * earlier.sum():
        split[again] = "excluded"
    return split


def _overlaps_test(table: pd.DataFrame, column: str, n_samples: int) -> np.ndarray:
    """Mask ``(n,)`` of training trials whose window shares samples with a test trial's of the same run."""
    overlaps = np.zeros(len(table), dtype=bool)
    is_train, is_test = (table[column].eq(side).fillna(False).to_numpy(bool) for side in ("train", "test"))
    for rows in table.groupby(["subject", "session", "run"], sort=False).indices.values():
        train, test = rows[is_train[rows]], rows[is_test[rows]]
        if not len(train) or not len(test):
            continue
        onsets = table["onset_sample"].to_numpy()
        tested = np.sort(onsets[test])
        after = np.searchsorted(tested, onsets[train])
        borders = np.concatenate([[-np.inf], tested, [np.inf]])
        distance = np.minimum(onsets[train] - borders[after], borders[after + 1] - onsets[train])
        overlaps[train] = distance < n_samples
    return overlaps
