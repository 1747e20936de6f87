"""What is special to XDF: several streams, several clocks, breaks, truncation."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from replay.recordings import read_recording
from rtdecode.contracts import ChannelType
from rtdecode.errors import UserError
from rtdecode.journal.xdf import SIGNATURE
from rtdecode.signal.alignment import SampleClock
from rtdecode.signal.ring import NotYetError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("ahead_s", [-3.0, 0.0, 100.0])
@pytest.mark.parametrize("late_s", [-0.0019, 0.0, 0.0019])
def test_markers_of_another_clock_go_to_the_nearest_sample(
    write: Any, indexed: Any, ahead_s: float, late_s: float
) -> None:
    recording = read_recording(write("xdf", marker_clock_ahead_s=ahead_s, late_s=late_s))
    assert recording.markers.sample.tolist() == [sample for sample, _ in indexed.markers]


def test_markers_outside_the_signal_or_in_a_break_are_left_out_and_counted(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    recording = read_recording(write("xdf", late_s=0.6, break_at=200))
    # 0.6 s late: sample 40 -> 190, 41 -> 191, 250 -> 400; 499 lands after the end
    assert recording.markers.sample.tolist() == [190, 191, 400]
    assert "1 markers lie where there are no samples" in caplog.text
    recording = read_recording(write("xdf", late_s=0.8, break_at=200))
    assert recording.markers.sample.tolist() == [450]
    assert "3 markers lie where there are no samples" in caplog.text


@pytest.mark.parametrize("break_s", [0.2, 1.5, 60.0])
def test_breaks_are_segments_and_do_not_move_markers(write: Any, indexed: Any, break_s: float) -> None:
    recording = read_recording(write("xdf", break_at=200, break_s=break_s))
    assert recording.segment_starts == (0, 200)
    assert recording.markers.sample.tolist() == [sample for sample, _ in indexed.markers]
    assert recording.stamps is not None
    assert recording.stamps[200] - recording.stamps[199] == pytest.approx(break_s + 0.004)


def test_several_signals_must_be_told_apart_by_name(write: Any) -> None:
    path = write("xdf", second_signal=True)
    with pytest.raises(UserError, match=r"several signal streams \('Amp', 'Pulse'\).*--signal-stream"):
        read_recording(path)
    assert read_recording(path, signal_stream="Amp").channel_names == ("index", "Cz", "EOG1")
    with pytest.raises(UserError, match="has no signal stream 'Eyes'; it has 'Amp', 'Pulse'"):
        read_recording(path, signal_stream="Eyes")
    pulse = read_recording(path, signal_stream="Pulse", units="V")
    assert (pulse.channel_names, pulse.rate_hz, pulse.n_samples) == (("ch1",), 50.0, 50)


def test_marker_streams_are_chosen_by_name(write: Any) -> None:
    path = write("xdf")
    assert len(read_recording(path, marker_streams=["Stimuli"]).markers) == 4
    assert len(read_recording(path, marker_streams=[]).markers) == 0
    with pytest.raises(UserError, match="has no stream Keys; it has 'Amp', 'Stimuli'"):
        read_recording(path, marker_streams=["Keys"])


def test_an_unknown_unit_is_refused_unless_stated(write: Any, indexed: Any) -> None:
    path = write("xdf", unit="FIFFB_ISOTRAK")
    with pytest.raises(UserError, match=r"'index' has unit 'FIFFB_ISOTRAK', which is not understood"):
        read_recording(path)
    np.testing.assert_array_equal(read_recording(path, units="uV").read(0, 500), indexed.microvolts * 1e-6)


@pytest.mark.parametrize(
    ("location", "position"),
    [
        ("<X>.01</X><Y>.02</Y><Z>.09</Z>", (0.01, 0.02, 0.09)),
        ("<X>1</X><Y>2</Y><Z>9</Z><unit>cm</unit>", (0.01, 0.02, 0.09)),
        ("<X>10</X><Y>20</Y><Z>90</Z><unit>mm</unit>", (0.01, 0.02, 0.09)),
        ("<X>10</X><Y>20</Y><Z>90</Z>", None),
        ("<X>.01</X><Y>.02</Y>", None),
    ],
)
def test_positions_are_metres_as_live_or_left_out(
    write: Any, location: str, position: tuple[float, float, float] | None
) -> None:
    recording = read_recording(write("xdf", location=f"<location>{location}</location>"))
    assert recording.channels[1].position_m == (None if position is None else pytest.approx(position))


def test_types_are_those_that_are_read_live(write: Any) -> None:
    recording = read_recording(write("xdf", unit="fT/cm", channel_type="MEG"))
    assert {channel.type for channel in recording.channels} == {ChannelType.GRAD}


@pytest.mark.parametrize("seed", range(3))
def test_markers_go_to_the_sample_that_they_go_to_live(write: Any, indexed: Any, seed: int) -> None:
    """A line through all stamps would move them by what comes later; live nobody knows that."""
    rng = np.random.default_rng(seed)
    stamps = 5000 + np.arange(500) / indexed.rate_hz + rng.uniform(-0.008, 0.014, 50).repeat(10)
    times = np.sort(rng.uniform(5000.1, 5001.9, 4))
    recording = read_recording(write("xdf", stamps=stamps, marker_times=times.tolist()))
    live = SampleClock(indexed.rate_hz, 500)
    found: dict[float, int] = {}
    for chunk in [*np.split(stamps, range(7, 500, 7)), None]:
        if chunk is None:
            live.finish()
        else:
            live.append(chunk)
        for time in times.tolist():
            with contextlib.suppress(NotYetError):
                found.setdefault(time, live.nearest(time).sample)
    assert recording.markers.sample.tolist() == [found[time] for time in times.tolist()]
    np.testing.assert_array_equal(recording.stamps, stamps)
    assert recording.segment_starts == (0,)


def test_a_lost_packet_is_a_break_and_markers_around_it_stay_where_they_were(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    index = np.arange(500)
    stamps = 5000 + np.where(index < 200, index, index + 12) / 250  # 48 ms: less than a jump
    times = [5000 + at / 250 for at in (199.3, 205, 250, 350)]
    recording = read_recording(write("xdf", stamps=stamps, marker_times=times))
    assert recording.segment_starts == (0, 200)
    # 205 was lost, 250 came before one could know
    assert recording.markers.sample.tolist() == [199, 338]
    assert "2 markers lie where there are no samples" in caplog.text


def test_a_file_that_ends_in_the_middle_of_a_chunk_is_read_up_to_there(
    write: Any, indexed: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path: Path = write("xdf")
    content = path.read_bytes()
    for missing in (1, 5, 100, 1000, 3000):
        path.write_bytes(content[:-missing])
        recording = read_recording(path)
        assert len(recording.markers) == 0  # the last chunk holds them
        assert recording.n_samples % 32 in (0, 500 % 32)
        np.testing.assert_array_equal(
            recording.read(0, recording.n_samples), indexed.microvolts[: recording.n_samples] * 1e-6
        )
    assert "ends in the middle of a chunk" in caplog.text
    path.write_bytes(content[:600])
    with pytest.raises(UserError, match="has no regular stream that holds samples"):
        read_recording(path)


def test_damage_in_the_middle_is_refused(write: Any) -> None:
    path: Path = write("xdf")
    content = path.read_bytes()
    lengths = [at for at in range(3000, 6000) if content[at] == 4 and content[at + 5 : at + 7] == b"\x03\x00"]
    no_width = content[: lengths[0]] + b"\x09" + content[lengths[0] + 1 :]
    boundary = bytes.fromhex("1405000000") + b"\x05\x00" + SIGNATURE  # one every ten seconds, in real files
    past_end = content[: lengths[0]] + b"\x04\xff\xff\xff\x00" + content[lengths[0] + 5 :] + boundary
    for damaged in (content[:3000] + content[3007:], no_width, past_end):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=path.name) as raised:
            read_recording(path)
        assert "\n" not in str(raised.value)


def test_a_trigger_channel_of_the_signal_gives_the_markers(write: Any) -> None:
    recording = read_recording(write("xdf"), marker_channel="index")
    assert recording.markers.sample.tolist() == [1]  # the index leaves zero once
    with pytest.raises(UserError, match="has no channel 'Trigger'; it has index, Cz, EOG1"):
        read_recording(write("xdf"), marker_channel="Trigger")


def test_marker_texts_are_those_that_are_read_live(write: Any) -> None:
    numbers = [struct.pack("<f", value) for value in (0.1, 7, 0, 2.5)]
    recording = read_recording(write("xdf", marker_format="float32", marker_values=numbers))
    assert recording.markers.label == ("0.1", "7", "0", "2.5")

    def text(*texts: str) -> bytes:
        return b"".join(b"\x01" + bytes([len(one)]) + one.encode() for one in texts)

    texts = [text(" face ", "1"), text("", " "), text("", "x"), text("a", "b")]
    recording = read_recording(write("xdf", marker_values=texts, marker_channels=("what", "which")))
    assert recording.markers.label == ("face/1", "x", "a/b")
    assert recording.markers.sample.tolist() == [40, 250, 499]

    one_hot = [struct.pack("<ff", *pair) for pair in ((1, 0), (0, 1), (1, 1), (0, 0))]
    recording = read_recording(
        write(
            "xdf",
            marker_format="float32",
            marker_values=one_hot,
            marker_channels=("face", "house"),
            marker_type="annotations",
        )
    )
    assert recording.markers.label == ("face", "house", "face", "house")
    assert recording.markers.sample.tolist() == [40, 41, 250, 250]


def test_json_markers_keep_their_text_for_the_rule_that_reads_them_live(write: Any) -> None:
    texts = ['{"image": "cat"}', '{"other": 1}', "{", '{"image": "dog"}']
    values = [b"\x01" + bytes([len(text)]) + text.encode() for text in texts]
    recording = read_recording(write("xdf", marker_values=values))
    assert recording.markers.label == tuple(texts)
