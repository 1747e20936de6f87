"""What is special to CSV: everything that the file does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay.recordings import read_recording
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_units_must_be_stated_except_for_the_muse(write: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"channel 'index' has no unit.*--units"):
        read_recording(write("csv"))
    muse = written(
        tmp_path / "muse.csv",
        "timestamps,TP9,AF7,AF8,TP10,Right AUX,Marker0",
        *(f"{10 + i / 256:.3f},{i},2,3,4,5,{int(i == 2)}" for i in range(10)),
    )
    recording = read_recording(muse)
    assert {channel.unit for channel in recording.channels} == {Unit.VOLT}
    assert [channel.type for channel in recording.channels] == [ChannelType.EEG] * 4 + [ChannelType.MISC]
    assert recording.read(3, 4)[0].tolist() == pytest.approx([3e-6, 2e-6, 3e-6, 4e-6, 5e-6])
    assert recording.markers.sample.tolist() == [2]


def test_a_marker_belongs_to_its_row_whatever_the_stamps_say(tmp_path: Path) -> None:
    stamps = [0.0, 0.01, 0.02, 0.03, 0.035, 0.01, 0.06, 0.07, 0.08, 0.09, 0.1]
    path = written(
        tmp_path / "bursts.csv",
        "timestamps,Cz,Marker",
        *(f"{stamp},{i},{1 if i == 5 else 0}" for i, stamp in enumerate(stamps)),
    )
    recording = read_recording(path, units="uV")
    assert recording.markers.sample.tolist() == [5]
    np.testing.assert_array_equal(recording.stamps, stamps)


def test_held_codes_are_one_marker_and_text_is_kept(tmp_path: Path) -> None:
    codes = ["face", "", "0", "2", "2", "3", "0.0", "3.0", "house", "house", "v1.0", "-2."]
    path = written(
        tmp_path / "held.csv",
        "time,Cz,Marker0",
        *(f"{i / 100},1,{code}" for i, code in enumerate(codes)),
    )
    recording = read_recording(path, units="uV")
    assert recording.markers.sample.tolist() == [0, 3, 5, 7, 8, 10, 11]
    assert recording.markers.label == ("face", "2", "3", "3", "house", "v1.0", "-2")


def test_a_gap_of_the_stamps_starts_a_segment(tmp_path: Path) -> None:
    stamps = np.arange(100) / 100
    stamps[60:] += 0.0009  # within the tolerance of the rate
    stamps[60:] += 0.15
    path = written(tmp_path / "gap.csv", "timestamps,Cz", *(f"{stamp:.4f},1" for stamp in stamps))
    recording = read_recording(path, units="uV", rate_hz=100)
    assert recording.segment_starts == (0, 60)
    assert len(recording.markers) == 0


def test_a_rate_that_the_stamps_do_not_tell_must_be_stated(tmp_path: Path) -> None:
    odd = written(tmp_path / "odd.csv", "timestamps,Cz", *(f"{i / 97.6},1" for i in range(200)))
    with pytest.raises(UserError, match=r"give 97\.60 Hz.*--rate"):
        read_recording(odd, units="uV")
    assert read_recording(odd, units="uV", rate_hz=97.6).rate_hz == 97.6
    none = written(tmp_path / "none.csv", "Cz,Pz", "1,2", "3,4")
    with pytest.raises(UserError, match="no timestamps column"):
        read_recording(none, units="uV")
    assert read_recording(none, units="uV", rate_hz=100).stamps is None


def test_the_marker_column_may_be_named(write: Any) -> None:
    path = write("csv", marker_name="Code")
    with pytest.raises(UserError, match="has no column 'Kode'; it has timestamps, index"):
        read_recording(path, units="uV", marker_channel="Kode")
    recording = read_recording(path, units="uV", marker_channel="Code")
    assert recording.markers.sample.tolist() == [40, 41, 250, 499]


def test_several_marker_columns_must_be_told_apart_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "two.csv", "timestamps,Cz,Marker0,Marker1", "0,1,0,1", "0.01,1,1,0")
    with pytest.raises(UserError, match=r"several marker columns \(Marker0, Marker1\)"):
        read_recording(path, units="uV")


@pytest.mark.parametrize("row", ["0.02,abc,0", "0.02,,0", "0.02", "0.02,nan,0"])
def test_a_row_that_is_no_row_of_numbers_is_named(tmp_path: Path, row: str) -> None:
    path = written(tmp_path / "bad.csv", "timestamps,Cz,Marker", "0.00,1,0", "0.01,1,0", row)
    with pytest.raises(UserError, match=r"bad\.csv: .*row"):
        read_recording(path, units="uV", rate_hz=100)


def test_a_file_without_rows_or_without_a_first_row_of_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no samples"):
        read_recording(written(tmp_path / "empty.csv", "timestamps,Cz"), units="uV")
    with pytest.raises(UserError, match="does not name the columns"):
        read_recording(written(tmp_path / "twice.csv", "1,1,1", "2,2,2"), units="uV")
    with pytest.raises(UserError, match="could be a channel"):
        read_recording(written(tmp_path / "stamps.csv", "timestamps,Marker", "0,0"), units="uV")
