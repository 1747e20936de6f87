"""Fitted responses as recordings."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from replay.datasets.betas import TrialBlocks, betas_recording
from rtdecode.contracts import Channel, ChannelType, Unit


@given(st.data())
def test_trials_are_the_same_however_they_are_asked_for_and_blocks_stay_small(data: st.DataObject) -> None:
    n_channels = data.draw(st.integers(1, 4))
    values = np.arange(2 * 9 * n_channels, dtype=np.float32).reshape(2, 9, n_channels)
    largest = data.draw(st.integers(1, 200))
    blocks = TrialBlocks(largest)
    read = []

    def reader(session: int):
        def trials(start: int, stop: int) -> np.ndarray:
            assert stop - start <= max(1, largest // (4 * n_channels))
            read.append((session, start))
            return values[session, start:stop]

        return blocks.reader(trials, 9, n_channels)

    readers = [reader(0), reader(1)]
    for session, start, n in data.draw(
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 9)), max_size=8)
    ):
        found = readers[session](start, min(start + n, 9))
        np.testing.assert_array_equal(found, values[session, start : start + n])


def test_a_block_is_read_once_for_all_its_trials() -> None:
    read = []

    def trials(start: int, stop: int) -> np.ndarray:
        read.append((start, stop))
        return np.zeros((stop - start, 2), np.float32)

    reader = TrialBlocks(32).reader(trials, 10, 2)
    for trial in range(10):
        reader(trial, trial + 1)
    assert read == [(0, 4), (4, 8), (8, 10)]


def test_a_session_is_one_sample_a_trial_with_a_marker_at_each() -> None:
    recording = betas_recording(
        "ses-1",
        channels=(Channel(name="0-0-0", type=ChannelType.VOXEL, unit=Unit.NONE),),
        labels=["a", "b", "a"],
        interval_s=4.0,
        reader=lambda start, stop: np.arange(start, stop, dtype=float)[:, None],
        subject="01",
        session="1",
    )
    assert (recording.rate_hz, recording.n_samples, recording.duration_s) == (0.25, 3, 12.0)
    assert recording.markers.label == ("a", "b", "a")
    assert recording.markers.sample.tolist() == [0, 1, 2]
    assert recording.read(1, 3).tolist() == [[1.0], [2.0]]
