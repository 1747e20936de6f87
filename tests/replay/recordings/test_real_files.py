"""Real recordings open with the facts that are known about them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from replay.recordings import read_recording
from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def test_muse_n170(data_dir: Path) -> None:
    paths = sorted((data_dir / "eeg_muse" / "N170").glob("*.csv"))
    assert len(paths) == 4
    for path in paths:
        recording = read_recording(path)
        assert recording.rate_hz == 256
        assert recording.duration_s == pytest.approx(120, abs=0.1)
        assert recording.channel_names == ("TP9", "AF7", "AF8", "TP10", "Right AUX")
        assert set(recording.markers.label) == {"1", "2"}
        assert 190 <= len(recording.markers) <= 200
        assert recording.segment_starts == (0,)
        assert 1e-6 < np.median(np.abs(recording.read(0, 5000)[:, :4])) < 1e-4


def test_muse_p300_has_three_codes_with_few_targets(data_dir: Path) -> None:
    for path in (data_dir / "eeg_muse" / "P300_subject1").glob("*.csv"):
        counts = Counter(read_recording(path).markers.label)
        assert set(counts) == {"1", "2"}
        assert counts["2"] < counts["1"] / 3


def test_xdf_of_a_p300_speller(data_dir: Path) -> None:
    recording = read_recording(data_dir / "xdf" / "bciessentials_p300checker.xdf")
    assert (len(recording.channels), recording.rate_hz) == (16, 256.0)
    assert len(recording.markers) == 40
    assert recording.markers.label[:2] == ("Trial Started", "p300,m,16,1,2,15,5")
    assert recording.channel_names[:3] == ("F3", "Fz", "F4")


def test_xdf_without_a_description_needs_its_unit_stated(data_dir: Path) -> None:
    path = data_dir / "xdf" / "eeglab_test.xdf"
    with pytest.raises(UserError, match="'ch1' has no unit"):
        read_recording(path)
    recording = read_recording(path, units="uV")
    assert (len(recording.channels), recording.rate_hz, recording.n_samples) == (8, 1000.0, 9520)


def test_xdf_edge_cases(data_dir: Path) -> None:
    minimal = read_recording(data_dir / "xdf" / "xdfmodules_minimal.xdf", units="uV")
    assert (len(minimal.channels), minimal.rate_hz, minimal.n_samples) == (3, 10.0, 9)
    empty = read_recording(data_dir / "xdf" / "xdfmodules_empty_streams.xdf", units="1")
    assert (len(empty.channels), empty.rate_hz, empty.n_samples) == (1, 1.0, 10)


def test_eeglab(data_dir: Path) -> None:
    recording = read_recording(data_dir / "eeg_formats" / "eeglab_data.set")
    assert (len(recording.channels), recording.rate_hz) == (32, 128.0)
    assert Counter(recording.markers.label) == {"square": 80, "rt": 74}
    assert all(channel.position_m is not None for channel in recording.channels)
    # a P3 follows the squares: more positive at Pz around 400 ms than before them
    pz = recording.channel_names.index("Pz")
    onsets = [
        sample
        for sample, label in zip(recording.markers.sample, recording.markers.label, strict=True)
        if label == "square" and sample > 128
    ]
    epochs = np.array([recording.read(onset - 26, onset + 77)[:, pz] for onset in onsets])
    mean = epochs.mean(axis=0)
    assert mean[26 + 45 : 26 + 58].mean() - mean[:26].mean() > 3e-6


def test_bdf(data_dir: Path) -> None:
    recording = read_recording(data_dir / "eeg_formats" / "test.bdf")
    assert (len(recording.channels), recording.rate_hz, recording.duration_s) == (17, 256.0, 60.0)
    assert recording.channels[16].type is ChannelType.STIM
    # its trigger line idles at 254, so that nothing ever rises from zero
    assert len(recording.markers) == 0
    changes = read_recording(data_dir / "eeg_formats" / "test.bdf", trigger_edge="change")
    assert Counter(changes.markers.label) == {"254": 40, "255": 40}


def test_edf(data_dir: Path) -> None:
    recording = read_recording(data_dir / "eeg_formats" / "test.edf")
    assert (len(recording.channels), recording.rate_hz, recording.duration_s) == (16, 256.0, 60.0)
    assert recording.channel_names[0] == "EEG Fp1"
    assert recording.channels[0].type is ChannelType.EEG
    assert len(recording.markers) == 0
