from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from index_decoder import write_index_decoder

from replay.cli import replay
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    """Two seconds, two markers, units not told."""
    path = tmp_path / "short.csv"
    rows = [f"{i / 100},{i},{i % 7},{int(i in (50, 150))}" for i in range(200)]
    path.write_text("\n".join(["timestamps,index,Cz,Marker", *rows]) + "\n")
    return path


def run(*arguments: str) -> str:
    """Output of a command that must succeed."""
    result = CliRunner().invoke(replay, [*arguments, "--source-id", f"test-{uuid.uuid4()}"])
    assert result.exit_code == 0, result.exception
    return result.output


def test_a_recording_is_sent_and_summed_up(csv: Path) -> None:
    output = run(str(csv), "--units", "uV", "--no-wait", "--speed", "10", "--name", "Amp")
    assert "2 channels, 100 Hz, 2.0 s, 2 markers, 10 times as fast" in output
    assert "'Amp' (double64) and 'Amp-markers'" in output
    assert "Sent 2.0 s of the recording." in output


def test_original_stamps_may_be_asked_for(csv: Path) -> None:
    assert "Sent 2.0 s" in run(
        str(csv), "--units", "uV", "--no-wait", "--speed", "10", "--stamps", "original"
    )


def test_faults_are_told(csv: Path) -> None:
    output = run(
        str(csv),
        "--units",
        "uV",
        "--no-wait",
        "--speed",
        "10",
        "--fault",
        "jitter",
        "--fault",
        "gap:at=0.1,for=0.05",
    )
    assert "FAULTS: jitter; gap:at=0.1,for=0.05; seed=0" in output
    assert "Sent 2.0 s" in output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--fault", "flood"], "fault 'flood': there is no kind 'flood'; there are drop, gap,"),
        (["--units", "uV", "--fault", "nan:channel=Fz"], "no channel 'Fz'; it has index, Cz"),
        (["--seed", "-1", "--units", "uV"], "seed -1"),
        (["--no-wait"], r"short\.csv: channel 'index' has no unit.*--units"),
        (["--units", "uV", "--signal-stream", "Amp"], "signal_stream applies to XDF"),
        (
            ["--mask", "brain.nii", "--events", "events.tsv", "--every-volume"],
            "mask, events, every_volume applies to NIfTI",
        ),
        (["--units", "uV", "--chunk", "0"], "chunk size 0"),
        (["--units", "uV", "--wait-timeout", "0.1"], "nobody listened"),
        (["--through", "d.onnx"], "add --out FOLDER"),
        (["--out", "answers"], "name a decoder with --through, or leave --out out"),
    ],
)
def test_what_is_wrong_is_one_line_that_says_what_to_do(csv: Path, arguments: list[str], line: str) -> None:
    result = CliRunner().invoke(replay, [str(csv), "--source-id", f"test-{uuid.uuid4()}", *arguments])
    assert isinstance(result.exception, UserError)
    with pytest.raises(UserError, match=line):
        raise result.exception
    assert "\n" not in str(result.exception)


