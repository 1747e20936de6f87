"""A tiny DeepRecon and a tiny GOD in both forms, whole and damaged, and the real tables."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.kamitani.images import image_name, synset
from replay.datasets.report import Kind
from rtdecode.errors import UserError

pytest.importorskip("h5py", reason="needs the extra 'data'")
pytest.importorskip("nibabel", reason="needs the extra 'data'")
import h5py
from miniatures.kamitani import (
    N_RUN_TRIALS,
    TEST,
    TRAIN,
    write_deeprecon,
    write_deeprecon_blocks,
    write_god,
    write_god_blocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from miniatures.kamitani import KamitaniCopy

    from replay.datasets.dataset import Content

TRAINING, TESTING = "perceptionNaturalImageTraining01", "perceptionNaturalImageTest01"
TRAINING_FILE = "sub-01_perceptionNaturalImageTraining_original_VC.h5"
TESTING_FILE = "sub-01_perceptionNaturalImageTest_original_VC.h5"


@pytest.fixture
def raw(tmp_path: Path) -> KamitaniCopy:
    return write_deeprecon(tmp_path / "raw")


@pytest.fixture
def blocks(tmp_path: Path) -> KamitaniCopy:
    return write_deeprecon_blocks(tmp_path / "blocks")


def read(copy: KamitaniCopy) -> Content:
    chosen = Selection(subjects=("01",), variant=copy.variant, mask=copy.mask)
    return copy.dataset.open(copy.root, chosen)


def refusal(copy: KamitaniCopy) -> str:
    with pytest.raises(UserError) as raised:
        read(copy)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3626115.019498", "n03626115_19498"),
        ("13111881.007817", "n13111881_7817"),
        ("3767745.000109", "n03767745_109"),
        ("2416519.01279", "n02416519_12790"),
        ("2508021.02", "n02508021_20000"),
        ("n03626115_19498", "n03626115_19498"),
        ("n03626115_19498.JPEG", "n03626115_19498"),
        ("1976957", None),
        ("41.000000", None),
        ("3.626115019498e6", None),
        ("3626115.0194980", None),
        ("n/a", None),
        ("nan", None),
        ("../n03626115_19498", None),
    ],
)
def test_numbers_of_images_are_read_as_text(text: str, name: str | None) -> None:
    assert image_name(text) == name


@given(st.integers(1_000_000, 15_999_999), st.integers(1, 999_999))
def test_any_image_comes_back_from_its_number_whatever_zeros_were_lost(concept: int, image: int) -> None:
    name = f"n{concept:08d}_{image}"
    text = f"{concept}.{image:06d}"
    assert image_name(text) == image_name(text.rstrip("0")) == image_name(text.zfill(15)) == name
    assert image_name(f"{float(text):.6f}") == name  # as files of bdpy keep it
    assert synset(name) == f"n{concept:08d}"


@pytest.mark.parametrize("write", [write_deeprecon, write_god])
def test_whole_runs_are_as_published(write: Callable[[Path], KamitaniCopy], tmp_path: Path) -> None:
    copy = write(tmp_path / "copy")
    report = copy.validate()
    assert report.is_complete, report.findings
    assert report.variant == f"raw BIDS {copy.study.accession} v1.3.1 (event tables: 4, signals: 4)"
    (subject,) = report.subjects
    counts = {name: count.found for name, count in subject.counts.items()}
    assert all(count.fits for count in subject.counts.values())
    assert (counts["train trials"], counts["test trials"]) == (2 * N_RUN_TRIALS, 2 * N_RUN_TRIALS)
    assert (counts["train images"], counts["test images"]) == (len(TRAIN), len(TEST))
    assert subject.signal_s == pytest.approx(4 * copy.study.n_volumes / copy.study.about.rate_hz)


@pytest.mark.parametrize("write", [write_deeprecon, write_god])
def test_a_block_that_shows_the_image_again_is_no_trial(
    write: Callable[[Path], KamitaniCopy], tmp_path: Path
) -> None:
    copy = write(tmp_path / "copy")
    content = read(copy)
    sessions = [(one.session, one.run) for one in content.recordings]
    experiments = [experiment.name for experiment in copy.study.experiments]
    assert sessions == [
        (f"{experiments[0]}01", "01"),
        (f"{experiments[0]}01", "02"),
        (f"{experiments[1]}01", "01"),
        (f"{experiments[1]}02", "01"),
    ]
    first = content.recordings[0]
    assert len(first.markers) == N_RUN_TRIALS
    assert first.markers.label[:4] == tuple(TRAIN[:4])
    step = copy.study.about.onset_step_s * copy.study.about.rate_hz
    np.testing.assert_array_equal(np.diff(first.markers.sample[:6]), step * np.array([1, 1, 1, 2, 1]))
    assert content.remarks == ("sub-01: 4 blocks that show the image before once more are left out",)
    stimuli = content.stimuli.set_index("stimulus_id")
    assert stimuli.loc[TRAIN[0], ["image", "concept_id", "split"]].tolist() == [
        f"training/{TRAIN[0]}.JPEG",
        "n03000000",
        "train",
    ]
    assert stimuli.loc[TEST[0], "split"] == "test"


def edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()), newline="\n")


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (
            lambda table: table.rpartition("\n192\t")[0],
            Kind.TRUNCATED,
            "19 images, without those shown again",
        ),
        (lambda table: table[:-20], Kind.TRUNCATED, "one in part"),
        (lambda table: table.replace("3000017.018198", "3000017.18198"), Kind.ODD, "'3000017.18198' beside"),
        (
            lambda table: re.sub(r"\t3000000\S+\tn0300\S+", "\t3000000\tn03000000", table, count=1),
            Kind.ODD,
            "row 2 shows 'n03000000', which is no image",
        ),
        (lambda table: table.replace("\n48\t", "\n51\t"), Kind.ODD, "does not begin whole blocks of 8 s"),
        (lambda table: table.replace("stimulus_id", "stimulus"), Kind.ODD, "no column stimulus_id"),
        (lambda table: table.replace("\n40\t", "\nn/a\t"), Kind.ODD, "is no onset"),
    ],
)
def test_a_table_that_is_not_as_published_is_told(
    raw: KamitaniCopy, change: Callable[[str], str], kind: Kind, text: str
) -> None:
    edit(raw.run_file("events.tsv", TRAINING), change)
    assert any(how is kind and text in what for _, how, what in raw.problems()), raw.problems()


def test_trailing_zeros_that_a_spreadsheet_took_change_no_image(raw: KamitaniCopy) -> None:
    def spreadsheet(table: str) -> str:
        return re.sub(r"(\t\d+\.\d+?)0+\t", r"\1\t", table)

    path = raw.run_file("events.tsv", TRAINING)
    before = path.read_text()
    edit(path, lambda table: spreadsheet(table.replace("3000000.019498", "3000000.019490")))
    assert "3000000.01949\t" in path.read_text()
    edit(path, lambda table: table.replace("n03000000_19498", "n03000000_19490"))
    assert before != path.read_text()
    assert raw.problems() == []


def test_runs_and_sessions_that_are_missing_are_told(raw: KamitaniCopy) -> None:
    for ending in ("events.tsv", "bold.nii.gz"):
        raw.run_file(ending, TRAINING, 2).unlink()
    assert ("sub-01/ses-perceptionNaturalImageTraining*", Kind.MISSING, "1 runs where 2 were published") in (
        raw.problems()
    )
    content = read(raw)
    assert len(content.recordings) == 3
    assert "sub-01: 1 runs are not here, and are left out" in content.remarks


@pytest.mark.parametrize("write", [write_deeprecon_blocks, write_god_blocks])
def test_whole_responses_are_as_published(write: Callable[[Path], KamitaniCopy], tmp_path: Path) -> None:
    copy = write(tmp_path / "copy")
    report = copy.validate()
    assert report.is_complete, report.findings
    (subject,) = report.subjects
    assert subject.responses is not None
    assert (subject.responses.found, subject.responses.fits) == (4 * N_RUN_TRIALS, True)
    assert not any("button" in item.text for item in report.findings)


def test_responses_are_one_recording_a_run_of_the_region_alone(blocks: KamitaniCopy) -> None:
    content = read(blocks)
    assert [(one.session, one.run, one.n_samples) for one in content.recordings] == [
        ("perceptionNaturalImageTraining01", "01", N_RUN_TRIALS),
        ("perceptionNaturalImageTraining01", "02", N_RUN_TRIALS),
        ("perceptionNaturalImageTest01", "01", N_RUN_TRIALS),
        ("perceptionNaturalImageTest02", "01", N_RUN_TRIALS),
    ]
    second = content.recordings[1]
    assert (second.rate_hz, len(second.channels)) == (1 / 8, 6)
    assert list(second.markers.label) == (TRAIN * 4)[N_RUN_TRIALS : 2 * N_RUN_TRIALS]
    with h5py.File(blocks.root / TRAINING_FILE) as file:
        expected = file["dataset"][N_RUN_TRIALS + 3 : N_RUN_TRIALS + 7, 6:12]
    np.testing.assert_array_equal(second.read(3, 7), expected.astype(np.float32))


def test_imagery_of_the_older_files_is_left_out(tmp_path: Path) -> None:
    content = read(write_god_blocks(tmp_path / "god"))
    assert [(one.session, one.run) for one in content.recordings] == [
        ("perceptionTraining", "01"),
        ("perceptionTraining", "02"),
        ("perceptionTest", "01"),
    ]
    assert sum(one.n_samples for one in content.recordings) == 4 * N_RUN_TRIALS


def test_samples_of_a_run_need_not_lie_together(blocks: KamitaniCopy) -> None:
    before = read(blocks).recordings[1]
    expected = before.read(0, N_RUN_TRIALS)
    with h5py.File(blocks.root / TRAINING_FILE, "r+") as file:
        order = np.argsort(np.arange(2 * N_RUN_TRIALS) % N_RUN_TRIALS, kind="stable")
        file["dataset"][:] = file["dataset"][:][order]
    found = read(blocks).recordings[1]
    assert found.markers.label == before.markers.label
    np.testing.assert_array_equal(found.read(0, N_RUN_TRIALS), expected)


def test_words_of_a_map_name_the_images_of_whole_numbers(blocks: KamitaniCopy) -> None:
    expected = read(blocks)
    with h5py.File(blocks.root / TRAINING_FILE, "r+") as file:
        numbers = file["dataset"][:, 4]
        images = np.unique(numbers)
        file["dataset"][:, 4] = np.searchsorted(images, numbers) + 1
        keys = [b"stimulus_name" if key == b"stimulus_id" else key for key in file["metadata/key"][:]]
        del file["metadata/key"]
        file["metadata/key"] = keys
        for place, number in enumerate(images.tolist(), 1):
            file[f"vmap/stimulus_name/{float(place)}"] = image_name(f"{number:.6f}")
    assert blocks.problems() == []
    assert [one.markers.label for one in read(blocks).recordings] == [
        one.markers.label for one in expected.recordings
    ]


def change(name: str, edit: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Write an array of a file anew."""

    def changed(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            before = file[name][:]
            del file[name]
            file[name] = edit(before)

    return changed


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (os.unlink, Kind.MISSING, "is not there"),
        (lambda path: path.write_bytes(b"<html>"), Kind.ODD, "is no HDF5 file"),
        (lambda path: os.truncate(path, 3000), Kind.TRUNCATED, "truncated"),
        (change("dataset", lambda rows: rows.astype(np.float32)), Kind.ODD, "float32, too coarse"),
        (change("dataset", lambda rows: rows[0]), Kind.ODD, "dataset has shape"),
        (change("metadata/value", lambda rows: rows[:-1]), Kind.ODD, "metadata/value has shape"),
        (change("metadata/value", lambda rows: rows * 2), Kind.ODD, "no column is of the region ROI_VC"),
        (change("metadata/key", lambda keys: keys[:-1]), Kind.ODD, "metadata/value has shape (12, 14)"),
    ],
)
def test_files_that_are_none_of_bdpys_are_told_and_refused(
    blocks: KamitaniCopy, damage: Callable[[Path], object], kind: Kind, text: str
) -> None:
    damage(blocks.root / TRAINING_FILE)
    ((path, how, what),) = blocks.problems()
    assert (path, how) == (TRAINING_FILE, kind)
    assert text in what
    assert TRAINING_FILE in refusal(blocks)


