"""fMRI runs: voxels inside a mask, volumes as samples, BIDS events as markers."""

from __future__ import annotations

import gzip
import sys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay.recordings import Recording, read_recording
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

nibabel = pytest.importorskip("nibabel", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (4, 3, 2)
N_VOLUMES = 30
EVENTS = "onset\tduration\ttrial_type\n5.0\t5.0\tface\n15.1\t2.5\thouse\n20\t5\tn/a\n0.0\t2.5\tface\n"


@dataclass
class Run:
    """A run on disk, each voxel ``1000 * volume + its place``, beside its mask and events."""

    path: Path
    mask: Path
    events: Path
    inside: np.ndarray
    samples: np.ndarray

    def read(self, **options: Any) -> Recording:
        stated = {"mask": self.mask, "events": self.events, "marker_channel": "trial_type"}
        return read_recording(self.path, **{**stated, **options})

    def refusal(self, **options: Any) -> str:
        with pytest.raises(UserError) as raised:
            self.read(**options)
        assert "\n" not in str(raised.value)
        return str(raised.value)


@pytest.fixture(params=[".nii", ".nii.gz"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    return write_run(tmp_path, request.param)


def write_run(folder: Path, ending: str = ".nii", time_unit: str = "sec", repetition: float = 2.5) -> Run:
    place = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    volumes = (place[..., None] + 1000 * np.arange(N_VOLUMES)).astype(np.int16)
    image = nibabel.Nifti1Image(volumes, np.diag([3.0, 3.0, 4.0, 1.0]))
    image.header.set_zooms((3, 3, 4, repetition))
    image.header.set_xyzt_units("mm", time_unit)
    path = folder / f"sub-07_ses-2_task-view_run-3_bold{ending}"
    nibabel.save(image, path)
    inside = place % 5 == 1
    mask = write_mask(folder / f"mask{ending}", inside)
    events = folder / "sub-07_ses-2_task-view_run-3_events.tsv"
    events.write_text(EVENTS)
    return Run(path, mask, events, inside, volumes[inside].T.astype(float))


def write_mask(path: Path, inside: np.ndarray, voxel_mm: float = 3.0) -> Path:
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), np.diag([voxel_mm, 3.0, 4.0, 1.0])), path)
    return path


def test_voxels_inside_the_mask_are_channels_and_volumes_are_samples(run: Run) -> None:
    recording = run.read()
    assert recording.name == "sub-07_ses-2_task-view_run-3_bold"
    assert (recording.subject, recording.session, recording.run) == ("07", "2", "3")
    assert (recording.rate_hz, recording.n_samples) == (0.4, N_VOLUMES)
    assert {(c.type, c.unit) for c in recording.channels} == {(ChannelType.VOXEL, Unit.NONE)}
    where = [tuple(map(int, name.split("-"))) for name in recording.channel_names]
    assert all(run.inside[index] for index in where)
    assert recording.read(0, 1)[0].tolist() == [np.ravel_multi_index(index, SHAPE) for index in where]
    np.testing.assert_array_equal(recording.read(0, N_VOLUMES), run.samples)


def test_volumes_are_the_same_in_blocks_and_in_any_order(run: Run) -> None:
    recording = run.read()
    for n in (1, 7, 100):
        np.testing.assert_array_equal(np.concatenate(list(recording.blocks(n))), run.samples)
    for volume in (20, 3, 29, 0):
        np.testing.assert_array_equal(recording.read(volume, volume + 1), run.samples[volume : volume + 1])


