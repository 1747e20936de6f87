from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import pytest

from rtdecode.contracts import ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.base import RawChunk, RawMarker, StreamLostError
from rtdecode.sources.lsl import LslClock, MarkerInlet, SignalInlet, StreamQuery, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LONG_S = 30.0
CLOCK = LslClock()


def found(source_id: str) -> pylsl.StreamInfo:
    """The only stream with this source_id, without the time that a search for a second one takes."""
    return pylsl.resolve_byprop("source_id", source_id, 1, LONG_S)[0]


def found_of_two(source_id: str, **more: str) -> pylsl.StreamInfo:
    info = resolve(StreamQuery(source_id=source_id, **more), LONG_S)
    assert info is not None
    return info


def pull_all(inlet: SignalInlet, n: int) -> tuple[np.ndarray, np.ndarray]:
    chunks: list[RawChunk] = []
    while sum(len(chunk.stamps) for chunk in chunks) < n:
        chunk = inlet.pull(LONG_S)
        assert chunk is not None
        chunks.append(chunk)
    return np.concatenate([c.samples for c in chunks]), np.concatenate([c.stamps for c in chunks])


def pull_markers(inlet: MarkerInlet, n: int) -> list[RawMarker]:
    markers: list[RawMarker] = []
    while len(markers) < n:
        markers += inlet.pull(LONG_S)
    return markers


@pytest.mark.parametrize("value_format", ["float32", "double64", "int8", "int16", "int32", "int64"])
def test_every_number_format_arrives_exactly_with_its_stamps(make_info, source_id, value_format) -> None:
    outlet = pylsl.StreamOutlet(make_info(units="V", value_format=value_format))
    inlet = SignalInlet(found(source_id), CLOCK)
    rng = np.random.default_rng(0)
    if value_format.startswith("int"):
        sent = rng.integers(-100, 100, (300, 2)).astype(value_format)
    else:
        sent = (rng.standard_normal((300, 2)) * 1e-5).astype(value_format.replace("double", "float"))
        sent[0] = -0.0
    stamps = np.arange(300) / 250 + 1e5
    for start in range(0, 300, 60):
        rows = slice(start, start + 60)
        outlet.push_chunk(np.ascontiguousarray(sent[rows]), stamps[rows].tolist())
    samples, pulled_stamps = pull_all(inlet, 300)
    assert samples.dtype == np.float64
    assert samples.tobytes() == sent.astype(np.float64).tobytes()  # a factor of one changes no bit
    assert pulled_stamps.tobytes() == stamps.tobytes()
    assert inlet.describe().value_format == value_format
    inlet.close()


def test_samples_are_converted_to_si_channel_by_channel(make_info, source_id) -> None:
    info = make_info(["Fz", "aux", "M1"], ["uV", "V", "fT"], ["EEG", "EEG", "mag"], value_format="double64")
    outlet = pylsl.StreamOutlet(info)
    inlet = SignalInlet(found(source_id), CLOCK)
    outlet.push_sample([10.0, 0.3, 250.0])
    samples, _ = pull_all(inlet, 1)
    np.testing.assert_array_equal(samples, [[10.0 * 1e-6, 0.3, 250.0 * 1e-15]])
    inlet.close()


def test_the_description_tells_what_the_stream_is(make_info, source_id) -> None:
    info = make_info(rate_hz=500.0, name="Replay")
    ours = info.desc().append_child("rtdecode")
    for key, value in (("simulated", "true"), ("speed", "2.0"), ("recording", "run 1")):
        ours.append_child_value(key, value)
    outlet = pylsl.StreamOutlet(info)
    inlet = SignalInlet(found(source_id), CLOCK)
    described = inlet.describe()
    assert (described.name, described.type, described.source_id) == ("Replay", "EEG", source_id)
    assert (described.rate_hz, described.speed, described.simulated) == (500.0, 2.0, True)
    assert (described.recording, described.scale) == ("run 1", (1e-6, 1e-6))
    assert described.hostname == outlet.get_info().hostname()
    inlet.close()


