"""After each fault of the stamps, windows are on the true sample again, and nothing in between was wrong.

Time is synthetic, so the truth is known: the first channel is the number of the sample that the device took,
whether it arrived or not, and markers are stamped by the same clock as the samples, without their scatter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Channel, ChannelType, Resampling, SignalContract, Unit, Verdict, Window
from rtdecode.signal.markers import Marker
from rtdecode.signal.track import Chunk, Closed, Cut, Track

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    Stamps = npt.NDArray[np.float64]
    Fault = Callable[[Stamps, int], npt.NDArray[np.bool_] | None]

RATE_HZ = 256.0
SECONDS = 12.0
FAULT_S = 5.0
BACK_S = 2.0
WINDOW = Window(first_sample=-10, last_sample=40)


def scatter(kind: str, n: int, rng: np.random.Generator) -> Stamps:
    """What arrival adds to a stamp, seconds; zero on average: a constant delay cannot be seen in stamps."""
    n_bursts = n // 12 + 1
    if kind == "regular":
        return np.zeros(n)
    if kind == "steady jitter":
        return rng.normal(0, 0.001, n)
    if kind == "bursts":  # as a headset's: from -8 to 14 ms
        return (rng.triangular(-0.008, -0.003, 0.014, n_bursts) - 0.001).repeat(12)[:n]
    return (rng.gamma(1.2, 0.004, n_bursts) - 0.0048).repeat(12)[:n]  # skewed bursts


def nothing(stamps: Stamps, at: int) -> None:
    pass


def dropout(stamps: Stamps, at: int) -> npt.NDArray[np.bool_]:
    """Half a second is lost."""
    kept = np.ones(len(stamps), bool)
    kept[at : at + 128] = False
    return kept


def lost_packet(stamps: Stamps, at: int) -> npt.NDArray[np.bool_]:
    """Twelve samples are lost: 47 ms, less than a gap."""
    kept = np.ones(len(stamps), bool)
    kept[at // 12 * 12 : at // 12 * 12 + 12] = False
    return kept


def lost_sample(stamps: Stamps, at: int) -> npt.NDArray[np.bool_]:
    kept = np.ones(len(stamps), bool)
    kept[at] = False
    return kept


def clock_restart(stamps: Stamps, at: int) -> None:
    stamps[at:] -= stamps[at] - 0.25


def jump_ahead(stamps: Stamps, at: int) -> None:
    stamps[at:] += 7.0


def jump_back(stamps: Stamps, at: int) -> None:
    stamps[at:] -= 3.0


def held_up(stamps: Stamps, at: int) -> None:
    """The sender is held up for 80 ms; what had waited is stamped when it gets away."""
    late = stamps[at + 20]
    stamps[at : at + 20] = np.maximum(stamps[at : at + 20], late)


def late_chunk(stamps: Stamps, at: int) -> None:
    stamps[at // 12 * 12 : at // 12 * 12 + 12] += 0.05


FAULTS = [
    nothing,
    dropout,
    lost_packet,
    lost_sample,
    clock_restart,
    jump_ahead,
    jump_back,
    held_up,
    late_chunk,
]
SCATTERS = ["regular", "steady jitter", "bursts", "skewed bursts"]


@dataclass
class Answer:
    """A marker's answer, and the sample that the device took when the marker was set."""

    true_sample: int
    answer: Cut | Closed


def play(
    times: Stamps, stamps: Stamps, kept: npt.NDArray[np.bool_], rng: np.random.Generator, chunk: int = 12
) -> list[Answer]:
    """Stream the samples that arrive; markers are set at random and told with the next chunk.

    ``times`` is what the clock showed when each sample was taken, ``stamps`` what was written beside it.
    """
    signal = SignalContract(
        channels=(Channel(name="n", type=ChannelType.MISC, unit=Unit.NONE),),
        rate_hz=RATE_HZ,
        front_end=(),
        window=WINDOW,
        resampling=Resampling(rate_hz=RATE_HZ, n_times=10),
    )
    track = Track("eeg", signal, {"d": WINDOW})
    numbers = np.flatnonzero(kept)
    onsets = np.sort(rng.choice(len(times) - 200, 120, replace=False))
    offsets = rng.uniform(-0.45, 0.45, len(onsets)) / RATE_HZ
    n_marked = 0
    answers: list[Cut | Closed] = []
    for start in range(0, len(numbers), chunk):
        part = numbers[start : start + chunk]
        track.feed(Chunk(part[:, None].astype(np.float64), stamps[part], stamps[part], 0.0))
        while n_marked < len(onsets) and onsets[n_marked] <= part[-1]:
            time = float(times[onsets[n_marked]] + offsets[n_marked])
            track.mark(Marker("m", "", stamp=time, time=time, arrival=time), n_marked)
            n_marked += 1
        for answer in track.take(-np.inf):  # a window is only there until newer samples take its place
            is_cut = isinstance(answer, Cut)
            answers.append(replace(answer, window=answer.window.copy()) if is_cut else answer)
    answers += track.close(Verdict.SHUTDOWN, "the end")
    assert len(answers) == len(onsets)
    return [Answer(int(onsets[answer.request.index]), answer) for answer in answers]


def errors(answers: list[Answer]) -> list[int]:
    """By how many samples windows lie off the truth, all of their samples considered."""
    found = []
    for one in answers:
        if isinstance(one.answer, Cut):
            numbers = one.answer.window[:, 0].astype(int)
            off = numbers - one.true_sample - np.arange(WINDOW.first_sample, WINDOW.last_sample + 1)
            found.append(int(off[np.argmax(np.abs(off))]))
    return found


