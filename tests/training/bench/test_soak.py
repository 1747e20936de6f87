from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from index_decoder import index_manifest, write_index_decoder

from rtdecode.errors import UserError
from training.bench import bench
from training.bench.soak import SoakSettings, report

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("soak")
    write_index_decoder(folder / "d.onnx", index_manifest(window=(-10, 40)))
    options = [
        *("--decoder", folder / "d.onnx", "--minutes", 0.4, "--markers-per-second", 4, "--outage", 1),
        *("--max-growth-percent", 1000, "--max-drift-percent", 1e6),  # a short run says nothing of these
        *("--journal", folder / "journal", "--json", folder / "soak.json"),
    ]
    command = [sys.executable, "-m", "rtdecode", "bench", "soak", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "soak.json").read_text()), done.stdout


def test_every_bar_is_told_and_held(soaked: tuple[dict[str, Any], str]) -> None:
    result, shown = soaked
    assert len(result["bars"]) == 7
    assert all(bar["held"] for bar in result["bars"].values())
    for name in result["bars"]:
        assert name in shown
    assert "SIMULATED" in shown


def test_what_the_source_did_not_send_is_accounted_for(soaked: tuple[dict[str, Any], str]) -> None:
    result, _ = soaked
    requests = result["ledgers"]["requests"]
    assert result["ledgers"]["markers"]["accepted"] == 96 == sum(requests.values())
    assert 0 < requests["gap"] < requests["emitted"]
    assert result["heard"]["verdicts"]["emitted"] == requests["emitted"]


def test_latency_and_memory_are_followed_over_the_run(soaked: tuple[dict[str, Any], str]) -> None:
    result, _ = soaked
    assert [one["from_s"] for one in result["latency"]] == pytest.approx([0, 8, 16])
    assert sum(one["n"] for one in result["latency"]) == result["ledgers"]["requests"]["emitted"]
    assert result["rss_mb"]["max"] >= result["rss_mb"]["settled"] > 10


def test_a_missed_bar_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtdecode.sources.lsl_config.use_loopback", lambda: "as it is")
    monkeypatch.setattr("training.bench.soak.report", lambda *_: False)
    assert CliRunner().invoke(bench, ["soak"]).exit_code == 1


def test_the_log_that_an_error_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def fail(_: SoakSettings, folder: Path, __: object) -> None:
        folders.append(folder)
        raise UserError(f"rtdecode serve ended too early; see {folder / 'serve.log'}")

    monkeypatch.setattr("training.bench.soak.soak", fail)
    with pytest.raises(UserError, match=r"see .*serve\.log"):
        report(SoakSettings(), None)
    folders[0].rmdir()