def test_a_stream_that_does_not_say_so_is_real_and_in_real_time(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info())
    inlet = SignalInlet(found(source_id), CLOCK)
    described = inlet.describe()
    assert (described.simulated, described.speed, described.recording) == (False, 1.0, "")
    inlet.close()
    del outlet


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "inf"])
def test_a_speed_that_is_none_is_refused(make_info, source_id, speed) -> None:
    info = make_info()
    info.desc().append_child("rtdecode").append_child_value("speed", speed)
    outlet = pylsl.StreamOutlet(info)
    with pytest.raises(UserError, match=f"announces speed '{speed}'"):
        SignalInlet(found(source_id), CLOCK)
    del outlet


def test_a_pull_wakes_when_a_single_sample_arrives(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info(units="V"))
    inlet = SignalInlet(found(source_id), CLOCK)
    pulled: list[RawChunk | None] = []
    waiting = threading.Thread(target=lambda: pulled.append(inlet.pull(3600.0)))
    waiting.start()
    outlet.wait_for_consumers(LONG_S)
    sent_at = CLOCK.now()
    outlet.push_sample([1.0, 2.0], sent_at)
    waiting.join()  # an hour, and the test's time-out, if a pull waited for a full chunk
    assert pulled[0] is not None
    assert pulled[0].samples.tolist() == [[1.0, 2.0]]
    assert sent_at <= pulled[0].arrival <= CLOCK.now()
    inlet.close()


def test_what_was_waited_for_stays_until_it_is_taken(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info(units="V"))
    inlet = SignalInlet(found(source_id), CLOCK)
    outlet.wait_for_consumers(LONG_S)
    taken: list[RawChunk] = []
    for value in (1.0, 2.0, 3.0):
        outlet.push_sample([value, -value], value)
        assert inlet.wait(LONG_S)
        assert inlet.wait(0.0)
        taken.append(inlet.take())
    assert not inlet.wait(0.0)
    # Later pulls write to the same memory; what was handed out is not touched by them.
    assert [chunk.samples.tolist() for chunk in taken] == [[[1.0, -1.0]], [[2.0, -2.0]], [[3.0, -3.0]]]
    assert [chunk.stamps.tolist() for chunk in taken] == [[1.0], [2.0], [3.0]]
    inlet.close()


def test_a_number_format_that_liblsl_lacks_here_is_refused(make_info, source_id, monkeypatch) -> None:
    outlet = pylsl.StreamOutlet(make_info(units="V", value_format="int64"))

    def push_sample_int64(*_: object) -> None:
        """As pylsl has it on Windows."""
        raise NotImplementedError

    monkeypatch.setattr(pylsl.inlet, "fmt2pull_chunk", [push_sample_int64] * 8)
    with pytest.raises(UserError, match="sends int64, which liblsl cannot read on this system"):
        SignalInlet(found(source_id), CLOCK)
    del outlet


def test_a_pull_without_data_comes_back_empty(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info())
    inlet = SignalInlet(found(source_id), CLOCK)
    assert inlet.pull(0.01) is None
    inlet.close()
    del outlet


def test_a_stream_that_dies_raises_at_once(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info())
    inlet = SignalInlet(found(source_id), CLOCK)
    outcome: list[object] = []

    def pull() -> None:
        try:
            outcome.append(inlet.pull(3600.0))
        except StreamLostError as error:
            outcome.append(error)

    waiting = threading.Thread(target=pull)
    waiting.start()
    del outlet
    waiting.join()
    assert isinstance(outcome[0], StreamLostError)
    assert "'Amp' was lost" in str(outcome[0])
    with pytest.raises(StreamLostError):
        inlet.time_correction(LONG_S)
    inlet.close()
    with pytest.raises(StreamLostError, match="closed"):
        inlet.pull(0.0)


def test_a_stream_found_and_gone_does_not_hang_the_inlet(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info())
    info = found(source_id)
    del outlet
    with pytest.raises(StreamLostError, match="'Amp' was found but did not answer"):
        SignalInlet(info, CLOCK, timeout_s=0.5)


