"""A recording over real LSL: what is received is what was sent, when it was due."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pylsl
import pytest

from replay.faults import parse_fault
from replay.player import LslPlayer
from replay.recordings import Markers, Recording, array_reader
from replay.schedule import BREAK_S
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import stream_channels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

CHANNELS = (
    Channel(name="index", type=ChannelType.EEG, unit=Unit.VOLT, position_m=(0.01, -0.02, 0.09)),
    Channel(name="MEG 1", type=ChannelType.GRAD, unit=Unit.TESLA_PER_METRE),
    Channel(name="STI", type=ChannelType.STIM, unit=Unit.NONE),
)


def make_recording(
    n_samples: int = 300, rate_hz: float = 300.0, *, scale: float = 1e-6, **fields: Any
) -> Recording:
    samples = np.random.default_rng(1).normal(size=(n_samples, 3))
    samples[:, 0] = np.arange(n_samples) * scale
    onsets = np.array([0, 7, 7, n_samples // 2, n_samples - 1])
    return Recording(
        name="made",
        rate_hz=rate_hz,
        channels=CHANNELS,
        n_samples=n_samples,
        markers=Markers(onsets, ["first", "face", "käse", "house", "last"]),
        reader=fields.pop("reader", array_reader(samples)),
        **fields,
    )


class Received:
    """All that two inlets pulled until the player closed its streams."""

    def __init__(self) -> None:
        self.samples: list[np.ndarray] = []
        self.stamps: list[float] = []
        self.arrivals: list[float] = []
        self.labels: list[str] = []
        self.marker_stamps: list[float] = []
        self.signal_info: Any = None
        self.marker_info: Any = None

    @property
    def index(self) -> list[int]:
        return [round(row[0] * 1e6) for row in self.samples]


def find(source_id: str) -> Any:
    found = pylsl.resolve_byprop("source_id", source_id, timeout=20)
    assert found, f"no stream {source_id}"
    return found[0]


def inlet_of(source_id: str) -> pylsl.StreamInlet:
    inlet = pylsl.StreamInlet(find(source_id), recover=False)
    inlet.open_stream(10)
    return inlet


@contextmanager
def playing(player: LslPlayer, progress: Any = None) -> Iterator[Future[None]]:
    """Run the player in a thread, and stop it at the end; its errors are the test's."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(player.run, progress)
        try:
            yield running
        finally:
            player.stop()
            running.result(30)


def pull_until_lost(inlet: pylsl.StreamInlet) -> None:
    while True:
        inlet.pull_chunk(10.0, 1024, min_samples=1)


def receive(player: LslPlayer, n_samples: int, n_markers: int) -> Received:
    """Play and pull until so much has come."""
    got = Received()
    with playing(player):
        signal, markers = inlet_of(player.source_id), inlet_of(player.marker_source_id)
        got.signal_info, got.marker_info = signal.info(), markers.info()
        while len(got.stamps) < n_samples:
            samples, stamps = signal.pull_chunk(10.0, 1024, min_samples=1, as_numpy=True)
            assert len(stamps), "the stream fell silent"
            got.samples += list(samples)
            got.stamps += stamps.tolist()
            got.arrivals += [pylsl.local_clock()] * len(stamps)
        while len(got.labels) < n_markers:
            sample, stamp = markers.pull_sample(10.0)
            assert sample is not None, "a marker did not come"
            got.labels.append(sample[0])
            got.marker_stamps.append(stamp)
    return got


@pytest.fixture
def source_id() -> str:
    return f"test-player-{uuid.uuid4()}"


@pytest.mark.parametrize("chunk_size", [1, 10, 32])
@pytest.mark.parametrize("rate_hz", [256.0, 1200.0])
def test_samples_and_stamps_arrive_exactly_and_markers_carry_their_samples_stamp(
    source_id: str, chunk_size: int, rate_hz: float
) -> None:
    recording = make_recording(n_samples=300, rate_hz=rate_hz)
    got = receive(LslPlayer(recording, source_id=source_id, chunk_size=chunk_size), 300, 5)
    np.testing.assert_array_equal(got.samples, recording.read(0, 300))
    start = got.stamps[0]
    assert got.stamps == [start + i / rate_hz for i in range(300)]
    assert got.labels == list(recording.markers.label)
    assert got.marker_stamps == [got.stamps[sample] for sample in recording.markers.sample]


def test_no_chunk_comes_before_its_last_sample_is_due(source_id: str) -> None:
    got = receive(LslPlayer(make_recording(150), source_id=source_id, chunk_size=10), 150, 5)
    newest = np.repeat(np.array(got.stamps)[9::10], 10)
    assert np.all(np.array(got.arrivals) >= newest)


