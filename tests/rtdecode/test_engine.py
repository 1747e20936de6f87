from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from index_decoder import index_channels, index_manifest, placed_channels, write_index_decoder
from onnx import numpy_helper

from rtdecode.bus.wire import decode, encode
from rtdecode.config import QualitySettings, ServiceSettings, TriggerChannel
from rtdecode.connection import StreamFacts
from rtdecode.contracts import (
    Channel,
    EmbeddingMessage,
    Fate,
    MarkerMessage,
    Quality,
    Verdict,
    VerdictMessage,
)
from rtdecode.decoder import Decoder
from rtdecode.engine import Engine
from rtdecode.errors import MismatchError, UserError
from rtdecode.gate import MarkerGate
from rtdecode.signal.design import design_iir
from rtdecode.signal.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rtdecode.connection import Job
    from rtdecode.contracts import Message

RATE_HZ = 256.0


class Bench:
    """An engine with one decoder on stream ``eeg``, a clock set by hand, and what it said."""

    def __init__(
        self, decoders: Sequence[Decoder], settings: ServiceSettings | None = None, **options: object
    ) -> None:
        self.time = 0.0
        self.said: list[tuple[Message, list[np.ndarray]]] = []
        self.engine = Engine(
            {"eeg": decoders},
            MarkerGate(),
            self,
            self.emit,
            settings or ServiceSettings(timeout_s=1.0),
            **options,
        )
        self.n_samples = 0
        self.n_lost = 0

    def now(self) -> float:
        return self.time

    def emit(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        self.said.append((message, list(payload)))

    def of(self, kind: type) -> list:
        return [message for message, _ in self.said if isinstance(message, kind)]

    def connect(self, channels: Sequence[Channel] = index_channels(), **options: object) -> None:
        self.engine.connect("eeg", StreamFacts(channels=tuple(channels), rate_hz=RATE_HZ, **options))

    def feed(self, n: int, extra: np.ndarray | None = None, speed: float = 1.0) -> None:
        for job in self.complete(n, extra, speed):
            self.engine.decode([job])

    def complete(self, n: int, extra: np.ndarray | None = None, speed: float = 1.0) -> list[Job]:
        """Feed, and leave the windows that are complete to be decoded."""
        index = np.arange(self.n_samples, self.n_samples + n)
        samples = np.zeros((n, 3))
        samples[:, 0] = index
        if extra is not None:
            samples = np.column_stack([samples, extra])
        self.n_samples += n
        stamps = (index + self.n_lost) / (RATE_HZ * speed)
        self.time = float(stamps[-1])
        self.engine.feed("eeg", samples, stamps, 0.0, self.time)
        return self.engine.advance("eeg")

    def mark(self, time: float, label: str = "a") -> None:
        self.engine.admit(Marker(source="m", label=label, stamp=time, time=time, arrival=self.time))


@pytest.fixture
def decoder(tmp_path: Path) -> Decoder:
    write_index_decoder(tmp_path / "d.onnx")
    return Decoder(tmp_path / "d.onnx")


def test_a_marker_becomes_a_marker_message_an_embedding_and_a_verdict(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.mark(50 / RATE_HZ)
    bench.feed(100)
    assert [type(message) for message, _ in bench.said] == [MarkerMessage, EmbeddingMessage, VerdictMessage]
    (_, (embedding,)) = bench.said[1]
    assert embedding.tolist() == [50, 70]
    assert bench.of(VerdictMessage)[0].verdict is Verdict.EMITTED
    accounts = bench.engine.accounts()
    assert (accounts.markers[Fate.ACCEPTED], accounts.requests[Verdict.EMITTED], accounts.n_open) == (1, 1, 0)


def test_delays_shift_the_window_and_are_recorded(decoder: Decoder) -> None:
    bench = Bench([decoder], marker_delay_s=10 / RATE_HZ)
    bench.connect(delay_s=5 / RATE_HZ)
    bench.mark(50 / RATE_HZ)
    bench.feed(200)
    (message,) = bench.of(EmbeddingMessage)
    # The picture appeared 10 samples after its marker, and the stamps of the data are 5 samples late.
    assert message.onset_sample == 65
    assert message.marker_delay_s == 10 / RATE_HZ
    assert message.stream_delay_s == 5 / RATE_HZ
    assert message.stamps.marker_source == 50 / RATE_HZ
    assert message.stamps.marker_corrected == 60 / RATE_HZ


def test_a_trigger_channel_marks_the_very_sample_it_rises_on(decoder: Decoder) -> None:
    bench = Bench([decoder], triggers=[TriggerChannel(stream="eeg", channel="TRIG", mask=0xFF)])
    bench.connect((*index_channels(), Channel(name="TRIG", type="stim", unit="1")))
    codes = np.zeros(300)
    codes[[33, 34]] = 0x107
    codes[150] = 2
    for start in range(0, 300, 60):
        bench.feed(60, codes[start : start + 60])
    assert [(m.label, m.source) for m in bench.of(MarkerMessage)] == [("7", "eeg/TRIG"), ("2", "eeg/TRIG")]
    assert [(m.onset_sample, m.residual_us) for m in bench.of(EmbeddingMessage)] == [(33, 0), (150, 0)]


def test_a_trigger_channel_that_is_not_there_is_refused(decoder: Decoder) -> None:
    bench = Bench([decoder], triggers=[TriggerChannel(stream="eeg", channel="TRIG")])
    with pytest.raises(MismatchError, match="no trigger channel 'TRIG'"):
        bench.connect()


def test_a_decoder_that_gives_no_finite_number_fails_the_request_alone(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "d.onnx")
    model = onnx.load(tmp_path / "d.onnx")
    spatial = next(tensor for tensor in model.graph.initializer if tensor.name == "spatial")
    spatial.CopyFrom(numpy_helper.from_array(np.full((3, 3), np.nan, np.float32), "spatial"))
    onnx.save(model, tmp_path / "d.onnx")
    bench = Bench([Decoder(tmp_path / "d.onnx")])
    bench.connect()
    bench.mark(50 / RATE_HZ)
    bench.feed(200)
    assert bench.of(EmbeddingMessage) == []
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.FAILED]


def test_windows_that_go_together_take_one_run_and_end_each_by_itself(decoder: Decoder, monkeypatch) -> None:
    bench = Bench([decoder])
    bench.connect()
    for number, sample in enumerate((30, 40, 50)):
        bench.mark(sample / RATE_HZ, f"m{number}")
    jobs = bench.complete(100)
    assert all(job.goes_with(jobs[0]) for job in jobs)
    run, n_windows = decoder.run, []

    def spoil_one(windows: np.ndarray, *more: object) -> dict[str, np.ndarray]:
        n_windows.append(len(windows))
        outputs = run(windows, *more)
        outputs["embedding"][1] = np.nan
        return outputs

    monkeypatch.setattr(decoder, "run", spoil_one)
    bench.engine.decode(jobs)
    assert n_windows == [3]
    assert [payload[0].tolist() for _, payload in bench.said if payload] == [[30, 50], [50, 70]]
    verdicts = [(message.label, message.verdict) for message in bench.of(VerdictMessage)]
    assert verdicts == [("m0", Verdict.EMITTED), ("m1", Verdict.FAILED), ("m2", Verdict.EMITTED)]


@pytest.mark.parametrize("speed", [1.0, 30.0])
def test_each_window_goes_with_its_residual_in_seconds_of_the_recording(tmp_path: Path, speed: float) -> None:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(shift_residual=True))
    decoder = Decoder(tmp_path / "d.onnx")
    bench = Bench([decoder])
    bench.connect(speed=speed)
    places = [30.25, 44.75, 45.5]
    for place in places:
        bench.mark(place / (RATE_HZ * speed), f"at {place}")
    bench.engine.decode(bench.complete(600, speed=speed))
    firsts = [payload[0][0] for _, payload in bench.said if payload]
    expected = [30 + 0.25 / RATE_HZ, 45 - 0.25 / RATE_HZ, 45 + 0.5 / RATE_HZ]
    np.testing.assert_allclose(firsts, expected, rtol=0, atol=1e-5)


