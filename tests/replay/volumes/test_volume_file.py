"""One volume in one file: voxels lie where the scanner says, and what is cut off is never taken for whole."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scans import AFFINE, SHAPE, mosaic, nibabel, nifti, voxels, write_mask

from replay.recordings.nifti import read_mask
from replay.volumes.volume_file import UnfinishedError, is_volume, read_volume
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings.nifti import Mask

SUPPRESSED = [HealthCheck.function_scoped_fixture]


@pytest.fixture
def mask(tmp_path: Path) -> Mask:
    return read_mask(write_mask(tmp_path / "mask.nii"))


def test_a_mosaic_and_the_nifti_image_made_of_it_give_the_same_voxels(tmp_path: Path, mask: Mask) -> None:
    (tmp_path / "1.dcm").write_bytes(mosaic(3))
    (tmp_path / "vol_0003.nii").write_bytes(nifti(3))
    (tmp_path / "vol_0003.nii.gz").write_bytes(gzip.compress(nifti(3)))
    for name in ("1.dcm", "vol_0003.nii", "vol_0003.nii.gz"):
        volume = read_volume(tmp_path / name)
        assert (volume.number, volume.repetition_s) == (3, 1.5)
        np.testing.assert_array_equal(volume.inside(mask), voxels(3)[mask.inside])


def test_channels_are_those_of_a_recording(tmp_path: Path, mask: Mask) -> None:
    (tmp_path / "1.dcm").write_bytes(mosaic(3))
    values = read_volume(tmp_path / "1.dcm").inside(mask)
    for channel, value in zip(mask.channels, values, strict=True):
        index = tuple(map(int, channel.name.split("-")))
        assert value == voxels(3)[index]


@pytest.mark.parametrize(
    ("order", "flips"), list(product(permutations(range(3)), product([1, -1], repeat=3)))
)
def test_whichever_way_a_volume_is_stored_its_voxels_are_found(
    tmp_path: Path, mask: Mask, order: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    turn = np.array([order, flips]).T
    stored = nibabel.Nifti1Image(voxels(5), AFFINE).as_reoriented(turn)
    (tmp_path / "run2_5.nii").write_bytes(nifti(5, data=np.asarray(stored.dataobj), affine=stored.affine))
    np.testing.assert_array_equal(read_volume(tmp_path / "run2_5.nii").inside(mask), voxels(5)[mask.inside])


def test_scaled_files_are_read_scaled_and_one_volume_may_have_four_dimensions(
    tmp_path: Path, mask: Mask
) -> None:
    (tmp_path / "a1.nii").write_bytes(nifti(1, data=voxels(1)[..., None], slope=0.5))
    values = read_volume(tmp_path / "a1.nii").inside(mask)
    np.testing.assert_array_equal(values, 0.5 * voxels(1)[mask.inside])


@settings(max_examples=60, deadline=None, suppress_health_check=SUPPRESSED)
@given(kind=st.sampled_from(["dcm", "nii", "nii.gz"]), share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_off_is_unfinished_wherever_that_is(
    tmp_path: Path, kind: str, share: float
) -> None:
    whole = {"dcm": mosaic, "nii": nifti, "nii.gz": lambda n: gzip.compress(nifti(n))}[kind](1)
    path = tmp_path / f"cut_1.{kind}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnfinishedError):
        read_volume(path)


def test_other_grids_are_refused_in_one_line(tmp_path: Path, mask: Mask) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 1
    flat = nifti(1)[:280] + bytes(48) + nifti(1)[328:]  # the affine's rows
    cases = {
        "small_1.nii": (nifti(1, data=voxels(1)[:3]), "has shape"),
        "moved_1.nii": (nifti(1, affine=moved), "lie elsewhere"),
        "flat_1.nii": (flat, "where its voxels lie"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=reason) as raised:
            read_volume(tmp_path / name).inside(mask)
        assert "\n" not in str(raised.value)
        assert str(raised.value).startswith(f"{tmp_path.name}/{name[:-5]}")


def test_what_is_no_volume_of_a_run_is_refused(tmp_path: Path) -> None:
    cases = {
        "slice.ima": (
            mosaic(1, tiled=False),
            r"series 7 \(func\): left out, its images are no Siemens mosai",
        ),
        "nameless.nii": (nifti(1), "does not end in the number"),
        "run_1.nii": (nifti(1, data=np.zeros((*SHAPE, 2), np.int16)), "give one file a volume"),
        "complex_1.nii": (nifti(1, data=np.zeros(SHAPE, np.complex64)), "give one file a volume"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=reason):
            read_volume(tmp_path / name)


def test_a_file_that_is_gone_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedError):
        read_volume(tmp_path / "gone_1.nii")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.dcm", True), ("A.IMA", True), ("v_1.nii.gz", True), (".v_1.nii", False), ("v_1.nii.part", False)],
)
def test_names_tell_what_is_a_volume(tmp_path: Path, name: str, *, expected: bool) -> None:
    assert is_volume(tmp_path / name) is expected


def test_real_mosaics_lie_where_their_headers_say(data_dir: Path, tmp_path: Path) -> None:
    files = sorted((data_dir / "fmri_dicom").rglob("*.dcm"))
    volumes = [read_volume(path) for path in files]
    # the first of the eleven files holds the volume of the last once more
    assert [volume.number for volume in volumes] == [10, *range(1, 11)]
    assert {volume.voxels.shape for volume in volumes} == {(64, 64, 27)}
    assert {volume.repetition_s for volume in volumes} == {1.5}
    assert len({volume.run for volume in volumes}) == 1
    volume = volumes[1]
    stored = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.voxels, volume.affine))
    inside = np.random.default_rng(0).random(stored.shape) < 0.002
    mask = read_mask(write_mask(tmp_path / "mask.nii", inside, stored.affine))
    values = volume.inside(mask)
    world = nibabel.affines.apply_affine(mask.affine, np.argwhere(mask.inside))
    indices = np.rint(nibabel.affines.apply_affine(np.linalg.inv(volume.affine), world)).astype(int)
    np.testing.assert_array_equal(values, volume.voxels[tuple(indices.T)])
    # a head lies in the middle of the picture, with air about it
    middle = volume.voxels[22:42, 22:42, 8:18]
    assert middle.mean() > 5 * volume.voxels[:4].mean()
