from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.recordings import Markers, Recording, array_reader
from rtdecode.contracts import Channel, ChannelType, Fate, Unit, Window
from rtdecode.gate import Admission
from rtdecode.stimuli import StimulusTable
from training.prepare import PlannedTrial
from training.trial_table import trial_table

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = Window(first_sample=-2, last_sample=7)


def _table(
    tmp_path: Path,
    runs: list[tuple[str, str, list[tuple[int, str]]]],
    split: dict[str, str],
    subjects: str = "",
) -> pd.DataFrame:
    """Runs are (session, run, [(onset, stimulus)]); ``subjects`` has a letter a run, by default all are 1."""
    recordings = [
        Recording(
            name=f"r{index}",
            rate_hz=10.0,
            channels=(Channel(name="A", type=ChannelType.EEG, unit=Unit.VOLT),),
            n_samples=1000,
            markers=Markers(np.empty(0, np.int64), []),
            reader=array_reader(np.zeros((1000, 1))),
            subject=subjects[index : index + 1] or "1",
            session=session,
            run=run,
        )
        for index, (session, run, _) in enumerate(runs)
    ]
    planned = [
        [
            PlannedTrial(onset, onset, 0.0, Admission(stimulus, Fate.ACCEPTED, 0, stimulus))
            for onset, stimulus in trials
        ]
        for _, _, trials in runs
    ]
    rows = pd.DataFrame({"stimulus_id": list(split), "split": list(split.values())}, dtype=object)
    rows["concept_id"] = rows["stimulus_id"].str[0]
    return trial_table(recordings, planned, StimulusTable(rows, None, tmp_path / "t.csv"), WINDOW)


def test_the_last_session_is_the_future_and_what_it_shows_again_is_not_trained_on(tmp_path: Path) -> None:
    runs = [
        ("1", "a", [(10, "x1"), (30, "x2"), (50, "y1"), (70, "z1")]),
        ("2", "a", [(10, "x1"), (30, "y2")]),
    ]
    table = _table(tmp_path, runs, dict.fromkeys(("x1", "x2", "y1", "y2", "z1"), "train"))
    assert table["split_future_session"].tolist() == ["excluded", "train", "train", "train", "test", "test"]


def test_categories_that_every_session_shows_stay_in_training(tmp_path: Path) -> None:
    runs = [(session, "a", [(10, "face"), (30, "house")]) for session in "123"]
    table = _table(tmp_path, runs, {"face": "", "house": ""})
    assert table["split_future_session"].tolist() == ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize(("n_runs", "n_test"), [(2, 1), (5, 1), (6, 2), (12, 3)])
def test_the_last_fifth_of_the_runs_stands_for_a_future_session(
    tmp_path: Path, n_runs: int, n_test: int
) -> None:
    runs = [("1", str(run), [(10, f"s{run}")]) for run in range(n_runs)]
    table = _table(tmp_path, runs, {f"s{run}": "train" for run in range(n_runs)})
    assert table["split_future_session"].tolist() == ["train"] * (n_runs - n_test) + ["test"] * n_test


def test_one_run_has_no_future(tmp_path: Path) -> None:
    table = _table(tmp_path, [("1", "a", [(10, "x1"), (30, "x2")])], {"x1": "train", "x2": "test"})
    assert table["split_future_session"].isna().all()


@given(steps=st.lists(st.integers(1, 25), min_size=2, max_size=30), data=st.data())
def test_no_training_window_shares_samples_with_a_test_window(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], data: st.DataObject
) -> None:
    onsets = np.cumsum(steps).tolist()
    sides = data.draw(
        st.lists(st.sampled_from(["train", "test"]), min_size=len(onsets), max_size=len(onsets))
    )
    names = [f"{index}" for index in range(len(onsets))]
    table = _table(
        tmp_path_factory.getbasetemp(),
        [("1", "a", list(zip(onsets, names, strict=True)))],
        dict(zip(names, sides, strict=True)),
    )
    tested = [onset for onset, side in zip(onsets, sides, strict=True) if side == "test"]
    expected = [
        "excluded"
        if side == "train" and any(abs(onset - other) < WINDOW.n_samples for other in tested)
        else side
        for onset, side in zip(onsets, sides, strict=True)
    ]
    assert table["split_original"].tolist() == expected


def test_a_stimulus_that_somebody_is_tested_on_is_nobody_s_training(tmp_path: Path) -> None:
    """A fit on several people sees the trials of all of them."""
    runs = [
        ("1", "a", [(10, "x1"), (30, "x2"), (50, "x3"), (70, "x4")]),
        ("2", "a", [(10, "y1")]),
        ("1", "a", [(10, "y1"), (30, "y2"), (50, "y3"), (70, "y4")]),
        ("2", "a", [(10, "z1")]),
    ]
    stimuli = [name for _, _, trials in runs for _, name in trials]
    table = _table(tmp_path, runs, dict.fromkeys(stimuli, "train"), subjects="1122")
    future = table["split_future_session"].tolist()
    assert future == ["train"] * 4 + ["test", "excluded"] + ["train"] * 3 + ["test"]


def test_where_the_authors_test_comes_last_it_is_no_future_session(tmp_path: Path) -> None:
    """As where only the runs of training and of test are known, and not their sessions."""
    runs = [("", "training", [(10, "x1"), (30, "x2")]), ("", "test", [(10, "y1"), (30, "y2")])]
    split = {"x1": "train", "x2": "train", "y1": "test", "y2": "test"}
    table = _table(tmp_path, runs, split)
    assert table["split_future_session"].isna().all()
