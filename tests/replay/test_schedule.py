from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.recordings import Markers, Recording, array_reader
from replay.schedule import BREAK_S, Grid, Original
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError


def recording(n_samples: int, rate_hz: float, **fields: Any) -> Recording:
    return Recording(
        name="r",
        rate_hz=rate_hz,
        channels=(Channel(name="Cz", type=ChannelType.EEG, unit=Unit.VOLT),),
        n_samples=n_samples,
        markers=Markers(np.empty(0, np.int64), []),
        reader=array_reader(np.zeros((n_samples, 1))),
        **fields,
    )


@settings(max_examples=50, deadline=None)
@given(
    n_samples=st.integers(1, 300),
    chunk_size=st.integers(1, 50),
    starts=st.sets(st.integers(1, 299), max_size=4),
)
def test_chunks_hold_every_sample_once_and_never_cross_a_break(
    n_samples: int, chunk_size: int, starts: set[int]
) -> None:
    segment_starts = (0, *sorted(start for start in starts if start < n_samples))
    grid = Grid.of(recording(n_samples, 100, segment_starts=segment_starts), chunk_size, 1.0)
    assert grid.edges[0] == 0
    assert grid.edges[-1] == n_samples
    assert set(segment_starts) <= set(grid.edges.tolist())
    assert np.diff(grid.edges).min() >= 1
    assert np.diff(grid.edges).max() <= chunk_size


@settings(max_examples=50, deadline=None)
@given(start=st.integers(0, 10**9), rate_hz=st.sampled_from([256.0, 300.0, 512.0, 1000.0, 1200.0, 97.6]))
def test_grid_stamps_are_computed_and_do_not_drift(start: int, rate_hz: float) -> None:
    grid = Grid(rate_hz, 2 * 10**9, np.array([0]), 0, np.array([0, 2 * 10**9]), 1.0)
    np.testing.assert_array_equal(
        grid.offsets(np.arange(start, start + 40), 0),
        [sample / rate_hz for sample in range(start, start + 40)],
    )


def test_breaks_and_laps_are_pauses_on_the_same_grid() -> None:
    grid = Grid.of(recording(10, 100.0, segment_starts=(0, 4)), 3, speed=2.0)
    assert grid.edges.tolist() == [0, 3, 4, 7, 10]
    first, second = (grid.offsets(np.arange(10), lap) for lap in (0, 1))
    steps = np.diff(np.concatenate([first, second])) * 200
    expected = np.ones(19)
    expected[[3, 9, 13]] += BREAK_S * 100
    np.testing.assert_allclose(steps, expected)


def test_original_stamps_keep_steps_and_bursts() -> None:
    # bursts of 4 at 100 Hz, each stamped on arrival, 5 ms early or late in turn; the third and fourth merge
    arrival = np.repeat([0.0, 0.045, 0.08, 0.12, 0.165], 4)
    stamps = 500 + arrival + np.tile(np.arange(4) / 100, 5)
    stamps[4:8] += 0.003
    schedule = Original.of(recording(20, 100.0, stamps=stamps), 7, 1.0)
    assert schedule.edges.tolist() == [0, 4, 8, 12, 16, 20]
    np.testing.assert_array_equal(schedule.offsets(np.arange(20), 0), stamps - stamps[0])
    assert schedule.offsets(np.array([0]), 1) > schedule.offsets(np.array([19]), 0)
    twice = Original.of(recording(20, 100.0, stamps=stamps), 7, 2.0)
    np.testing.assert_allclose(twice.offsets(np.arange(20), 0), (stamps - stamps[0]) / 2)


def test_original_stamps_without_bursts_go_in_chunks() -> None:
    stamps = np.arange(50) / 100
    stamps[30:] += 3.0
    schedule = Original.of(recording(50, 100.0, stamps=stamps), 20, 1.0)
    assert schedule.edges.tolist() == [0, 20, 30, 50]


def test_original_stamps_of_a_recording_without_any_are_refused() -> None:
    with pytest.raises(UserError, match="keeps no original stamps"):
        Original.of(recording(5, 100.0), 1, 1.0)


def test_samples_with_original_stamps_were_taken_along_a_line_through_each_segment() -> None:
    off = np.tile([0.004, -0.004, -0.004, 0.004], 15)
    stamps = 7.0 + np.arange(60) / 99.0 + off
    stamps[40:] += 5.0
    schedule = Original.of(recording(60, 100.0, stamps=stamps, segment_starts=(0, 40)), 4, 1.0)
    expected = np.arange(60) / 99.0 - off[0]
    expected[40:] += 5.0
    np.testing.assert_allclose(schedule.times(np.arange(60), 0), expected, atol=1e-9)
    np.testing.assert_array_equal(schedule.offsets(np.arange(60), 0), stamps - stamps[0])
    short = Original.of(recording(2, 100.0, stamps=np.array([0.0, 0.3])), 4, 1.0)
    np.testing.assert_array_equal(short.times(np.arange(2), 0), [0.0, 0.3])
