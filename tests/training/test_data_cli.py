"""What ``rtdecode data prepare`` writes, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pytest
from click.testing import CliRunner
from miniatures.own_bids import write_own_bids
from miniatures.things_eeg1 import ThingsEeg1Copy, write_things_eeg1

from replay.datasets.catalogue import DATASETS
from replay.trials import TrialSet
from rtdecode.errors import UserError
from training.config import TrainConfig
from training.data_cli import data

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ThingsEeg1Copy:
    made = write_things_eeg1(tmp_path / "things-eeg1")
    monkeypatch.setitem(DATASETS, "things-eeg1", made.dataset)
    return made


def prepare(copy: ThingsEeg1Copy, out: Path, *options: object) -> str:
    arguments = ["prepare", "things-eeg1", copy.root, "--out", out, "--subject", "10", *options]
    done = CliRunner().invoke(data, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_it_writes_a_study_that_says_all_that_was_done(copy: ThingsEeg1Copy, tmp_path: Path) -> None:
    study = tmp_path / "studies" / "first"
    assert "next: rtdecode train fit" in prepare(copy, study, "--images", copy.images)
    assert sorted(path.name for path in study.iterdir()) == ["stimuli.csv", "things-eeg1-10.toml", "trials"]
    config = TrainConfig.load(study / "things-eeg1-10.toml")
    assert config.dataset is not None
    assert config.dataset.root.resolve() == copy.root
    trials = TrialSet.open(config.trials_path)
    assert trials.extras["preparation_sha256"] == config.preparation_sha256()
    assert trials.extras["variant"] == "raw"
    # the last training windows reach into the test block's, whose window begins 0.2 s before its onset
    assert trials.trials["split_original"].value_counts().to_dict() == {"train": 20, "test": 6}
    assert set(trials.trials["split_concept_disjoint"][:20]) == {"train", "excluded"}
    assert (
        trials.trials["split_future_session"][:20].tolist()
        == ["train"] * 5 + ["excluded"] * 10 + ["test"] * 5
    )
    assert all(config.stimuli().pictures().values())


def test_without_images_it_says_what_for_they_are_needed(copy: ThingsEeg1Copy, tmp_path: Path) -> None:
    assert "fit and evaluate will need the images" in prepare(copy, tmp_path / "study")
    assert pd.read_csv(tmp_path / "study" / "stimuli.csv")["image"].isna().all()


@pytest.mark.parametrize(
    ("damage", "options", "text"),
    [
        (
            lambda copy: copy.file("10", "events.tsv").unlink(),
            (),
            "events.tsv: is not there; get it again from",
        ),
        (lambda copy: copy.file("10", "eeg.eeg").unlink(), (), "sub-10_task-rsvp_eeg"),
        (lambda _: None, ("--variant", "betas"), "has no variant 'betas'; known are raw"),
        (lambda copy: (copy.root.parent / "study").mkdir(), (), "exists already"),
        (lambda _: None, ("--images", "nowhere"), "nowhere: no such folder of images"),
    ],
)
def test_what_it_cannot_do_it_refuses_and_leaves_nothing(
    copy: ThingsEeg1Copy, damage: object, options: tuple[str, ...], text: str
) -> None:
    damage(copy)
    before = sorted(copy.root.parent.rglob("*"))
    with pytest.raises(UserError, match=text):
        prepare(copy, copy.root.parent / "study", *options)
    assert sorted(copy.root.parent.rglob("*")) == before


def test_a_lab_s_own_dataset_becomes_a_study(tmp_path: Path) -> None:
    pytest.importorskip("mne_bids", reason="needs the extra 'data'")
    root = write_own_bids(tmp_path / "lab")
    study = tmp_path / "study"
    columns = ["--stimulus", "stim_file", "--concept", "concept", "--split", "is_test"]
    done = CliRunner().invoke(
        data, ["bids", str(root), "--out", str(study), *columns], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    config = TrainConfig.load(study / "lab.toml")
    assert config.split.column == "split_original"
    trials = TrialSet.open(config.trials_path)
    assert trials.extras["preparation_sha256"] == config.preparation_sha256()
    assert trials.trials["stimulus_id"].tolist() == ["cat_01", "dog_01", "cat_02"] * 4
    assert trials.trials["split_original"].tolist() == ["train", "train", "test"] * 4
    assert trials.trials["split_concept_disjoint"].tolist() == ["excluded", "train", "test"] * 4


def test_simulated_subjects_become_a_study_with_their_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    arguments = ["simulate", "Simulated-3T", "--out", str(study), "--sessions", "1", "--subject", "2"]
    done = CliRunner().invoke(data, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    config = TrainConfig.load(study / "simulated-3t.toml")
    assert config.simulated is not None
    assert (config.simulated.subjects, config.simulated.sessions) == ((2,), 1)
    trials = TrialSet.open(config.trials_path)
    assert trials.simulated
    assert trials.extras["preparation_sha256"] == config.preparation_sha256()
    counted = trials.trials["split_original"].value_counts().to_dict()
    assert counted["test"] == 120
    assert 340 < counted["train"] < 360  # but for the first, and those that reach into the test
    assert all(config.stimuli().pictures().values())


def test_a_simulated_device_that_does_not_exist_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no simulated device"):
        CliRunner().invoke(
            data, ["simulate", "simulated-9t", "--out", str(tmp_path / "s")], catch_exceptions=False
        )
    assert not (tmp_path / "s").exists()


def test_subjects_with_other_channels_share_those_that_all_have(copy: ThingsEeg1Copy, tmp_path: Path) -> None:
    out = prepare(copy, tmp_path / "study", "--subject", "49")
    assert "different channels: the 63 that all have are taken" in out
    trials = TrialSet.open(tmp_path / "study" / "trials")
    assert [channel.name for channel in trials.signal.channels] == [f"E{n}" for n in range(1, 64)]
    assert set(trials.trials["subject"]) == {"10", "49"}
