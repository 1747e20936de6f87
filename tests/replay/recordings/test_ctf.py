"""CTF folders: samples, triggers, sensors, and what is damaged."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import mne
import numpy as np
import pytest
from miniatures.ctf import ANALOG, CLOCK, REFERENCE_MAGNETOMETER, SENSOR, STIM, write_ctf

from replay.recordings import read_recording
from replay.recordings.ctf import ctf_file, read_header
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CHANNELS = [
    ("SCLK01-177", CLOCK),
    ("BG1-1609", REFERENCE_MAGNETOMETER),
    ("MLC11-1609", SENSOR),
    ("MZO03-1609", SENSOR),
    ("UADC016-2104", ANALOG),
    ("UPPT001", STIM),
]
RATE_HZ, N = 1200.0, 4800


@pytest.fixture(params=[1, 4], ids=["one trial", "four trials"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "sub-1_ses-02_task-main_run-03_meg.ds"
    write_ctf(path, CHANNELS, numbers(), RATE_HZ, request.param)
    return path


def numbers() -> np.ndarray:
    values = np.random.default_rng(0).integers(-(2**24), 2**24, (len(CHANNELS), N))
    values[0] = np.arange(1, N + 1)
    values[-1] = 0
    values[-1, 1000:1010], values[-1, 3000:3010] = 64, 32
    return values


def test_samples_are_those_that_mne_reads_wherever_they_are_cut(folder: Path) -> None:
    recording = read_recording(folder)
    with mne.utils.use_log_level("error"):
        whole = mne.io.read_raw_ctf(folder).get_data().T
    assert (recording.n_samples, recording.rate_hz) == (N, RATE_HZ)
    assert (recording.subject, recording.session, recording.run) == ("1", "02", "03")
    np.testing.assert_array_equal(recording.read(0, N), whole)
    for start, stop in ((0, 1), (1199, 1201), (1150, 3650), (N - 1, N)):
        np.testing.assert_array_equal(recording.read(start, stop), whole[start:stop])
    scale = 1e-12 / 2**20
    np.testing.assert_allclose(recording.read(5, 9)[:, 2], numbers()[2, 5:9] * scale, rtol=1e-12)


def test_sensors_references_and_triggers_are_told_apart(folder: Path) -> None:
    recording = read_recording(folder)
    kinds = dict(zip(recording.channel_names, recording.channels, strict=True))
    assert (kinds["MLC11-1609"].type, kinds["MLC11-1609"].unit) == (ChannelType.MAG, Unit.TESLA)
    assert kinds["MLC11-1609"].position_m is not None
    assert kinds["BG1-1609"].type is ChannelType.REF_MEG
    assert kinds["UADC016-2104"].type is ChannelType.MISC
    assert kinds["UPPT001"].type is ChannelType.STIM
    assert recording.markers.label == ("64", "32")
    assert recording.markers.sample.tolist() == [1000, 3000]


def test_where_the_clock_stops_the_recording_ends(tmp_path: Path) -> None:
    values = numbers()
    values[0, 4000:] = 0
    path = tmp_path / "x.ds"
    write_ctf(path, CHANNELS, values, RATE_HZ)
    recording = read_recording(path)
    assert recording.n_samples == 4000
    np.testing.assert_array_equal(recording.read(3990, 4000)[:, 0], np.arange(3991, 4001))


def test_its_header_tells_the_shape(folder: Path) -> None:
    header = read_header(ctf_file(folder, "res4"))
    assert header.n_samples * header.n_trials == N
    assert (header.n_channels, header.rate_hz, header.duration_s) == (len(CHANNELS), RATE_HZ, 4.0)
    assert header.n_bytes == ctf_file(folder, "meg4").stat().st_size


@pytest.mark.parametrize("content", [b"", b"MEG41RS\0", b"x" * 2000, b"MEG41RS\0" + bytes(2000)])
def test_what_is_no_header_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.res4").write_bytes(content)
    with pytest.raises(ValueError, match=r"does not begin as the header|says 0 channels"):
        read_header(tmp_path / "x.res4")


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: ctf_file(folder, "res4").unlink(),
        lambda folder: ctf_file(folder, "meg4").unlink(),
        lambda folder: os.truncate(ctf_file(folder, "meg4"), 5000),
        lambda folder: os.truncate(ctf_file(folder, "res4"), 1500),
        lambda folder: ctf_file(folder, "res4").write_bytes(bytes(9000)),
    ],
    ids=["no header", "no signal", "cut signal", "cut header", "zeros"],
)
def test_a_damaged_folder_is_refused_by_name(folder: Path, damage: Callable[[Path], object]) -> None:
    damage(folder)
    with pytest.raises(UserError, match=r"run-03_meg\.ds: cannot be read as CTF"):
        read_recording(folder)


def test_the_folder_is_to_be_named_and_not_what_is_in_it(folder: Path) -> None:
    with pytest.raises(UserError, match=r"open the \.ds folder around it"):
        read_recording(ctf_file(folder, "meg4"))
    with pytest.raises(UserError, match="no such folder"):
        read_recording(folder.with_name("other.ds"))
