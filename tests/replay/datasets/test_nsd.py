"""A tiny NSD, whole and damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("h5py", reason="needs the extra 'data'")
pytest.importorskip("nibabel", reason="needs the extra 'data'")

import h5py
import nibabel
from hypothesis import given, settings
from hypothesis import strategies as st
from miniatures.nsd import (
    GRID,
    N_IMAGES,
    N_RUNS,
    N_SHARED,
    N_SLOTS,
    N_TRIALS,
    NsdCopy,
    write_nsd_betas,
    write_nsd_timeseries,
)
from scipy.io import savemat

from replay.datasets.catalogue import DATASETS, find_dataset
from replay.datasets.dataset import Content, Selection
from replay.datasets.nsd import ABOUT, EXPECTED
from replay.datasets.report import Kind
from replay.trials import TrialSet
from rtdecode.errors import UserError
from training.data_cli import data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> NsdCopy:
    return write_nsd_timeseries(tmp_path / "nsd")


@pytest.fixture
def betas(tmp_path: Path) -> NsdCopy:
    return write_nsd_betas(tmp_path / "nsd")


def read(copy: NsdCopy, **selection: Any) -> Content:
    return copy.dataset.open(copy.root, Selection(subjects=("01",), **selection))


def name(copy: NsdCopy, path: Path) -> str:
    return path.relative_to(copy.root).as_posix()


def test_a_whole_copy_of_volumes_is_as_published(runs: NsdCopy) -> None:
    report = runs.validate("01")
    assert report.is_complete, report.findings
    (subject,) = report.subjects
    order = runs.design["masterordering"][0]
    n_test = int((order <= N_SHARED).sum())
    assert subject.counts["test trials"].found == n_test
    assert subject.counts["train trials"].found == 2 * N_TRIALS - n_test
    assert subject.counts["runs"].found == 2 * N_RUNS
    assert subject.signal_s == pytest.approx(2 * N_RUNS * (3 * N_SLOTS + 1) * 4 / 3)
    told = [item.text for item in report.findings]
    assert any("begin and end with a run at rest" in text for text in told)
    assert any("images count from 1" in text for text in told)


def test_a_whole_copy_of_betas_is_as_published(betas: NsdCopy) -> None:
    report = betas.validate("01")
    assert report.is_complete, report.findings
    (subject,) = report.subjects
    assert subject.responses is not None
    assert subject.responses.found == subject.responses.expected == 2 * N_TRIALS
    assert subject.counts["voxels"].found == int(betas.inside.sum())


def test_what_was_published_adds_up() -> None:
    """The real design is no part of the project: its numbers are what validate compares it with."""
    assert find_dataset("nsd").about is ABOUT
    assert EXPECTED.test_trials == {40: 3000, 37: 2770, 32: 2371, 30: 2188}
    assert EXPECTED.test_trials[max(ABOUT.n_sessions)] == ABOUT.n_test
    assert ABOUT.n_train + ABOUT.n_test == 750 * max(ABOUT.n_sessions)
    assert set(ABOUT.n_sessions) <= set(EXPECTED.test_trials)
    assert find_dataset("nsd").select(["1", "subj07"]) == ("01", "07")


def test_markers_are_the_images_of_the_published_formula_at_their_volumes(runs: NsdCopy) -> None:
    content = read(runs)
    assert [(one.session, one.run) for one in content.recordings] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "02"),  # between two runs at rest
        ("02", "03"),
    ]
    for session in (1, 2):
        labels = [
            label
            for one in content.recordings
            if one.session == f"{session:02d}"
            for label in one.markers.label
        ]
        assert labels == [str(image) for image in runs.shown(session)]
    recording = content.recordings[0]
    assert (recording.rate_hz, recording.n_samples) == (0.75, 3 * N_SLOTS + 1)
    slots = np.flatnonzero(runs.design["stimpattern"][0, 0])
    assert recording.markers.sample.tolist() == (3 * slots).tolist()
    volumes = nibabel.load(runs.run_file("timeseries", 1, 1, "nii.gz")).get_fdata()
    np.testing.assert_array_equal(recording.read(5, 9), volumes[runs.inside][:, 5:9].T)
    shared = set(runs.design["sharedix"][0].astype(int) - 1)
    for row in content.stimuli.itertuples():
        assert (row.split == "test") == (int(row.stimulus_id) in shared)
        assert row.image == f"nsd{int(row.stimulus_id):05d}.png"


def test_betas_are_percent_signal_change_in_either_format(betas: NsdCopy) -> None:
    content = read(betas)
    first, second = content.recordings
    with h5py.File(betas.betas(1)) as file:
        stored = file["betas"][()].T
    np.testing.assert_allclose(first.read(0, N_TRIALS), stored[betas.inside].T / 300, rtol=1e-6)
    stored = nibabel.load(betas.betas(2)).get_fdata()
    np.testing.assert_allclose(second.read(3, 5), stored[betas.inside].T[3:5] / 300, rtol=1e-6)
    assert first.channel_names == second.channel_names
    assert [int(label) for label in second.markers.label] == betas.shown(2)
    assert first.channel_names[0] == "-".join(map(str, np.argwhere(betas.inside)[0]))


def test_another_mask_may_be_named_and_must_be_on_the_grid(betas: NsdCopy, tmp_path: Path) -> None:
    path = tmp_path / "mask-{subject}.nii.gz"
    inside = np.zeros(GRID, np.uint8)
    inside[2, 1, 3] = 1
    nibabel.save(nibabel.Nifti1Image(inside, np.eye(4)), tmp_path / "mask-01.nii.gz")
    for recording in read(betas, mask=path).recordings:
        assert recording.channel_names == ("2-1-3",)
        assert recording.read(0, 2).shape == (2, 1)
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.eye(4)), tmp_path / "mask-01.nii.gz")
    with pytest.raises(UserError, match="has shape"):
        read(betas, mask=path)


def test_sessions_that_are_not_there_are_told_and_the_others_read(runs: NsdCopy) -> None:
    for folder in ("design", "timeseries"):
        for run in (1, 2, 3, 4):
            runs.run_file(folder, 2, run, "tsv" if folder == "design" else "nii.gz").unlink(missing_ok=True)
    found = [(kind, text) for _, kind, text in runs.problems()]
    assert found == [(Kind.MISSING, "none of 2 runs is there")] * 2
    (subject,) = runs.validate().subjects
    assert (subject.counts["runs"].found, subject.counts["runs"].expected) == (2, 4)
    assert not subject.counts["train trials"].fits
    content = read(runs)
    assert len(content.recordings) == 2
    assert content.remarks == ("subj01: 2 of 4 runs are there",)


def edit_rows(change: Callable[[list[int]], list[int]]) -> Callable[[NsdCopy], Path]:
    def damage(copy: NsdCopy) -> Path:
        path = copy.run_file("design", 1, 1, "tsv")
        path.write_text("".join(f"{row}\n" for row in change([int(row) for row in path.read_text().split()])))
        return path

    return damage


def cut(kind: str, ending: str, n_bytes: int) -> Callable[[NsdCopy], Path]:
    def damage(copy: NsdCopy) -> Path:
        path = copy.run_file(kind, 1, 2, ending)
        os.truncate(path, path.stat().st_size - n_bytes)
        return path

    return damage


@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda copy: copy.run_file("design", 1, 2, "tsv"), Kind.MISSING, "is not there"),
        (edit_rows(lambda rows: rows[:-9]), Kind.TRUNCATED, "63 rows, not 72"),
        (edit_rows(lambda rows: rows * 2), Kind.ODD, "144 rows, not 72"),
        (edit_rows(lambda rows: [max(row - 1, 0) for row in rows]), Kind.ODD, "which count from 0 here"),
        (edit_rows(lambda rows: rows[::-1]), Kind.ODD, "other images than in nsd_expdesign.mat, from row"),
        (edit_rows(lambda rows: [0] * len(rows)), Kind.ODD, "0 images, not 20"),
        (lambda copy: copy.run_file("timeseries", 1, 2, "nii.gz"), Kind.MISSING, "is not there"),
        (cut("timeseries", "nii.gz", 30), Kind.TRUNCATED, "does not end as its header's"),
    ],
    ids=["no table", "short", "twice", "base", "order", "empty", "no volumes", "cut"],
)
def test_what_is_wrong_with_a_run_is_told(
    runs: NsdCopy, damage: Callable[[NsdCopy], Path], kind: Kind, text: str
) -> None:
    path = damage(runs)
    if kind is Kind.MISSING:
        path.unlink()
    (problem,) = runs.problems()
    assert problem[:2] == (name(runs, path), kind)
    assert text in problem[2]


def test_a_run_whose_table_is_wrong_is_not_read(runs: NsdCopy) -> None:
    edit_rows(lambda rows: rows[::-1])(runs)
    with pytest.raises(UserError, match=r"other images than in nsd_expdesign\.mat"):
        read(runs)


def test_what_is_wrong_with_betas_is_told(betas: NsdCopy) -> None:
    os.truncate(betas.betas(1), betas.betas(1).stat().st_size - 100)
    with h5py.File(betas.betas(2).with_name("betas_session02.hdf5"), "w") as file:
        file["betas"] = np.zeros((N_TRIALS - 1, *reversed(GRID)), np.int16)
    found = betas.problems()
    assert [(path.rpartition("/")[2], kind) for path, kind, _ in found] == [
        ("betas_session01.hdf5", Kind.TRUNCATED),
        ("betas_session02.hdf5", Kind.ODD),
    ]
    assert "has shape (39, 5, 3, 4) where 40 × 5 × 3 × 4 is needed" in found[1][2]
    with pytest.raises(UserError, match=r"betas_session01\.hdf5: cannot be read as HDF5"):
        read(betas)
    betas.betas(1).unlink()
    betas.betas(2).with_name("betas_session02.hdf5").unlink()
    assert betas.problems()[0][1:] == (Kind.MISSING, "is not there")
    assert read(betas).remarks == ("subj01: 1 of 2 sessions are there",)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"masterordering": lambda a: a - 1}, "masterordering counts from 0"),
        ({"subjectim": lambda a: a - a.min()}, "subjectim counts from 0"),
        ({"sharedix": lambda a: a + N_IMAGES}, f"not from 1 to {N_IMAGES}"),
        ({"sharedix": lambda a: a[:, ::-1] * 0 + 1}, "not all in each row"),
        ({"stimpattern": lambda a: a * 0}, "does not place the 80 trials"),
        ({"masterordering": lambda a: a + 0.5}, "other than whole numbers"),
        ({"masterordering": lambda a: np.array(["no"] * len(a))}, "has no numbers masterordering"),
        ({"masterordering": lambda a: a.repeat(1 << 15, axis=1)}, "an array is too large"),
        ({"masterordering": lambda a: a * 1e300}, "other than whole numbers"),
        ({"stimpattern": lambda a: a[0]}, "stimpattern has shape"),
        (
            {"stimpattern": lambda a: a.reshape(1, -1, a.shape[2])},
            "of 8 subjects in 1 sessions, not of 8 in 2",
        ),
        ({"subjectim": lambda a: a[:4]}, "of 4 subjects in 2 sessions"),
    ],
    ids=[
        "order",
        "images",
        "shared",
        "others",
        "pattern",
        "fractions",
        "text",
        "huge",
        "vast",
        "flat",
        "sessions",
        "subjects",
    ],
)
def test_a_design_that_is_not_as_published_is_told_and_refused(
    runs: NsdCopy, change: dict[str, Callable[[np.ndarray], np.ndarray]], text: str
) -> None:
    changed = {key: change[key](value) for key, value in runs.design.items() if key in change}
    savemat(runs.design_path, runs.design | changed, do_compression=True)
    report = runs.validate()
    (problem,) = (item for item in report.findings if item.kind is not Kind.KNOWN)
    assert text in problem.text
    with pytest.raises(UserError, match=text) as raised:
        read(runs)
    assert str(raised.value).startswith(f"{runs.design_path}: ")


def test_a_design_of_other_numbers_is_told(runs: NsdCopy) -> None:
    order = runs.design["masterordering"].copy()
    order[0, int(np.argmax(order[0] <= N_SHARED))] = N_SHARED + 1
    savemat(runs.design_path, runs.design | {"masterordering": order})
    assert any("trials of shared images in 1 sessions, not" in text for *_, text in runs.problems())


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\x00" * 4096, b"<!DOCTYPE html>" * 40])
def test_a_file_that_is_no_design_is_told(runs: NsdCopy, content: bytes) -> None:
    runs.design_path.write_bytes(content)
    assert [path for path, *_ in runs.problems()] == [name(runs, runs.design_path)]
    with pytest.raises(UserError, match="restore a complete copy"):
        read(runs)


def test_whatever_is_changed_in_a_design_ends_in_a_report(runs: NsdCopy) -> None:
    savemat(runs.design_path, runs.design)  # not packed: each byte says something of its own
    whole = runs.design_path.read_bytes()

    @settings(max_examples=60)
    @given(st.integers(0, 2000), st.binary(min_size=1, max_size=4))
    def damage(place: int, change: bytes) -> None:
        runs.design_path.write_bytes(whole[:place] + change + whole[place + len(change) :])
        runs.validate()

    damage()


def test_the_table_of_all_images_is_checked_where_it_is_there(runs: NsdCopy) -> None:
    path = runs.design_path.with_name("nsd_stim_info_merged.csv")
    whole = path.read_text()
    path.write_text(whole.replace(",0.1,0,False", ",0.1,1,False", 1))
    assert [text for *_, text in runs.problems()] == ["nsdId does not count from 0"]
    path.write_text(whole.replace("False,True", "False,False", 1))
    assert [text for *_, text in runs.problems()] == [
        "shared1000 marks others than sharedix of nsd_expdesign.mat"
    ]
    path.unlink()
    assert runs.validate().is_complete


def test_a_mask_of_other_voxels_is_told(runs: NsdCopy) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones(GRID, np.uint8), np.eye(4)), runs.mask_path)
    assert [text for *_, text in runs.problems()] == [f"60 voxels, not {int(runs.inside.sum())}"]
    runs.mask_path.unlink()
    assert [kind for _, kind, _ in runs.problems()] == [Kind.MISSING]
    with pytest.raises(UserError, match=r"nsdgeneral\.nii\.gz: no such file"):
        read(runs)


def test_both_forms_in_one_copy_ask_for_one(runs: NsdCopy, tmp_path: Path) -> None:
    other = write_nsd_betas(tmp_path / "other")
    (other.root / "nsddata_betas").rename(runs.root / "nsddata_betas")
    with pytest.raises(UserError, match="as timeseries, betas: name one of them"):
        runs.dataset.validate(runs.root, ("01",), lambda: None)
    assert runs.validate().is_complete
    assert len(read(runs, variant="betas").recordings) == 2


def test_pictures_that_were_shown_are_taken_out_of_their_file(
    betas: NsdCopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DATASETS, "nsd", betas.dataset)
    study = tmp_path / "study"
    arguments = ["prepare", "nsd", betas.root, "--out", study, "--subject", "01", "--images", betas.images]
    done = CliRunner().invoke(data, [str(one) for one in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    shown = {f"nsd{image:05d}.png" for session in (1, 2) for image in betas.shown(session)}
    assert {path.name for path in (study / "images").iterdir()} == shown
    trials = TrialSet.open(study / "trials").trials
    assert trials["stimulus_id"].tolist() == [str(one) for session in (1, 2) for one in betas.shown(session)]
    assert trials["split_concept_disjoint"].isna().all()
    assert (trials["split_future_session"] == "test").sum() == N_TRIALS
    image = betas.shown(1)[0]
    with h5py.File(betas.images) as file, Image.open(study / "images" / f"nsd{image:05d}.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), file["imgBrick"][image])


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda path: path.write_bytes(b"no"), "is no HDF5 file"),
        (lambda path: write_bricks(path, N_IMAGES - 1, np.uint8), "imgBrick has shape"),
        (lambda path: write_bricks(path, N_IMAGES, np.uint16), "no bytes"),
    ],
    ids=["text", "few", "words"],
)
def test_a_file_of_other_pictures_is_refused_and_leaves_nothing(
    betas: NsdCopy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], object],
    text: str,
) -> None:
    monkeypatch.setitem(DATASETS, "nsd", betas.dataset)
    write(tmp_path / "pictures.hdf5")
    study = tmp_path / "study"
    arguments = ["prepare", "nsd", betas.root, "--out", study, "--images", tmp_path / "pictures.hdf5"]
    with pytest.raises(UserError, match=text):
        CliRunner().invoke(
            data, [*map(str, arguments), "--subject", "01"], catch_exceptions=False, standalone_mode=False
        )
    assert not study.exists()


def write_bricks(path: Path, n: int, dtype: type) -> None:
    with h5py.File(path, "w") as file:
        file["imgBrick"] = np.zeros((n, 8, 8, 3), dtype)
