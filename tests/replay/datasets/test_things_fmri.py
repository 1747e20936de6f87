"""A tiny THINGS-fMRI, whole and damaged, and the real tables."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the extra 'data'")
pytest.importorskip("nibabel", reason="needs the extra 'data'")

import h5py
import nibabel
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures import edit
from miniatures.things_fmri import (
    GRID,
    MISSING,
    N_CATCH,
    N_ROWS,
    N_RUNS,
    N_SESSIONS,
    N_TEST,
    N_TRAIN,
    N_VOLUMES,
    ThingsFmriCopy,
    write_frame,
    write_things_fmri_betas,
    write_things_fmri_raw,
)

from replay.datasets.catalogue import DATASETS, find_dataset
from replay.datasets.dataset import Content, Selection
from replay.datasets.report import Kind
from replay.trials import TrialSet
from rtdecode.errors import UserError
from training.data_cli import data

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


@pytest.fixture
def raw(tmp_path: Path) -> ThingsFmriCopy:
    return write_things_fmri_raw(tmp_path / "raw")


@pytest.fixture
def betas(tmp_path: Path) -> ThingsFmriCopy:
    return write_things_fmri_betas(tmp_path / "betas")


def read(copy: ThingsFmriCopy, *subjects: str, **selection: Any) -> Content:
    chosen = {"mask": copy.mask, **selection}
    return copy.dataset.open(copy.root, Selection(subjects=subjects or ("01",), **chosen))


def test_a_whole_raw_copy_is_as_published_and_the_missing_run_is_not_missed(raw: ThingsFmriCopy) -> None:
    report = raw.validate("01", "02")
    assert report.is_complete, report.findings
    assert report.variant == "raw BIDS ds004192 v1.0.5 (event tables: 7, subjects with signals: 2)"
    first, second = report.subjects
    for subject, n_runs in ((first, N_SESSIONS * N_RUNS), (second, N_SESSIONS * N_RUNS - 1)):
        assert all(count.found == count.expected for count in subject.counts.values()), subject
        assert subject.counts["runs"].found == n_runs
        assert subject.counts["train trials"].found == n_runs * N_TRAIN
        assert subject.counts["test trials"].found == n_runs * N_TEST
        assert subject.counts["catch trials"].found == n_runs * N_CATCH
        assert subject.signal_s == pytest.approx(n_runs * N_VOLUMES * 1.5)
    assert [one.counts["test repetitions"].found for one in report.subjects] == [N_SESSIONS, N_SESSIONS - 1]
    told = [(item.path, item.text) for item in report.findings]
    for path, text in [
        ("sub-02", "run 7 of session 3 is missing"),
        ("sub-01", "catch trials"),
        (".", "trained on"),
    ]:
        assert any(where == path and text in what for where, what in told)


def test_catch_trials_are_no_markers_and_the_others_stand_at_their_volumes(raw: ThingsFmriCopy) -> None:
    content = read(raw, "01", "02")
    assert len(content.recordings) == 2 * N_SESSIONS * N_RUNS - 1
    assert not content.remarks
    for recording in content.recordings:
        place = (int(recording.session.removeprefix("things")), int(recording.run))
        assert (recording.subject, *place) != MISSING
        shown = [
            (round(one.onset_s / 1.5), one.image.rpartition("/")[2].removesuffix(".jpg"))
            for one in raw.trials[recording.subject]
            if one[:2] == place and one.kind != "catch"
        ]
        assert list(zip(recording.markers.sample.tolist(), recording.markers.label, strict=True)) == shown
        assert (recording.rate_hz, recording.n_samples) == (1 / 1.5, N_VOLUMES)
    volumes = nibabel.load(raw.run_file(1, 2, "bold.nii.gz")).get_fdata()
    inside = np.arange(np.prod(GRID)).reshape(GRID) % 3 == 0
    first = next(one for one in content.recordings if (one.subject, one.run) == ("01", "02"))
    np.testing.assert_array_equal(first.read(3, 7), volumes[inside][:, 3:7].T)


def test_stimuli_say_image_concept_and_side(raw: ThingsFmriCopy, betas: ThingsFmriCopy) -> None:
    tables = [read(raw).stimuli, read(betas).stimuli]
    for table in tables:
        shown = {one.image: one.kind for one in raw.trials["01"] if one.kind != "catch"}
        assert dict(zip(table["image"], table["split"], strict=True)) == {
            image: {"exp": "train", "test": "test"}[kind] for image, kind in shown.items()
        }
        assert (table["concept_id"] == table["image"].str.partition("/")[0]).all()
        assert all((raw.images / image).is_file() for image in table["image"])


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda rows: rows[:0], Kind.TRUNCATED, "is empty"),
        (lambda rows: rows[:-3], Kind.TRUNCATED, f"{N_ROWS - 3} of {N_ROWS} rows"),
        (lambda rows: [*rows[:-1], rows[-1][:8]], Kind.TRUNCATED, "and one in part"),
        (lambda rows: [*rows, rows[-1]], Kind.ODD, f"{N_ROWS + 1} of {N_ROWS} rows"),
        (lambda rows: [rows[0].replace("trial_type", "type"), *rows[1:]], Kind.ODD, "has no column"),
        (lambda rows: [row.replace("\ttest\t", "\ttset\t") for row in rows], Kind.ODD, "trial_type is none"),
        (lambda rows: [row.replace("/", "\\") for row in rows], Kind.ODD, "no CONCEPT/IMAGE.jpg"),
        (lambda rows: [row.replace("thing0/", "../") for row in rows], Kind.ODD, "no CONCEPT/IMAGE.jpg"),
        (lambda rows: [rows[0], "x" + rows[1], *rows[2:]], Kind.ODD, "onset is no onset in 1 of"),
        (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], Kind.ODD, "onsets not later"),
        (lambda rows: [row.replace("3.0\t", "903.0\t", 1) for row in rows], Kind.TRUNCATED, "before 1 of"),
    ],
    ids=["gone", "short", "cut", "long", "column", "kind", "slashes", "above", "onset", "order", "late"],
)
def test_what_is_wrong_with_events_is_told(
    raw: ThingsFmriCopy, damage: Callable[[list[str]], Sequence[str]], kind: Kind, text: str
) -> None:
    edit(raw.run_file(1, 1, "events.tsv"), damage)
    told = [what for where, how, what in raw.problems() if "run-01" in where and how is kind]
    assert any(text in what for what in told), raw.problems()


def test_each_file_that_is_not_there_is_named(raw: ThingsFmriCopy) -> None:
    bold = raw.run_file(1, 1, "bold.nii.gz")
    bold.unlink()
    assert [(path.rpartition("/")[2], kind) for path, kind, _ in raw.problems()] == [
        (bold.name, Kind.MISSING)
    ]
    assert read(raw).remarks == ("sub-01: 3 of 4 runs are there",)
    for ending in ("events.tsv", "bold.json"):
        raw.run_file(1, 1, ending).unlink()
    (problem,) = raw.problems()
    assert problem[0].endswith("task-things_run-01_*")
    shutil.rmtree(raw.root / "sub-01" / "ses-things02")
    assert ("sub-01/ses-things02", Kind.MISSING, "is not there") in raw.problems()
    for path in raw.root.glob("sub-01/*/func/*.nii.gz"):
        path.unlink()
    (problem,) = (one for one in raw.problems() if "no signal" in one[2])
    assert problem[:2] == ("sub-01/ses-*/func/*_task-things_*_bold.nii.gz", Kind.MISSING)
    assert raw.validate().subjects[0].signal_s is None
    with pytest.raises(UserError, match="no run of sub-01 has both volumes and events"):
        read(raw)


def test_volumes_that_are_damaged_or_of_another_rate_are_told(raw: ThingsFmriCopy) -> None:
    bold = raw.run_file(1, 1, "bold.nii.gz")
    os.truncate(bold, bold.stat().st_size - 9)
    raw.run_file(1, 2, "bold.json").write_text('{"RepetitionTime": 2.0}')
    image = nibabel.load(raw.run_file(2, 1, "bold.nii.gz"))
    voxels = np.asarray(image.dataobj)
    image = nibabel.Nifti1Image(voxels, image.affine)
    image.header.set_zooms((2, 2, 2, 2.5))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, raw.run_file(2, 1, "bold.nii.gz"))
    found = {(path.rpartition("run-")[2], kind): text for path, kind, text in raw.problems()}
    assert "does not end as its header's" in found["01_bold.nii.gz", Kind.TRUNCATED]
    assert "RepetitionTime is '2.0', not 1.5" in found["02_bold.json", Kind.ODD]
    assert "a volume each 2.5 s, not 1.5 s" in found["01_bold.nii.gz", Kind.ODD]


def test_raw_volumes_need_a_mask_that_fits(raw: ThingsFmriCopy, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which voxels are the channels"):
        read(raw, mask=None)
    nibabel.save(nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)), tmp_path / "other.nii.gz")
    with pytest.raises(UserError, match="another affine"):
        read(raw, mask=tmp_path / "other.nii.gz")


def test_a_folder_of_something_else_is_refused(raw: ThingsFmriCopy, tmp_path: Path) -> None:
    (raw.root / "dataset_description.json").write_text('{"DatasetDOI": "10.18112/openneuro.ds003825.v1"}')
    with pytest.raises(UserError, match="is another dataset"):
        raw.validate()
    with pytest.raises(UserError, match="holds no THINGS-fMRI as raw"):
        raw.dataset.validate(tmp_path, ("01",), lambda: None, "raw")


def test_whatever_is_cut_from_or_changed_in_a_table_ends_in_a_report(raw: ThingsFmriCopy) -> None:
    @settings(max_examples=40)
    @given(st.sampled_from(["events.tsv", "bold.json"]), st.data())
    def damage(ending: str, drawn: st.DataObject) -> None:
        path = raw.run_file(1, 1, ending)
        whole = path.read_bytes()
        n = drawn.draw(st.integers(0, len(whole) - 1))
        change = drawn.draw(st.none() | st.binary(min_size=1, max_size=1))
        path.write_bytes(whole[:n] if change is None else whole[:n] + change + whole[n + 1 :])
        try:
            raw.validate()
        finally:
            path.write_bytes(whole)

    damage()


def test_a_whole_table_of_betas_is_as_published(betas: ThingsFmriCopy) -> None:
    report = betas.validate()
    assert report.is_complete, report.findings
    (subject,) = report.subjects
    assert all(count.found == count.expected for count in subject.counts.values())
    assert subject.responses is not None
    assert subject.responses.found == N_SESSIONS * N_RUNS * (N_TRAIN + N_TEST)
    assert subject.counts["voxels"].found == np.prod(GRID)


def test_betas_are_those_of_their_trials_and_of_visual_voxels(betas: ThingsFmriCopy) -> None:
    content = read(betas)
    assert [one.session for one in content.recordings] == ["things01", "things02"]
    with h5py.File(betas.beta_file("ResponseData.h5")) as file:
        stored = file["ResponseData/block0_values"][()]
    number = np.arange(len(stored))
    rows = np.flatnonzero((number % 4 == 0) | (number % 4 == 1))
    n = N_RUNS * (N_TRAIN + N_TEST)
    for index, recording in enumerate(content.recordings):
        np.testing.assert_allclose(
            recording.read(0, n), stored[rows, index * n : (index + 1) * n].T, rtol=1e-6
        )
        shown = [one for one in betas.trials["01"] if one.session == index + 1 and one.kind != "catch"]
        assert recording.markers.label == tuple(
            one.image.rpartition("/")[2].removesuffix(".jpg") for one in shown
        )
    places = np.argwhere(np.ones(GRID, bool))[rows]
    assert content.recordings[0].channel_names == tuple("-".join(map(str, place)) for place in places)


def test_a_mask_chooses_other_voxels(betas: ThingsFmriCopy, tmp_path: Path) -> None:
    inside = np.zeros(GRID, np.uint8)
    inside[1, 2, 0] = inside[3, 0, 1] = 1
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), path)
    assert read(betas, mask=path).recordings[0].channel_names == ("1-2-0", "3-0-1")
    nibabel.save(nibabel.Nifti1Image(inside[:2], np.eye(4)), path)
    with pytest.raises(UserError, match="voxels lie outside it"):
        read(betas, mask=path)


def test_trials_are_put_in_order_and_found_by_their_number(betas: ThingsFmriCopy) -> None:
    before = [(one.markers.label, one.read(0, one.n_samples)) for one in read(betas).recordings]
    edit(betas.beta_file("StimulusMetadata.csv"), lambda rows: [rows[0], *rows[:0:-1]])
    for recording, (labels, samples) in zip(read(betas).recordings, before, strict=True):
        assert recording.markers.label == labels
        np.testing.assert_array_equal(recording.read(0, recording.n_samples), samples)


def test_a_table_without_training_trials_is_counted(betas: ThingsFmriCopy) -> None:
    edit(betas.beta_file("StimulusMetadata.csv"), lambda rows: rows[:1])
    (subject,) = betas.validate().subjects
    assert subject.counts["train concepts"].found == 0
    assert betas.problems()


@pytest.mark.parametrize(
    ("name", "damage", "kind", "text"),
    [
        ("ResponseData.h5", lambda path: path.unlink(), Kind.MISSING, "is not there"),
        ("ResponseData.h5", lambda path: os.truncate(path, 3000), Kind.TRUNCATED, "cannot be read as HDF5"),
        ("ResponseData.h5", lambda path: path.write_text("<html>"), Kind.ODD, "is no HDF5 file"),
        (
            "ResponseData.h5",
            lambda path: write_frame(path, np.zeros((24, 7))),
            Kind.ODD,
            "has no numbers of trials 0, 1, 2",
        ),
        (
            "StimulusMetadata.csv",
            lambda path: edit(path, lambda rows: rows[:-4]),
            Kind.TRUNCATED,
            "for 48",
        ),
        (
            "StimulusMetadata.csv",
            lambda path: edit(path, lambda rows: [rows[0].replace("concept", "idea"), *rows[1:]]),
            Kind.ODD,
            "has no column concept",
        ),
        (
            "StimulusMetadata.csv",
            lambda path: edit(path, lambda rows: [rows[0], "x" + rows[1], *rows[2:]]),
            Kind.ODD,
            "no trial in 1 of 64 rows",
        ),
        (
            "VoxelMetadata.csv",
            lambda path: edit(path, lambda rows: rows[:-2]),
            Kind.ODD,
            "22 voxels, where the betas have 24",
        ),
        (
            "VoxelMetadata.csv",
            lambda path: os.truncate(path, path.stat().st_size - 3),
            Kind.TRUNCATED,
            "ends within row 24",
        ),
        (
            "VoxelMetadata.csv",
            lambda path: edit(path, lambda rows: [rows[0].replace("voxel_x", "x"), *rows[1:]]),
            Kind.ODD,
            "has no column voxel_x",
        ),
    ],
)
def test_what_is_wrong_with_a_file_of_betas_is_told_and_refused(
    betas: ThingsFmriCopy, name: str, damage: Callable[[Path], object], kind: Kind, text: str
) -> None:
    path = betas.beta_file(name)
    damage(path)
    told = [what for where, how, what in betas.problems() if where.endswith(name) and how is kind]
    assert any(text in what for what in told), betas.problems()
    if name == "StimulusMetadata.csv" and "column" not in text:
        return  # the trials that are left can be read
    with pytest.raises(UserError, match=name):
        read(betas)


def test_the_missing_run_may_be_missing_from_betas_too(betas: ThingsFmriCopy) -> None:
    for path in (betas.root / "betas_csv").iterdir():
        path.rename(path.with_name(path.name.replace("sub-01", "sub-02")))
    assert betas.validate("02").is_complete
    table = betas.root / "betas_csv" / "sub-02_StimulusMetadata.csv"
    edit(table, lambda rows: [row for row in rows if row.split(",")[1:3] != ["2", "1"]])
    report = betas.validate("02")
    assert report.is_complete, report.findings
    assert report.subjects[0].counts["train trials"].found == (N_SESSIONS * N_RUNS - 1) * N_TRAIN


@pytest.mark.parametrize("between", [",", "\t"], ids=["commas", "tabs"])
def test_betas_as_openneuro_has_them_are_the_same(betas: ThingsFmriCopy, between: str) -> None:
    """Its tables are named .tsv, and have commas in some copies."""
    before = read(betas)
    samples = before.recordings[0].read(0, 3)
    folder = betas.root / "derivatives" / "ICA-betas" / "sub-01" / "voxel-metadata"
    folder.mkdir(parents=True)
    for name, new in (
        ("ResponseData.h5", "voxel-wise-responses.h5"),
        ("StimulusMetadata.csv", "stimulus-metadata.tsv"),
        ("VoxelMetadata.csv", "voxel-metadata.tsv"),
    ):
        moved = betas.beta_file(name).rename(folder / f"sub-01_task-things_{new}")
        if moved.suffix == ".tsv":
            moved.write_text(moved.read_text().replace(",", between))
    (betas.root / "betas_csv").rmdir()
    assert betas.validate().is_complete
    content = read(betas)
    np.testing.assert_array_equal(content.recordings[0].read(0, 3), samples)
    assert content.stimuli.equals(before.stimuli)


def test_all_three_splits_follow_from_what_is_said(
    betas: ThingsFmriCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "things-fmri", betas.dataset)
    study = tmp_path / "study"
    arguments = ["prepare", "things-fmri", betas.root, "--out", study, "--subject", "01"]
    done = CliRunner().invoke(data, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    trials = TrialSet.open(study / "trials").trials
    n_runs = N_SESSIONS * N_RUNS
    is_test = trials["split_original"] == "test"
    assert (is_test.sum(), (~is_test).sum()) == (n_runs * N_TEST, n_runs * N_TRAIN)
    apart = trials["split_concept_disjoint"]
    assert (apart[is_test] == "test").all()
    is_tested = trials["concept_id"].isin(trials.loc[is_test, "concept_id"])
    assert (apart[~is_test & is_tested] == "excluded").all()
    assert (apart[~is_tested] == "train").sum() == 2 * n_runs
    future = trials["split_future_session"]
    assert (future[trials["session"] == "things02"] == "test").all()
    earlier = trials["session"] == "things01"
    assert (future[earlier & ~is_test] == "train").all()
    assert (future[earlier & is_test] == "excluded").all()  # shown again in the last session


def test_voxels_of_another_table_are_refused(betas: ThingsFmriCopy) -> None:
    edit(betas.beta_file("VoxelMetadata.csv"), lambda rows: [rows[0], *rows[:0:-1]])
    with pytest.raises(UserError, match="voxels are others than in its table"):
        read(betas)


def test_the_real_tables_hold_what_was_published(data_dir: Path) -> None:
    dataset = find_dataset("things-fmri")
    report = dataset.validate(data_dir / "bids" / "ds004192", ("01",), lambda: None)
    (subject,) = report.subjects
    assert report.variant == "raw BIDS ds004192 v1.0.5 (event tables: 3, subjects with signals: none)"
    # 3 of 120 runs, each of 72 training, 10 test and 10 catch trials
    assert {name: count.found for name, count in subject.counts.items()} == {
        "runs": 3,
        "train trials": 216,
        "train images": 216,
        "train concepts": 216,
        "test trials": 30,
        "test images": 30,
        "test repetitions": 1,
        "catch trials": 30,
    }
    assert subject.counts["train trials"].expected == 8640
    assert (subject.counts["runs"].expected, subject.counts["catch trials"].expected) == (120, 1200)
    assert subject.signal_s is None
    problems = [(item.path, item.kind) for item in report.findings if item.kind is not Kind.KNOWN]
    stem = "sub-01/ses-things01/func/sub-01_ses-things01_task-things_run"
    assert problems == [
        *((f"{stem}-{run:02d}_*", Kind.MISSING) for run in range(4, 11)),
        *((f"sub-01/ses-things{session:02d}", Kind.MISSING) for session in range(2, 13)),
        ("sub-01/ses-*/func/*_task-things_*_bold.nii.gz", Kind.MISSING),
    ]