@pytest.mark.parametrize(
    ("edit_rows", "kind", "text"),
    [
        (lambda rows: rows[:-3], Kind.TRUNCATED, "37 responses of perceptionNaturalImageTraining where 40"),
        (lambda rows: np.concatenate([rows, rows[:1]]), Kind.ODD, "41 responses of"),
        (lambda rows: np.concatenate([rows[:-1], rows[:1]]), Kind.ODD, "were not shown 4 times: n"),
        (lambda rows: np.where(rows == rows[0, 4], np.nan, rows), Kind.ODD, "4 responses of"),
    ],
)
def test_other_numbers_of_responses_are_told(
    blocks: KamitaniCopy, edit_rows: Callable[[np.ndarray], np.ndarray], kind: Kind, text: str
) -> None:
    change("dataset", edit_rows)(blocks.root / TRAINING_FILE)
    assert any(how is kind and text in what for _, how, what in blocks.problems()), blocks.problems()
    assert read(blocks).recordings


def test_files_with_other_voxels_are_refused(blocks: KamitaniCopy) -> None:
    change("metadata/value", lambda rows: np.where(rows == 4.0, 5.0, rows))(blocks.root / TESTING_FILE)
    assert "its voxels are not those of" in refusal(blocks)


def test_older_files_need_the_type_of_each_sample(tmp_path: Path) -> None:
    copy = write_god_blocks(tmp_path / "god")
    edited = change("metaData/key", lambda keys: np.array([b"Kind", *keys[1:]], dtype="S20"))
    edited(copy.root / "Subject1.h5")
    assert any("no column is DataType" in what for *_, what in copy.problems())
    assert "no column is DataType" in refusal(copy)