def test_the_stream_that_nobody_listens_to_is_named(csv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replay.cli._PATIENCE_S", 0.1)
    source = ["--source-id", f"test-{uuid.uuid4()}"]
    result = CliRunner().invoke(replay, [str(csv), "--units", "uV", "--wait-timeout", "2", *source])
    assert isinstance(result.exception, UserError)
    said = " ".join(result.output.split())
    assert said.count("Nobody listens to 'short' yet, so nothing is sent: ") == 1
    assert "--no-wait, which starts at once" in said


@pytest.mark.parametrize("extra", [["--wait-timeout", "0.1"], ["--through", "no.onnx", "--out", "answers"]])
def test_no_bar_that_stands_still_is_left_in_a_file(
    csv: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    monkeypatch.chdir(csv.parent)
    source = [] if "--out" in extra else ["--source-id", f"test-{uuid.uuid4()}"]
    result = CliRunner().invoke(replay, [str(csv), "--units", "uV", *source, *extra])
    assert isinstance(result.exception, UserError)
    assert "0%" not in result.output


@pytest.mark.parametrize(
    "option", ["--speed 2", "--loop", "--stamps grid", "--chunk 10", "--no-wait", "--name a", "--grace 1"]
)
def test_options_that_have_no_effect_with_a_decoder_are_refused(
    csv: Path, tmp_path: Path, option: str
) -> None:
    arguments = [str(csv), "--through", "d.onnx", "--out", str(tmp_path / "out"), *option.split()]
    result = CliRunner().invoke(replay, arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith(f"{option.split()[0]} has no effect with --through")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", ["--table t.csv", "--key code", "--json-key image"])
def test_options_that_have_no_effect_without_a_decoder_are_refused(csv: Path, option: str) -> None:
    result = CliRunner().invoke(replay, [str(csv), "--units", "uV", *option.split()])
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith(f"{option.split()[0]} has no effect without --through")


def test_json_markers_are_read_by_the_key_that_is_stated(tmp_path: Path) -> None:
    write_index_decoder(tmp_path / "d.onnx")
    markers = {50: '"{""image"": ""cat""}"', 150: '"{""image"": 7}"', 250: "response"}
    rows = [f"{i / 256},{i},0,0,{markers.get(i, 0)}" for i in range(512)]
    (tmp_path / "short.csv").write_text("\n".join(["timestamps,CH0,CH1,CH2,Marker", *rows]) + "\n")
    arguments = ["--units", "V", "--through", str(tmp_path / "d.onnx"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(replay, [str(tmp_path / "short.csv"), *arguments, "--json-key", "image"])
    assert result.exit_code == 0, result.exception
    lines = (tmp_path / "out" / "messages.jsonl").read_text().splitlines()
    said = [(m["label"], m["fate"]) for m in map(json.loads, lines) if m["kind"] == "marker"]
    assert said == [("cat", "accepted"), ("7", "accepted"), ("response", "ignored")]


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_decoded(
    csv: Path, tmp_path: Path
) -> None:
    out = csv / "out"  # a file stands in its way
    result = CliRunner().invoke(replay, [str(tmp_path / "no.csv"), "--through", "d.onnx", "--out", str(out)])
    assert isinstance(result.exception, UserError)
    assert "cannot write" in str(result.exception)


def test_the_help_tells_what_out_holds() -> None:
    said = " ".join(CliRunner().invoke(replay, ["--help"]).output.split())
    assert "messages.jsonl" in said
    assert "DECODER.HEAD.npy" in said
    assert "a row for each message" in said


def test_a_missing_file_exits_with_code_2_and_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rtdecode", "replay", str(tmp_path / "nowhere.xdf")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert "no such file" in ended.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
def test_ctrl_c_ends_a_loop_cleanly(csv: Path) -> None:
    arguments = ["--units", "uV", "--loop", "--no-wait", "--source-id", f"test-{uuid.uuid4()}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "rtdecode", "replay", str(csv), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "2 channels" in process.stderr.readline()
    assert "Streams" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Traceback" not in said
    assert "Sent" in said


def test_a_simulated_subject_is_played_by_its_device_s_name() -> None:
    fast = ("--no-wait", "--speed", "1000", "--chunk", "5000", "--grace", "0")
    output = run("simulated-eeg", "--subject", "2", "--session", "3", *fast)
    assert "480 markers" in output
    assert "simulated-eeg-sub-02-ses-03" in output


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--units", "uV"], "--units has no effect with a simulated subject"),
        (["--subject", "x"], "--subject x: simulated ones are numbers"),
        (["--session", "0"], "count from 1"),
    ],
)
def test_what_a_simulated_subject_cannot_have_is_refused(options: list[str], match: str) -> None:
    with pytest.raises(UserError, match=match):
        CliRunner().invoke(replay, ["simulated-eeg", *options], catch_exceptions=False)
