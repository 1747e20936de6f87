"""Which column of a lab's own events holds the stimulus, which the split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mne
import numpy as np
import pytest
from miniatures.ctf import REFERENCE_GRADIOMETER, SENSOR, write_ctf
from miniatures.own_bids import EVENTS, events, write_own_bids

from replay.datasets.bids import EventColumns, open_bids
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("mne_bids", reason="needs the extra 'data'")

COLUMNS = EventColumns(stimulus="stim_file", concept="concept", split="is_test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_own_bids(tmp_path / "lab")


@pytest.mark.filterwarnings("ignore")
def test_markers_are_the_stimuli_of_the_named_columns(root: Path) -> None:
    content = open_bids(root, COLUMNS)
    assert [(one.subject, one.session) for one in content.recordings] == [
        ("01", "a"), ("01", "b"), ("02", "a"), ("02", "b"),
    ]  # fmt: skip
    recording = content.recordings[0]
    assert recording.rate_hz == 250
    assert recording.markers.label == ("cat_01", "dog_01", "cat_02")
    assert recording.markers.sample.tolist() == [3000, 3126, 3625]
    assert content.stimuli.to_dict("list") == {
        "stimulus_id": ["cat_01", "dog_01", "cat_02"],
        "label": ["cat_01", "dog_01", "cat_02"],
        "image": ["animals/cat_01.jpg", "animals/dog_01.jpg", "animals/cat_02.jpg"],
        "concept_id": ["cat", "dog", "cat"],
        "split": ["train", "train", "test"],
        "block": ["", "", ""],
    }
    assert not content.remarks


@pytest.mark.filterwarnings("ignore")
def test_runs_and_sessions_come_in_the_order_of_their_numbers(root: Path) -> None:
    for session, run in (("a", "10"), ("a", "2"), ("a", "1")):
        for path in sorted((root / "sub-01" / f"ses-{session}" / "eeg").glob("sub-01_ses-a_task-show_*")):
            copy = path.with_name(path.name.replace("task-show", f"task-show_run-{run}"))
            text = path.read_bytes().replace(b"task-show_eeg", f"task-show_run-{run}_eeg".encode())
            copy.write_bytes(path.read_bytes() if path.suffix == ".eeg" else text)
    for path in (root / "sub-01" / "ses-a" / "eeg").glob("sub-01_ses-a_task-show_[!r]*"):
        path.unlink()
    recordings = open_bids(root, COLUMNS, subjects=["01"]).recordings
    assert [(one.session, one.run) for one in recordings] == [("a", "1"), ("a", "2"), ("a", "10"), ("b", "")]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("split", ["1", "01"])
def test_a_recording_in_parts_with_several_triggers_is_opened_by_its_first_one(
    tmp_path: Path, split: str
) -> None:
    folder = tmp_path / "lab" / "sub-01" / "meg"
    folder.mkdir(parents=True)
    info = mne.create_info(["Cz", "UPPT001", "UPPT002"], 250.0, ["eeg", "stim", "stim"])
    raw = mne.io.RawArray(np.zeros((3, 5000)), info, verbose="error")
    raw.save(folder / f"sub-01_task-show_split-{split}_meg.fif", verbose="error")
    raw.save(folder / f"sub-01_task-show_split-{split[:-1]}2_meg.fif", verbose="error")
    (folder / "sub-01_task-show_events.tsv").write_text(EVENTS)
    (recording,) = open_bids(tmp_path / "lab", COLUMNS).recordings
    assert recording.markers.sample.tolist() == [3000, 3126, 3625]


@pytest.mark.filterwarnings("ignore")
def test_folders_of_ctf_are_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "lab" / "sub-01" / "meg"
    channels = [("MLC11-4504", SENSOR), ("BG1-4504", REFERENCE_GRADIOMETER)]
    write_ctf(folder / "sub-01_task-show_meg.ds", channels, np.zeros((2, 5000), dtype=np.int64), 250.0)
    (folder / "sub-01_task-show_events.tsv").write_text(EVENTS)
    content = open_bids(tmp_path / "lab", COLUMNS)
    (recording,) = content.recordings
    assert [channel.type for channel in recording.channels] == [ChannelType.MAG, ChannelType.REF_MEG]
    assert recording.markers.sample.tolist() == [3000, 3126, 3625]
    assert [path.suffix for path in content.files] == [".res4", ".meg4", ".tsv"]
    assert all(path.is_file() for path in content.files)


def test_sidecars_say_what_channels_are_and_where(root: Path) -> None:
    (recording, _) = open_bids(root, COLUMNS, subjects=["sub-02"]).recordings
    types = {channel.name: (channel.type, channel.unit) for channel in recording.channels}
    assert types == {
        "Cz": (ChannelType.EEG, Unit.VOLT),
        "Oz": (ChannelType.EEG, Unit.VOLT),
        "E1": (ChannelType.EOG, Unit.VOLT),
    }
    cz, oz, _ = recording.channels
    assert cz.position_m is not None
    assert oz.position_m is not None
    assert cz.position_m[2] > oz.position_m[2]
    assert oz.position_m[1] < cz.position_m[1]


def test_events_outside_the_signal_are_left_out_and_told(root: Path) -> None:
    path = events(root, "01", "a")
    path.write_text(EVENTS + "900\t0.1\tshow\tanimals\\cat_03.jpg\tcat\t0\nn/a\t0\tshow\tx.png\tn/a\t0\n")
    content = open_bids(root, COLUMNS, subjects=["01"])
    assert len(content.recordings[0].markers) == 3
    (remark,) = content.remarks
    assert "2 damaged rows or events outside the signal" in remark


@pytest.mark.parametrize(
    ("change", "options", "text"),
    [
        (lambda root: events(root, "01", "a").unlink(), {}, "no events.tsv beside it"),
        (lambda _: None, {"columns": EventColumns(stimulus="picture")}, "has no column picture"),
        (lambda _: None, {"task": "rest"}, "no recording of rest eeg or meg"),
        (lambda _: None, {"subjects": ["03"]}, "no recording of 03 eeg or meg"),
        (
            lambda root: events(root, "01", "a").write_text(
                EVENTS.replace("cat_01.jpg\tcat", "cat_01.jpg\tdog")
            ),
            {},
            "stimulus cat_01 has concept_id 'dog' in one place and 'cat' in another",
        ),
    ],
    ids=["events", "column", "task", "subject", "contradiction"],
)
def test_what_is_missing_is_said_in_one_line(root: Path, change: object, options: dict, text: str) -> None:
    change(root)
    columns = options.pop("columns", COLUMNS)
    with pytest.raises(UserError, match=text):
        open_bids(root, columns, **options)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        open_bids(tmp_path / "nowhere", COLUMNS)


def test_a_folder_above_or_below_the_dataset_is_refused(root: Path) -> None:
    for folder in (root.parent, root / "sub-01"):
        with pytest.raises(
            UserError, match="is no BIDS dataset: name the folder that holds those of the subjects"
        ):
            open_bids(folder, COLUMNS)