def test_units_and_names_may_be_stated(make_info, source_id) -> None:
    outlet = pylsl.StreamOutlet(make_info(None, None, None, n_channels=2, value_format="double64"))
    info = found(source_id)
    with pytest.raises(UserError, match="names 0 of its 2 channels"):
        SignalInlet(info, CLOCK)
    inlet = SignalInlet(info, CLOCK, unit="uV", channel_names=["Fz", "Cz"])
    assert [channel.name for channel in inlet.describe().channels] == ["Fz", "Cz"]
    outlet.push_sample([1.0, 2.0])
    samples, _ = pull_all(inlet, 1)
    assert samples.tolist() == [[1e-6, 2e-6]]
    inlet.close()


def test_a_marker_stream_is_no_signal_and_a_signal_no_marker_stream(source_id, make_info) -> None:
    marker_info = pylsl.StreamInfo("Marks", "Markers", 1, 0.0, "string", source_id)
    with pytest.raises(UserError, match="'Marks' sends text: it can be a marker stream"):
        SignalInlet(marker_info, CLOCK)
    with pytest.raises(UserError, match="sends samples at irregular times"):
        SignalInlet(make_info(rate_hz=0.0), CLOCK)
    with pytest.raises(UserError, match="sends 250 numbers a second, so it is a signal"):
        MarkerInlet(make_info(), CLOCK)
    with pytest.raises(UserError, match="sends 2 numbers a marker"):
        MarkerInlet(make_info(rate_hz=0.0), CLOCK)


@pytest.mark.parametrize(
    ("value_format", "sent", "labels"),
    [
        ("string", ["face/07", " house ", "Straße"], ["face/07", "house", "Straße"]),
        ("int32", [7, 0, -3, 70000], ["7", "0", "-3", "70000"]),
        ("int8", [7, 127], ["7", "127"]),
        ("float32", [7.0, 0.1, 1e6, 2.5], ["7", "0.1", "1000000", "2.5"]),
        ("double64", [7.0, 0.1, 3626115.019498], ["7", "0.1", "3626115.019498"]),
    ],
)
def test_markers_of_every_format_become_text(source_id, value_format, sent, labels) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 1, 0.0, value_format, source_id))
    inlet = MarkerInlet(found(source_id), CLOCK)
    before = CLOCK.now()
    for index, value in enumerate(sent):
        outlet.push_sample([value], 100.5 + index)
    markers = pull_markers(inlet, len(sent))
    assert [marker.label for marker in markers] == labels
    assert [marker.stamp for marker in markers] == [100.5 + index for index in range(len(sent))]
    assert all(before <= marker.arrival <= CLOCK.now() for marker in markers)
    inlet.close()


def test_what_says_nothing_is_no_marker_and_a_stamp_that_is_no_number_is_dropped_and_logged(
    source_id, caplog: pytest.LogCaptureFixture
) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 1, 0.0, "string", source_id))
    inlet = MarkerInlet(found(source_id), CLOCK)
    for text, stamp in (("", 1.0), (" ", 2.0), ("lost", float("nan")), ("far", float("inf")), ("face", 3.0)):
        outlet.push_sample([text], stamp)
    assert [marker[:2] for marker in pull_markers(inlet, 1)] == [("face", 3.0)]
    assert "marker 'lost' of stream 'Marks' is dropped: its stamp is nan" in caplog.text
    assert "marker 'far'" in caplog.text
    inlet.close()


def test_texts_of_several_channels_are_joined(source_id) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 3, 0.0, "string", source_id))
    inlet = MarkerInlet(found(source_id), CLOCK)
    outlet.push_sample(["stimulus", "", "12"], 1.0)
    assert pull_markers(inlet, 1)[0][:2] == ("stimulus/12", 1.0)
    inlet.close()


def test_a_text_that_is_not_utf8_is_read_all_the_same(source_id) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 1, 0.0, "string", source_id))
    inlet = MarkerInlet(found(source_id), CLOCK)
    outlet.push_sample(["Stra\xdfe".encode("latin-1")], 1.0)
    assert pull_markers(inlet, 1)[0].label == "Straße"
    inlet.close()


def test_a_marker_stream_that_dies_raises(source_id) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Marks", "Markers", 1, 0.0, "string", source_id))
    inlet = MarkerInlet(found(source_id), CLOCK)
    del outlet
    with pytest.raises(StreamLostError):
        inlet.pull(3600.0)
    inlet.close()


