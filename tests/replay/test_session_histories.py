"""Whatever an engine lives through, on one thread or on many, its session runs again to the same answers."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_decoder import index_manifest, write_index_decoder

from replay.recordings import read_recording
from replay.session import replay_session
from replay.virtual import VirtualRun
from rtdecode.alarms import Alarms
from rtdecode.bus.envelope import Envelope
from rtdecode.config import ServeConfig
from rtdecode.connection import StreamFacts
from rtdecode.contracts import Channel, Verdict
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import UserError
from rtdecode.gate import MarkerGate
from rtdecode.journal.reader import RecordedSession
from rtdecode.journal.session import Session
from rtdecode.journal.writer import Journal
from rtdecode.signal.design import design_iir
from rtdecode.signal.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from replay.comparison import Comparison
    from rtdecode.connection import Job
    from rtdecode.contracts import Message

RATE_HZ = 256.0
NAMES = ("eeg", "meg")
POSITIONS = np.random.default_rng(0).normal(size=(6, 3))
CHANNELS = tuple(
    Channel(name=f"CH{i}", type="eeg", unit="V", position_m=tuple((0.1 * p / np.linalg.norm(p)).tolist()))
    for i, p in enumerate(POSITIONS)
)
FACTS = StreamFacts(
    channels=(*CHANNELS, Channel(name="TRIG", type="stim", unit="1")), rate_hz=RATE_HZ, host="lab"
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> ServeConfig:
    folder = tmp_path_factory.mktemp("decoders")
    steps = [design_iir(RATE_HZ, highpass_hz=2.0, lowpass_hz=40.0)]
    for name, window in (("marked", (-10, 30)), ("strided", (0, 20))):
        manifest = index_manifest(
            name=name,
            window=window,
            channels=CHANNELS,
            front_end=steps,
            on_missing="repair",
            max_missing=2,
        )
        write_index_decoder(folder / f"{name}.onnx", manifest)
    return ServeConfig(
        streams=[{"id": name, "lsl": {"name": name}} for name in NAMES],
        markers={"triggers": [{"stream": "eeg", "channel": "TRIG"}], "ignore": ["no*"], "delay_s": 0.01},
        decoders=[
            {"path": folder / "marked.onnx", "stream": "eeg"},
            {"path": folder / "marked.onnx", "stream": "meg"},
            {"path": folder / "strided.onnx", "stream": "eeg", "stride_ms": 200},
        ],
        service={"timeout_s": 0.05, "gap_policy": "interpolate"},
        quality={"reject_bad_channels": 2},
    )


class Rig:
    """An engine, its journal and a bus that leads nowhere else."""

    def __init__(self, config: ServeConfig, root: Path, clock: object) -> None:
        marked, _, strided = (Decoder(entry.path) for entry in config.decoders)
        self.decoders = (marked, strided)
        by_stream = {"eeg": [marked, strided], "meg": [marked]}
        self.clock = clock
        self.envelope = Envelope("service", clock.now)
        self.publishing = threading.Lock()
        self.journal = Journal(root, 100_000, clock, Alarms(lambda _: None, lambda: False))
        strides_ms = {("eeg", "strided"): 200.0}
        session = Session.of(config, by_stream, strides_ms=strides_ms, boot_id="b", simulated=True)
        self.journal.start(session, None)
        self.engine = Engine(
            by_stream,
            MarkerGate.from_settings(config.markers),
            clock,
            self.emit,
            config.service,
            quality=config.quality,
            strides_ms=strides_ms,
            triggers=config.markers.triggers,
            marker_delay_s=config.markers.delay_s,
            recorder=self.journal,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.close(Verdict.SHUTDOWN, "the service stopped")
        self.journal.stop()

    def emit(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        with self.publishing:
            self.journal.said(self.envelope.seal(message, payload))

    def again(self) -> tuple[Comparison, VirtualRun]:
        run = VirtualRun()
        session = RecordedSession(self.journal.folder)
        return replay_session(session, self.decoders, emit=run.take), run

    def check(self) -> Comparison:
        comparison, _ = self.again()
        assert comparison.differences == []
        assert comparison.is_same
        assert comparison.is_complete
        assert comparison.lost == comparison.beyond == 0
        assert comparison.verdicts_same == sum(self.engine.accounts().requests.values())
        assert self.engine.accounts().n_open == 0
        return comparison


class Stream:
    """Samples of one stream, with what goes wrong on the way."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.name, self.n = rig, name, 0
        self.random = np.random.default_rng(NAMES.index(name))
        rig.engine.connect(name, FACTS)

    def chunk(self, n: int, code: int = 0) -> None:
        samples = self.random.normal(size=(n, 7)) * 1e-5
        samples[:, 6] = 0
        samples[0, 6] = code
        stamps = (self.n + np.arange(n)) / RATE_HZ
        self.n += n
        self.rig.engine.feed(self.name, samples, stamps, 0.125, self.rig.clock.now())

    def advance(self) -> list[Job]:
        return self.rig.engine.advance(self.name)


