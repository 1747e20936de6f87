"""What is special to the formats that MNE reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import mne
import numpy as np
import pytest

from replay.recordings import read_recording
from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.signal.markers import TriggerDetector, TriggerSettings

if TYPE_CHECKING:
    from pathlib import Path


def samples_of(path: Path, **options: Any) -> list[int]:
    return list(read_recording(path, **options).markers.sample.tolist())


@pytest.mark.parametrize("dated", [False, True])
@pytest.mark.parametrize("first_samp", [0, 777])
def test_fif_onsets_count_from_the_first_sample_of_the_file(
    write: Any, indexed: Any, first_samp: int, dated: bool
) -> None:
    path = write("fif", first_samp=first_samp, dated=dated)
    assert samples_of(path) == [sample for sample, _ in indexed.markers]


def test_trigger_channel_goes_before_annotations_unless_asked_otherwise(write: Any) -> None:
    path = write("fif", stim=True, first_samp=50)
    recording = read_recording(path)
    assert recording.markers.sample.tolist() == [40, 250, 499]
    assert recording.markers.label == ("1", "7", "3")
    assert recording.channels[3].type is ChannelType.STIM
    assert recording.channels[3].unit is Unit.NONE
    assert recording.read(250, 251)[0, 3] == 7
    assert samples_of(path, marker_channel="annotations") == [40, 41, 250, 499]
    assert samples_of(path, marker_channel="STI 014") == [40, 250, 499]
    with pytest.raises(UserError, match="has no channel 'STI101'; it has index"):
        read_recording(path, marker_channel="STI101")
    with pytest.raises(UserError, match="'Cz' never rises"):
        read_recording(path, marker_channel="Cz")


def with_trigger(path: Path, codes: np.ndarray) -> Path:
    info = mne.create_info(["index", "STI 014"], 250, ["eeg", "stim"])
    data = np.vstack([np.arange(len(codes)) * 1e-6, codes])
    mne.io.RawArray(data, info, verbose="error").save(path, fmt="double", verbose="error")
    return path


def test_held_lines_are_read_only_as_asked_and_the_log_says_what_to_set(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = np.full(500, 256.0)  # one line always high
    held[100:110], held[200:210] = 256 + 3, 256 + 5
    path = with_trigger(tmp_path / "held_raw.fif", held)
    assert samples_of(path) == []
    assert "no code of channel 'STI 014' rises from zero, but 4 times" in caplog.text
    assert "--trigger-edge change" in caplog.text
    assert samples_of(path, trigger_edge="change") == [100, 110, 200, 210]
    masked = read_recording(path, trigger_mask=255)
    assert masked.markers.sample.tolist() == [100, 200]
    assert masked.markers.label == ("3", "5")
    with pytest.raises(UserError, match="trigger mask 0"):
        read_recording(path, trigger_mask=0)


@pytest.mark.parametrize("mask", [0xFF, 0xFFFF])
@pytest.mark.parametrize("edge", ["rising", "change"])
def test_a_trigger_channel_is_read_as_the_service_reads_it(
    tmp_path: Path, mask: int, edge: Literal["rising", "change"]
) -> None:
    codes = np.random.default_rng(1).choice([0.0, 0.0, 3.0, 256.0, 259.0], size=100).repeat(5)
    recording = read_recording(
        with_trigger(tmp_path / "codes_raw.fif", codes), trigger_mask=mask, trigger_edge=edge
    )
    live = TriggerDetector(TriggerSettings(mask=mask, edge=edge))
    onsets = [onset for first in range(0, 500, 7) for onset in live.process(codes[first : first + 7])]
    assert recording.markers.sample.tolist() == [sample for sample, _ in onsets]
    assert recording.markers.label == tuple(str(code) for _, code in onsets)


def test_several_trigger_channels_must_be_told_apart_by_name(tmp_path: Path) -> None:
    data = np.zeros((3, 500))
    data[0], data[1, 100], data[2, 200] = np.arange(500), 4, 8
    info = mne.create_info(["index", "STI001", "STI002"], 250, ["eeg", "stim", "stim"])
    mne.io.RawArray(data, info, verbose="error").save(tmp_path / "two_raw.fif", verbose="error")
    with pytest.raises(UserError, match=r"several trigger channels \(STI001, STI002\)"):
        read_recording(tmp_path / "two_raw.fif")
    assert samples_of(tmp_path / "two_raw.fif", marker_channel="STI002") == [200]


def test_onsets_between_samples_go_to_the_nearest_and_ties_to_the_earlier(tmp_path: Path) -> None:
    raw = mne.io.RawArray(np.zeros((1, 500)), mne.create_info(["a"], 256, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(np.array([10.4, 20.5, 30.6, 498.9]) / 256, 0, list("abcd")))
    raw.save(tmp_path / "between_raw.fif", verbose="error")
    assert samples_of(tmp_path / "between_raw.fif") == [10, 20, 31, 499]


def test_only_whole_words_mark_bad_data_and_they_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stimuli = ["badger", "edged_weapon", "boundary_fence", "edge case", "new segments"]
    others = ["BAD", "BAD_blink", "bad segment", "EDGE boundary", "BAD boundary", "boundary", "EDGE"]
    raw = mne.io.RawArray(np.zeros((1, 500)), mne.create_info(["a"], 100, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations(np.arange(1, 13) * 0.1, 0, stimuli + others))
    raw.save(tmp_path / "words_raw.fif", verbose="error")
    with caplog.at_level("INFO"):
        recording = read_recording(tmp_path / "words_raw.fif")
    assert list(recording.markers.label) == stimuli
    assert "7 annotations mark bad data or breaks" in caplog.text
    assert recording.segment_starts == (0, 90, 100, 110)


def test_positions_are_metres_in_head_coordinates(write: Any, tmp_path: Path) -> None:
    channels = read_recording(write("fif")).channels
    assert channels[1].position_m == pytest.approx((0.01, 0.02, 0.09))
    assert channels[0].position_m is None

    info = mne.create_info(["MEG0111"], 250, "mag")
    info["chs"][0]["loc"][:3] = 0.1, 0.0, 0.0
    shift = np.eye(4)
    shift[:3, 3] = 0.0, 0.0, 0.04
    with info._unlock():
        info["dev_head_t"] = mne.Transform("meg", "head", shift)
    mne.io.RawArray(np.zeros((1, 500)), info, verbose="error").save(tmp_path / "meg_raw.fif", verbose="error")
    (channel,) = read_recording(tmp_path / "meg_raw.fif").channels
    assert (channel.type, channel.unit) == (ChannelType.MAG, Unit.TESLA)
    assert channel.position_m == pytest.approx((0.1, 0.0, 0.04))


def test_eeglab_positions_and_types_are_read(write: Any) -> None:
    index, cz, eog = read_recording(write("set")).channels
    assert cz.position_m is not None
    assert 0.05 < np.linalg.norm(cz.position_m) < 0.15
    assert [channel.type for channel in (index, cz, eog)] == [
        ChannelType.EEG,
        ChannelType.EEG,
        ChannelType.EOG,
    ]


def test_eeglab_boundaries_become_segments_and_no_markers(write: Any) -> None:
    recording = read_recording(write("set", boundary=100))
    assert recording.segment_starts == (0, 100)
    assert recording.markers.sample.tolist() == [40, 41, 250, 499]


def test_skipped_acquisition_becomes_segments(tmp_path: Path) -> None:
    raw = mne.io.RawArray(np.zeros((1, 500)), mne.create_info(["a"], 250, "eeg"), verbose="error")
    raw.set_annotations(mne.Annotations([0.4, 1.0], [0.2, 0], ["BAD_ACQ_SKIP", "face"]))
    raw.save(tmp_path / "skip_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "skip_raw.fif")
    assert recording.segment_starts == (0, 100, 150)
    assert recording.markers.label == ("face",)


@pytest.mark.parametrize(
    ("unit", "factor"), [("uV", 1e-6), ("UV", 1e-6), ("mV", 1e-3), ("nV", 1e-9), ("V", 1)]
)
def test_edf_units_are_converted_to_volts(write: Any, indexed: Any, unit: str, factor: float) -> None:
    recording = read_recording(write("edf", unit=unit))
    assert recording.channels[0].unit is Unit.VOLT
    np.testing.assert_allclose(recording.read(0, 500), indexed.microvolts * factor, rtol=1e-9)


def test_edf_channels_without_a_unit_need_one_stated(write: Any, indexed: Any) -> None:
    path = write("edf", unit="")
    with pytest.raises(UserError, match=r"channel 'index' has no unit.*--units"):
        read_recording(path)
    np.testing.assert_allclose(
        read_recording(path, units="mV").read(0, 500), indexed.microvolts * 1e-3, rtol=1e-9
    )


def test_edf_channels_of_another_quantity_are_kept_as_numbers(write: Any, indexed: Any) -> None:
    recording = read_recording(write("edf", unit="%"))
    assert {(channel.type, channel.unit) for channel in recording.channels} == {(ChannelType.MISC, Unit.NONE)}
    np.testing.assert_allclose(recording.read(0, 500), indexed.microvolts, atol=1e-6)


def test_edf_channels_of_a_lower_rate_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import edfio

    def signal(label: str, rate_hz: int) -> Any:
        return edfio.EdfSignal(
            np.arange(2.0 * rate_hz), rate_hz, label=label, physical_dimension="uV", physical_range=(0, 1000)
        )

    edfio.Edf([signal("Resp", 25), signal("Fz", 250), signal("Cz", 250)]).write(tmp_path / "mixed.edf")
    recording = read_recording(tmp_path / "mixed.edf")
    assert recording.channel_names == ("Fz", "Cz")
    assert recording.rate_hz == 250
    assert recording.read(7, 8)[0, 0] == pytest.approx(7e-6, abs=1e-7)
    assert "left out: Resp" in caplog.text


def test_an_edf_file_whose_recorder_never_wrote_the_length_is_whole(write: Any) -> None:
    path: Path = write("edf")
    content = bytearray(path.read_bytes())
    content[236:244] = b"-1      "
    path.write_bytes(content)
    assert read_recording(path).n_samples == 500


def test_brainvision_without_its_markers_is_refused(write: Any) -> None:
    path: Path = write("vhdr")
    path.with_suffix(".vmrk").unlink()
    with pytest.raises(UserError, match="incomplete"):
        read_recording(path)


def test_a_file_that_shrinks_while_it_is_replayed_is_one_line(write: Any) -> None:
    path: Path = write("set")
    recording = read_recording(path)
    path.with_suffix(".fdt").write_bytes(b"")
    with pytest.raises(UserError, match="check that the file is complete"):
        recording.read(0, 10)


def test_nothing_is_printed_or_warned(write: Any, capfd: pytest.CaptureFixture[str]) -> None:
    for path in (write("set", boundary=100), write("vhdr"), write("fif", stim=True), write("edf")):
        read_recording(path).read(0, 10)
    assert capfd.readouterr() == ("", "")


def test_a_channel_of_no_known_kind_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "some_eeg.fif"
    raw = mne.io.RawArray(np.zeros((1, 100)), mne.create_info(["Cz-of-mine"], 100.0, "eeg"), verbose="error")
    raw.save(path, verbose="error")
    content = bytearray(path.read_bytes())
    kind = content.index(b"Cz-of-mine") - 72  # in the same record of 96 bytes as the name
    assert content[kind : kind + 4] == (2).to_bytes(4, "big")
    content[kind : kind + 4] = b"\x77\0\0\2"
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"some_eeg\.fif: cannot be read as FIF"):
        read_recording(path)