def test_a_player_of_mne_lsl_is_understood(source_id) -> None:
    mne = pytest.importorskip("mne")
    player_module = pytest.importorskip("mne_lsl.player")
    types = ["eeg", "mag", "grad", "stim"]
    info = mne.create_info(["Fz", "M1", "G1", "STI"], 200.0, types)
    info["chs"][0]["loc"][:3] = [0.0, 0.08, 0.03]
    index = np.arange(12000.0)  # a minute: the player's first loop would send the whole file at once
    raw = mne.io.RawArray(
        np.array([index * 1e-6, index * 1e-15, index * 1e-13, index % 7]), info, verbose="error"
    )
    raw.set_annotations(mne.Annotations(np.arange(0.1, 60.0, 0.2)[:298], 0.0, ["face", "house"] * 149))
    player = player_module.PlayerLSL(raw, chunk_size=20, source_id=source_id)
    player.set_channel_units({"Fz": "microvolts"})
    player.start()
    try:
        inlet = SignalInlet(found_of_two(source_id, name="MNE-LSL-Player"), CLOCK)
        markers_inlet = MarkerInlet(found_of_two(source_id, type="annotations"), CLOCK)
        channels = inlet.describe().channels
        assert [channel.type.value for channel in channels] == types
        assert [channel.unit.value for channel in channels] == ["V", "T", "T/m", "1"]
        assert inlet.describe().scale == (1e-6, 1.0, 1.0, 1.0)
        assert channels[0].position_m == pytest.approx((0.0, 0.08, 0.03))
        samples, stamps = pull_all(inlet, 100)
        np.testing.assert_allclose(samples[:, 1] * 1e15, np.round(samples[:, 1] * 1e15), atol=1e-9)
        np.testing.assert_allclose(samples[:, 0] * 1e6, samples[:, 1] * 1e15, atol=1e-9)
        np.testing.assert_allclose(np.diff(stamps), 1 / 200, atol=1e-6)
        assert {marker.label for marker in pull_markers(markers_inlet, 6)} == {"face", "house"}
        inlet.close()
        markers_inlet.close()
    finally:
        player.stop()


MOCK_STREAM = """
import sys, warnings
warnings.simplefilter("ignore")
import mne, numpy as np
from mne_realtime import MockLSLStream
raw = mne.io.RawArray(np.arange(2000.0).reshape(1, -1) % 500 * 1e-6, mne.create_info(["Fz"], 100.0, "eeg"),
                      verbose="error")
with MockLSLStream(sys.argv[1], raw, "eeg"):
    sys.stdin.read()
"""


@pytest.fixture
def mock_lsl_stream(source_id: str) -> Iterator[None]:
    """mne-realtime forks, so it runs in a process that has no other threads."""
    if importlib.util.find_spec("mne_realtime") is None:
        pytest.skip("mne-realtime is not installed")
    process = subprocess.Popen([sys.executable, "-c", MOCK_STREAM, source_id], stdin=subprocess.PIPE)
    yield
    process.communicate()


def test_a_mock_stream_of_mne_realtime_needs_its_unit_stated(mock_lsl_stream, source_id) -> None:
    info = found(source_id)
    with pytest.raises(UserError, match=r"channel 'Fz' announces unit 'FIFF.*, which is not understood"):
        SignalInlet(info, CLOCK)
    inlet = SignalInlet(info, CLOCK, unit="V")
    channel = inlet.describe().channels[0]
    assert (channel.name, channel.type, channel.unit) == ("Fz", ChannelType.EEG, Unit.VOLT)
    samples, _ = pull_all(inlet, 20)
    np.testing.assert_allclose(np.diff(samples[:, 0]) % 500e-6, 1e-6, atol=1e-9)
    inlet.close()


def test_streams_of_another_session_are_not_seen(source_id, tmp_path: Path) -> None:
    """The configuration that the tests run under keeps them apart from a lab's streams."""
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("Amp", "EEG", 1, 100.0, "float32", source_id))
    code = (
        "import os, sys; from rtdecode.sources.lsl_config import use_loopback; use_loopback(); import pylsl;"
        "print(len(pylsl.resolve_byprop('source_id', sys.argv[1], 1, 1.0)));"
        "os.remove(os.environ['LSLAPICFG'])"
    )
    done = subprocess.run([sys.executable, "-c", code, source_id], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    del outlet
