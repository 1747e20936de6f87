from __future__ import annotations

import json
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner
from index_decoder import index_channels, index_manifest, placed_channels, write_index_decoder
from lab import RATE_HZ, Lab, listen, wait_for_state

from replay.cli import replay
from replay.recordings import read_recording
from replay.session import replay_session
from replay.virtual import VirtualRun
from rtdecode.bus.control import ControlClient
from rtdecode.config import ServeConfig
from rtdecode.contracts import Channel, Fate, MarkerMessage, Verdict, VerdictMessage
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.journal.reader import RecordedSession
from rtdecode.journal.session import Session
from rtdecode.service import Service
from rtdecode.signal.design import design_iir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from replay.comparison import Comparison


class NoisyLab(Lab):
    """An amplifier whose second channel is noise, and whose third is a trigger line."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        super().__init__()

    def send(self, n: int, code: int = 0) -> None:
        assert self.amplifier is not None
        samples = np.zeros((n, 3), np.float32)
        samples[:, 0] = 0.01 * np.arange(self.n_samples, self.n_samples + n)
        samples[:, 1] = self.random.normal(size=n)
        samples[0, 2] = code
        self.n_samples += n
        self.amplifier.push_chunk(samples, self.start + (self.n_samples - 1) / RATE_HZ)

    def send_in_pieces(self, n: int) -> None:
        while n > 0:
            piece = min(n, int(self.random.integers(1, 33)))
            self.send(piece)
            n -= piece


def write_filtering_decoder(path: Path, **options: object) -> Path:
    steps = [design_iir(RATE_HZ, highpass_hz=5.0, lowpass_hz=40.0)]
    channels = (Channel(name="CH1", type="eeg", unit="V"), Channel(name="CH0", type="eeg", unit="V"))
    write_index_decoder(path, index_manifest(channels=channels, front_end=steps, **options))
    return path


class Heard:
    """What a service says, until enough of it was said."""

    def __init__(self, messages: Iterator[object]) -> None:
        self.messages = messages
        self.verdicts: list[VerdictMessage] = []
        self.markers: list[MarkerMessage] = []

    def until(self, is_enough: Callable[[Heard], bool]) -> None:
        while not is_enough(self):
            message = next(self.messages).message
            if isinstance(message, VerdictMessage):
                self.verdicts.append(message)
            elif isinstance(message, MarkerMessage):
                self.markers.append(message)


def again(session: Path, *decoders: Path) -> tuple[Comparison, VirtualRun]:
    run = VirtualRun()
    return replay_session(RecordedSession(session), [Decoder(path) for path in decoders], emit=run.take), run


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with about all that can happen, and the two decoders beside it."""
    folder = tmp_path_factory.mktemp("session")
    eeg = write_filtering_decoder(folder / "eeg.onnx", name="on-eeg", window=(-10, 60))
    meg = write_filtering_decoder(folder / "meg.onnx", name="on-meg", window=(0, 100), shift_residual=True)
    lab, other = NoisyLab(), NoisyLab()
    config = ServeConfig(
        streams=[
            {"id": "eeg", "lsl": {"source_id": lab.source_id}},
            {"id": "meg", "lsl": {"source_id": other.source_id}, "delay_s": 0.01},
        ],
        markers={
            "streams": [{"source_id": f"{lab.source_id}-markers"}],
            "triggers": [{"stream": "eeg", "channel": "CH2"}],
            "ignore": ["break*"],
            "delay_s": 0.02,
        },
        decoders=[{"path": eeg, "stream": "eeg"}, {"path": meg, "stream": "meg"}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        service={"timeout_s": 1.0},
        journal={"folder": folder / "journal"},
    )
    with ExitStack() as stack:
        service = stack.enter_context(Service(config))
        heard = Heard(listen(stack, service, "verdict", "marker"))
        service.connect()
        lab.send_in_pieces(700)
        other.send_in_pieces(700)
        lab.mark(5, "too early")
        lab.mark(450, "before its data")
        lab.mark(450, "before its data")
        lab.mark(10, "break")
        lab.send(9, code=7)
        lab.send_in_pieces(200)
        other.send_in_pieces(300)
        heard.until(lambda h: len(h.verdicts) >= 6)
        lab.n_samples += 300  # a gap
        lab.send_in_pieces(700)
        lab.mark(1000, "in the gap")
        lab.mark(1300, "across")
        lab.mark(1500, "after it")
        other.send_in_pieces(1200)
        heard.until(lambda h: len(h.verdicts) >= 12)
        lab.mark(1900, "cut off")
        heard.until(lambda h: any(marker.label == "cut off" for marker in h.markers))
        lab.unplug()
        heard.until(lambda h: any(verdict.label == "cut off" for verdict in h.verdicts))
        lab.mark(1950, "while it was gone")
        heard.until(lambda h: any(verdict.label == "while it was gone" for verdict in h.verdicts))
        lab.n_samples = 0
        lab.plug_in()
        wait_for_state(service, "warm")
        lab.send_in_pieces(900)
        lab.mark(700, "back")
        lab.mark(899, "never complete")
        heard.until(lambda h: sum(verdict.label == "back" for verdict in h.verdicts) >= 1)
    (folder / "accounts.json").write_text(service.status().accounts.model_dump_json())
    return folder


def session_of(recorded: Path) -> Path:
    (session,) = (recorded / "journal").iterdir()
    return session


def test_a_session_runs_again_to_the_same_verdicts_onsets_and_bytes(recorded: Path) -> None:
    comparison, run = again(session_of(recorded), recorded / "eeg.onnx", recorded / "meg.onnx")
    accounts = json.loads((recorded / "accounts.json").read_text())
    assert comparison.differences == []
    assert comparison.is_same
    assert comparison.is_complete
    assert comparison.verdicts_same == sum(accounts["requests"].values())
    assert comparison.identical == comparison.onsets_same == accounts["requests"]["emitted"] >= 6
    assert comparison.close == comparison.far == comparison.beyond == comparison.lost == 0
    assert Counter(message.verdict for message in run.verdicts) == +Counter(
        {Verdict(verdict): n for verdict, n in accounts["requests"].items()}
    )
    for wanted in ("gap", "warming_up", "emitted"):
        assert accounts["requests"][wanted]
    assert accounts["markers"][Fate.DUPLICATE] == accounts["markers"][Fate.IGNORED] == 1
    assert any(message.label == "7" for message in run.decoded)


def test_strides_bridged_gaps_bad_channels_and_rejected_windows_run_again_likewise(tmp_path: Path) -> None:
    channels = placed_channels(5)
    steps = [design_iir(RATE_HZ, highpass_hz=20.0)]
    manifest = index_manifest(channels=channels, front_end=steps, on_missing="repair", max_missing=1)
    write_index_decoder(tmp_path / "d.onnx", manifest)
    lab = Lab()
    lab.unplug()
    lab.plug_in([channel.name for channel in channels])
    config = ServeConfig(
        streams=[{"id": "eeg", "lsl": {"source_id": lab.source_id}}],
        decoders=[{"path": tmp_path / "d.onnx", "stride_ms": 40.0}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        service={"gap_policy": "interpolate", "gap_s": 0.02},
        quality={"reject_bridged_samples": 15},
        journal={"folder": tmp_path / "journal"},
    )
    with ExitStack() as stack:
        service = stack.enter_context(Service(config))
        heard = Heard(listen(stack, service, "verdict"))
        service.connect()
        with ControlClient(service.endpoints.control) as control:
            for n_sent, bad in ((200, ["CH3"]), (500, ["CH0"]), (800, [])):
                lab.send(300)
                heard.until(lambda h, n_sent=n_sent: len(h.verdicts) >= n_sent // 10)
                control.declare_bad("eeg", bad)
                lab.n_samples += 20
    comparison, run = again(*(tmp_path / "journal").iterdir(), tmp_path / "d.onnx")
    accounts = service.status().accounts.requests
    assert comparison.differences == []
    assert comparison.is_same
    assert comparison.verdicts_same == sum(accounts.values())
    assert comparison.identical == accounts["emitted"]
    assert min(accounts["artefact"], accounts["emitted"], accounts["warming_up"]) > 0
    assert {message.quality.bad_channels for message in run.decoded} == {(), ("CH3",), ("CH0",)}
    assert any(message.quality.bridged_samples for message in run.decoded)


def test_one_decoder_of_several_is_compared_alone(recorded: Path) -> None:
    comparison, run = again(session_of(recorded), recorded / "meg.onnx")
    assert comparison.is_same
    assert {message.request.stream for message in run.verdicts} == {"meg"}
    both, _ = again(session_of(recorded), recorded / "eeg.onnx", recorded / "meg.onnx")
    assert comparison.not_given == {"on-eeg": both.verdicts_same - comparison.verdicts_same}
    assert not both.not_given
    said = " ".join(run_cli(session_of(recorded), "--through", recorded / "meg.onnx").output.split())
    n = comparison.not_given["on-eeg"]
    assert f"Decoder 'on-eeg' was not given (--through): its {n} verdicts were not compared" in said
    assert "NOTHING WAS COMPARED" not in said


def test_that_nothing_was_compared_is_said(recorded: Path, copied: Path) -> None:
    (copied / "messages.jsonl").write_text("")
    said = run_cli(copied, "--through", recorded / "eeg.onnx")
    assert "NOTHING WAS COMPARED" in said.output
    assert "%" not in said.output  # no bar in a file


def test_another_decoder_only_decodes(recorded: Path, tmp_path: Path) -> None:
    other = write_filtering_decoder(tmp_path / "other.onnx", name="on-eeg", window=(0, 30))
    comparison, run = again(session_of(recorded), other)
    assert comparison.other_decoders == ("on-eeg",)
    assert comparison.verdicts_same == comparison.identical == 0
    assert run.decoded


def test_a_decoder_that_the_session_does_not_know_is_refused(recorded: Path, tmp_path: Path) -> None:
    stranger = write_filtering_decoder(tmp_path / "s.onnx", name="stranger")
    with pytest.raises(UserError, match="none of this session's"):
        again(session_of(recorded), stranger)


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the session to damage."""
    copy = tmp_path / "session"
    copy.mkdir()
    for path in session_of(recorded).iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def test_what_differs_from_the_recording_is_named(recorded: Path, copied: Path) -> None:
    lines = (copied / "messages.jsonl").read_bytes().splitlines()
    for index, line in enumerate(lines):
        entry = json.loads(line)
        header = entry["header"]
        if header["kind"] == "verdict" and header["label"] == "after it":
            header.update(verdict="timeout")
        if header["kind"] == "embedding" and header["label"] == "7":
            header["onset_sample"] += 1
        if header["kind"] == "embedding" and header["label"] == "back":
            entry["payload"] = ["AAAAAAAAAAA="]
        lines[index] = json.dumps(entry).encode()
    (copied / "messages.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    comparison, _ = again(copied, recorded / "eeg.onnx")
    assert not comparison.is_same
    assert (comparison.verdicts_different, comparison.onsets_different, comparison.far) == (1, 1, 1)
    assert len(comparison.differences) == 3
    assert "recorded timeout, now" in " ".join(comparison.differences)


def test_another_processor_is_told_and_excuses_the_last_bits(recorded: Path, copied: Path) -> None:
    about = Session.load(copied)
    about.model_copy(update={"processor": "Another", "versions": {"numpy": "1"}}).save(copied)
    comparison, _ = again(copied, recorded / "eeg.onnx")
    assert comparison.is_same
    assert any("Another" in text for text in comparison.circumstances)
    assert any(text.startswith("numpy was 1") for text in comparison.circumstances)


def test_a_session_that_breaks_off_is_compared_as_far_as_it_goes(recorded: Path, copied: Path) -> None:
    content = (copied / "recording.xdf").read_bytes()
    (copied / "recording.xdf").write_bytes(content[: len(content) // 2])
    messages = (copied / "messages.jsonl").read_bytes().splitlines(keepends=True)
    (copied / "messages.jsonl").write_bytes(b"".join(messages[: len(messages) // 4])[:-3])
    comparison, _ = again(copied, recorded / "eeg.onnx", recorded / "meg.onnx")
    assert not comparison.is_complete
    assert comparison.verdicts_different == comparison.far == 0


def run_cli(*arguments: object) -> Result:
    return CliRunner().invoke(replay, [str(argument) for argument in arguments])


def test_the_command_says_what_is_the_same_and_keeps_what_was_decoded(recorded: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    both = ["--through", recorded / "eeg.onnx", "--through", recorded / "meg.onnx"]
    said = run_cli(session_of(recorded), *both, "--out", out)
    assert said.exit_code == 0, said.output
    assert "embeddings, to the byte" in said.output
    assert "SIMULATED" in said.output
    assert {path.name for path in out.glob("*.npy")} == {"on-eeg.embedding.npy", "on-meg.embedding.npy"}
    assert np.load(out / "on-eeg.embedding.npy").shape[1] == 2
    assert (out / "messages.jsonl").is_file()


def test_the_command_fails_where_the_same_decoder_says_something_else(recorded: Path, copied: Path) -> None:
    text = (copied / "messages.jsonl").read_text().replace('"verdict":"emitted"', '"verdict":"gap"')
    (copied / "messages.jsonl").write_text(text)
    said = run_cli(copied, "--through", recorded / "eeg.onnx")
    assert said.exit_code == 1
    assert "now emitted" in said.output


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "session.json").write_text("{"), "session.json"),
        (lambda folder: (folder / "recording.xdf").unlink(), "recording.xdf"),
        (lambda folder: (folder / "messages.jsonl").unlink(), "messages.jsonl"),
        (lambda folder: (folder / "recording.xdf").write_bytes(b"XDF:" + bytes(100)), "damaged at byte 4"),
    ],
)
def test_a_damaged_session_is_one_line(
    recorded: Path, copied: Path, damage: Callable[[Path], object], words: str
) -> None:
    damage(copied)
    with pytest.raises(UserError, match=words) as caught:
        again(copied, recorded / "eeg.onnx")
    assert "\n" not in str(caught.value)


def test_options_without_effect_are_refused(recorded: Path) -> None:
    said = run_cli(session_of(recorded), "--through", recorded / "eeg.onnx", "--speed", "2")
    assert isinstance(said.exception, UserError)
    assert "--speed" in str(said.exception)


def test_a_recording_of_the_journal_is_an_xdf_file_like_any_other(recorded: Path, tmp_path: Path) -> None:
    lab = Lab()
    decoder = tmp_path / "d.onnx"
    write_index_decoder(decoder, index_manifest(window=(0, 100)))
    config = lab.config(decoder).model_copy(
        update={
            "journal": ServeConfig.model_fields["journal"].default.model_copy(update={"folder": tmp_path})
        }
    )
    with ExitStack() as stack:
        service = stack.enter_context(Service(config))
        heard = Heard(listen(stack, service, "verdict"))
        service.connect()
        lab.mark(30, "a")
        lab.mark(31, "b")
        lab.send(200)
        heard.until(lambda h: len(h.verdicts) == 2)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    recording = read_recording(folder / "recording.xdf")
    assert recording.channels == index_channels()
    assert recording.rate_hz == RATE_HZ
    assert recording.n_samples == 200
    np.testing.assert_array_equal(recording.read(0, 200)[:, 0], np.arange(200))
    assert list(zip(recording.markers.sample, recording.markers.label, strict=True)) == [(30, "a"), (31, "b")]
