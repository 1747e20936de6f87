"""Volumes dropped into a folder come out of LSL, bit by bit, in order and on a steady grid."""

from __future__ import annotations

import shutil
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pylsl
import pytest
from scans import mosaic, nibabel, nifti, voxels, write_mask

from replay.recordings.nifti import read_mask
from replay.volumes.stream import VolumeStream
from replay.volumes.volume_file import read_volume
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import stream_channels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replay.recordings.nifti import Mask

TR = 4.0  # files that come within a second of each other count as out of order


@pytest.fixture
def mask(tmp_path: Path) -> Mask:
    return read_mask(write_mask(tmp_path / "mask.nii"))


class Watching:
    """A stream that runs on a folder, an inlet that listens to it, and what it tells."""

    def __init__(self, folder: Path, mask: Mask, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.stream = VolumeStream(
            folder, mask, tell=self._tell, source_id=f"volumes-{uuid.uuid4()}", poll_s=0.01, **options
        )

    def _tell(self, line: str) -> None:
        with self._news:
            self.lines.append(line)
            self._news.notify_all()

    def wait_for(self, part: str) -> None:
        with self._news:
            assert self._news.wait_for(lambda: any(part in line for line in self.lines), 20), self.lines

    def listen(self) -> pylsl.StreamInlet:
        (found,) = pylsl.resolve_byprop("source_id", self.stream.source_id, timeout=20)
        inlet = pylsl.StreamInlet(found, recover=False)
        inlet.open_stream(10)
        return inlet


@contextmanager
def watching(folder: Path, mask: Mask, **options: Any) -> Iterator[Watching]:
    watch = Watching(folder, mask, **options)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(watch.stream.run)
        try:
            yield watch
        finally:
            watch.stream.stop()
            running.result(20)


def pull(inlet: pylsl.StreamInlet, n: int) -> tuple[np.ndarray, np.ndarray]:
    samples: list[Any] = []
    stamps: list[float] = []
    while len(stamps) < n:
        chunk, times = inlet.pull_chunk(20.0, 1024, min_samples=1, as_numpy=True)
        assert len(times), f"{len(stamps)} volumes came"
        samples += list(chunk)
        stamps += times.tolist()
    return np.array(samples), np.array(stamps)


def test_a_stream_says_what_it_is(tmp_path: Path, mask: Mask) -> None:
    with watching(tmp_path / "scan", mask, repetition_s=1.5, name="scanner") as watch:
        info = watch.listen().info()
        channels, factors = stream_channels(info)
    assert (info.name(), info.nominal_srate()) == ("scanner", pytest.approx(1 / 1.5))
    assert channels == mask.channels
    assert {(channel.type, channel.unit) for channel in channels} == {(ChannelType.VOXEL, Unit.NONE)}
    assert set(factors) == {1.0}


@pytest.mark.parametrize("kind", ["dcm", "nii"])
def test_volumes_come_out_bit_by_bit_in_order_on_a_grid(tmp_path: Path, mask: Mask, kind: str) -> None:
    write = mosaic if kind == "dcm" else nifti
    with watching(tmp_path / "scan", mask, repetition_s=TR, delay_s=5.0) as watch:
        inlet = watch.listen()
        before = pylsl.local_clock()
        written = 0
        for number in (1, 2, 4, 3, 3, 5):
            name = f"v_{'0' * (number == written)}{number}.{kind}"
            (watch.folder / name).write_bytes(write(number, repetition_s=TR))
            written = number
        samples, stamps = pull(inlet, 5)
    expected = [voxels(number)[mask.inside] for number in range(1, 6)]
    np.testing.assert_array_equal(samples, expected)
    np.testing.assert_allclose(np.diff(stamps), TR, atol=1e-6)
    # all came at once, so the last one tells best when they can have been taken
    assert before - 5.0 - 4 * TR - 0.1 < stamps[0] < pylsl.local_clock() - 5.0


def test_numbers_that_float32_cannot_hold_come_out_as_they_are(tmp_path: Path, mask: Mask) -> None:
    data = np.random.default_rng(0).normal(size=voxels(1).shape)
    with watching(tmp_path / "scan", mask, repetition_s=TR) as watch:
        inlet = watch.listen()
        (watch.folder / "v_1.nii").write_bytes(nifti(1, repetition_s=TR, data=data))
        samples, _ = pull(inlet, 1)
    np.testing.assert_array_equal(samples[0], data[mask.inside])


def test_a_volume_that_never_comes_leaves_its_place_empty(tmp_path: Path, mask: Mask) -> None:
    with watching(tmp_path / "scan", mask, repetition_s=TR) as watch:
        inlet = watch.listen()
        for number in (1, 2, 4, 5):
            (watch.folder / f"v_{number}.nii").write_bytes(nifti(number, repetition_s=TR))
        samples, stamps = pull(inlet, 4)
        (watch.folder / "late").mkdir()
        (watch.folder / "v_3.nii").write_bytes(nifti(3, repetition_s=TR))
        watch.wait_for("volume 3 came after later ones were sent")
    np.testing.assert_array_equal(samples, [voxels(number)[mask.inside] for number in (1, 2, 4, 5)])
    np.testing.assert_allclose(np.diff(stamps), [TR, 2 * TR, TR], atol=1e-6)


def test_without_a_repetition_time_the_first_volume_tells_it(tmp_path: Path, mask: Mask) -> None:
    with watching(tmp_path / "scan", mask) as watch:
        (watch.folder / "untold_1.nii").write_bytes(nifti(1, repetition_s=0))
        watch.wait_for("state it (--tr)")
        (watch.folder / "v_1.nii").write_bytes(nifti(1, repetition_s=TR))
        inlet = watch.listen()
        assert inlet.info().nominal_srate() == pytest.approx(1 / TR)
        (watch.folder / "v_2.nii").write_bytes(nifti(2, repetition_s=TR))
        samples, _ = pull(inlet, 1)
    np.testing.assert_array_equal(samples[-1], voxels(2)[mask.inside])


def test_what_does_not_fit_is_told_once_and_left_out(tmp_path: Path, mask: Mask) -> None:
    with watching(tmp_path / "scan", mask, repetition_s=TR) as watch:
        inlet = watch.listen()
        for number in (1, 2, 3):
            (watch.folder / f"slow_{number}.nii").write_bytes(nifti(number, repetition_s=2 * TR))
            (watch.folder / f"small_{number}.nii").write_bytes(nifti(number, data=voxels(1)[1:]))
        watch.wait_for("scan/small_: left out")
        (watch.folder / "v_1.nii").write_bytes(nifti(1, repetition_s=TR))
        pull(inlet, 1)
    assert sum("scan/slow_: left out, its repetition time is 8 s" in line for line in watch.lines) == 1
    assert sum("scan/small_: left out" in line for line in watch.lines) == 1


def test_that_nobody_listens_is_told(tmp_path: Path, mask: Mask) -> None:
    with watching(tmp_path / "scan", mask, repetition_s=TR) as watch:
        (watch.folder / "v_1.nii").write_bytes(nifti(1, repetition_s=TR))
        watch.wait_for("nobody listens to stream 'volumes'")


@pytest.mark.parametrize("options", [{"repetition_s": 0.0}, {"repetition_s": np.nan}, {"delay_s": -1.0}])
def test_times_that_make_no_sense_are_refused(tmp_path: Path, mask: Mask, options: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"\(--tr\)|\(--delay\)"):
        VolumeStream(tmp_path, mask, tell=print, **options)


def test_a_real_scan_comes_out_voxel_by_voxel(tmp_path: Path, data_dir: Path) -> None:
    files = sorted((data_dir / "fmri_dicom").rglob("*.dcm"))
    reference = read_volume(files[1])
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(reference.voxels, reference.affine))
    volume = np.asarray(image.dataobj)
    mask = read_mask(write_mask(tmp_path / "mask.nii", volume > 0.5 * volume.max(), image.affine))
    with watching(tmp_path / "scan", mask, repetition_s=1.5) as watch:
        inlet = watch.listen()
        # newest first, and two files hold the volume of number 10
        for path in reversed(files):
            shutil.copyfile(path, watch.folder / path.name)
        samples, stamps = pull(inlet, 10)
    assert samples.shape == (10, len(mask.channels))
    np.testing.assert_array_equal(samples[0], volume[mask.inside])
    for path, sample in zip(files[1:], samples, strict=True):
        np.testing.assert_array_equal(sample, read_volume(path).inside(mask))
    np.testing.assert_allclose(np.diff(stamps), 1.5, atol=1e-6)
