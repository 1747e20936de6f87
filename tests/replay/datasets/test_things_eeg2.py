"""A tiny THINGS-EEG2 in its three forms, whole and damaged."""

from __future__ import annotations

import os
import pickle
import re
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from miniatures.things_eeg2 import (
    CHANNELS,
    FIRST,
    N_IMAGES,
    N_TEST_IMAGES,
    N_TEST_REPETITIONS,
    POSTERIOR,
    STEP,
    TARGET,
    ThingsEeg2Copy,
    epochs_content,
    raw_content,
    save_as_before_numpy_2,
    write_things_eeg2_preprocessed_17,
    write_things_eeg2_preprocessed_63,
    write_things_eeg2_raw,
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

EPOCH_WRITERS = (write_things_eeg2_preprocessed_17, write_things_eeg2_preprocessed_63)


@pytest.fixture
def raw(tmp_path: Path) -> ThingsEeg2Copy:
    return write_things_eeg2_raw(tmp_path)


def opened(made: ThingsEeg2Copy, variant: str | None = None) -> Content:
    return made.dataset.open(made.root, Selection(subjects=(made.subject,), variant=variant))


def changed(content: dict[str, Any], **new: Any) -> dict[str, Any]:
    """A dictionary with other values; None leaves a key out."""
    return {key: value for key, value in (content | new).items() if value is not None}


def test_a_whole_raw_copy_is_as_published(raw: ThingsEeg2Copy) -> None:
    report = raw.validate()
    assert report.is_complete
    assert report.variant == "raw"
    (subject,) = report.subjects
    assert all(count.found == count.expected for count in subject.counts.values())
    assert subject.counts["train trials"].found == 32
    told = " ".join(one.text for one in report.findings)
    assert all(text in told for text in ("target", "joined end to end", "recorded first"))


def test_events_are_images_and_targets_are_none(raw: ThingsEeg2Copy) -> None:
    content = opened(raw)
    assert [(one.session, one.run) for one in content.recordings] == [
        ("01", "training"),
        ("01", "test"),
        ("02", "training"),
        ("02", "test"),
    ]
    signal = raw_content(np.tile(np.arange(1, N_IMAGES + 1), 2))["raw_eeg_data"]
    recording = content.recordings[0]
    shown = signal[-1, FIRST::STEP]
    ids = content.stimuli["stimulus_id"].tolist()
    expected = [
        (FIRST + STEP * place, ids[int(code) - 1]) for place, code in enumerate(shown) if 0 < code < TARGET
    ]
    assert TARGET in shown
    assert list(zip(recording.markers.sample.tolist(), recording.markers.label, strict=True)) == expected
    np.testing.assert_array_equal(recording.read(5, 9), signal[:, 5:9].T)
    fz, stim = recording.channels[1], recording.channels[-1]
    assert (fz.type, fz.unit, stim.type) == (ChannelType.EEG, Unit.VOLT, ChannelType.STIM)
    assert all(channel.position_m is not None for channel in recording.channels[:-1])
    row = content.stimuli.iloc[-1]
    assert (row["image"], row["concept_id"], row["split"]) == (
        "test_images/00003_testconcept2/testconcept2_01b.jpg",
        "testconcept2",
        "test",
    )


def test_a_signal_is_never_held_in_memory(tmp_path: Path) -> None:
    raw = write_things_eeg2_raw(tmp_path)
    size = raw.raw("01", "training").stat().st_size
    tracemalloc.start()
    try:
        for recording in opened(raw).recordings:
            recording.read(100, 200)
        assert raw.validate().is_complete
        assert tracemalloc.get_traced_memory()[1] < size / 4
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("write", EPOCH_WRITERS)
def test_whole_epochs_are_as_published_and_no_curve_may_be_drawn_from_them(
    tmp_path: Path, write: Callable[[Path], ThingsEeg2Copy]
) -> None:
    made = write(tmp_path)
    report = made.dataset.validate(
        made.root, ("01",), lambda: None
    )  # the form is told from what is in a file
    assert report.is_complete
    assert report.variant == made.variant
    (subject,) = report.subjects
    assert subject.responses is not None
    assert subject.responses.found == subject.responses.expected == 44
    assert all(count.found == count.expected for count in subject.counts.values())
    content = opened(made)
    assert "session identity lost" in content.variant.no_amounts
    training, test = content.recordings
    is_17 = made.variant == "preprocessed-17"
    names, times_s = (
        (POSTERIOR, np.arange(100) / 100 - 0.2) if is_17 else (CHANNELS, np.arange(300) / 250 - 0.2)
    )
    n_times, onset = (100, 20) if is_17 else (250, 0)
    data = epochs_content("test", names, n_times, times_s)["preprocessed_eeg_data"]
    assert test.rate_hz == (100 if is_17 else 250)
    assert test.channel_names == tuple(names)
    assert test.segment_starts == tuple(range(0, n_times * N_TEST_IMAGES * N_TEST_REPETITIONS, n_times))
    assert (test.markers.sample - test.segment_starts).tolist() == [onset] * len(test.markers)
    assert test.markers.label[::N_TEST_REPETITIONS] == tuple(content.stimuli["stimulus_id"][-N_TEST_IMAGES:])
    np.testing.assert_array_equal(test.read(n_times, 2 * n_times), data[0, 1].T)
    across = np.concatenate([data[0, 3].T, data[1, 0].T])[7:-9]
    np.testing.assert_array_equal(test.read(3 * n_times + 7, 5 * n_times - 9), across)
    assert len(training.markers) == 32


def test_the_window_of_each_variant_is_what_its_epochs_hold() -> None:
    windows = {one.name: (one.tmin_s, one.tmax_s) for one in find_dataset("things-eeg2").about.variants}
    assert windows["preprocessed-17"] == pytest.approx((-0.2, -0.2 + 99 / 100))
    assert windows["preprocessed-63"] == pytest.approx((-0.2 + 50 / 250, -0.2 + 299 / 250))


def test_a_copy_of_several_forms_asks_for_one(raw: ThingsEeg2Copy) -> None:
    save_as_before_numpy_2(raw.epochs("test"), {})
    with pytest.raises(UserError, match=r"as raw, preprocessed-17: name one of them"):
        opened(raw)
    assert len(opened(raw, "raw").recordings) == 4
    with pytest.raises(UserError, match="no THINGS-EEG2 as preprocessed-63"):
        opened(raw, "preprocessed-63")


CODES = np.tile(np.arange(1, N_IMAGES + 1), 2)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"raw_eeg_data": None}, "holds no raw_eeg_data of 2 axes"),
        ({"raw_eeg_data": np.zeros((5, 9))}, r"has shape \(5, 9\) with 64 names"),
        ({"raw_eeg_data": np.zeros((64, 9), "S4")}, "holds no raw_eeg_data"),
        ({"raw_eeg_data": np.zeros((64, 0))}, r"has shape \(64, 0\)"),
        ({"ch_names": ["a"] * 64}, "does not name its channels"),
        ({"ch_names": ["\x1b[2J", *range(63)]}, "does not name its channels"),
        ({"ch_names": None}, "does not name its channels"),
        ({"ch_types": ["eeg"] * 64}, "which one of its channels holds the events"),
        ({"ch_types": ["stim", *["eeg"] * 63]}, "which one of its channels holds the events"),
        ({"sfreq": "fast"}, "does not say its sampling rate"),
        ({"sfreq": 0}, "does not say its sampling rate"),
        ({"sfreq": 500}, "500 Hz where 1,000 were published"),
        ({"x": os.system}, "names posix.system|names nt.system"),
        ({"x": {1, 2}}, "which is no data|has the instruction"),
    ],
)
def test_a_raw_file_that_is_not_as_published_is_told(
    raw: ThingsEeg2Copy, new: dict[str, Any], text: str
) -> None:
    path = raw.raw("01", "test")
    save_as_before_numpy_2(path, changed(raw_content(CODES), **new))
    told = [what for where, _, what in raw.problems() if where == "sub-01/ses-01/raw_eeg_test.npy"]
    assert any(re.search(text, what) for what in told), told
    if "published" not in text:
        with pytest.raises(UserError, match=f"raw_eeg_test.npy: .*({text})"):
            opened(raw)


