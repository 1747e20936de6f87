from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import CliRunner

from rtdecode.doctor import command, doctor, lsl, machine
from rtdecode.doctor.finding import Finding, State
from rtdecode.errors import UserError


def test_a_sound_machine_passes_and_every_line_is_written_as_json(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rtdecode", "doctor", "--json", str(tmp_path / "found.json")],
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads((tmp_path / "found.json").read_text())
    states = {finding["subject"]: finding["state"] for finding in found["findings"]}
    assert list(states) == ["packages", "onnxruntime", "ports", "LSL", "streams", "loopback"]
    assert "problem" not in states.values(), found
    assert (done.returncode, found["problems"]) == (0, 0)
    loopback = found["findings"][-1]["data"]
    assert loopback["n"] == 500
    latency = loopback["latency_ms"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["max"]
    assert "loopback" in done.stderr
    assert done.stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["found.json"]


@pytest.fixture
def no_lsl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_check_lsl", list)


def test_a_problem_makes_exit_code_1_and_says_what_to_do(no_lsl, monkeypatch) -> None:
    bad = Finding("ports", State.PROBLEM, "it is broken", "mend it")
    monkeypatch.setattr(command, "check_ports", lambda: bad)
    done = CliRunner().invoke(doctor, [])
    assert done.exit_code == 1
    assert "it is broken" in done.output
    assert "→ mend it" in done.output


def test_a_warning_makes_no_exit_code(no_lsl, monkeypatch) -> None:
    monkeypatch.setattr(command, "check_ports", lambda: Finding("ports", State.WARNING, "odd", "look"))
    assert CliRunner().invoke(doctor, []).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--photodiode", "AUX1"], "--photodiode needs --stream and --markers"),
        (["--stream", "Amp"], "serve --photodiode CHANNEL"),
    ],
)
def test_half_a_photodiode_is_refused(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(doctor, arguments)
    assert isinstance(done.exception, UserError)
    assert message in str(done.exception)


def test_the_display_is_measured_from_the_command_line(no_lsl, rig: str, tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    options = [
        "--stream",
        f"name=Amp,source_id={rig}",
        "--markers",
        "STI",
        "--duration",
        "3",
        "--json",
        str(path),
    ]
    done = CliRunner().invoke(doctor, ["--photodiode", "photo", *options])
    found = json.loads(path.read_text())["findings"][-1]
    assert done.exit_code == 0
    assert found["subject"] == "photodiode"
    assert f"write delay_s = {found['data']['delay_s']:.4f}" in found["advice"]


def test_findings_that_cannot_be_written_are_a_user_error(no_lsl, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(doctor, ["--json", str(tmp_path / "file" / "found.json")])
    assert isinstance(done.exception, UserError)
    assert "cannot write" in str(done.exception)


def test_a_port_in_use_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        finding = machine.check_ports([port])
        assert (finding.state, finding.data["taken"]) == (State.WARNING, [port])
    assert machine.check_ports([port]).state is State.OK


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "pyzmq":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    assert machine.check_packages().state is State.OK
    monkeypatch.setattr(metadata, "version", version)
    finding = machine.check_packages()
    assert (finding.state, finding.text) == (State.PROBLEM, "missing: pyzmq")


def test_onnxruntime_runs_on_what_it_says() -> None:
    finding = machine.check_onnxruntime()
    assert finding.state in {State.OK, State.WARNING}
    assert finding.data["in_use"][-1] == "CPUExecutionProvider"


def test_the_configuration_in_force_is_told() -> None:
    finding = lsl.check_configuration()
    assert (finding.state, finding.advice) == (State.OK, "")
    assert finding.data["file"] == os.environ["LSLAPICFG"]
    assert finding.data["ResolveScope"] == "machine"
    assert Path(os.environ["LSLAPICFG"]).name == f"{finding.data['SessionID']}.lsl.cfg"
    assert finding.data["SessionID"] in finding.text


def test_a_configuration_that_liblsl_did_not_read_is_warned_of(monkeypatch, tmp_path: Path) -> None:
    other = tmp_path / "lsl_api.cfg"
    other.write_text("[lab]\nSessionID = another ; of yesterday\n")
    monkeypatch.setenv("LSLAPICFG", str(other))
    finding = lsl.check_configuration()
    assert (finding.state, "start again" in finding.advice) == (State.WARNING, True)
    other.write_text("no section\n")
    assert f"correct {other}" in lsl.check_configuration().advice
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "gone.cfg"))
    assert "which is not there" in lsl.check_configuration().advice


def test_where_liblsl_looks_for_its_configuration(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LSLAPICFG")
    monkeypatch.chdir(tmp_path)
    assert lsl.configuration_file()[0] in {
        None,
        *Path("/").glob("etc/lsl_api/*"),
        *Path.home().glob("lsl_api/*"),
    }
    Path("lsl_api.cfg").touch()
    assert lsl.configuration_file() == (Path("lsl_api.cfg"), None)


def test_a_stream_to_ourselves_is_measured() -> None:
    finding = lsl.check_loopback(duration_s=0.2, rate_hz=200.0)
    assert finding.data["n"] == 40
    assert finding.state is not State.PROBLEM
    assert 0 < finding.data["latency_ms"]["p50"] <= finding.data["latency_ms"]["max"]


def test_a_network_that_carries_nothing_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(*_: object) -> None:
        raise UserError("no LSL stream fits")

    monkeypatch.setattr(lsl, "resolve", deaf)
    finding = lsl.check_loopback()
    assert (finding.state, "firewall" in finding.advice) == (State.PROBLEM, True)


def test_streams_in_sight_are_listed() -> None:
    import pylsl

    outlet = pylsl.StreamOutlet(
        pylsl.StreamInfo("Amp for the doctor", "EEG", 3, 250.0, "float32", "doctor-list")
    )
    finding = lsl.check_streams()
    assert "Amp for the doctor (EEG, 3 ch, 250 Hz, source_id doctor-list, " in finding.text
    del outlet