def device(kind: str, fault: Fault, seed: int, rate: float = 1.0) -> tuple[Stamps, list[Answer]]:
    rng = np.random.default_rng(seed)
    n = round(SECONDS * RATE_HZ)
    times = 1000.0 + np.arange(n) / (RATE_HZ * rate)
    stamps = times + scatter(kind, n, rng)
    at = round(FAULT_S * RATE_HZ) + int(rng.integers(12))
    if fault in (clock_restart, jump_ahead, jump_back):  # the clock itself: markers see it too
        before = times[at] - stamps[at]
        fault(times, at)
        stamps[at:] = times[at:] + (stamps[at:] - 1000.0 - np.arange(at, n) / (RATE_HZ * rate))
        assert abs(times[at] - stamps[at] - before) < 1e-6
    kept = fault(stamps, at) if fault not in (clock_restart, jump_ahead, jump_back) else None
    return times, play(times, stamps, np.ones(n, bool) if kept is None else kept, rng)


def later_than(answers: list[Answer], seconds: float) -> list[Answer]:
    return [one for one in answers if one.true_sample > seconds * RATE_HZ]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("kind", SCATTERS)
@pytest.mark.parametrize("seed", range(3))
def test_no_window_is_off_by_more_than_a_sample_and_2_s_after_a_fault_all_are_there(
    kind: str, fault: Fault, seed: int
) -> None:
    _, answers = device(kind, fault, seed)
    found = errors(answers)
    assert max(np.abs(found)) <= (0 if kind == "regular" and fault is not late_chunk else 1)
    again = later_than(answers, FAULT_S + BACK_S)
    if fault is jump_back:  # until the clock has passed again what it showed before
        again = later_than(answers, FAULT_S + 3.0 + 0.2)
    missing = [one.answer for one in again if isinstance(one.answer, Closed)]
    assert len(missing) <= (0.1 * len(again) if "bursts" in kind else 0), missing
    for one in answers:
        if isinstance(one.answer, Closed):
            assert one.answer.verdict in (Verdict.GAP, Verdict.WARMING_UP)
    if fault is nothing:
        assert not [one for one in later_than(answers, BACK_S) if isinstance(one.answer, Closed)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    lost_at=st.integers(1, 1500),
    sd=st.floats(0, 0.5),
    chunk=st.integers(1, 60),
)
def test_a_sample_lost_among_stamps_that_jitter_is_missing_in_no_window(
    seed: int, lost_at: int, sd: float, chunk: int
) -> None:
    rng = np.random.default_rng(seed)
    times = 1000.0 + np.arange(1800) / RATE_HZ
    stamps = times + rng.normal(0, 1, 1800) * sd / RATE_HZ
    answers = play(times, stamps, lost_sample(stamps, lost_at), rng, chunk)
    windows = [one.answer.window[:, 0] for one in answers if isinstance(one.answer, Cut)]
    assert len(windows) > 60
    assert all((np.diff(window) == 1).all() for window in windows)
    assert max(np.abs(errors(answers))) <= 1


@pytest.mark.parametrize("seed", [5221, 5805, 5373, 5405])
def test_a_marker_right_before_or_after_a_clock_was_set_back_is_not_taken_for_another(seed: int) -> None:
    """The first stamps came late, or the last ones early, so it lies where the clock was otherwise."""
    _, answers = device("bursts", jump_back, seed)
    assert max(np.abs(errors(answers))) <= 1


@pytest.mark.parametrize("off", [-0.002, 0.002])
@pytest.mark.parametrize("kind", SCATTERS)
@pytest.mark.parametrize("seed", range(2))
def test_a_rate_announced_wrong_by_2_in_1000_does_not_move_a_window(kind: str, off: float, seed: int) -> None:
    _, answers = device(kind, nothing, seed, rate=1 + off)
    assert max(np.abs(errors(answers))) <= (0 if kind == "regular" else 1)
    again = later_than(answers, 6.0)
    assert not [one for one in again if isinstance(one.answer, Closed)]


def test_the_reason_says_why_a_window_is_refused_before_the_stamps_tell_its_sample() -> None:
    _, answers = device("bursts", dropout, seed=0)
    reasons = {one.answer.reason for one in answers if isinstance(one.answer, Closed)}
    assert any(reason.startswith("the stamps do not tell the onset's sample yet") for reason in reasons)


def test_an_answer_tells_how_sure_its_sample_is() -> None:
    _, answers = device("bursts", nothing, seed=0)
    unsure = [one.answer.uncertainty_us for one in answers if isinstance(one.answer, Cut)]
    assert 300 < min(unsure) < max(unsure) <= 1e6 / RATE_HZ / 3
    _, answers = device("regular", nothing, seed=0)
    assert max(one.answer.uncertainty_us for one in answers if isinstance(one.answer, Cut)) < 0.1


def test_on_a_real_headset_markers_fall_on_their_rows(data_dir: Path) -> None:
    """The best line through all stamps of a file is as near to the truth as one gets."""
    paths = sorted((data_dir / "eeg_muse" / "N170").glob("*.csv"))
    assert paths
    for path in paths:
        stamps = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0)
        rows = np.arange(len(stamps))
        times = np.polyval(np.polyfit(rows, stamps - stamps[0], 1), rows) + stamps[0]
        answers = play(times, stamps, np.ones(len(stamps), bool), np.random.default_rng(0))
        assert max(np.abs(errors(answers))) <= 1
        assert np.mean(np.abs(errors(answers)) == 0) > 0.95
        assert not [one for one in later_than(answers, BACK_S) if isinstance(one.answer, Closed)]