def test_events_that_are_no_image_are_told_and_left_out(raw: ThingsEeg2Copy) -> None:
    path = raw.raw("02", "test")
    save_as_before_numpy_2(path, raw_content(np.array([1, 2, 3, 1, 2, 77])))
    assert ("sub-01/ses-02/raw_eeg_test.npy", Kind.ODD, "1 events whose code is no image's") in raw.problems()
    assert (
        "sub-01/ses-02/raw_eeg_test.npy",
        Kind.ODD,
        "5 trials in session 02 where 6 were published",
    ) in raw.problems()
    content = opened(raw)
    assert len(content.recordings[-1].markers) == 5
    assert "raw_eeg_test.npy of session 02: 1 events of no image left out" in content.remarks


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda path: path.unlink(), Kind.MISSING, "is not there"),
        (lambda path: path.write_bytes(b""), Kind.TRUNCATED, "is empty"),
        (lambda path: os.truncate(path, 400_000), Kind.TRUNCATED, "ends within an array"),
        (lambda path: os.truncate(path, 100), Kind.ODD, "has no header of a .npy file"),
        (lambda path: np.save(path, np.zeros(3)), Kind.ODD, "holds no dictionary"),
        (lambda path: path.write_bytes(b"<html>"), Kind.ODD, "is no pickle"),
        (lambda path: path.write_bytes(pickle.dumps(os.system, 3)), Kind.ODD, "which is no data"),
    ],
    ids=["gone", "empty", "cut", "cut at once", "numbers", "page", "hostile"],
)
def test_each_file_that_cannot_be_read_is_named(
    raw: ThingsEeg2Copy, damage: Callable[[Path], object], kind: Kind, text: str
) -> None:
    for path in (raw.raw("01", "training"), raw.root / "image_metadata.npy"):
        whole = path.read_bytes()
        if path.name == "image_metadata.npy" and text in ("ends within an array", "holds no dictionary"):
            continue
        damage(path)
        where = path.relative_to(raw.root).as_posix()
        assert any(found[:2] == (where, kind) and text in found[2] for found in raw.problems()), (
            raw.problems()
        )
        with pytest.raises(UserError, match=f"{path.name}: .*{text}"):
            opened(raw)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"train_img_files": ["a.jpg"] * 7}, "of one length"),
        ({"train_img_files": ["../../x.jpg"] * 8}, "is no image of a concept"),
        ({"train_img_concepts": [".."] * 8}, "is no image of a concept"),
        ({"test_img_files": None}, "holds no lists test_img_files and test_img_concepts"),
        ({"test_img_files": 3}, "holds no lists"),
        ({"test_img_files": [b"a"] * 3}, "holds no lists"),
    ],
)
def test_a_table_of_images_that_is_not_as_published_is_told(
    raw: ThingsEeg2Copy, new: dict[str, Any], text: str
) -> None:
    names = [f"{number:05d}_c{number}" for number in range(8)]
    table = {
        "train_img_concepts": np.array(names),  # as an array they are read as well
        "train_img_files": [f"{name}.jpg" for name in names],
        "test_img_concepts": names[:3],
        "test_img_files": [f"{name}_t.jpg" for name in names[:3]],
    }
    save_as_before_numpy_2(raw.root / "image_metadata.npy", table)
    assert raw.problems() == [("image_metadata.npy", Kind.ODD, "8 concepts where 4 were published")]
    save_as_before_numpy_2(raw.root / "image_metadata.npy", changed(table, **new))
    assert any(text in what for where, _, what in raw.problems() if where == "image_metadata.npy")