def test_a_mask_is_refused_where_files_have_their_own(blocks: KamitaniCopy, raw: KamitaniCopy) -> None:
    chosen = Selection(subjects=("01",), mask=raw.mask)
    with pytest.raises(UserError, match="leave the mask out"):
        blocks.dataset.open(blocks.root, chosen)
    with pytest.raises(UserError, match="State a mask"):
        raw.dataset.open(raw.root, Selection(subjects=("01",)))


def test_whatever_is_changed_in_a_table_ends_in_a_report(raw: KamitaniCopy) -> None:
    path = raw.run_file("events.tsv", TESTING)
    whole = path.read_bytes()

    @settings(max_examples=40)
    @given(st.integers(0, len(whole) - 1), st.none() | st.binary(min_size=1, max_size=1))
    def damage(place: int, new: bytes | None) -> None:
        path.write_bytes(whole[:place] if new is None else whole[:place] + new + whole[place + 1 :])
        try:
            raw.validate()
        finally:
            path.write_bytes(whole)

    damage()


def test_whatever_is_changed_in_a_file_of_bdpy_ends_in_a_report(blocks: KamitaniCopy) -> None:
    path = blocks.root / TRAINING_FILE
    whole = path.read_bytes()

    @settings(max_examples=60)
    @given(st.integers(0, len(whole) - 1), st.none() | st.binary(min_size=1, max_size=4))
    def damage(place: int, new: bytes | None) -> None:
        path.write_bytes(whole[:place] if new is None else whole[:place] + new + whole[place + len(new) :])
        try:
            blocks.validate()
        finally:
            path.write_bytes(whole)

    damage()


