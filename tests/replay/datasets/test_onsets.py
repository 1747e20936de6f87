"""Which sample an onset in seconds is, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from replay.datasets.onsets import onset_markers
from replay.recordings import Markers, Recording
from replay.recordings.recording import array_reader
from rtdecode.contracts import Channel, ChannelType, Unit


def recording(rate_hz: float, n_samples: int) -> Recording:
    return Recording(
        name="some",
        rate_hz=rate_hz,
        channels=(Channel(name="Cz", type=ChannelType.EEG, unit=Unit.VOLT),),
        n_samples=n_samples,
        markers=Markers(np.empty(0, dtype=np.int64), []),
        reader=array_reader(np.zeros((n_samples, 1))),
    )


def test_markers_stand_at_the_nearest_samples_ties_to_the_earlier_in_order() -> None:
    markers = onset_markers(recording(2.0, 10), np.array([3.0, 0.25, 0.3]), ["c", "a", "b"])
    assert list(zip(markers.sample.tolist(), markers.label, strict=True)) == [(0, "a"), (1, "b"), (6, "c")]
    assert markers.residual_us is None


def test_what_lies_between_an_onset_and_its_sample_is_kept_where_asked_for() -> None:
    markers = onset_markers(recording(0.5, 10), np.array([2.9, 1.5]), ["a", "b"], keep_residuals=True)
    assert markers.sample.tolist() == [1, 1]
    np.testing.assert_allclose(markers.residual_us, [-0.5e6, 0.9e6])


def test_the_first_and_the_last_sample_are_inside() -> None:
    onsets_s = np.array([-0.25, -0.24, 4.75, 4.76])  # -0.25 and 4.75 s are ties, the former with none
    assert onset_markers(recording(2.0, 10), onsets_s, list("abcd")).label == ("b", "c")


@pytest.mark.parametrize("onset_s", [np.nan, np.inf, -np.inf, 1e308, -1e308, 1e15, -5.0])
def test_what_is_no_time_within_the_signal_is_left_out(onset_s: float) -> None:
    markers = onset_markers(recording(1000.0, 10), np.array([0.001, onset_s]), ["a", "b"])
    assert markers.label == ("a",)
