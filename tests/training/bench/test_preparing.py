from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from replay.recordings import read_recording
from rtdecode.errors import UserError
from training.bench import bench
from training.bench.meg_file import simulated_meg, write_fif
from training.bench.preparing import PrepareSettings, measure

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

MINUTES = 0.3


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("prepare")
    temporary = folder / "temporary"
    temporary.mkdir()
    options = ["--minutes", MINUTES, "--rounds", 1, "--min-ratio", 0, "--json", folder / "prepare.json"]
    done = subprocess.run(
        [sys.executable, "-m", "rtdecode", "bench", "prepare", *map(str, options)],
        env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))},
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(temporary.glob("rtdecode-*"))
    return json.loads((folder / "prepare.json").read_text()), done.stdout


def test_every_way_makes_the_same_windows_and_is_compared_with_ours(
    measured: tuple[dict[str, Any], str],
) -> None:
    result, shown = measured
    assert list(result["ways"]) == ["rtdecode", "mne", "mne-iir"]
    assert result["recording"]["markers"] > 2
    for name, one in result["ways"].items():
        assert 0 < one["windows"] <= result["recording"]["markers"]
        assert one["windows"] == result["ways"]["rtdecode"]["windows"]
        assert one["peak_rss_mb"] > one["imports_rss_mb"] > 10
        assert 0 < one["cpu_share"] < 1.05  # one thread
        if name != "rtdecode":
            assert result["ratios"][name] == one["seconds"] / result["ways"]["rtdecode"]["seconds"]
    assert "SIMULATED" in shown


def test_what_must_hold_is_told(measured: tuple[dict[str, Any], str]) -> None:
    result, shown = measured
    assert [bar["held"] for bar in result["bars"].values()] == [True, True]
    for name in result["bars"]:
        assert name in shown


def test_a_missed_bar_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bench.preparing.report", lambda *_: False)
    assert CliRunner().invoke(bench, ["prepare"]).exit_code == 1


def test_the_file_holds_what_the_recording_does_and_its_markers(tmp_path: Path) -> None:
    recording = simulated_meg(MINUTES)
    done: list[int] = []
    write_fif(tmp_path / "meg_raw.fif", recording, done.append)
    assert done == sorted(done)
    assert done[-1] == recording.n_samples
    found = read_recording(tmp_path / "meg_raw.fif")
    assert found.n_samples == recording.n_samples
    assert found.channel_names[:-1] == recording.channel_names
    assert [channel.type for channel in found.channels[:-1]] == [one.type for one in recording.channels]
    np.testing.assert_array_equal(found.markers.sample, recording.markers.sample)
    assert found.markers.label == recording.markers.label
    for start, stop in [(0, 10), (1190, 2410), (recording.n_samples - 1, recording.n_samples)]:
        np.testing.assert_allclose(found.read(start, stop)[:, :-1], recording.read(start, stop), rtol=1e-6)


@pytest.mark.parametrize(
    ("free", "alone", "said"),
    [
        (1e18, False, r"holds the whole recording in memory.*--alone"),
        (1e6, True, r"GB of disk.*fewer --minutes"),
    ],
)
def test_a_recording_for_which_there_is_no_room_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, alone: bool, said: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(UserError, match=said):
        measure(PrepareSettings(minutes=10_000.0, alone=alone), tmp_path, lambda *_: lambda _: None)
    assert not list(tmp_path.iterdir())
