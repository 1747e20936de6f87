"""Segments begin where stamps jump, never where they only jitter, and wherever the chunks end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Channel, ChannelType, Resampling, SignalContract, Unit, Window
from rtdecode.signal.segment import Chunk
from rtdecode.signal.timeline import Timeline

if TYPE_CHECKING:
    from pathlib import Path


def starts_of_segments(
    times: npt.NDArray[np.float64], rate_hz: float, borders: list[int] | None = None, gap_s: float = 0.1
) -> list[int]:
    window = Window(first_sample=0, last_sample=9)
    signal = SignalContract(
        channels=(Channel(name="x", type=ChannelType.MISC, unit=Unit.NONE),),
        rate_hz=rate_hz,
        front_end=(),
        window=window,
        resampling=Resampling(rate_hz=rate_hz, n_times=10),
    )
    timeline = Timeline(signal, reach=10, ring_s=1.0, gap_s=gap_s)
    starts, n = [], 0
    for part in np.split(times, sorted(borders or [])):
        for piece, is_jump in timeline.pieces(Chunk(np.zeros((len(part), 1)), part, part, 0.0)):
            if is_jump:
                starts.append(n)
            timeline.append(piece, is_jump)
            n += len(piece.times)
    assert n == len(times)
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


@pytest.mark.parametrize("step_s", [-0.09, 0.09])
def test_a_smaller_step_is_no_jump(step_s: float) -> None:
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
