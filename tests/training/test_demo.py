from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from rtdecode.contracts import Verdict

if TYPE_CHECKING:
    from pathlib import Path


pytestmark = pytest.mark.timeout(300)  # a whole demo, on a machine that may be busy


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    options = ["--headless", "--speed", "3", "--out", folder / "out", "--json", folder / "demo.json"]
    subprocess.run([sys.executable, "-m", "rtdecode", "demo", *map(str, options)], check=True, timeout=280)
    return folder


@pytest.fixture(scope="module")
def result(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "demo.json").read_text())
    return found


def test_every_request_has_a_verdict(result: dict[str, Any]) -> None:
    live = result["live"]
    assert live["requests"] == sum(live["verdicts"].values()) == live["markers"] > 0
    assert set(live["verdicts"]) <= {verdict.value for verdict in Verdict}
    assert live["lost_messages"] == 0


def test_live_is_offline(result: dict[str, Any]) -> None:
    parity = result["parity"]
    assert parity["max_abs_diff_sd"] <= 1e-4
    assert parity["n_same_rank"] == parity["n_compared"] == result["live"]["verdicts"]["emitted"]


def test_the_simulated_subject_is_decoded_above_chance(result: dict[str, Any]) -> None:
    assert result["offline"]["n_test"] == 120
    for part in ("offline", "live"):
        assert 0.05 < result[part]["top1"] < result[part]["top5"] < 1  # chance: 0.008 and 0.042
    assert 0 < result["offline"]["pearson"] < 1


def test_latencies_are_told_apart_and_marked_as_not_comparable(result: dict[str, Any]) -> None:
    latency = result["latency_ms"]
    for stage in ("inference", "compute"):
        one = latency[stage]
        assert 0 < one["p50"] <= one["p95"] <= one["p99"] <= one["max"]
    assert latency["structural"] > 800
    assert latency["comparable"] is False


def test_it_says_that_all_is_simulated(out: Path, result: dict[str, Any]) -> None:
    assert result["simulated"] is True
    assert json.loads((out / "out" / "gallery" / "gallery.json").read_text())["simulated"] is True


def test_it_ends_with_a_contact_sheet(out: Path) -> None:
    with Image.open(out / "out" / "contact_sheet.png") as sheet:
        assert min(sheet.size) > 500
