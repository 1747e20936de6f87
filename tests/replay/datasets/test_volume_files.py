"""Hundreds of runs of one mask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.datasets.volume_files import VolumeFiles
from replay.recordings.nifti import check_nifti, read_mask
from rtdecode.errors import CutShortError, UserError

nibabel = pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, N_VOLUMES = (3, 2, 2), 6


def write(path: Path, volumes: np.ndarray, step_s: float = 2.0) -> Path:
    image = nibabel.Nifti1Image(volumes, np.eye(4))
    if volumes.ndim == 4:
        image.header.set_zooms((1, 1, 1, step_s))
        image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    volumes = np.arange(12 * N_VOLUMES, dtype=np.int16).reshape(*SHAPE, N_VOLUMES)
    return [write(tmp_path / f"sub-1_run-{n}_bold.nii.gz", volumes + 100 * n) for n in range(3)]


@pytest.fixture
def files(tmp_path: Path) -> VolumeFiles:
    inside = np.arange(12, dtype=np.uint8).reshape(SHAPE) % 3 == 1
    return VolumeFiles(read_mask(write(tmp_path / "mask.nii.gz", inside.astype(np.uint8))), scale=0.5)


def test_runs_read_in_turn_give_the_same_as_read_alone(runs: list[Path], files: VolumeFiles) -> None:
    recordings = [files.recording(path) for path in runs]
    assert [one.run for one in recordings] == ["0", "1", "2"]
    assert recordings[0].channels is recordings[2].channels
    for start in (0, 2, 4, 1):
        for path, recording in zip(runs, recordings, strict=True):
            voxels = nibabel.load(path).get_fdata().reshape(12, N_VOLUMES)[1::3, start : start + 2]
            np.testing.assert_array_equal(recording.read(start, start + 2), 0.5 * voxels.T)


def test_a_run_that_is_another_by_now_is_refused(runs: list[Path], files: VolumeFiles) -> None:
    recording = files.recording(runs[0])
    write(runs[0], np.zeros((*SHAPE, N_VOLUMES - 1), np.int16))
    with pytest.raises(UserError, match="has other volumes than when it was opened"):
        recording.read(0, 1)


def test_a_look_at_a_header_finds_what_was_cut_off(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-999, 999, (9, 9, 9, 4), dtype=np.int16)
    path = write(tmp_path / "run.nii.gz", noise, step_s=1.5)
    assert check_nifti(path, 4) == ((9, 9, 9, 4), 1.5)
    os.truncate(path, path.stat().st_size - 20)
    with pytest.raises(CutShortError, match="does not end as its header's"):
        check_nifti(path, 4)
