"""Segments begin where stamps jump, never where they only jitter, and wherever the chunks end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Channel, ChannelType, Resampling, SignalContract, Unit, Window
from rtdecode.signal.bridging import GapPolicy
from rtdecode.signal.segment import Chunk
from rtdecode.signal.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path


def signal_at(rate_hz: float) -> SignalContract:
    window = Window(first_sample=0, last_sample=9)
    return SignalContract(
        channels=(Channel(name="x", type=ChannelType.MISC, unit=Unit.NONE),),
        rate_hz=rate_hz,
        front_end=(),
        window=window,
        resampling=Resampling(rate_hz=rate_hz, n_times=10),
    )


def starts_of_segments(
    times: npt.NDArray[np.float64], rate_hz: float, borders: list[int] | None = None, gap_s: float = 0.1
) -> list[int]:
    timeline = Timeline(signal_at(rate_hz), reach=10, ring_s=1.0, gap_s=gap_s)
    starts, n = [], 0
    for part in np.split(times, sorted(borders or [])):
        numbers = np.arange(n, n + len(part), dtype=np.float64)
        for piece in timeline.pieces(Chunk(np.zeros((len(part), 1)), numbers, part, 0.0)):
            if piece.is_jump:
                starts.append(int(piece.chunk.stamps[0]))
            timeline.append(piece)
        n += len(part)
    assert timeline.index == len(starts) - 1
    return starts


def regular(n: int, rate_hz: float = 256.0) -> npt.NDArray[np.float64]:
    return 1000.0 + np.arange(n) / rate_hz


@settings(max_examples=100, deadline=None)
@given(
    jumps=st.dictionaries(
        st.integers(1, 599), st.sampled_from([-500.0, -0.2, -0.11, 0.11, 0.5, 4000.0]), max_size=4
    ),
    borders=st.lists(st.integers(0, 600), max_size=20),
)
def test_each_jump_forwards_or_backwards_begins_a_segment_whatever_the_chunks(
    jumps: dict[int, float], borders: list[int]
) -> None:
    times = regular(600)
    for at, jump_s in jumps.items():
        times[at:] += jump_s
    expected = [0, *sorted(jumps)]
    assert starts_of_segments(times, 256.0, borders) == expected
    assert starts_of_segments(times, 256.0) == expected


@pytest.mark.parametrize("step_s", [-0.09, -1 / 256, 0.0082, 12 / 256, 0.09])
@pytest.mark.parametrize("chunk", [1, 32, 600])
def test_a_smaller_step_begins_a_segment_once_the_stamps_have_not_come_back_for_0_3_s(
    step_s: float, chunk: int
) -> None:
    times = regular(600)
    times[300:] += step_s
    assert starts_of_segments(times, 256.0, list(range(0, 600, chunk))) == [0, 377]


@pytest.mark.parametrize("n_lost", [1, 2, 5])
@pytest.mark.parametrize("chunk", [1, 32, 600])
def test_on_even_stamps_a_single_lost_sample_begins_a_segment_at_once(n_lost: int, chunk: int) -> None:
    times = np.delete(regular(600), range(400, 400 + n_lost))
    assert starts_of_segments(times, 256.0, list(range(0, 600, chunk))) == [0, 400]


@pytest.mark.parametrize("step_s", [-0.05, 0.02, 0.05])
def test_a_chunk_that_is_late_or_early_for_once_begins_no_segment(step_s: float) -> None:
    times = regular(600)
    times[300:312] += step_s
    assert starts_of_segments(times, 256.0) == [0]


@pytest.mark.parametrize("step_s", [0.5 / 256, -0.5 / 256])
def test_half_a_sample_is_no_lost_sample(step_s: float) -> None:
    times = regular(600)
    times[300:] += step_s
    assert starts_of_segments(times, 256.0) == [0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bursts_of_12_that_scatter_by_20_ms_are_no_jumps(seed: int) -> None:
    offset = np.random.default_rng(seed).uniform(-0.008, 0.014, 200).repeat(12)
    times = regular(2400) + offset
    assert (np.diff(times) < 0).any()
    assert starts_of_segments(times, 256.0, list(range(0, 2400, 12))) == [0]


def test_the_stamps_of_a_real_headset_are_one_segment(data_dir: Path) -> None:
    for path in sorted((data_dir / "eeg_muse" / "N170").glob("*.csv")):
        times = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0)
        assert starts_of_segments(times, 256.0, list(range(0, len(times), 12))) == [0]


def test_a_slow_stream_jumps_only_where_samples_are_missing() -> None:
    rate_hz = 1 / 1.5
    times = regular(40, rate_hz) + np.random.default_rng(0).uniform(-0.2, 0.2, 40)
    assert starts_of_segments(times, rate_hz) == [0]
    assert starts_of_segments(np.delete(times, 20), rate_hz) == [0, 20]


def test_a_stamp_that_is_no_number_is_a_jump() -> None:
    times = regular(20)
    times[10] = np.nan
    assert starts_of_segments(times, 256.0) == [0, 10, 11]


def test_single_samples_are_one_segment() -> None:
    assert starts_of_segments(regular(50), 256.0, list(range(50))) == [0]


def test_a_chunk_whose_parts_do_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="3 samples, 3 stamps, 2 times"):
        Chunk(np.zeros((3, 1)), np.zeros(3), np.zeros(2), 0.0)


def laid_out(
    times: npt.NDArray[np.float64], policy: GapPolicy, borders: list[int] | None = None
) -> list[tuple[bool, bool, float, float, float]]:
    """Each sample by itself: begins a segment, was put in, value, stamp, time."""
    timeline = Timeline(signal_at(256.0), reach=10, ring_s=0.05, gap_s=0.01, policy=policy)
    out: list[tuple[bool, bool, float, float, float]] = []
    n_running = 0
    values = np.arange(len(times), dtype=float) ** 2
    for rows in np.split(np.arange(len(times)), sorted(borders or [])):
        chunk = Chunk(values[rows, None], times[rows] - 500.0, times[rows], 0.0)
        for piece in timeline.pieces(chunk):
            told = [
                (piece.is_jump and row == 0, piece.is_bridge, float(value), float(stamp), float(time))
                for row, (value, stamp, time) in enumerate(
                    zip(piece.chunk.samples[:, 0], piece.chunk.stamps, piece.chunk.times, strict=True)
                )
            ]
            n_before = 0 if piece.is_jump else n_running
            n_running = timeline.append(piece).end
            out += told[: n_running - n_before]  # the others come once more, in the next segment
    assert timeline.n_bridged == sum(is_bridge for _, is_bridge, *_ in out)
    return out


@pytest.mark.parametrize("n_lost", [3, 20])
def test_lost_samples_are_put_in_at_their_times_and_the_segment_goes_on(n_lost: int) -> None:
    times = np.delete(regular(200), range(100, 100 + n_lost))
    held = laid_out(times, GapPolicy("mark", 20))
    line = laid_out(times, GapPolicy("interpolate", 20))
    assert [begins for begins, *_ in held] == [True] + [False] * 199
    put_in = [False] * 100 + [True] * n_lost + [False] * (100 - n_lost)
    assert [is_bridge for _, is_bridge, *_ in held] == [is_bridge for _, is_bridge, *_ in line] == put_in
    for told in (held, line):
        np.testing.assert_allclose([time for *_, time in told], regular(200), rtol=0, atol=1e-9)
        np.testing.assert_allclose([stamp for *_, stamp, _ in told], regular(200) - 500, rtol=0, atol=1e-9)
    assert [value for _, _, value, *_ in held[100 : 100 + n_lost]] == [99.0**2] * n_lost
    values = [value for _, _, value, *_ in line[99 : 101 + n_lost]]
    np.testing.assert_allclose(values, np.linspace(99**2, 100**2, n_lost + 2))


@pytest.mark.parametrize("jump_s", [21 / 256, 5.0, -0.05, -5.0, np.nan])
def test_longer_gaps_and_steps_back_are_not_bridged(jump_s: float) -> None:
    times = regular(200)
    times[100:] += jump_s
    told = laid_out(times, GapPolicy("mark", 20))
    assert len(told) == 200
    assert told[100][0]


@settings(max_examples=100, deadline=None)
@given(
    jumps=st.dictionaries(st.integers(1, 299), st.integers(-3, 40), max_size=5),
    borders=st.lists(st.integers(0, 300), max_size=20),
    fill=st.sampled_from(["mark", "interpolate"]),
)
def test_what_is_put_in_does_not_depend_on_the_chunks(
    jumps: dict[int, int], borders: list[int], fill: Literal["mark", "interpolate"]
) -> None:
    times = regular(300) + np.random.default_rng(0).uniform(-0.001, 0.001, 300)
    for at, n in jumps.items():
        times[at:] += n / 256
    expected = laid_out(times, GapPolicy(fill, 30))
    assert laid_out(times, GapPolicy(fill, 30), borders) == expected
    assert laid_out(times, GapPolicy(fill, 30), list(range(300))) == expected
