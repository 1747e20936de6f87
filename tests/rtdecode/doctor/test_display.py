from __future__ import annotations

import numpy as np
import pytest

from rtdecode.doctor.display import judge, measure_display
from rtdecode.doctor.finding import State
from rtdecode.errors import UserError
from rtdecode.sources.lsl import StreamQuery

RATE_HZ = 500.0


def recording(n: int = 20, delay_s: float = 0.035, jitter_s: float = 0.0) -> tuple[np.ndarray, ...]:
    markers = 1.0 + 0.4 * np.arange(n)
    times = np.arange(round((markers[-1] + 1.5) * RATE_HZ)) / RATE_HZ
    flashes = markers + delay_s + jitter_s * np.random.default_rng(0).standard_normal(n)
    values = sum(((times >= flash) & (times < flash + 0.1)).astype(float) for flash in flashes)
    return values, times, markers


def test_a_steady_delay_is_ok_and_says_what_to_write() -> None:
    finding = judge(*recording())
    assert finding.state is State.OK
    assert finding.data["delay_s"] == pytest.approx(0.035, abs=1 / RATE_HZ)
    assert finding.advice.startswith(f"write delay_s = {finding.data['delay_s']:.4f} and today's date")
    assert (finding.data["n_missing"], finding.data["n_extra"]) == (0, 0)


def test_a_delay_that_varies_or_few_flashes_are_warned_of() -> None:
    unsteady = judge(*recording(jitter_s=0.01))
    assert (unsteady.state, "why the delay varies" in unsteady.advice) == (State.WARNING, True)
    short = judge(*recording(n=5))
    assert (short.state, "measure longer" in short.advice) == (State.WARNING, True)
    values, times, markers = recording()
    unpaired = judge(values, times, np.delete(markers, 7))
    assert (unpaired.state, unpaired.data["n_extra"]) == (State.WARNING, 1)


def test_no_flashes_no_markers_or_no_match_are_problems() -> None:
    values, times, markers = recording()
    assert "no clear flashes" in judge(np.zeros_like(values), times, markers).text
    assert "no clear flashes" in judge(values[:0], times[:0], markers).text
    assert "20 flashes but no marker" in judge(values, times, markers[:0]).text
    strangers = np.sort(np.random.default_rng(1).uniform(0, 8, 60))
    assert "markers have a flash with a common delay" in judge(values, times, strangers).text
    assert {
        judge(np.zeros_like(values), times, markers).state,
        judge(values, times, markers[:0]).state,
        judge(values, times, strangers).state,
    } == {State.PROBLEM}


@pytest.mark.parametrize("markers", ["name=Marks,source_id={}", "STI"])
def test_the_delay_of_a_live_display_is_measured_within_a_sample(rig: str, markers: str) -> None:
    seconds: list[float] = []
    query = StreamQuery(name="Amp", source_id=rig)
    finding = measure_display("photo", query, markers.format(rig), 4.0, seconds.append)
    assert finding.data["delay_s"] == pytest.approx(0.045, abs=1.5 / RATE_HZ), finding
    assert finding.data["n_missing"] == 0
    assert seconds[-1] == 4.0
    assert seconds == sorted(seconds)


def test_a_channel_that_is_not_there_is_named(rig: str) -> None:
    with pytest.raises(UserError, match="stream 'Amp' has no channel 'diode'; it has Fz, photo, STI"):
        measure_display("diode", StreamQuery(name="Amp", source_id=rig), "STI", 1.0)
