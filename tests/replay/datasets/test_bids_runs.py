"""Runs in BIDS: which are there, and where their markers stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.datasets.bids_runs import BidsRun, Volumes, check_signals, list_runs
from replay.datasets.report import Kind
from replay.datasets.survey import Survey
from replay.datasets.volume_files import VolumeFiles
from replay.recordings.nifti import Mask

nibabel = pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, N_VOLUMES, STEP_S = (2, 1, 1), 6, 1.5
VOLUMES = Volumes(task="look", step_s=STEP_S, n_volumes=N_VOLUMES)
STEM = "sub-01/ses-a/func/sub-01_ses-a_task-look_run-{}_{}"


@pytest.fixture
def survey(tmp_path: Path) -> Survey:
    """Runs 1, 2 and 10, and one of another task; a shadow file of macOS."""
    for run in ("1", "2", "10"):
        path = tmp_path / STEM.format(run, "events.tsv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("onset\tname\n0.9\ta\n7.1\tb\n3.0\tc\nn/a\td\n9.8\te\n-1.5\tf\n")
    (path.parent / "sub-01_ses-a_task-rest_run-1_events.tsv").write_text("onset\n")
    (path.parent / f"._{path.name}").write_bytes(b"\0")
    return Survey(tmp_path, "get it again")


def save(path: Path, n_volumes: int = N_VOLUMES, step_s: float = STEP_S) -> None:
    image = nibabel.Nifti1Image(np.zeros((*SHAPE, n_volumes), np.int16), np.eye(4))
    image.header.set_zooms((1, 1, 1, step_s))
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def told(survey: Survey) -> list[tuple[str, Kind, str]]:
    return [(item.path.rpartition("/")[2], item.kind, item.text) for item in survey.findings]


def test_runs_are_listed_by_number(survey: Survey) -> None:
    assert [run.run for run in list_runs(survey, VOLUMES, "01", "a")] == ["1", "2", "10"]
    assert not told(survey)
    assert list_runs(survey, VOLUMES, "01", "b") == []
    assert told(survey) == [("ses-b", Kind.MISSING, "is not there")]


def test_volumes_may_lie_elsewhere(survey: Survey) -> None:
    moved = Volumes(task="look", step_s=STEP_S, folder="derivatives/done", suffix="bold_moved")
    save(survey.root / "derivatives/done" / STEM.format("12", "bold_moved.nii.gz"))
    runs = list_runs(survey, moved, "01", "a")
    assert [(run.run, run.has_signal) for run in runs] == [
        ("1", False),
        ("2", False),
        ("10", False),
        ("12", True),
    ]


def test_markers_stand_at_the_nearest_volumes_and_keep_the_rest(survey: Survey) -> None:
    run = BidsRun(survey, VOLUMES, "01", "a", "1")
    save(run.bold)
    table = run.table(["name"])
    assert table is not None
    files = VolumeFiles(Mask(run.bold, np.ones(SHAPE, bool), None), 1 / STEP_S)
    recording = run.recording(files, table.rows, table.rows["name"].tolist())
    assert (recording.subject, recording.session, recording.run) == ("01", "a", "1")
    # 9.8 s lies after the last volume, 0.9 s between two
    assert list(zip(recording.markers.sample.tolist(), recording.markers.label, strict=True)) == [
        (1, "a"),
        (2, "c"),
        (5, "b"),
    ]
    np.testing.assert_allclose(recording.markers.residual_us, [-0.6e6, 0, -0.4e6])


def test_absent_volumes_are_told_once(survey: Survey) -> None:
    runs = list_runs(survey, VOLUMES, "01", "a")
    assert check_signals(runs, [np.empty(0)] * 3) is None
    (finding,) = survey.findings
    assert finding.path == "sub-01/ses-*/func/*_task-look_*_bold.nii.gz"
    assert (finding.kind, finding.text) == (Kind.MISSING, "no signal: none is there")
    for run in runs:
        try:
            run.bold.symlink_to("../../.git/annex/objects/it")
        except OSError:
            pytest.skip("no links on this system")
    assert check_signals(runs, [np.empty(0)] * 3) is None
    assert "all 3 are links" in survey.findings[-1].text
    assert "datalad get sub-01" in survey.findings[-1].advice


def test_volumes_that_are_not_as_published_are_told(survey: Survey) -> None:
    runs = list_runs(survey, VOLUMES, "01", "a")
    save(runs[0].bold, N_VOLUMES - 1, STEP_S)
    save(runs[1].bold, N_VOLUMES, 2.0)
    seconds = check_signals(runs, [np.array([0.0]), np.array([3.0, 9.0]), np.empty(0)])
    assert seconds == (2 * N_VOLUMES - 1) * STEP_S
    assert [(kind, text) for _, kind, text in told(survey)] == [
        (Kind.TRUNCATED, "5 volumes where 6 were published"),
        (Kind.ODD, "a volume each 2 s, not 1.5 s"),
        (Kind.TRUNCATED, "6 volumes end at 9 s, before 1 of 2 events"),
        (Kind.MISSING, "is not there"),
    ]


def test_a_sidecar_with_another_repetition_time_is_told(survey: Survey) -> None:
    run = BidsRun(survey, VOLUMES, "01", "a", "1")
    run.check_sidecar()
    assert not told(survey)
    run.sidecar.write_text('{"RepetitionTime": 2}')
    run.check_sidecar()
    assert told(survey)[0][1:] == (Kind.ODD, "RepetitionTime is '2', not 1.5")