def test_a_run_that_fails_ends_all_its_requests(decoder: Decoder, monkeypatch) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.mark(30 / RATE_HZ)
    bench.mark(40 / RATE_HZ, "b")
    jobs = bench.complete(100)

    def fail(*_: object) -> None:
        raise RuntimeError("no memory")

    monkeypatch.setattr(decoder, "run", fail)
    bench.engine.decode(jobs)
    assert [message.reason for message in bench.of(VerdictMessage)] == ["RuntimeError: no memory"] * 2
    assert bench.engine.accounts().n_open == 0


def test_requests_decoded_together_are_accounted_for_also_when_the_bus_is_gone(
    decoder: Decoder, monkeypatch
) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.mark(30 / RATE_HZ)
    bench.mark(40 / RATE_HZ, "b")
    jobs = bench.complete(100)

    def refuse(*_: object) -> None:
        raise OSError("the bus is gone")

    monkeypatch.setattr(bench.engine._answers, "_emit", refuse)
    with pytest.raises(OSError, match="the bus is gone"):
        bench.engine.decode(jobs)
    accounts = bench.engine.accounts()
    assert (accounts.requests[Verdict.FAILED], accounts.n_open) == (2, 0)
    with bench.engine.turn.taken():  # it was handed on
        pass


def test_data_that_never_come_are_a_timeout(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.mark(99 / RATE_HZ)
    assert bench.engine.advance("eeg") == []
    bench.time += 10
    assert bench.engine.advance("eeg") == []
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.TIMEOUT]


