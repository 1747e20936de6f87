"""A tiny THINGS-MEG, raw and as epochs, whole and damaged, and the real tables."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from miniatures.things_meg import (
    FIRST,
    KINDS,
    N_TRIALS,
    RATE_HZ,
    SENSORS,
    STEP,
    ThingsMegCopy,
    epochs_data,
    trials,
    write_things_meg_epochs,
    write_things_meg_raw,
)

from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.report import Kind
from replay.datasets.things_meg import runs
from replay.datasets.things_meg.about import Dropout
from replay.recordings.ctf import ctf_file
from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replay.datasets.dataset import Content


@pytest.fixture
def raw(tmp_path: Path) -> ThingsMegCopy:
    return write_things_meg_raw(tmp_path)


@pytest.fixture
def released(tmp_path: Path) -> ThingsMegCopy:
    return write_things_meg_epochs(tmp_path)


def opened(made: ThingsMegCopy) -> Content:
    return made.dataset.open(made.root, Selection(subjects=(made.subject,), variant=made.variant))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new), newline="\n")


def test_a_whole_raw_copy_is_as_published(raw: ThingsMegCopy) -> None:
    report = raw.validate()
    assert report.is_complete, report.findings
    assert report.variant == "raw ds004212 v3.0.0"
    (subject,) = report.subjects
    assert all(count.found == count.expected for count in subject.counts.values())
    assert (subject.counts["train trials"].found, subject.counts["catch trials"].found) == (16, 4)
    told = {one.path: one.text for one in report.findings}
    (shadow,) = (text for path, text in told.items() if "/._" in path)
    assert "macOS" in shadow
    whole = " ".join(one.text for one in report.findings)
    assert "OTHER: 6 channels of each of 4 runs recovered as MEG" in whole
    assert "here 150 ms before sample in 2 runs" in whole
    assert subject.signal_s == pytest.approx(4 * (FIRST + STEP * len(KINDS) + 600) / RATE_HZ)


def test_markers_are_at_the_sensors_samples_and_catch_trials_have_none(raw: ThingsMegCopy) -> None:
    content = opened(raw)
    assert [(one.session, one.run) for one in content.recordings] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    ]
    table = trials()
    mine = table[(table["session_nr"] == 2) & (table["run_nr"] == 2)].reset_index(drop=True)
    shown = mine[mine["trial_type"] != "catch"]
    markers = content.recordings[-1].markers
    assert markers.sample.tolist() == (FIRST + STEP * shown.index).tolist()
    assert list(markers.label) == [image.rpartition("/")[2][:-4] for image in shown["image_path"]]
    of = content.stimuli.set_index("stimulus_id")
    assert of.loc["concept1_13s", ["image", "concept_id", "split"]].tolist() == [
        "concept1/concept1_13s.jpg",
        "concept1",
        "test",
    ]
    assert (of["split"] == "train").sum() == 16
    assert "catch trials have no marker" in content.remarks


def test_all_sensors_are_meg_but_the_one_that_malfunctioned(raw: ThingsMegCopy) -> None:
    kinds = {one.name: one.type for one in opened(raw).recordings[0].channels}
    assert [kinds[name] for name in SENSORS if name != "MRO11-1609"] == [ChannelType.MAG] * 5
    assert kinds["MRO11-1609"] is ChannelType.MISC
    assert kinds["BG1-1609"] is ChannelType.REF_MEG


def test_images_near_a_dropout_have_no_marker(raw: ThingsMegCopy, monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = (FIRST + 2 * STEP) / RATE_HZ
    monkeypatch.setattr(runs, "DROPOUTS", (Dropout("BIGMEG1", "01", "02", at_s),))
    first, second, *_ = (one.markers.sample for one in opened(raw).recordings)
    assert sorted(set(first) - set(second)) == [FIRST + 2 * STEP]


@pytest.mark.parametrize(
    ("damage", "where", "kind", "text"),
    [
        (lambda made: made.attributes.unlink(), "attributes_P1.csv", Kind.MISSING, "is not there"),
        (
            lambda made: change(made.attributes, ",1,1,", ",x,1,"),
            "_P1.csv",
            Kind.ODD,
            "says in 7 rows nothing",
        ),
        (
            lambda made: change(made.attributes, "images_meg/concept1/", ".."),
            "_P1.csv",
            Kind.ODD,
            "nothing of",
        ),
        (
            lambda made: made.file("01", "02", "events.tsv").unlink(),
            "run-XX_events.tsv",
            Kind.MISSING,
            "none of run 02",
        ),
        (
            lambda made: shutil.rmtree(made.file("01", "01", "").parent.parent),
            "ses-01",
            Kind.MISSING,
            "is not there",
        ),
        (
            lambda made: change(made.file("01", "01", "events.tsv"), "\t12240\n", "\t12240.5\n"),
            "run-01_events.tsv",
            Kind.ODD,
            "no trial type, image number and sample in 1 rows, the first 2",
        ),
        (
            lambda made: change(made.file("01", "01", "events.tsv"), "\texp\t", "\tnew\t"),
            "run-01_events.tsv",
            Kind.ODD,
            "in 4 rows, the first 1",
        ),
        (
            lambda made: change(made.file("01", "01", "events.tsv"), "\t12240\n", "\t10\n"),
            "run-01_events.tsv",
            Kind.ODD,
            "not later than the one before",
        ),
        (
            lambda made: change(made.file("01", "01", "events.tsv"), "sample", "place"),
            "run-01_events.tsv",
            Kind.ODD,
            "has no column sample",
        ),
        (
            lambda made: change(made.file("02", "01", "channels.tsv"), "MRT32-1609", "X"),
            "run-01_channels.tsv",
            Kind.ODD,
            "5 MEG channels where 6 were published",
        ),
        (
            lambda made: change(made.file("02", "01", "meg.json"), "1200.0", "600.0"),
            "run-01_meg.json",
            Kind.ODD,
            "SamplingFrequency is '600.0'",
        ),
        (
            lambda made: shutil.rmtree(made.file("02", "01", "meg.ds")),
            "run-01_meg.ds",
            Kind.MISSING,
            "is not there",
        ),
        (
            lambda made: os.truncate(ctf_file(made.file("02", "01", "meg.ds"), "meg4"), 5000),
            "_meg.meg4",
            Kind.TRUNCATED,
            "5,000 bytes where its header says",
        ),
        (
            lambda made: ctf_file(made.file("02", "01", "meg.ds"), "res4").write_bytes(b"<html>"),
            "_meg.res4",
            Kind.ODD,
            "does not begin as the header",
        ),
        (
            lambda made: ctf_file(made.file("02", "01", "meg.ds"), "hc").unlink(),
            "_meg.hc",
            Kind.MISSING,
            "is not there",
        ),
    ],
    ids=range(15),
)
def test_what_is_not_as_published_is_told(
    raw: ThingsMegCopy, damage: Callable[[ThingsMegCopy], object], where: str, kind: Kind, text: str
) -> None:
    damage(raw)
    found = raw.problems()
    assert any(path.endswith(where) and how is kind and text in what for path, how, what in found), found


def test_runs_that_are_not_there_are_left_out_and_told(raw: ThingsMegCopy) -> None:
    shutil.rmtree(raw.file("01", "02", "meg.ds"))
    raw.file("02", "01", "events.tsv").unlink()
    content = opened(raw)
    assert [(one.session, one.run) for one in content.recordings] == [("01", "01"), ("02", "02")]
    assert "sub-BIGMEG1: not there (session/run): 01/02, 02/01" in content.remarks
    for session, run in (("01", "01"), ("02", "02")):
        shutil.rmtree(raw.file(session, run, "meg.ds"))
    with pytest.raises(UserError, match="no signal with its event table is there"):
        opened(raw)
    assert "no signal: none is there" in [what for *_, what in raw.problems()]


def test_rows_that_are_no_image_are_left_out_and_told(raw: ThingsMegCopy) -> None:
    change(raw.file("01", "01", "events.tsv"), "\t1.0\t10800\n", "\t999.0\t10800\n")
    change(raw.file("01", "01", "events.tsv"), "\t12240\n", "\t99999999\n")
    content = opened(raw)
    assert len(content.recordings[0].markers) == 4
    assert any("2 rows that are no image within the signal" in remark for remark in content.remarks)


def test_whole_epochs_are_as_published(released: ThingsMegCopy) -> None:
    report = released.validate()
    assert report.is_complete, report.findings
    (subject,) = report.subjects
    assert subject.responses is not None
    assert subject.responses.found == subject.responses.expected == N_TRIALS
    content = opened(released)
    assert "looks ahead" in content.variant.caution
    assert [(one.session, one.run) for one in content.recordings] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    ]
    data = epochs_data()
    for number, recording in enumerate(content.recordings):
        mine = data[7 * number : 7 * number + 7]
        assert (recording.rate_hz, recording.n_samples) == (200.0, 7 * 281)
        np.testing.assert_array_equal(recording.read(0, 7 * 281), mine.transpose(0, 2, 1).reshape(-1, 5))
        catch = KINDS.index("catch")
        assert (recording.markers.sample % 281).tolist() == [20] * 6
        assert recording.segment_starts[catch] not in recording.markers.sample - 20
    assert all(channel.type is ChannelType.MAG for channel in content.recordings[0].channels)


@pytest.mark.parametrize("part", range(4))
def test_each_part_of_the_epochs_is_needed(released: ThingsMegCopy, part: int) -> None:
    path = released.epochs(part)
    path.unlink()
    where = f"derivatives/preprocessed/{path.name}"
    assert (where, Kind.MISSING, "is not there") in released.problems()
    with pytest.raises(UserError, match=rf"{path.name}: is not there"):
        opened(released)


def test_a_part_that_was_cut_off_is_refused(released: ThingsMegCopy) -> None:
    os.truncate(released.epochs(2), 20_000)
    assert any("cannot be read as epochs" in what for *_, what in released.problems())
    with pytest.raises(UserError, match="cannot be read as epochs"):
        opened(released)


def test_epochs_of_other_trials_than_the_table_lists_are_refused(released: ThingsMegCopy) -> None:
    lines = released.attributes.read_text().splitlines()
    released.attributes.write_text("\n".join([lines[0], lines[3], *lines[2:]]) + "\n")
    with pytest.raises(UserError, match="1 epochs are of another image than its table of trials says"):
        opened(released)
    released.attributes.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(UserError, match="28 epochs for 27 rows"):
        opened(released)


def test_another_folder_is_refused(raw: ThingsMegCopy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        raw.dataset.validate(tmp_path / "nowhere", ("BIGMEG1",), lambda: None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no THINGS-MEG"):
        raw.dataset.validate(tmp_path / "empty", ("BIGMEG1",), lambda: None)
    assert raw.validate("BIGMEG1", "BIGMEG2").absent_subjects == ("BIGMEG2",)


def test_the_real_tables_hold_what_was_published(data_dir: Path) -> None:
    dataset = find_dataset("things-meg")
    report = dataset.validate(data_dir / "bids" / "ds004212", ("BIGMEG1",), lambda: None)
    (subject,) = report.subjects
    counts = {name: count.found for name, count in subject.counts.items()}
    assert counts == {
        "runs": 3,  # of 120: all that there is of them
        "train trials": 558,
        "train images": 558,
        "train concepts": 558,
        "test trials": 60,
        "test images": 60,
        "test repetitions": 1,
        "catch trials": 60,
        "MEG channels": 272,
        "reference channels": 28,
    }
    assert (subject.onset_unit, subject.signal_s, report.variant) == ("samples", None, "raw ds004212 v3.0.0")
    assert subject.last_onset_s == pytest.approx(339.8375)
    known = [one.text for one in report.findings if one.kind is Kind.KNOWN]
    assert any("272 channels of each of 3 runs recovered as MEG" in text for text in known)
    assert any("macOS" in text for text in known)
    assert not any("before sample" in text for text in known)  # in this version onset is sample / rate
    missing = [(one.path, one.text) for one in report.findings if one.kind is Kind.MISSING]
    assert ("sub-BIGMEG1/ses-*/meg/*_meg.ds", "no signal: none is there") in missing
    assert len(missing) == 1 + 1 + 1 + 11  # table of trials, signals, runs of session 1, other sessions
    assert not [one for one in report.findings if one.kind in (Kind.ODD, Kind.TRUNCATED)]