def test_the_streams_say_what_they_are(source_id: str) -> None:
    recording = make_recording(60, simulated=True)
    got = receive(LslPlayer(recording, source_id=source_id, name="Amp", speed=2.0), 60, 5)
    info = got.signal_info
    assert (info.name(), info.type(), info.nominal_srate()) == ("Amp", "MEG", 600.0)
    assert info.get_channel_labels() == ["index", "MEG 1", "STI"]
    assert info.get_channel_types() == ["EEG", "GRAD", "STIM"]
    assert info.get_channel_units() == ["V", "T/m", "none"]
    marker_info = got.marker_info
    assert (marker_info.name(), marker_info.type()) == ("Amp-markers", "Markers")
    assert (marker_info.nominal_srate(), marker_info.channel_format()) == (0.0, pylsl.cf_string)
    for each in (info, marker_info):
        ours = each.desc().child("rtdecode")
        assert ours.child_value("simulated") == "true"
        assert ours.child_value("speed") == "2.0"
        assert ours.child_value("recording") == "made"
    channels, scale = stream_channels(info)  # what the service makes of it
    assert [(c.name, c.type, c.unit) for c in channels] == [(c.name, c.type, c.unit) for c in CHANNELS]
    assert channels[0].position_m == pytest.approx(CHANNELS[0].position_m)
    assert channels[1].position_m is None
    assert scale == (1.0, 1.0, 1.0)


def test_speed_compresses_the_stamps(source_id: str) -> None:
    got = receive(LslPlayer(make_recording(300), source_id=source_id, speed=4.0), 300, 5)
    assert got.stamps == [got.stamps[0] + i / 1200.0 for i in range(300)]


def test_original_stamps_are_shifted_by_a_constant_and_come_in_bursts(source_id: str) -> None:
    stamps = np.repeat(np.arange(20) * 0.04, 12) + np.tile(np.arange(12) / 300, 20)
    stamps += np.repeat(np.arange(20) % 3 * 0.007, 12)  # each burst at another distance from the one before
    recording = make_recording(240, stamps=1234.5 + stamps)
    got = receive(LslPlayer(recording, source_id=source_id, stamps="original"), 240, 5)
    np.testing.assert_allclose(np.array(got.stamps) - got.stamps[0], stamps, atol=1e-9)
    newest = np.repeat(np.array(got.stamps)[11::12], 12)
    assert np.all(np.array(got.arrivals) >= newest)
    # A marker lies on its sample, whose own stamp scatters: it carries the time of the line through all.
    rows = np.arange(240)
    line = np.polyval(np.polyfit(rows, got.stamps, 1), rows)
    np.testing.assert_allclose(got.marker_stamps, line[recording.markers.sample], atol=1e-6)


def test_float32_only_where_it_loses_nothing(source_id: str) -> None:
    samples = np.random.default_rng(0).normal(size=(900, 3)).astype(np.float32).astype(np.float64)
    samples[3, 1] = np.nan
    exact = make_recording(900, reader=array_reader(samples))
    assert LslPlayer(exact).value_format == "float32"
    beyond = samples.copy()
    beyond[899, 2] = 1e39  # no float32, and at the very end
    assert LslPlayer(make_recording(900, reader=array_reader(beyond))).value_format == "double64"
    assert LslPlayer(make_recording(900)).value_format == "double64"

    got = receive(LslPlayer(exact, source_id=source_id, speed=3.0), 900, 5)
    assert got.signal_info.channel_format() == pylsl.cf_float32
    np.testing.assert_array_equal(got.samples, samples)


def test_a_loop_begins_again_after_a_pause_and_ends_when_stopped(source_id: str) -> None:
    player = LslPlayer(make_recording(60), source_id=source_id, speed=5.0, loop=True)
    got = receive(player, 150, 12)
    assert got.index[:150] == (list(range(60)) * 3)[:150]
    assert got.labels[5:10] == got.labels[:5]
    rate_hz = 5 * 300.0
    assert got.stamps[60] - got.stamps[59] == pytest.approx(1 / rate_hz + BREAK_S / 5)
    assert got.marker_stamps[5] == got.stamps[60]


def test_a_loop_without_markers_sends_its_signal(source_id: str) -> None:
    recording = replace(make_recording(60), markers=Markers(np.array([], np.int64), []))
    got = receive(LslPlayer(recording, source_id=source_id, speed=5.0, loop=True), 150, 0)
    assert got.index[:150] == (list(range(60)) * 3)[:150]
    assert got.labels == []


def test_a_break_of_the_recording_is_a_pause(source_id: str) -> None:
    recording = make_recording(60, segment_starts=(0, 25))
    got = receive(LslPlayer(recording, source_id=source_id, speed=5.0), 60, 5)
    steps = np.diff(got.stamps)
    assert np.flatnonzero(steps > 0.1).tolist() == [24]
    assert got.marker_stamps == [got.stamps[sample] for sample in recording.markers.sample]


def test_nothing_is_sent_before_both_streams_are_listened_to(source_id: str) -> None:
    player = LslPlayer(make_recording(60), source_id=source_id)
    progress: list[int] = []
    with playing(player, progress.append):
        signal = inlet_of(source_id)
        assert signal.pull_sample(0.5)[0] is None
        assert not progress
        markers = inlet_of(player.marker_source_id)
        assert signal.pull_sample(10)[0] is not None
        assert markers.pull_sample(10)[0] == ["first"]


