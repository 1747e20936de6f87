from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from replay.recordings import Markers, Recording, array_reader
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from training.config import SplitSettings, TrainConfig

TEXT = """
name = "study"
output = "out"

[[recordings]]
path = "a/run1.csv"
run = "1"

[markers]
table = "stimuli.csv"
key = "code"

[signal]
tmin_s = 0.0
tmax_s = 0.5

[model]
clamp = 5
penalties = [1, 10.0]

[split]
test_runs = ["2"]
"""


def _load(folder: Path, text: str = TEXT) -> TrainConfig:
    (folder / "study.toml").write_text(text)
    return TrainConfig.load(folder / "study.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = _load(tmp_path)
    assert config.recordings[0].path == tmp_path / "a" / "run1.csv"
    assert config.markers.table == tmp_path / "stimuli.csv"
    assert config.trials_path == tmp_path / "out" / "trials"
    assert config.decoder_path == tmp_path / "out" / "study.onnx"
    absolute = _load(tmp_path, TEXT.replace('"out"', f'"{(tmp_path / "elsewhere").as_posix()}"'))
    assert absolute.output == tmp_path / "elsewhere"
    assert config.model.penalties == (1.0, 10.0)


def test_the_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTDECODE_TRAIN_MODEL__CLAMP", "7.5")
    monkeypatch.setenv("RTDECODE_TRAIN_OUTPUT", "here")
    monkeypatch.setenv("RTDECODE_TRAIN_SPLIT__TEST_RUNS", '["3"]')
    monkeypatch.setenv("RTDECODE_MODEL__CLAMP", "9")  # the service's prefix
    config = _load(tmp_path)
    assert config.model.clamp == 7.5
    assert config.model.penalties == (1.0, 10.0)
    assert config.output == Path("here")
    assert config.recordings[0].path == tmp_path / "a" / "run1.csv"
    assert config.split.test_runs == ("3",)
    monkeypatch.setenv("RTDECODE_TRAIN_MODEL__KLAMP", "7.5")
    with pytest.raises(
        UserError, match=r"study.toml, or RTDECODE_TRAIN_… in the environment: model.klamp: unknown"
    ):
        _load(tmp_path)
    monkeypatch.delenv("RTDECODE_TRAIN_MODEL__KLAMP")
    monkeypatch.setenv("RTDECODE_TRAIN_SPLIT", "run 3")
    with pytest.raises(UserError, match=r"environment, RTDECODE_TRAIN_…: .*split") as caught:
        _load(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('name = "study"', 'name = "study"\ncolour = "red"', "colour: unknown key"),
        ("clamp = 5", "klamp = 5", "model.klamp: unknown key"),
        ('run = "1"', 'runn = "1"', "recordings.0.runn: unknown key"),
        ("tmax_s = 0.5", "", "signal.tmax_s: field required"),
        ("tmax_s = 0.5", "tmax_s = -1.0", "tmax_s -1 lies before tmin_s 0"),
        ("clamp = 5", "clamp = -5", "model.clamp: "),
        ("penalties = [1, 10.0]", "penalties = []", "model.penalties: "),
        ("penalties = [1, 10.0]", "penalties = [0.0]", "model.penalties.0: "),
        ('key = "code"', 'key = "colour"', "markers.key: "),
        ('test_runs = ["2"]', "", "give either test_runs or test_sessions, or column, or leave_one_out"),
        ('test_runs = ["2"]', 'test_runs = ["2"]\ncolumn = "split_original"', "or column, or leave_one_out"),
        ('test_runs = ["2"]', 'column = "colour"', "split.column: "),
        ('test_runs = ["2"]', 'test_runs = ["2"]\nleave_one_out = "run"', "or leave_one_out"),
        ("[split]", '[missing]\nchannels = "repair"\n[split]', "a max of at least 1 go together"),
        ("[split]", "[missing]\nmax = 2\n[split]", "a max of at least 1 go together"),
        ('name = "study"', 'name = "a study"', "name: "),
        ('name = "study"', "name = study", "is not valid TOML"),
        ('path = "a/run1.csv"', "path = 3", "recordings.0.path: "),
        ('[markers]\ntable = "stimuli.csv"\nkey = "code"', "[[markers]]\n", "markers: "),
    ],
)
def test_a_wrong_key_is_one_line_that_names_it(tmp_path: Path, old: str, new: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        _load(tmp_path, TEXT.replace(old, new))
    assert told in str(caught.value)
    assert "study.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_recordings_of_one_decoder_share_their_delay(tmp_path: Path) -> None:
    second = '[[recordings]]\npath = "b.csv"\ndelay_s = {}\n\n[markers]'
    text = TEXT.replace('run = "1"', 'run = "1"\ndelay_s = 0.02\ndelay_measured = 2026-01-31')
    assert _load(tmp_path, text.replace("[markers]", second.format(0.02))).stream_delay_s == 0.02
    with pytest.raises(UserError, match=r"different delay_s \(0.01, 0.02\).* prepare them apart"):
        _load(tmp_path, text.replace("[markers]", second.format(0.01)))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read configuration"):
        TrainConfig.load(tmp_path / "nowhere.toml")


def test_the_hash_follows_what_shapes_the_trials_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "stimuli.csv").write_text("code,stimulus_id\n1,a\n")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run1.csv").write_text("x")
    first = _load(tmp_path).preparation_sha256()
    assert _load(tmp_path, TEXT.replace("clamp = 5", "clamp = 6")).preparation_sha256() == first
    assert _load(tmp_path, TEXT.replace('["2"]', '["1"]')).preparation_sha256() == first
    assert _load(tmp_path, TEXT.replace("tmax_s = 0.5", "tmax_s = 0.6")).preparation_sha256() != first
    assert _load(tmp_path, TEXT.replace('run = "1"', 'run = "9"')).preparation_sha256() != first
    (tmp_path / "stimuli.csv").write_text("code,stimulus_id\n1,b\n")
    assert _load(tmp_path).preparation_sha256() != first
    (tmp_path / "stimuli.csv").unlink()
    with pytest.raises(UserError, match="table of stimuli"):
        _load(tmp_path).preparation_sha256()


