"""A tiny BOLD5000 in its three forms, whole and damaged, and the real tables."""

from __future__ import annotations

import gzip
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.datasets.bold5000 import Bold5000
from replay.datasets.bold5000.images import Image, find_image, repeated
from replay.datasets.dataset import Selection
from replay.datasets.report import Kind
from rtdecode.errors import UserError

pytest.importorskip("nibabel", reason="needs the extra 'data'")
from miniatures.bold5000 import (
    N_RUN_TRIALS,
    N_RUNS,
    N_TRIALS,
    write_bold5000,
    write_bold5000_betas,
    write_bold5000_fmriprep,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from miniatures.bold5000 import Bold5000Copy

    from replay.datasets.dataset import Content


BETAS = "CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-02.nii.gz"
LIST, MASK = "CSI1_imgnames.txt", "CSI1_brainmask.nii.gz"


@pytest.fixture
def raw(tmp_path: Path) -> Bold5000Copy:
    return write_bold5000(tmp_path / "bold5000")


@pytest.fixture
def betas(tmp_path: Path) -> Bold5000Copy:
    return write_bold5000_betas(tmp_path / "bold5000")


def read(copy: Bold5000Copy) -> Content:
    chosen = Selection(subjects=("CSI1",), variant=copy.variant, mask=copy.mask)
    return copy.dataset.open(copy.root, chosen)


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_bytes("".join(f"{row}\r\n" for row in change(path.read_text().splitlines())).encode())


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        (
            "COCO_train2014_000000420713.jpg",
            "coco",
            Image("420713", "coco", "COCO/COCO_train2014_000000420713.jpg", "", False),
        ),
        (
            "n01641577_1229.JPEG",
            "rep_imagenet",
            Image("n01641577_1229", "imagenet", "ImageNet/n01641577_1229.JPEG", "n01641577", True),
        ),
        (
            "rep_elevatorOutside2.jpg ",
            "",
            Image("elevatorOutside2", "scenes", "Scene/elevatorOutside2.jpg", "elevatorOutside", True),
        ),
        ("barn1.jpg", "scenes", Image("barn1", "scenes", "Scene/barn1.jpg", "barn", False)),
        ("yard12.TIF", "scenes", Image("yard12", "scenes", "Scene/yard12.TIF", "yard", False)),
        ("../../passwd.jpg", "scenes", None),
        ("n/a", "n/a", None),
    ],
)
def test_a_name_tells_which_image_it_is(name: str, kind: str, expected: Image | None) -> None:
    assert find_image(name, kind) == expected


def test_test_images_are_those_shown_more_than_once() -> None:
    names = ["a1.jpg", "b1.jpg", "rep_c1.jpg", "a1.jpg"]
    shown = [image for name in names if (image := find_image(name)) is not None]
    assert repeated([shown, shown[:2]]) == {"a1", "c1"}


@pytest.mark.parametrize("write", [write_bold5000, write_bold5000_fmriprep])
def test_whole_runs_are_as_published(write: Callable[[Path], Bold5000Copy], tmp_path: Path) -> None:
    copy = write(tmp_path / "copy")
    report = copy.validate()
    assert report.is_complete
    assert report.variant == f"{copy.variant} BIDS ds001499 v1.3.1 (event tables: 4, signals: 4)"
    (subject,) = report.subjects
    assert all(count.fits for count in subject.counts.values())
    assert subject.counts["trials"].found == N_TRIALS
    assert subject.signal_s == N_RUNS * 59 * 2.0
    known = [item.text for item in report.findings]
    assert any("three times" in text for text in known)
    assert not any("headers" in text for text in known)


def test_whole_responses_are_as_published(betas: Bold5000Copy) -> None:
    report = betas.validate()
    assert report.is_complete
    assert report.variant == "betas (lists of images: 1, signals: 2)"
    (subject,) = report.subjects
    assert subject.responses is not None
    assert (subject.responses.found, subject.responses.expected) == (N_TRIALS, N_TRIALS)
    assert any("headers" in item.text for item in report.findings)


def test_runs_are_recordings_with_markers_between_volumes(raw: Bold5000Copy) -> None:
    content = read(raw)
    assert [(one.session, one.run) for one in content.recordings] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    ]
    first = content.recordings[0]
    assert (first.subject, first.rate_hz, len(first.channels), first.n_samples) == ("CSI1", 0.5, 18, 59)
    assert first.channels is content.recordings[-1].channels
    assert first.markers.sample[:2].tolist() == [3, 8]
    assert first.markers.residual_us is not None
    assert first.markers.residual_us[0] == pytest.approx(36_700)
    stimuli = content.stimuli.set_index("stimulus_id")
    assert (stimuli["split"] == "test").sum() == 4
    assert set(stimuli.loc[stimuli["image"].str.startswith("COCO"), "concept_id"]) == {""}
    assert not content.remarks