@pytest.mark.parametrize(
    ("new", "text"),
    [
        ({"preprocessed_eeg_data": np.zeros((3, 4, 17))}, "of 4 axes"),
        ({"preprocessed_eeg_data": np.zeros((3, 4, 16, 100))}, "with 17 names of channels"),
        ({"preprocessed_eeg_data": np.zeros((3, 3, 17, 100))}, "shape (3, 3, 17, 100) where (3, 4, 17, 100)"),
        ({"times": np.arange(99) / 100}, "at which times"),
        ({"times": np.zeros(100)}, "at which times"),
        ({"times": np.full(100, np.nan)}, "at which times"),
        ({"times": np.arange(100) / 100 + 3}, "in which no image came"),
        ({"times": np.arange(100) / 100 - 3}, "in which no image came"),
        ({"times": np.arange(100) / 200 - 0.1}, "200 Hz where 100 were published"),
    ],
)
def test_epochs_that_are_not_as_published_are_told(tmp_path: Path, new: dict[str, Any], text: str) -> None:
    made = write_things_eeg2_preprocessed_17(tmp_path)
    whole = epochs_content("test", POSTERIOR, 100, np.arange(100) / 100 - 0.2)
    save_as_before_numpy_2(made.epochs("test"), changed(whole, **new))
    found = made.problems()
    assert any(text in what for where, _, what in found if where.endswith("test.npy")), found


def test_epochs_of_other_images_than_the_table_lists_are_refused(tmp_path: Path) -> None:
    made = write_things_eeg2_preprocessed_17(tmp_path)
    whole = epochs_content("training", POSTERIOR, 100, np.arange(100) / 100 - 0.2)
    save_as_before_numpy_2(made.epochs("test"), whole)
    with pytest.raises(UserError, match=r"holds 8 images where image_metadata.npy lists 3"):
        opened(made)


def test_a_subject_that_is_not_there_is_absent(raw: ThingsEeg2Copy) -> None:
    report = raw.validate("01", "02")
    assert report.absent_subjects == ("02",)
    with pytest.raises(UserError, match=r"raw_eeg_training.npy: is not there"):
        raw.dataset.open(raw.root, Selection(subjects=("02",)))