def test_the_hash_follows_the_recordings_and_not_their_names_alone(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "a").mkdir(parents=True)
    (study / "stimuli.csv").write_text("code,stimulus_id\n1,a\n")
    run = study / "a" / "run1.csv"
    run.write_text("one person")
    first = _load(study).preparation_sha256()
    dated = TEXT.replace('key = "code"', 'key = "code"\ndelay_measured = 2026-01-31')
    assert _load(study, dated).preparation_sha256() == first
    assert _load(study, dated.replace("[split]", "[split]  #")).preparation_sha256() == first
    assert _load(study, dated.replace("delay_m", "delay_s = 0.1\ndelay_m")).preparation_sha256() != first
    study.rename(tmp_path / "moved")
    assert _load(tmp_path / "moved").preparation_sha256() == first
    (tmp_path / "moved").rename(study)

    stat = run.stat()
    (study / "a").rename(study / "b")
    assert _load(study, TEXT.replace("a/run1", "b/run1")).preparation_sha256() != first
    (study / "b").rename(study / "a")
    os.utime(run, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # same size, another time
    assert _load(study).preparation_sha256() != first
    os.utime(run, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert _load(study).preparation_sha256() == first
    run.write_text("another person")
    os.utime(run, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same time, another size
    assert _load(study).preparation_sha256() != first

    run.write_text("one person")
    os.utime(run, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (study / "a" / "run1.eeg").write_text("samples beside a header")
    assert _load(study).preparation_sha256() != first
    run.unlink()
    with pytest.raises(UserError, match=r"cannot find .*run1.csv"):
        _load(study).preparation_sha256()


def test_a_recordings_entry_says_how_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    recording = Recording(
        name="r",
        rate_hz=100.0,
        channels=(Channel(name="Cz", type=ChannelType.EEG, unit=Unit.VOLT),),
        n_samples=1,
        markers=Markers(np.array([], dtype=np.int64), []),
        reader=array_reader(np.zeros((1, 1))),
    )

    def read(path: Path, **options: object) -> Recording:
        asked.update(options)
        return recording

    monkeypatch.setattr("training.config.read_recording", read)

    def stated(entry: str) -> dict[str, object]:
        text = TEXT.replace('run = "1"', f'run = "1"\nmarker_channel = "code"\n{entry}')
        assert _load(tmp_path, text).recordings[0].open().run == "1"
        assert asked.pop("marker_channel") == "code"
        return {name: value for name, value in asked.items() if value}

    assert stated('trigger_mask = 0xFF\ntrigger_edge = "change"') == {
        "trigger_mask": 255,
        "trigger_edge": "change",
    }
    assert stated('mask = "brain.nii"\nevents = "a/events.tsv"\nevery_volume = true') == {
        "mask": tmp_path / "brain.nii",
        "events": tmp_path / "a" / "events.tsv",
        "every_volume": True,
    }


def test_the_hash_follows_mask_and_events(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (study / "a").mkdir(parents=True)
    (study / "a" / "run1.csv").write_text("x")
    (study / "stimuli.csv").write_text("code,stimulus_id\n1,a\n")
    first = _load(study).preparation_sha256()
    for key in ("mask", "events"):
        text = TEXT.replace('run = "1"', f'run = "1"\n{key} = "{key}.x"')
        with pytest.raises(UserError, match=rf"cannot find .*{key}\.x"):
            _load(study, text).preparation_sha256()
        (study / f"{key}.x").write_text("one")
        one = _load(study, text).preparation_sha256()
        (study / f"{key}.x").write_text("another")
        assert len({first, one, _load(study, text).preparation_sha256()}) == 3


def test_the_split_is_by_whole_runs_or_sessions() -> None:
    trials = pd.DataFrame({"run": ["1", "2", "2"], "session": ["a", "a", "b"]}, dtype="string")

    def test_part(**how: Any) -> list[bool]:
        train, test = SplitSettings(**how).parts(trials)
        assert (train == ~test).all()
        mask: list[bool] = test.tolist()
        return mask

    assert test_part(test_runs=("2",)) == [False, True, True]
    assert test_part(test_sessions=("b",)) == [False, False, True]
    assert test_part(leave_one_out="run") == [False, False, False]
    with pytest.raises(UserError, match=r"split.test_runs: no run 7 among the trials; there are 1, 2"):
        SplitSettings(test_runs=("7",)).parts(trials)
    with pytest.raises(UserError, match="none is left to fit on"):
        SplitSettings(test_runs=("1", "2")).parts(trials)


def test_the_split_may_be_a_column_of_the_trials() -> None:
    trials = pd.DataFrame({"split_original": ["train", "test", None, "val"]}, dtype="string")
    train, test = SplitSettings(column="split_original").parts(trials)
    assert train.tolist() == [True, False, False, False]
    assert test.tolist() == [False, True, False, False]
    with pytest.raises(UserError, match="must name train and test trials, it says train, val"):
        SplitSettings(column="split_original").parts(trials.iloc[[0, 3]])
    with pytest.raises(UserError, match="it says nothing"):
        SplitSettings(column="split_original").parts(trials.iloc[[2]])


def test_the_example_is_valid() -> None:
    folder = Path(__file__).parents[2] / "examples" / "n170"
    config = TrainConfig.load(folder / "n170.toml")
    assert len(config.recordings) == 4
    assert config.stimuli().rows["stimulus_id"].tolist() == ["face", "house"]