def test_a_file_that_is_scaled_is_read_scaled(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    image = nibabel.load(run.path)
    scaled = nibabel.Nifti1Image(np.asarray(image.dataobj).copy(), image.affine, image.header)
    scaled.header.set_slope_inter(0.5, 10)
    nibabel.save(scaled, run.path)
    np.testing.assert_array_equal(run.read().read(0, N_VOLUMES), 0.5 * run.samples + 10)


def test_markers_stand_at_the_nearest_volume_in_the_order_of_time(run: Run) -> None:
    markers = run.read().markers
    assert markers.sample.tolist() == [0, 2, 6]
    assert markers.label == ("face", "face", "house")
    np.testing.assert_allclose(markers.residual_s, [0.0, 0.0, 0.1], atol=1e-12)


def test_every_volume_of_an_event_may_be_a_marker(run: Run) -> None:
    run.events.write_text(EVENTS + "70\t50\tlast\n")
    markers = run.read(every_volume=True).markers
    assert markers.sample.tolist() == [0, 2, 3, 6, 28, 29]
    assert markers.label == ("face", "face", "face", "house", "last", "last")
    assert markers.residual_us is None


def test_an_onset_between_two_volumes_belongs_to_the_earlier(run: Run) -> None:
    run.events.write_text("onset\tstimulus\n1.25\ta\n3.76\tb\n")
    markers = run.read(marker_channel="stimulus").markers
    assert markers.sample.tolist() == [0, 2]
    np.testing.assert_allclose(markers.residual_s, [1.25, -1.24], atol=1e-12)


def test_events_outside_the_volumes_are_left_out_and_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    run.events.write_text("onset\ttrial_type\n-9\tearly\n5\tin time\n75\tlate\n1e8\tlate\n")
    assert run.read().markers.label == ("in time",)
    assert "3 events lie outside" in caplog.text


def test_without_events_there_are_no_markers(run: Run) -> None:
    assert len(run.read(events=None, marker_channel=None).markers) == 0


@pytest.mark.parametrize(("unit", "repetition"), [("sec", 0.8), ("msec", 800.0), ("usec", 8e5)])
def test_the_rate_is_one_over_the_repetition_time(tmp_path: Path, unit: str, repetition: float) -> None:
    assert write_run(tmp_path, time_unit=unit, repetition=repetition).read().rate_hz == 1.25


def test_a_rate_that_the_header_does_not_tell_must_be_stated(tmp_path: Path) -> None:
    for unit, repetition in (("unknown", 2.5), ("sec", 0.0)):
        run = write_run(tmp_path, time_unit=unit, repetition=repetition)
        assert "state 1 / TR (rate_hz, --rate)" in run.refusal()
        assert run.read(rate_hz=0.5).rate_hz == 0.5


def test_what_must_be_stated_is_asked_for(run: Run) -> None:
    assert f"{run.path}: which voxels" in run.refusal(mask=None)
    assert "(events, --events)" in run.refusal(events=None)
    assert "(marker_channel, --marker-channel)" in run.refusal(marker_channel=None)
    assert "(events, --events)" in run.refusal(events=None, marker_channel=None, every_volume=True)
    assert "leave units out" in run.refusal(units="uV")
    assert "no trigger channel" in run.refusal(trigger_mask=255)
    assert "signal_stream applies to XDF" in run.refusal(signal_stream="Amp")


def test_a_mask_that_does_not_fit_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    small = write_mask(tmp_path / "small.nii", np.ones((4, 3, 1)))
    assert "small.nii: has shape (4, 3, 1)" in run.refusal(mask=small)
    moved = write_mask(tmp_path / "moved.nii", np.ones(SHAPE), voxel_mm=3.1)
    assert "moved.nii: its voxels lie elsewhere" in run.refusal(mask=moved)
    empty = write_mask(tmp_path / "empty.nii", np.zeros(SHAPE))
    assert "empty.nii: no voxel is above zero" in run.refusal(mask=empty)
    assert "3 dimensions are needed" in run.refusal(mask=run.path)
    assert "nowhere.nii: no such file" in run.refusal(mask=tmp_path / "nowhere.nii")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("onset\tduration\n5\t1\n", "has no column 'trial_type'; it has onset, duration"),
        ("", "has no column 'onset'; it has "),
        ("onset\ttrial_type\n5\tface\nsoon\tface\n", "row 3 has onset 'soon'"),
        ("onset\ttrial_type\nnan\tface\n", "row 2 has onset 'nan'"),
        ("onset\ttrial_type\n1e300\tface\n", "row 2 has onset '1e300'"),
        ("onset\ttrial_type\n5\n", "row 2 is cut short"),
    ],
)
def test_events_that_are_no_events_are_refused_by_name(tmp_path: Path, text: str, told: str) -> None:
    run = write_run(tmp_path)
    run.events.write_text(text)
    assert f"{run.events}: {told}" in run.refusal()


