from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console

from replay.recordings import read_recording
from rtdecode.errors import UserError
from training.bench import bench
from training.bench.meg_file import N_CHANNELS, RATE_HZ, simulated_meg, write_fif
from training.bench.preparing import PrepareSettings, measure
from training.bench.table import prepare_tables
from training.bench.ways import Run, Way, take

if TYPE_CHECKING:
    from pathlib import Path

    from replay.recordings import Recording

pytestmark = pytest.mark.timeout(180)

MINUTES = 0.3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Recording, list[int]]:
    path, recording, done = tmp_path_factory.mktemp("meg") / "meg_raw.fif", simulated_meg(MINUTES), []
    write_fif(path, recording, done.append)
    return path, recording, done


def test_the_file_holds_what_the_recording_does_and_its_markers(
    written: tuple[Path, Recording, list[int]],
) -> None:
    path, recording, done = written
    assert recording.n_samples == 60 * MINUTES * RATE_HZ
    assert len(recording.channels) == N_CHANNELS
    assert done == sorted(done)
    assert done[-1] == recording.n_samples
    found = read_recording(path)
    assert found.n_samples == recording.n_samples
    assert found.channel_names[:-1] == recording.channel_names
    assert [channel.type for channel in found.channels[:-1]] == [one.type for one in recording.channels]
    np.testing.assert_array_equal(found.markers.sample, recording.markers.sample)
    assert found.markers.label == recording.markers.label
    for start, stop in [(0, 10), (1190, 2410), (recording.n_samples - 1, recording.n_samples)]:
        np.testing.assert_array_equal(found.read(start, stop)[:, :-1], recording.read(start, stop))


@pytest.mark.parametrize("way", Way)
def test_every_way_makes_all_windows(
    way: Way, written: tuple[Path, Recording, list[int]], tmp_path: Path
) -> None:
    path, recording, _ = written
    run = take(way, path, tmp_path)
    assert run.windows == len(recording.markers)
    assert list(tmp_path.iterdir())
    assert 0 < run.cpu_s < 1.05 * run.seconds  # one thread
    assert run.peak_rss_mb >= run.imports_rss_mb > 10


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("prepare")
    temporary = folder / "temporary"
    temporary.mkdir()
    options = ["--minutes", MINUTES, "--rounds", 1, "--alone", "--json", folder / "prepare.json"]
    done = subprocess.run(
        [sys.executable, "-m", "rtdecode", "bench", "prepare", *map(str, options)],
        env={**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))},
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(temporary.glob("rtdecode-*"))
    return json.loads((folder / "prepare.json").read_text()), done.stdout


def test_memory_is_told_and_held_against_what_it_may_be(measured: tuple[dict[str, Any], str]) -> None:
    result, shown = measured
    (ours,) = result["ways"].values()
    assert ours["peak_rss_mb"] > ours["imports_rss_mb"] > 10
    ((name, bar),) = result["bars"].items()
    assert bar["held"]
    assert name in shown
    assert "SIMULATED" in shown
    assert result["ratios"] == {}


@pytest.mark.parametrize(("min_ratio", "held"), [(4.0, True), (4.1, False)])
def test_ways_take_turns_and_their_medians_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, min_ratio: float, held: bool
) -> None:
    took = {Way.OURS: [3.0, 1.0, 2.0], Way.MNE: [8.0, 7.0, 80.0], Way.MNE_IIR: [5.0, 1.0, 5.0]}
    turns: list[Way] = []

    def run_apart(way: Way, recording: Path, output: Path) -> Run:
        turns.append(way)
        return Run(5, took[way][turns.count(way) - 1], 1.0, 300.0, 200.0)

    monkeypatch.setattr("training.bench.preparing.run_apart", run_apart)
    monkeypatch.setattr("training.bench.preparing.write_fif", lambda *_: None)
    settings = PrepareSettings(minutes=MINUTES, rounds=3, min_ratio=min_ratio)
    result = measure(settings, tmp_path, lambda *_: lambda _: None)
    assert turns == list(Way) * 3
    assert result["ratios"] == {"mne": 4.0, "mne-iir": 2.5}
    assert result["cpu_ratios"] == {"mne": 1.0, "mne-iir": 1.0}
    assert [bar["held"] for bar in result["bars"].values()] == [True, held]
    shown = Console(record=True, file=io.StringIO(), width=120)
    for table in prepare_tables(result):
        shown.print(table)
    text = shown.export_text()
    for told in ("SIMULATED", "MNE, IIR", "7–80", *result["bars"]):
        assert told in text


def test_a_missed_bar_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.bench.preparing.report", lambda *_: False)
    assert CliRunner().invoke(bench, ["prepare"]).exit_code == 1


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
    monkeypatch.setattr("training.bench.preparing.shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(UserError, match=said):
        measure(PrepareSettings(minutes=10_000.0, alone=alone), tmp_path, lambda *_: lambda _: None)
    assert not list(tmp_path.iterdir())