def test_responses_are_one_recording_a_session_without_voxels_that_a_session_lacks(
    betas: Bold5000Copy,
) -> None:
    content = read(betas)
    assert [(one.session, one.run, one.n_samples) for one in content.recordings] == [
        ("01", "", 20),
        ("02", "", 20),
    ]
    assert all(len(one.channels) == 26 for one in content.recordings)
    assert all(np.isfinite(one.read(0, 20)).all() for one in content.recordings)
    assert content.recordings[0].rate_hz == 0.1
    assert content.remarks == ("CSI1: 1 of 27 voxels have no response in some session, and are left out",)
    (session,) = (one for one in content.recordings if one.session == "02")
    names = (betas.root / "CSI1_imgnames.txt").read_text().split()
    expected = [image.stimulus_id for name in names[20:] if (image := find_image(name)) is not None]
    assert list(session.markers.label) == expected


def test_what_was_not_fetched_is_told_and_the_rest_is_read(raw: Bold5000Copy) -> None:
    raw.run_file("bold.nii.gz", 1, 2).unlink()
    assert [problem[:2] for problem in raw.problems()] == [
        ("sub-CSI1/ses-01/func/sub-CSI1_ses-01_task-5000scenes_run-02_bold.nii.gz", Kind.MISSING)
    ]
    content = read(raw)
    assert len(content.recordings) == 3
    assert content.remarks == ("sub-CSI1: 1 runs are not here, and are left out",)
    assert len(content.stimuli) == 32


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda rows: rows[:-1], Kind.TRUNCATED, f"{N_RUN_TRIALS - 1} of {N_RUN_TRIALS} rows"),
        (lambda rows: [*rows, rows[-1]], Kind.ODD, f"{N_RUN_TRIALS + 1} rows where {N_RUN_TRIALS}"),
        (lambda rows: [*rows[:-1], rows[-1][:9]], Kind.TRUNCATED, "one in part"),
        (lambda rows: [*rows[:3], *rows[4:], rows[3]], Kind.ODD, "onsets not later than the one before"),
        (lambda rows: [*rows[:3], *rows[4:]], Kind.ODD, "onsets step by 19.99 s at row 3"),
        (
            lambda rows: [row.replace("rep_scenes", "rep_coco") for row in rows],
            Kind.ODD,
            "'rep_coco'",
        ),
        (lambda rows: [row.replace("\tCOCO_", "\t../COCO_") for row in rows], Kind.ODD, "is no image"),
        (lambda rows: [rows[0].replace("ImgName", "Image"), *rows[1:]], Kind.ODD, "no column ImgName"),
        (lambda rows: [row.replace("26.0267\t1", "n/a\t1") for row in rows], Kind.ODD, "is no onset"),
    ],
)
def test_a_table_that_is_not_as_published_is_told(
    raw: Bold5000Copy, change: Callable[[list[str]], list[str]], kind: Kind, text: str
) -> None:
    edit(raw.run_file("events.tsv"), change)
    told = [
        what for where, how, what in raw.problems() if where.endswith("run-01_events.tsv") and how is kind
    ]
    assert any(text in what for what in told), raw.problems()


def test_runs_that_are_missing_are_told_by_session(raw: Bold5000Copy) -> None:
    for ending in ("events.tsv", "bold.nii.gz"):
        raw.run_file(ending, 2, 1).unlink()
    ((path, kind, text),) = raw.problems()
    assert (path, kind) == ("sub-CSI1/ses-02/func", Kind.MISSING)
    assert "no runs 01" in text


def test_raw_volumes_need_a_mask_that_fits(raw: Bold5000Copy, tmp_path: Path) -> None:
    responses = write_bold5000_betas(tmp_path / "other").betas_file()
    for mask, text in [(None, "--mask"), (responses, "3 dimensions are needed")]:
        with pytest.raises(UserError, match=text):
            raw.dataset.open(raw.root, Selection(subjects=("CSI1",), variant="raw", mask=mask))