def test_a_lost_stream_ends_its_requests_and_comes_back_as_a_new_segment(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.mark(95 / RATE_HZ, "before")
    bench.engine.advance("eeg")
    bench.mark(97 / RATE_HZ, "not looked at yet")
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.GAP] * 2
    bench.connect()
    bench.feed(100)
    bench.mark(150 / RATE_HZ)
    bench.feed(100)
    (message,) = bench.of(EmbeddingMessage)
    assert (message.segment, message.onset_sample) == (1, 50)
    assert bench.engine.accounts().n_open == 0


def test_two_decoders_of_one_name_are_refused(decoder: Decoder, tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "other.onnx", index_manifest(window=(0, 30)))
    with pytest.raises(UserError, match="two decoders are called 'index'"):
        Bench([decoder, Decoder(tmp_path / "other.onnx")])
    with pytest.raises(UserError, match="stream 'eeg' has decoder 'index' twice"):
        Bench([decoder, decoder])


def test_one_decoder_serves_several_streams(decoder: Decoder) -> None:
    bench = Bench([])
    engine = Engine({"a": [decoder], "b": [decoder]}, MarkerGate(), bench, bench.emit, ServiceSettings())
    for stream in ("a", "b"):
        engine.connect(stream, StreamFacts(channels=index_channels(), rate_hz=RATE_HZ))
    engine.admit(Marker(source="m", label="x", stamp=0.2, time=0.2, arrival=0.2))
    stamps = np.arange(200) / RATE_HZ
    for stream, offset in (("a", 0.0), ("b", 1000.0)):
        engine.feed(stream, np.full((200, 3), offset), stamps, 0.0, 0.8)
        for job in engine.advance(stream):
            engine.decode([job])
    first = {
        message.request.stream: payload[0][0]
        for message, payload in bench.said
        if isinstance(message, EmbeddingMessage)
    }
    assert first == {"a": 0.0, "b": 1000.0}
    accounts = engine.accounts()
    assert (accounts.requests[Verdict.EMITTED], accounts.n_open) == (2, 0)


def test_decoders_of_different_front_ends_share_a_stream(tmp_path: Path) -> None:
    for name, channels in (("all", index_channels()), ("one", index_channels()[:1])):
        write_index_decoder(tmp_path / name, index_manifest(name=name, channels=channels))
    bench = Bench([Decoder(tmp_path / "all"), Decoder(tmp_path / "one")])
    bench.connect()
    bench.mark(50 / RATE_HZ)
    bench.feed(200)
    assert {message.request.decoder for message in bench.of(EmbeddingMessage)} == {"all", "one"}


