"""A tiny Alljoined1, whole and damaged."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

pytest.importorskip("hdf5plugin", reason="needs the extra 'data'")

import h5py
from miniatures.alljoined1 import (
    IMAGES,
    N_TRIALS,
    RATE_HZ,
    TEST,
    Alljoined1Copy,
    codes,
    kept,
    samples,
    write_alljoined1,
    write_signal,
    write_table,
)

from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.report import Kind
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.datasets.dataset import Content


@pytest.fixture
def made(tmp_path: Path) -> Alljoined1Copy:
    return write_alljoined1(tmp_path)


def opened(made: Alljoined1Copy, subject: str = "01") -> Content:
    return made.dataset.open(made.root, Selection(subjects=(subject,)))


def test_a_whole_copy_is_as_published(made: Alljoined1Copy) -> None:
    report = made.validate("01", "03", "05")
    assert report.is_complete is False
    assert report.absent_subjects == ("05",)
    assert made.validate("01", "03").is_complete
    first, third = report.subjects
    assert {name: (one.found, one.expected) for name, one in first.counts.items()} == {
        "sessions": (2, 2),
        "trials kept": (2 * len(kept()), 2 * N_TRIALS),
        "images": (len(IMAGES), len(IMAGES)),
        "channels": (64, 64),
        "test images": (2, 2),
    }
    assert (third.counts["sessions"].found, third.counts["sessions"].expected) == (1, 1)
    assert any("subj03 session 1" in one.text for one in report.findings)
    assert first.last_onset_s == pytest.approx(samples()[kept()][-1] / RATE_HZ)


def test_all_triggers_of_known_images_are_markers(made: Alljoined1Copy) -> None:
    content = opened(made)
    assert [(one.subject, one.session) for one in content.recordings] == [("01", "1"), ("01", "2")]
    recording = content.recordings[0]
    assert recording.markers.sample.tolist() == samples().tolist()
    assert list(recording.markers.label) == [str(image) for image in np.array(IMAGES)[codes() - 1]]
    fp1, status = recording.channels[0], recording.channels[-1]
    assert (fp1.type, fp1.unit, status.type) == (ChannelType.EEG, Unit.VOLT, ChannelType.STIM)
    assert all(one.position_m is not None for one in recording.channels[:-1])
    of = content.stimuli.set_index("stimulus_id")
    assert of.loc["5", ["image", "split"]].tolist() == ["nsd00005.png", "test"]
    assert sorted(of.index[of["split"] == "test"].astype(int)) == sorted(TEST)


def test_broken_sessions_are_left_out_and_told(made: Alljoined1Copy) -> None:
    content = opened(made, "03")
    assert [one.session for one in content.recordings] == ["2"]
    assert any("subj03 session 1" in remark for remark in content.remarks)


def test_without_the_list_of_test_images_none_is_on_either_side(made: Alljoined1Copy) -> None:
    made.test_images.unlink()
    report = made.validate()
    assert report.is_complete
    assert any("test_indices.json, which is not among the data" in one.text for one in report.findings)
    content = opened(made)
    assert set(content.stimuli["split"]) == {""}
    assert any("test_indices.json" in remark for remark in content.remarks)


@pytest.mark.parametrize("text", ["{", "{}", "[1.5]", "[-1]", "[true]", "[99999]", "[" * 100_000])
def test_a_list_of_test_images_that_is_none_is_told_and_refused(made: Alljoined1Copy, text: str) -> None:
    made.test_images.write_text(text)
    assert made.problems()[0][:2] == ("test_indices.json", Kind.ODD)
    with pytest.raises(UserError, match=r"test_indices.json: is no list"):
        opened(made)


def test_a_code_that_no_row_has_is_left_out_and_told(made: Alljoined1Copy) -> None:
    rows = np.flatnonzero(codes() != 2)
    write_table(made.table("1"), 1, 1, rows)
    content = opened(made)
    assert str(IMAGES[1]) not in content.recordings[0].markers.label
    assert (
        "subj01_session1_eeg.fif: 4 triggers whose code no row of its table has are left out"
        in content.remarks
    )


def test_where_there_is_no_trigger_the_times_of_the_table_are_markers(made: Alljoined1Copy) -> None:
    write_signal(made.signal("1"), np.zeros(N_TRIALS, int))
    content = opened(made)
    markers = content.recordings[0].markers
    assert markers.sample.tolist() == samples()[kept()].tolist()
    assert markers.label[0] == str(IMAGES[0])
    assert any("no trigger is in it" in remark for remark in content.remarks)


def edit(path: Path, change: Callable[[h5py.Group], None]) -> None:
    with h5py.File(path, "a") as file:
        change(file["df"])


def replaced(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.Group], None]:
    def replace(frame: h5py.Group) -> None:
        values = change(frame[name][()])
        del frame[name]
        frame[name] = values

    return replace


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced("block1_values", lambda times: times + 3 / RATE_HZ), "trials are at no trigger of"),
        (replaced("block1_values", lambda times: times + 1000), "has trials after the end of"),
        (replaced("block0_values", lambda rows: rows[:, [0, 1, 2, 3, 3, 5]]), "says that code 1 of"),
    ],
    ids=["other times", "longer", "other images"],
)
def test_a_table_of_another_signal_is_refused(
    made: Alljoined1Copy, change: Callable[[h5py.Group], None], text: str
) -> None:
    edit(made.table("2"), change)
    with pytest.raises(UserError, match=text):
        opened(made)


def renamed(items: np.ndarray) -> np.ndarray:
    return np.where(items == b"73k_id", b"id", items)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced("block1_values", lambda times: times + 0.001), "curr_time does not count samples"),
        (replaced("block1_values", lambda times: times[::-1]), "curr_time does not count samples"),
        (replaced("block1_values", lambda times: times * np.nan), "curr_time does not count samples"),
        (replaced("block0_items", renamed), "has no numbers of 73k_id"),
        (replaced("block0_values", lambda rows: rows - 100), "73k_id holds what is no number of an image"),
        (replaced("block0_values", lambda rows: rows + 0.5), "73k_id holds what is no number of an image"),
        (replaced("block0_values", lambda rows: np.tile(rows, (9000, 1))), "holds 189,000 trials"),
        (lambda frame: frame.parent.move("df/block0_items", "items"), "no tables in pandas' fixed format"),
    ],
    ids=["between samples", "backwards", "no numbers", "no column", "negative", "broken", "long", "no table"],
)
def test_a_table_that_is_not_as_published_is_told_and_refused(
    made: Alljoined1Copy, change: Callable[[h5py.Group], None], text: str
) -> None:
    edit(made.table("2"), change)
    found = made.problems()
    assert any(where == "05_125/subj01_session2.h5" and text in what for where, _, what in found), found
    with pytest.raises(UserError, match=text.replace("'", ".")):
        opened(made)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (lambda path: path.unlink(), Kind.MISSING),
        (lambda path: path.write_bytes(b""), Kind.TRUNCATED),
        (lambda path: os.truncate(path, path.stat().st_size // 2), None),
        (lambda path: path.write_bytes(b"<html>"), Kind.ODD),
    ],
    ids=["gone", "empty", "cut", "page"],
)
def test_each_file_that_cannot_be_read_is_named(
    made: Alljoined1Copy, damage: Callable[[Path], object], kind: Kind | None
) -> None:
    for path in (made.signal("1"), made.table("2")):
        whole = path.read_bytes()
        damage(path)
        where = path.relative_to(made.root).as_posix()
        assert any(found[0] == where and kind in (None, found[1]) for found in made.problems())
        with pytest.raises(UserError, match=path.name):
            opened(made)
        path.write_bytes(whole)


def test_a_signal_of_another_recorder_is_told(made: Alljoined1Copy) -> None:
    import mne

    info = mne.create_info(["Fp1", "Status"], 256.0, ["eeg", "stim"])
    mne.io.RawArray(np.zeros((2, 900)), info, verbose="error").save(
        made.signal("1"), overwrite=True, verbose="error"
    )
    told = [what for where, _, what in made.problems() if where == "raw/subj01_session1_eeg.fif"]
    assert told == ["256 Hz where 512 were published", "1 EEG channels where 64 were published"]


def test_subjects_may_be_named_as_the_files_name_them() -> None:
    dataset = find_dataset("alljoined1")
    assert dataset.select(["1", "subj02", "sub-03"]) == ("01", "02", "03")
    assert json.loads(dataset.about.model_dump_json())["n_channels"] == 64