def test_events_that_are_missing_or_no_text_are_refused_by_name(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    run.events.write_bytes(bytes(range(256)))
    assert f"{run.events}: is no table of text" in run.refusal()
    run.events.unlink()
    assert f"{run.events}: no such file" in run.refusal()


def test_a_file_cut_short_is_refused_by_name(tmp_path: Path) -> None:
    run = write_run(tmp_path)
    content = run.path.read_bytes()
    for part in (0, 100, 360, len(content) - 1):
        run.path.write_bytes(content[:part])
        assert str(run.path) in run.refusal()


def test_a_compressed_file_cut_short_is_refused_by_name_when_it_is_read_so_far(tmp_path: Path) -> None:
    run = write_run(tmp_path, ".nii.gz")
    content = run.path.read_bytes()
    for part in (0, 20):
        run.path.write_bytes(content[:part])
        assert str(run.path) in run.refusal()
    run.path.write_bytes(content[: len(content) - 60])
    recording = run.read()
    with pytest.raises(UserError, match=r"_bold\.nii\.gz: cannot be read as NIfTI"):
        recording.read(N_VOLUMES - 1, N_VOLUMES)


def test_a_header_that_promises_more_than_the_file_can_hold_is_refused_before_anything_is_read(
    tmp_path: Path,
) -> None:
    for ending in (".nii", ".nii.gz"):
        run = write_run(tmp_path, ending)
        opened = gzip.open if ending == ".nii.gz" else open
        with opened(run.path, "rb") as file:
            content = bytearray(file.read())
        content[42:50] = np.array([32767, 32767, 32767, 32767], "<i2").tobytes()
        with opened(run.path, "wb") as file:
            file.write(content)
        assert "cannot hold them" in run.refusal()


def test_a_file_of_another_kind_is_refused_by_name(run: Run) -> None:
    content = run.path.read_bytes()
    run.path.write_bytes(bytes(range(256)) * 20)
    assert str(run.path) in run.refusal()
    run.path.write_bytes(content)
    pair = run.path.with_name("mask.hdr")
    nibabel.save(nibabel.Nifti1Pair(np.ones(SHAPE, np.uint8), np.eye(4)), pair)
    assert f"{pair}: is no NIfTI file" in run.refusal(mask=pair)
    image = nibabel.Nifti1Image(np.zeros((*SHAPE, 2), np.complex64), np.diag([3.0, 3.0, 4.0, 1.0]))
    nibabel.save(image, run.path)
    assert "complex64, no real numbers" in run.refusal()


def test_without_the_extra_the_error_names_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    assert "uv sync --extra data" in run.refusal()


def test_a_real_run(data_dir: Path) -> None:
    haxby = data_dir / "fmri_haxby"
    whole = nibabel.load(haxby / "singlefile" / "bold.nii.gz").get_fdata()
    inside = nibabel.load(haxby / "singlefile" / "mask.nii.gz").get_fdata() > 0
    run = haxby / "haxby2001" / "sub001" / "BOLD" / "task001_run002"
    recording = read_recording(
        run / "bold_1slice.nii.gz",
        mask=haxby / "singlefile" / "mask.nii.gz",
        events=run / "bold_events.tsv",
        marker_channel="trial_type",
        every_volume=True,
    )
    assert (len(recording.channels), recording.rate_hz, recording.n_samples) == (530, 0.4, 121)
    assert Counter(recording.markers.label) == dict.fromkeys(
        ("bottle", "cat", "chair", "face", "house", "scissors", "scrambledpix", "shoe"), 9
    )
    # the other release of the same volumes, all runs in one file, and its label for each volume
    np.testing.assert_array_equal(np.concatenate(list(recording.blocks(2))), whole[inside][:, 121:242].T)
    lines = (haxby / "singlefile" / "attributes_literal.txt").read_text().splitlines()
    told = [line.split()[0] for line in lines][121:242]
    shown = ["rest"] * 121
    for sample, label in zip(recording.markers.sample.tolist(), recording.markers.label, strict=True):
        shown[sample] = label
    assert shown == told
