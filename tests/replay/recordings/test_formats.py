"""Each of the seven formats gives the same recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay.recordings import Recording, read_recording
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ["fif", "vhdr", "edf", "bdf", "set", "xdf", "csv"]
TRUNCATED = {"vhdr": "eeg", "set": "fdt"}
"""The file that holds the samples, where it is not the one that is opened."""


def open_as(write: Any, ending: str, **options: Any) -> Recording:
    return read_recording(write(ending, **options), units="uV" if ending == "csv" else None)


def markers_of(recording: Recording) -> list[tuple[int, str]]:
    labels = [label.removeprefix("Stimulus/S").strip() for label in recording.markers.label]
    return list(zip(recording.markers.sample.tolist(), labels, strict=True))


@pytest.mark.parametrize("ending", FORMATS)
def test_rate_names_units_and_types_are_those_of_the_file(ending: str, write: Any, indexed: Any) -> None:
    recording = open_as(write, ending)
    assert recording.rate_hz == indexed.rate_hz
    assert recording.n_samples == len(indexed.microvolts)
    signals = recording.channels[: len(indexed.names)]
    assert tuple(channel.name for channel in signals) == indexed.names
    assert {channel.unit for channel in signals} == {Unit.VOLT}
    assert signals[1].type is ChannelType.EEG
    if ending != "xdf":  # where the file itself says EEG
        assert signals[2].type is ChannelType.EOG
    assert (recording.subject, recording.session, recording.run) == ("07", "2", "3")
    assert not recording.simulated


@pytest.mark.parametrize("ending", FORMATS)
def test_markers_are_the_samples_they_were_set_on(ending: str, write: Any, indexed: Any) -> None:
    expected = list(indexed.markers)
    if ending == "bdf":  # a status line that is still high cannot rise
        expected.remove((41, "2"))
    assert markers_of(open_as(write, ending)) == expected


@pytest.mark.parametrize("ending", FORMATS)
def test_samples_are_volts_at_their_index_however_they_are_read(
    ending: str, write: Any, indexed: Any
) -> None:
    recording = open_as(write, ending)
    n_channels = len(indexed.names)
    whole = recording.read(0, recording.n_samples)
    assert whole.dtype == np.float64
    np.testing.assert_allclose(whole[:, :n_channels] * 1e6, indexed.microvolts, atol=1e-3)
    np.testing.assert_array_equal(np.rint(recording.read(123, 130)[:, 0] * 1e6), np.arange(123, 130))
    for block in (1 if ending == "csv" else 37, 250, 10_000):
        np.testing.assert_array_equal(np.concatenate(list(recording.blocks(block))), whole)
    assert recording.read(5, 5).shape == (0, len(recording.channels))
    with pytest.raises(IndexError):
        recording.read(0, recording.n_samples + 1)


@pytest.mark.parametrize("ending", ["fif", "vhdr", "edf", "bdf", "set", "csv"])
def test_a_file_cut_short_is_refused_in_one_line_that_names_it(ending: str, write: Any) -> None:
    path: Path = write(ending)
    data = path.with_suffix(f".{TRUNCATED.get(ending, ending)}")
    content = data.read_bytes()
    for part in (0.0, 0.03, 0.6):
        data.write_bytes(content[: int(len(content) * part) - (ending == "csv" and part > 0) * 5])
        with pytest.raises(UserError, match=path.name) as raised:
            read_recording(path, units="uV")
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_of_another_format_is_refused_in_one_line_that_names_it(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"letter.{ending}"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match=r"letter\.") as raised:
        read_recording(path, units="uV")
    assert "\n" not in str(raised.value)


def test_a_missing_file_an_unknown_ending_and_a_part_of_a_recording_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_recording(tmp_path / "nowhere.fif")
    (tmp_path / "notes.docx").write_text("text")
    with pytest.raises(UserError, match=r"unknown format '\.docx'.*\.fif"):
        read_recording(tmp_path / "notes.docx")
    (tmp_path / "data.eeg").write_text("text")
    with pytest.raises(UserError, match=r"open the \.vhdr file"):
        read_recording(tmp_path / "data.eeg")


def test_options_of_another_format_are_refused(write: Any) -> None:
    with pytest.raises(UserError, match="rate_hz applies to CSV"):
        read_recording(write("fif"), rate_hz=250)
    with pytest.raises(UserError, match="signal_stream applies to XDF"):
        read_recording(write("csv"), units="uV", signal_stream="Amp")
    with pytest.raises(UserError, match="'parsec'"):
        read_recording(write("csv"), units="parsec")


@pytest.mark.parametrize("ending", ["csv", "xdf"])
def test_a_file_that_may_not_be_read_is_one_line(
    write: Any, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(ending)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(UserError, match="cannot be read \\(Permission denied\\); check"):
        read_recording(path, units="uV")