def test_the_real_tables_of_deeprecon_hold_what_was_published(data_dir: Path) -> None:
    dataset = find_dataset("deeprecon")
    report = dataset.validate(data_dir / "bids" / "ds001506", ("01", "02"), lambda: None)
    assert report.variant == "raw BIDS ds001506 v1.3.1 (event tables: 1, signals: none)"
    assert report.absent_subjects == ("02",)
    (subject,) = report.subjects
    assert {name: (count.found, count.expected) for name, count in subject.counts.items()} == {
        "train sessions": (0, 15),
        "train runs": (0, 120),
        "train trials": (0, 6000),
        "train images": (0, 1200),
        "test sessions": (1, 3),
        "test runs": (1, 24),
        "test trials": (50, 1200),
        "test images": (50, 50),
    }
    assert subject.signal_s is None
    training, testing = "sub-01/ses-perceptionNaturalImageTraining", "sub-01/ses-perceptionNaturalImageTest"
    assert [(item.path, item.text) for item in report.findings if item.kind is not Kind.KNOWN] == [
        *((f"{training}{number:02d}", "is not there") for number in range(1, 16)),
        (f"{training}*", "0 runs where 120 were published"),
        *((f"{testing}{number:02d}", "is not there") for number in (2, 3)),
        (f"{testing}*", "1 runs where 24 were published"),
        ("sub-01/ses-*/func/*_task-perception_*_bold.nii.gz", "no signal: none is there"),
    ]


def test_the_real_tables_of_god_hold_what_was_published(data_dir: Path) -> None:
    report = find_dataset("GOD").validate(data_dir / "bids" / "ds001246", ("01",), lambda: None)
    assert report.variant == "raw BIDS ds001246 v1.2.1 (event tables: 2, signals: none)"
    (subject,) = report.subjects
    assert {name: (count.found, count.expected) for name, count in subject.counts.items()} == {
        "train runs": (1, 24),
        "train trials": (50, 1200),
        "train images": (50, 1200),
        "test runs": (1, 35),
        "test trials": (50, 1750),
        "test images": (50, 50),
    }
    assert [(item.path, item.text) for item in report.findings if item.kind is not Kind.KNOWN] == [
        ("sub-01/ses-perceptionTraining*", "1 runs where 24 were published"),
        ("sub-01/ses-perceptionTest*", "1 runs where 35 were published"),
        ("sub-01/ses-*/func/*_task-perception_*_bold.nii.gz", "no signal: none is there"),
    ]