class HandClock:
    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time


OPERATIONS = st.one_of(
    st.tuples(st.just("feed"), st.sampled_from(NAMES), st.integers(1, 90)),
    st.tuples(st.just("trigger"), st.just("eeg"), st.integers(1, 255)),
    st.tuples(st.just("mark"), st.sampled_from(["a", "b", "no"]), st.integers(-100, 100)),
    st.tuples(st.just("gap"), st.sampled_from(NAMES), st.integers(-40, 200)),
    st.tuples(st.just("lose"), st.sampled_from(NAMES), st.just(0)),
    st.tuples(st.just("bad"), st.sampled_from(NAMES), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.just(""), st.integers(1, 300)),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=st.lists(OPERATIONS, max_size=80), overflow=st.sets(st.integers(0, 40)))
def test_any_history_runs_again(
    config: ServeConfig, tmp_path: Path, operations: list[tuple[str, str, int]], overflow: set[int]
) -> None:
    clock = HandClock()
    with Rig(config, tmp_path, clock) as rig:
        streams = {name: Stream(rig, name) for name in NAMES}
        n_jobs = 0
        for what, name, number in operations:
            stream = streams.get(name)
            match what:
                case "feed":
                    stream.chunk(number)
                case "trigger":
                    stream.chunk(8)
                    stream.chunk(20, code=number)
                case "mark":
                    onset = (streams["eeg"].n + number) / RATE_HZ
                    rig.engine.admit(
                        Marker("m", name, stamp=onset, time=onset + 0.125, arrival=clock.now(), host="lab")
                    )
                case "gap":
                    stream.n = max(0, stream.n + number)
                case "lose":
                    rig.engine.disconnect(name, Verdict.GAP, "the stream was lost")
                    rig.engine.admit(Marker("m", "lost", stamp=0.0, time=0.125, arrival=clock.now()))
                    streams[name] = Stream(rig, name)
                case "bad":
                    rig.engine.declare_bad(name, [f"CH{i}" for i in range(number)])
                case "wait":
                    clock.time += number / 1000
            for one in streams.values():
                for job in one.advance():
                    if n_jobs in overflow:
                        rig.engine.end(job, Verdict.OVERFLOW, "the queue was full")
                    else:
                        rig.engine.decode([job])
                    n_jobs += 1
    rig.check()


class RealClock:
    def now(self) -> float:
        return time.perf_counter()


