from __future__ import annotations

from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import pytest

from replay.recordings import Markers, Recording, array_reader
from replay.recordings.recording import bids_entities, segment_starts
from rtdecode.contracts import Channel, ChannelType, Unit

CHANNEL = Channel(name="Cz", type=ChannelType.EEG, unit=Unit.VOLT)


def recording(**changes: Any) -> Recording:
    fields: dict[str, Any] = {
        "name": "r",
        "rate_hz": 10.0,
        "channels": (CHANNEL,),
        "n_samples": 8,
        "markers": Markers(np.array([2, 7]), ["a", "b"]),
        "reader": array_reader(np.arange(8.0)[:, None]),
    }
    return Recording(**{**fields, **changes})


def test_blocks_are_all_samples_in_order() -> None:
    blocks = list(recording().blocks(3))
    assert [len(block) for block in blocks] == [3, 3, 2]
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], np.arange(8))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("wanted", [[0, 1, 2], [1, 2], [2, 0], [1]])
def test_some_channels_are_read_in_the_order_asked_for_each_in_one_piece(
    order: Literal["C", "F"], wanted: list[int]
) -> None:
    samples = np.arange(24.0).reshape(8, 3)
    channels = tuple(CHANNEL.model_copy(update={"name": name}) for name in ("Cz", "Pz", "Oz"))
    three = recording(channels=channels, reader=array_reader(np.array(samples, order=order)))
    found = three.read_channels(2, 7, wanted)
    np.testing.assert_array_equal(found, samples[2:7, wanted].T)
    assert found.flags.c_contiguous
    assert three.read_channels(4, 4, wanted).shape == (len(wanted), 0)
    with pytest.raises(IndexError, match="samples 2 to 9 of 8"):
        three.read_channels(2, 9, wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"markers": Markers(np.array([8]), ["late"])},
        {"channels": (CHANNEL, CHANNEL)},
        {"channels": ()},
        {"rate_hz": 0.0},
        {"stamps": np.arange(7.0)},
        {"segment_starts": (1,)},
        {"segment_starts": (0, 8)},
        {"segment_starts": (0, 4, 4)},
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"marker|channels|rate|stamps|segments"):
        recording(**changes)


def test_markers_keep_their_order_and_refuse_to_lose_any() -> None:
    markers = Markers.in_order([5, 2, 5, 0], ["c", "b", "d", "a"])
    assert markers.sample.tolist() == [0, 2, 5, 5]
    assert markers.label == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="labels"):
        Markers(np.array([1, 2]), ["one"])
    with pytest.raises(ValueError, match="decrease"):
        Markers(np.array([2, 1]), ["b", "a"])


def test_markers_off_their_samples_are_in_the_order_of_time() -> None:
    markers = Markers.in_order([5, 2, 5, 5], ["c", "a", "b", "d"], [200.0, 0.0, -100.0, 200.0])
    assert markers.label == ("a", "b", "c", "d")
    assert markers.residual_s.tolist() == pytest.approx([0.0, -1e-4, 2e-4, 2e-4])
    assert Markers(np.array([1, 2]), ["a", "b"]).residual_s.tolist() == [0.0, 0.0]
    for residual_us in ([1.0], [0.0, np.nan]):
        with pytest.raises(ValueError, match="residuals"):
            Markers(np.array([1, 2]), ["a", "b"], np.array(residual_us))


def test_segments_start_at_steps_that_are_too_long_or_backwards() -> None:
    stamps = np.arange(20) / 10.0
    stamps[5:] += 0.05  # jitter
    stamps[10:] += 0.3
    stamps[15:] -= 4.0
    assert segment_starts(stamps, 10.0) == (0, 10, 15)
    assert segment_starts(stamps[:1], 10.0) == (0,)


def test_names_tell_subject_session_and_run_where_they_are_bids() -> None:
    assert bids_entities(PurePath("a/sub-01_ses-b_task-x_run-2_eeg.vhdr")) == ("01", "b", "2")
    assert bids_entities(PurePath("a/data_2017-09-13-15.30.01.csv")) == ("", "", "")