def test_delays_are_seconds_of_the_recording_also_when_it_is_replayed_faster(decoder: Decoder) -> None:
    bench = Bench([decoder], marker_delay_s=10 / RATE_HZ)
    bench.connect(delay_s=5 / RATE_HZ, speed=4.0)
    bench.mark(50 / (4 * RATE_HZ))
    bench.feed(300, speed=4.0)
    (message,) = bench.of(EmbeddingMessage)
    assert message.onset_sample == 65


def test_closing_ends_windows_that_are_complete_but_were_not_taken(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(200)
    for index in range(3):
        bench.mark((50 + index) / RATE_HZ, str(index))
    bench.engine.close(Verdict.SHUTDOWN, "the end")
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.SHUTDOWN] * 3
    assert bench.engine.accounts().n_open == 0


def test_a_marker_for_a_stream_that_is_gone_ends_at_once(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    bench.mark(200 / RATE_HZ)
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.GAP]
    assert bench.engine.accounts().n_open == 0


def test_a_marker_from_a_wrong_clock_times_out_nevertheless(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.mark(1.7e9)
    bench.feed(5 * 256)
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.TIMEOUT]


def test_a_marker_that_comes_late_waits_as_long_as_any_other(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.feed(100)
    bench.time = 5.0  # data and marker are both held up
    bench.mark(110 / RATE_HZ)
    assert bench.engine.advance("eeg") == []
    assert bench.of(VerdictMessage) == []
    bench.feed(100)
    assert [message.verdict for message in bench.of(VerdictMessage)] == [Verdict.EMITTED]


def test_each_stream_gets_each_marker_and_a_trigger_its_own_sample_alone(tmp_path: Path) -> None:
    decoders = {}
    for name in ("eeg", "meg"):
        write_index_decoder(tmp_path / name, index_manifest(name=name))
        decoders[name] = [Decoder(tmp_path / name)]
    bench = Bench(decoders["eeg"])
    engine = Engine(
        decoders,
        MarkerGate(),
        bench,
        bench.emit,
        ServiceSettings(),
        triggers=[TriggerChannel(stream="eeg", channel="CH1")],
    )
    for name in decoders:
        engine.connect(name, StreamFacts(channels=index_channels(), rate_hz=RATE_HZ))
    samples = np.zeros((300, 3))
    samples[:, 0] = np.arange(300)
    samples[40:43, 1] = 5
    stamps = np.arange(300) / RATE_HZ
    # The second stream began 20 samples later, so that its sample of the same time has another number.
    engine.feed("meg", samples, stamps, 20 / RATE_HZ, 320 / RATE_HZ)
    engine.feed("eeg", samples, stamps, 0.0, 320 / RATE_HZ)
    for name in decoders:
        for job in engine.advance(name):
            engine.decode([job])
    onsets = {message.request.stream: message.onset_sample for message in bench.of(EmbeddingMessage)}
    assert onsets == {"eeg": 40, "meg": 20}


class Tape:
    """Records what an engine was told, and tells it to another."""

    def __init__(self) -> None:
        self.events: list[tuple] = []

    def connected(self, *event: object) -> None:
        self.events.append(("connect", *event))

    def fed(self, *event: object) -> None:
        self.events.append(("feed", *event))

    def admitted(self, *event: object) -> None:
        self.events.append(("admit", *event))

    def advanced(self, *event: object) -> None:
        self.events.append(("advance", *event))

    def declared_bad(self, *event: object) -> None:
        self.events.append(("declare_bad", *event))

    def disconnected(self, *event: object) -> None:
        self.events.append(("disconnect", *event))

    def tell(self, bench: Bench) -> None:
        for what, *event in self.events:
            if what == "advance":
                bench.time = event.pop()
            for job in getattr(bench.engine, what)(*event) or ():
                bench.engine.decode([job])


def test_what_the_recorder_was_told_makes_another_engine_say_the_same(decoder: Decoder) -> None:
    tape = Tape()
    live = Bench([decoder], recorder=tape)
    live.connect()
    live.feed(100)
    live.mark(50 / RATE_HZ, "in time")
    live.mark(50 / RATE_HZ, "in time")
    live.mark(95 / RATE_HZ, "waits")
    live.feed(50)
    live.mark(1e9, "a wrong clock")
    live.mark(148 / RATE_HZ, "cut off")
    live.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    live.mark(160 / RATE_HZ, "while it was gone")
    live.connect()
    live.feed(500)
    live.mark(300 / RATE_HZ, "back")
    live.time = 30.0
    for job in live.engine.advance("eeg"):
        live.engine.decode([job])
    live.engine.close(Verdict.SHUTDOWN, "the end")
    again = Bench([decoder])
    tape.tell(again)
    assert [message for message, _ in again.said if not isinstance(message, EmbeddingMessage)] == [
        message for message, _ in live.said if not isinstance(message, EmbeddingMessage)
    ]
    for (old, payload), (new, other) in zip(live.said, again.said, strict=True):
        if isinstance(old, EmbeddingMessage):
            assert (old.request, old.onset_sample) == (new.request, new.onset_sample)
            np.testing.assert_array_equal(payload, other)


def test_the_recorder_hears_of_an_advance_only_where_it_had_an_effect(decoder: Decoder) -> None:
    tape = Tape()
    bench = Bench([decoder], recorder=tape)
    bench.connect()
    for _ in range(20):
        bench.feed(10)
    bench.mark(150 / RATE_HZ)
    bench.feed(10)
    for _ in range(5):
        bench.engine.advance("eeg")
    kinds = [kind for kind, *_ in tape.events]
    assert kinds == ["connect", *["feed"] * 20, "admit", "feed", "advance"]


def test_a_short_gap_is_bridged_counted_and_told_of(decoder: Decoder) -> None:
    settings = ServiceSettings(gap_s=0.01, gap_policy="interpolate", max_bridged_samples=9)
    bench = Bench([decoder], settings)
    bench.connect()
    bench.feed(100)
    bench.n_lost = 9
    bench.mark(95 / RATE_HZ)
    bench.mark(150 / RATE_HZ)
    bench.feed(100)
    across, after = bench.of(EmbeddingMessage)
    assert (across.onset_sample, across.quality.bridged_samples) == (95, 9)
    assert (after.onset_sample, after.quality.bridged_samples) == (150, 0)
    assert bench.engine.bridged("eeg") == 9
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    assert bench.engine.bridged("eeg") == 9
    bench.connect()
    assert bench.engine.bridged("eeg") == 9


@pytest.mark.parametrize("edge", [98, 99, 100, 101])
def test_a_trigger_beside_a_bridged_gap_keeps_its_sample_and_its_delay(decoder: Decoder, edge: int) -> None:
    bench = Bench(
        [decoder],
        ServiceSettings(gap_s=0.01, gap_policy="mark", max_bridged_samples=9),
        triggers=[TriggerChannel(stream="eeg", channel="TRIG")],
        marker_delay_s=12 / RATE_HZ,
    )
    bench.connect((*index_channels(), Channel(name="TRIG", type="stim", unit="1")))
    codes = np.zeros(200)
    codes[edge : edge + 3] = 1
    bench.feed(100, codes[:100])
    bench.n_lost = 9
    bench.feed(100, codes[100:])
    (message,) = bench.of(EmbeddingMessage)
    at = edge if edge < 100 else edge + 9
    assert (message.onset_sample, message.residual_us) == (at + 12, pytest.approx(0, abs=1))
    (embedding,) = next(payload for said, payload in bench.said if said is message)
    assert embedding.tolist() == [max(99, at + 12 - 9), at + 12 - 9 + 20]


def test_a_single_lost_sample_is_bridged_where_stamps_are_even(decoder: Decoder) -> None:
    bench = Bench([decoder], ServiceSettings(gap_policy="mark"))
    bench.connect()
    bench.feed(300)
    bench.n_lost = 1
    bench.mark(295 / RATE_HZ)
    bench.feed(100)
    (across,) = bench.of(EmbeddingMessage)
    assert (across.onset_sample, across.quality.bridged_samples) == (295, 1)


def test_in_continuous_mode_each_stride_is_a_request_and_markers_ask_for_nothing(decoder: Decoder) -> None:
    bench = Bench([decoder], strides_ms={("eeg", "index"): 125.0})
    bench.connect()
    bench.mark(50 / RATE_HZ)
    bench.feed(100)
    bench.feed(100)
    embeddings = bench.of(EmbeddingMessage)
    assert [message.request.index for message in embeddings] == list(range(6))
    assert [message.onset_sample for message in embeddings] == [32 * n for n in range(6)]
    assert {(m.request.origin, m.label, m.stimulus_id, m.residual_us) for m in embeddings} == {
        ("stride", "", None, 0.0)
    }
    stamps = embeddings[0].stamps
    assert (stamps.marker_host, stamps.marker_source, stamps.marker_corrected) == ("", None, None)
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    bench.mark(300 / RATE_HZ)
    bench.connect()
    bench.feed(100)  # nothing is trusted before 0.35 s
    assert bench.of(EmbeddingMessage)[-1].request.segment == 1
    bench.engine.close(Verdict.SHUTDOWN, "the end")
    accounts = bench.engine.accounts()
    assert accounts.n_open == 0
    assert accounts.markers[Fate.ACCEPTED] == 2
    assert (accounts.requests[Verdict.EMITTED], accounts.requests[Verdict.GAP]) == (9, 1)


def test_growing_windows_answer_one_marker_in_order_each_when_it_is_complete(tmp_path: Path) -> None:
    decoders = []
    for last in (204, 51, 102):
        write_index_decoder(tmp_path / f"{last}", index_manifest(name=f"until{last}", window=(0, last)))
        decoders.append(Decoder(tmp_path / f"{last}"))
    bench = Bench(decoders)
    bench.connect()
    bench.mark(140 / RATE_HZ, "picture")
    answered = []
    for _ in range(40):
        before = len(bench.of(EmbeddingMessage))
        bench.feed(10)
        answered += [
            (m.request.decoder, m.label, bench.n_samples) for m in bench.of(EmbeddingMessage)[before:]
        ]
    assert answered == [
        ("until51", "picture", 200),
        ("until102", "picture", 250),
        ("until204", "picture", 350),
    ]


@pytest.fixture
def repairing(tmp_path: Path) -> Decoder:
    """Five channels; the first, which holds the index, is rebuilt as zero from the others."""
    manifest = index_manifest(channels=placed_channels(), on_missing="repair", max_missing=1)
    write_index_decoder(tmp_path / "repairing.onnx", manifest)
    return Decoder(tmp_path / "repairing.onnx")


def decoded(bench: Bench) -> list[tuple[list[float], tuple[str, ...]]]:
    """Each embedding, and which channels were said to be bad."""
    return [
        (payload[0].tolist(), message.quality.bad_channels)
        for message, payload in bench.said
        if isinstance(message, EmbeddingMessage)
    ]


def test_a_channel_declared_bad_is_rebuilt_from_the_next_chunk_on_until_it_is_taken_back(
    repairing: Decoder,
) -> None:
    bench = Bench([repairing])
    bench.connect(placed_channels())
    silent = np.zeros((200, 2))
    bench.mark(150 / RATE_HZ)
    bench.mark(350 / RATE_HZ)
    bench.feed(200, silent)
    bench.engine.declare_bad("eeg", ["CH0"])
    bench.feed(200, silent)
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    bench.connect(placed_channels())
    bench.mark(550 / RATE_HZ)
    bench.mark(750 / RATE_HZ)
    bench.feed(200, silent)
    bench.engine.declare_bad("eeg", [])
    bench.feed(200, silent)
    whole, rebuilt, still_rebuilt, taken_back = decoded(bench)
    assert whole == ([150, 170], ())
    assert rebuilt == ([0, 0], ("CH0",))
    assert still_rebuilt == ([0, 0], ("CH0",))
    assert taken_back == ([750, 770], ())


def test_channels_may_be_declared_bad_while_the_stream_is_away(repairing: Decoder) -> None:
    bench = Bench([repairing])
    bench.engine.declare_bad("eeg", ["CH0"])
    bench.connect(placed_channels())
    bench.mark(50 / RATE_HZ)
    bench.feed(200, np.zeros((200, 2)))
    assert decoded(bench) == [([0, 0], ("CH0",))]
    bench.engine.disconnect("eeg", Verdict.GAP, "the stream was lost")
    with pytest.raises(MismatchError, match=r"bad: CH0 .*missing: CH4 .*at most 1"):
        bench.connect(placed_channels()[:-1])


@pytest.mark.parametrize(
    ("stream", "channels", "why"),
    [
        ("meg", ["CH0"], "no stream 'meg': there is eeg"),
        ("eeg", ["CH0", "Cz"], "has no channel Cz"),
        ("eeg", ["CH1", "CH2"], r"declared bad: CH1, CH2 \(it rebuilds at most 1\)"),
    ],
)
@pytest.mark.parametrize("is_connected", [True, False])
def test_a_declaration_that_cannot_be_followed_changes_nothing(
    repairing: Decoder, stream: str, channels: list[str], why: str, is_connected: bool
) -> None:
    bench = Bench([repairing])
    if is_connected:
        bench.connect(placed_channels())
    bench.engine.declare_bad("eeg", ["CH3"])
    with pytest.raises(UserError, match=why):
        bench.engine.declare_bad(stream, channels)
    if not is_connected:
        bench.connect(placed_channels())
    bench.mark(50 / RATE_HZ)
    bench.feed(200, np.zeros((200, 2)))
    assert decoded(bench) == [([50, 70], ("CH3",))]


def test_what_is_odd_in_a_window_is_told(decoder: Decoder) -> None:
    bench = Bench([decoder])
    bench.connect()
    bench.mark(50 / RATE_HZ)
    bench.feed(200)
    (message,) = bench.of(EmbeddingMessage)
    # The index as volts is far too large, and the other channels do not move.
    assert message.quality == Quality(flat_channels=("CH1", "CH2"), out_of_range_channels=("CH0",))


def test_of_very_many_odd_channels_the_first_are_named_and_the_message_is_sent(
    tmp_path: Path,
) -> None:
    channels = tuple(Channel(name=f"{i:01100}", type="eeg", unit="V") for i in range(1000))
    write_index_decoder(tmp_path / "d.onnx", index_manifest(channels=channels))
    bench = Bench([Decoder(tmp_path / "d.onnx")])
    bench.connect(channels)
    bench.mark(50 / RATE_HZ)
    bench.feed(100, np.zeros((100, 997)))
    (message, payload) = next((m, p) for m, p in bench.said if isinstance(m, EmbeddingMessage))
    assert message.quality.flat_channels == tuple(channel.name for channel in channels[1:513])
    assert message.quality.unnamed == {"flat_channels": 487}
    assert decode(encode(message, payload)).message == message


@pytest.mark.parametrize(("most", "verdict"), [(2, Verdict.ARTEFACT), (3, Verdict.EMITTED)])
def test_a_window_with_too_many_bad_channels_is_not_decoded(
    decoder: Decoder, most: int, verdict: Verdict
) -> None:
    bench = Bench([decoder], quality=QualitySettings(reject_bad_channels=most))
    bench.connect()
    bench.mark(50 / RATE_HZ)
    bench.feed(200)
    (message,) = bench.of(VerdictMessage)
    assert message.verdict is verdict
    assert len(bench.of(EmbeddingMessage)) == (verdict is Verdict.EMITTED)
    if verdict is Verdict.ARTEFACT:
        assert "3 channels" in message.reason
        assert "flat: CH1, CH2; out of range: CH0" in message.reason
    assert bench.engine.accounts().n_open == 0


def test_channels_that_are_rebuilt_do_not_count_as_bad_ones(repairing: Decoder) -> None:
    rules = QualitySettings(reject_bad_channels=0)
    bench = Bench([repairing], quality=rules)
    bench.connect(placed_channels())
    bench.engine.declare_bad("eeg", ["CH0"])
    rng = np.random.default_rng(0)
    bench.mark(50 / RATE_HZ)
    bench.feed(200, 1e-5 * rng.normal(size=(200, 2)))
    (message,) = bench.of(VerdictMessage)
    assert message.verdict is Verdict.ARTEFACT
    assert "CH0" not in message.reason
    assert "2 channels" in message.reason


@pytest.mark.parametrize(("most", "verdict"), [(8, Verdict.ARTEFACT), (9, Verdict.EMITTED)])
def test_a_window_with_too_many_bridged_samples_is_not_decoded(
    decoder: Decoder, most: int, verdict: Verdict
) -> None:
    settings = ServiceSettings(gap_s=0.01, gap_policy="interpolate", max_bridged_samples=9)
    bench = Bench([decoder], settings, quality=QualitySettings(reject_bridged_samples=most))
    bench.connect()
    bench.feed(100)
    bench.n_lost = 9
    bench.mark(95 / RATE_HZ)
    bench.feed(100)
    (message,) = bench.of(VerdictMessage)
    assert message.verdict is verdict
    assert ("9 samples" in message.reason) == (verdict is Verdict.ARTEFACT)


def test_one_sample_that_is_no_number_spoils_no_later_window(tmp_path: Path) -> None:
    step = design_iir(RATE_HZ, highpass_hz=20.0)
    write_index_decoder(tmp_path / "d.onnx", index_manifest(front_end=[step]))
    bench = Bench([Decoder(tmp_path / "d.onnx")], triggers=[])
    bench.connect((*index_channels(), Channel(name="EOG", type="eog", unit="V")))
    bench.mark(150 / RATE_HZ)
    bench.mark(250 / RATE_HZ)
    bench.feed(160, np.zeros(160))
    samples = np.full((1, 4), np.nan)
    stamps = np.array([160 / RATE_HZ])
    bench.engine.feed("eeg", samples, stamps, 0.0, bench.time)
    bench.n_samples += 1
    bench.feed(139, np.zeros(139))
    with_nan, after = bench.of(EmbeddingMessage)
    assert with_nan.quality.nan_channels == ("CH0", "CH1", "CH2")
    assert after.quality.nan_channels == ()


def test_a_declaration_is_recorded_so_that_another_engine_says_the_same(repairing: Decoder) -> None:
    tape = Tape()
    live = Bench([repairing], recorder=tape)
    live.engine.declare_bad("eeg", ["CH3"])
    live.connect(placed_channels())
    for index, bad in enumerate((["CH0"], [], ["CH0"])):
        live.feed(200, np.zeros((200, 2)))
        live.mark((200 * index + 190) / RATE_HZ)
        live.engine.declare_bad("eeg", bad)
    live.feed(200, np.zeros((200, 2)))
    again = Bench([repairing])
    tape.tell(again)
    assert decoded(again) == decoded(live)
    assert [bad for _, bad in decoded(live)] == [("CH0",), (), ("CH0",)]


def test_a_trigger_whose_sample_has_no_stamp_is_dropped_and_nothing_else(decoder: Decoder) -> None:
    bench = Bench([decoder], triggers=[TriggerChannel(stream="eeg", channel="CH1")])
    bench.connect()
    samples = np.zeros((40, 3))
    samples[[10, 30], 1] = 5
    stamps = np.arange(40) / RATE_HZ
    stamps[10] = np.nan
    bench.engine.feed("eeg", samples, stamps, 0.0, 320 / RATE_HZ)
    assert [message.label for message in bench.of(MarkerMessage)] == ["5"]


def test_a_request_whose_answer_cannot_be_sent_fails_alone(decoder: Decoder) -> None:
    class FullBus(Bench):
        def emit(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
            if payload:
                raise ValueError("too long")
            super().emit(message, payload)

    bench = FullBus([decoder])
    bench.connect()
    bench.feed(100)
    bench.mark(50 / RATE_HZ)
    bench.feed(100)
    assert [(m.verdict, m.reason) for m in bench.of(VerdictMessage)] == [
        (Verdict.FAILED, "ValueError: too long")
    ]
    assert bench.engine.accounts().n_open == 0