def test_threads_that_race_leave_a_session_that_runs_again(config: ServeConfig, tmp_path: Path) -> None:
    with Rig(config, tmp_path, RealClock()) as rig, ExitStack() as stack:
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1e-6)  # so that threads meet at every place where they can
        streams = [Stream(rig, name) for name in NAMES]
        begin = threading.Barrier(4)
        faults: list[BaseException] = []

        def follow(stream: Stream) -> None:
            random = np.random.default_rng(stream.n)
            begin.wait()
            for _ in range(200):
                stream.chunk(int(random.integers(1, 33)), code=int(random.integers(0, 3)))
                if random.random() < 0.3:
                    stream.n += 100
                for job in stream.advance():
                    rig.engine.decode([job])
                if random.random() < 0.01:
                    rig.engine.disconnect(stream.name, Verdict.GAP, "the stream was lost")
                    rig.engine.connect(stream.name, FACTS)

        def mark(seed: int) -> None:
            random = np.random.default_rng(seed)
            begin.wait()
            for index in range(400):
                onset = (streams[seed].n + int(random.integers(-50, 50))) / RATE_HZ
                label = "no" if index % 7 == 0 else str(index % 5)
                rig.engine.admit(
                    Marker("m", label, stamp=onset, time=onset + 0.125, arrival=rig.clock.now(), host="lab")
                )
                if index % 50 == 0:
                    rig.engine.declare_bad("eeg", [f"CH{index % 3}"])
                time.sleep(0)

        def guarded(do: object, *arguments: object) -> None:
            try:
                do(*arguments)
            except BaseException as fault:
                faults.append(fault)

        threads = [
            *(threading.Thread(target=guarded, args=(follow, stream)) for stream in streams),
            *(threading.Thread(target=guarded, args=(mark, seed)) for seed in range(2)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
    comparison = rig.check()
    assert comparison.verdicts_same > 500


def test_triggers_are_found_again_in_the_samples(config: ServeConfig, tmp_path: Path) -> None:
    with Rig(config, tmp_path, HandClock()) as rig:
        stream = Stream(rig, "eeg")
        for code in (3, 4):
            stream.chunk(50)
            stream.chunk(50, code=code)
    rig.check()
    about = Session.load(rig.journal.folder)
    about.configuration["markers"]["triggers"][0]["mask"] = 4
    about.save(rig.journal.folder)
    comparison, _ = rig.again()
    assert not comparison.is_same
    assert comparison.triggers_different == 1
    assert "trigger '3' of eeg/TRIG at sample 50: recorded, but not found again" in comparison.differences


def test_a_trigger_without_a_stamp_is_dropped_again(config: ServeConfig, tmp_path: Path) -> None:
    with Rig(config, tmp_path, HandClock()) as rig:
        stream = Stream(rig, "eeg")
        stream.chunk(50)
        samples, stamps = np.zeros((50, 7)), (50 + np.arange(50)) / RATE_HZ
        samples[[10, 30], 6] = 3, 4
        stamps[10] = np.nan
        rig.engine.feed("eeg", samples, stamps, 0.125, rig.clock.now())
    assert rig.engine.accounts().markers["accepted"] == 1
    rig.check()


def test_a_configuration_with_a_trigger_channel_that_was_not_recorded_is_one_line(
    config: ServeConfig, tmp_path: Path
) -> None:
    with Rig(config, tmp_path, HandClock()) as rig:
        Stream(rig, "eeg").chunk(50)
    about = Session.load(rig.journal.folder)
    about.configuration["markers"]["triggers"][0]["channel"] = "STI"
    about.save(rig.journal.folder)
    with pytest.raises(UserError, match="stream 'eeg' has no trigger channel 'STI'"):
        rig.again()


def test_the_recording_alone_is_an_xdf_file_whose_markers_are_those_of_the_experiment(
    config: ServeConfig, tmp_path: Path
) -> None:
    clock = HandClock()
    with Rig(config, tmp_path, clock) as rig:
        stream = Stream(rig, "eeg")
        for step in range(8):  # what the journal notes is stamped amid the data
            clock.time = 0.1 * step
            stream.chunk(40)
            onset = (40 * step + 7) / RATE_HZ
            rig.engine.admit(Marker("m", str(step), stamp=onset, time=onset + 0.125, arrival=clock.time))
            stream.advance()
    recording = read_recording(rig.journal.folder / "recording.xdf")
    assert [channel.name for channel in recording.channels] == [channel.name for channel in FACTS.channels]
    assert recording.n_samples == 320
    assert list(recording.markers.label) == [str(step) for step in range(8)]
    assert list(recording.markers.sample) == [40 * step + 7 for step in range(8)]