@pytest.mark.parametrize(
    ("name", "damage", "kind", "text"),
    [
        (BETAS, os.unlink, Kind.MISSING, "is not there"),
        (BETAS, lambda path: os.truncate(path, 2000), Kind.TRUNCATED, "does not end as"),
        (BETAS, lambda path: path.write_bytes(b"<html>"), Kind.ODD, "NIfTI"),
        (
            BETAS,
            lambda path: path.write_bytes(gzip.compress(b"\0" * 400)),
            Kind.ODD,
            "cannot be read as NIfTI",
        ),
        (LIST, lambda path: edit(path, lambda rows: rows[:-1]), Kind.TRUNCATED, "39 lines where 40"),
        (LIST, lambda path: path.write_bytes(b"\0"), Kind.ODD, "zero bytes"),
        (LIST, os.unlink, Kind.MISSING, "not there"),
        (MASK, os.unlink, Kind.MISSING, "there"),
    ],
)
def test_responses_that_are_not_as_published_are_told(
    betas: Bold5000Copy, name: str, damage: Callable[[Path], object], kind: Kind, text: str
) -> None:
    damage(betas.root / name)
    assert any((path, how) == (name, kind) and text in what for path, how, what in betas.problems())
    with pytest.raises(UserError) as raised:
        read(betas)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_line_that_is_no_image_is_told_and_its_response_left_out(betas: Bold5000Copy) -> None:
    edit(betas.root / LIST, lambda rows: [*rows[:-1], "../x.jpg"])
    assert (LIST, Kind.ODD, "1 of 40 lines are no image: '../x.jpg'") in betas.problems()
    content = read(betas)
    assert len(content.recordings[1].markers) == 19
    assert "CSI1: 1 responses to what is no image are left out" in content.remarks


def test_a_folder_with_tables_and_what_fmriprep_made_asks_which(raw: Bold5000Copy, tmp_path: Path) -> None:
    done = write_bold5000_fmriprep(tmp_path / "done")
    (done.root / "derivatives").rename(raw.root / "derivatives")
    with pytest.raises(UserError, match="raw, fmriprep: name one of them"):
        raw.dataset.validate(raw.root, ("CSI1",), lambda: None)
    with pytest.raises(UserError, match="no such folder"):
        raw.dataset.validate(raw.root / "nowhere", ("CSI1",), lambda: None)


def test_whatever_is_cut_from_or_changed_in_a_table_ends_in_a_report(raw: Bold5000Copy) -> None:
    path = raw.run_file("events.tsv")
    whole = path.read_bytes()

    @settings(max_examples=40)
    @given(st.integers(0, len(whole) - 1), st.none() | st.binary(min_size=1, max_size=1))
    def damage(place: int, change: bytes | None) -> None:
        damaged = whole[:place] if change is None else whole[:place] + change + whole[place + 1 :]
        path.write_bytes(damaged)
        try:
            report = raw.validate()
        finally:
            path.write_bytes(whole)
        if damaged.count(b"\t") < whole.count(b"\t"):
            assert not report.is_complete

    damage()


def test_the_real_tables_hold_what_was_published(data_dir: Path) -> None:
    report = Bold5000().validate(data_dir / "bids" / "ds001499", ("CSI1", "CSI4"), lambda: None)
    assert report.variant == "raw BIDS ds001499 v1.3.1 (event tables: 3, signals: none)"
    assert report.absent_subjects == ("CSI4",)
    (subject,) = report.subjects
    assert {name: (count.found, count.expected) for name, count in subject.counts.items()} == {
        "sessions": (1, 15),
        "runs": (3, 142),
        "trials": (111, 5254),
        "images of coco": (45, 2000),
        "images of imagenet": (43, 1916),
        "images of scenes": (23, 1000),
        "repeated images": (6, 113),
    }
    assert (subject.onset_unit, subject.signal_s) == ("s", None)
    problems = [(item.path, item.text) for item in report.findings if item.kind is not Kind.KNOWN]
    assert problems == [
        ("sub-CSI1/ses-01/func", "no runs 04, 05, 06, 07, 08, 09 where 9 or 10 were published"),
        *((f"sub-CSI1/ses-{number:02d}", "is not there") for number in range(2, 16)),
        (
            "sub-CSI1/ses-*/func/*_task-5000scenes_*_bold.nii.gz",
            "no signal: none is there",
        ),
    ]
    known = [item.text for item in report.findings if item.kind is Kind.KNOWN]
    assert any("rep_" in text for text in known)
    assert any("three times" in text for text in known)