def test_a_recording_without_markers_waits_for_its_signal_alone(source_id: str) -> None:
    samples = np.zeros((30, 3))
    recording = Recording(
        name="unmarked",
        rate_hz=300.0,
        channels=CHANNELS,
        n_samples=30,
        markers=Markers(np.empty(0, np.int64), []),
        reader=array_reader(samples),
    )
    player = LslPlayer(recording, source_id=source_id)
    with playing(player):
        assert inlet_of(source_id).pull_sample(10)[0] is not None


def test_it_names_the_stream_that_nobody_listens_to(source_id: str) -> None:
    player = LslPlayer(make_recording(30), source_id=source_id)
    poll = threading.Event()
    with playing(player):
        while player.unheard != "made":
            poll.wait(0.01)
        inlet = inlet_of(source_id)
        while player.unheard != "made-markers":
            poll.wait(0.01)
        assert inlet.pull_sample(0.0)[0] is None
        markers = inlet_of(f"{source_id}-markers")
        while player.unheard is not None:
            poll.wait(0.01)
        assert markers.pull_sample(10)[0] == ["first"]


def test_waiting_ends_with_one_line_when_the_time_is_up(source_id: str) -> None:
    player = LslPlayer(make_recording(30), source_id=source_id, wait_timeout_s=0.2)
    with pytest.raises(UserError, match=r"nobody listened to stream 'made' within 0\.2 s.*--no-wait"):
        player.run()


def test_without_waiting_it_runs_to_its_end_and_tells_its_progress(source_id: str) -> None:
    progress: list[int] = []
    LslPlayer(make_recording(300), source_id=source_id, wait=False, speed=2.0).run(progress.append)
    assert progress == sorted(progress)
    assert len(progress) >= 4
    assert progress[-1] == 300


def test_the_last_chunk_waits_for_its_consumer(source_id: str) -> None:
    player = LslPlayer(make_recording(60), source_id=source_id, speed=2.0, grace_s=30)
    with playing(player) as running:
        signal, markers = inlet_of(source_id), inlet_of(player.marker_source_id)
        while signal.samples_available() < 60:
            time.sleep(0.01)
        assert not running.done()  # all was sent, nothing was pulled, and the streams are still there
        assert len(signal.pull_chunk(10, 60, as_numpy=True)[0]) == 60
        assert len(markers.pull_chunk(10, 5)[0]) == 5
        del signal, markers
        running.result(20)  # well before the grace time is over


def test_a_recording_that_cannot_be_read_further_ends_with_its_error(source_id: str) -> None:
    def read(start: int, stop: int) -> np.ndarray:
        if stop > 600:
            raise UserError("the disk is gone")
        return np.zeros((stop - start, 3)) + 1e-7

    player = LslPlayer(make_recording(900, reader=read), source_id=source_id, wait=False, speed=10)
    with pytest.raises(UserError, match="the disk is gone"):
        player.run()


def test_what_is_faulty_says_so_and_its_truth_is_known(source_id: str) -> None:
    faults = [parse_fault(text) for text in ("drop:share=0.1", "jitter", "marker-missing")]
    player = LslPlayer(make_recording(300), source_id=source_id, faults=faults, seed=4)
    truth = player.programme.truth()
    got = receive(player, len(truth.sample), len(truth.mark_sample))
    for info in (got.signal_info, got.marker_info):
        said = info.desc().child("rtdecode").child_value("faults")
        assert said == "drop:share=0.1; jitter; marker-missing; seed=4"
    assert got.index == truth.sample.tolist()
    assert player.start is not None
    assert got.stamps == (player.start + truth.stamp).tolist()
    assert got.labels == list(truth.mark_label)
    assert got.marker_stamps == (player.start + truth.mark_stamp).tolist()


def test_a_disconnected_stream_is_gone_and_comes_back_under_its_source_id(source_id: str) -> None:
    player = LslPlayer(
        make_recording(3600),
        source_id=source_id,
        faults=[parse_fault("missing:at=0.3,for=0.5,channel=STI")],
    )
    with playing(player):
        signal, _ = inlet_of(source_id), inlet_of(player.marker_source_id)
        with pytest.raises(pylsl.util.LostError):
            pull_until_lost(signal)
        back = inlet_of(source_id)
        assert back.info().get_channel_labels() == ["index", "MEG 1"]
        samples, stamps = back.pull_chunk(10.0, 1024, min_samples=1, as_numpy=True)
        assert player.start is not None
        np.testing.assert_allclose(samples[:, 0] * 1e6, (stamps - player.start) * 300.0, atol=1e-3)
        assert stamps[0] >= player.start + 0.8


def test_bursts_of_a_fault_and_of_the_recording_exclude_each_other() -> None:
    recording = make_recording(30, stamps=np.arange(30) / 300)
    with pytest.raises(UserError, match="leave one out"):
        LslPlayer(recording, stamps="original", faults=[parse_fault("bursts")])


@pytest.mark.parametrize("settings", [{"chunk_size": 0}, {"speed": 0.0}, {"speed": float("nan")}])
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"chunk|speed"):
        LslPlayer(make_recording(30), **settings)
