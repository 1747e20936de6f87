"""Stages of an answer are counted in buckets that add up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import STAMPS, embedding_message

from rtdecode.health.stages import BOUNDS_S, Durations, StageTimes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rtdecode.contracts import EmbeddingMessage


def message(marker_arrival: float | None, data_arrival: float, **fields: object) -> EmbeddingMessage:
    moments = {
        "marker_arrival": marker_arrival,
        "data_arrival": data_arrival,
        "inference_start": 20.0,
        "inference_end": 23.0,
    }
    return embedding_message(stamps=STAMPS.model_copy(update=moments), **fields)


def sums(stages: StageTimes) -> Mapping[str, float]:
    return {stage: durations.sum_s for (stage, _), durations in stages.so_far().items()}


def test_stages_follow_each_other_and_compute_is_their_sum() -> None:
    stages = StageTimes()
    stages.note(message(10.0, 18.0), 24.0)
    assert sums(stages) == {"data": 8, "queue": 2, "decode": 3, "publish": 1, "compute": 6}


def test_a_marker_that_comes_after_its_data_begins_the_computation() -> None:
    stages = StageTimes()
    stages.note(message(19.0, 18.0), 24.0)
    assert sums(stages) == {"data": 0, "queue": 1, "decode": 3, "publish": 1, "compute": 5}


def test_a_stride_waits_for_no_data_and_compressed_time_is_not_counted() -> None:
    stages = StageTimes()
    stages.note(message(None, 18.0), 24.0)
    stages.note(message(None, 18.0, latency_comparable=False), 24.0)
    assert sums(stages) == {"queue": 2, "decode": 3, "publish": 1, "compute": 6}
    assert all(sum(durations.counts) == 1 for durations in stages.so_far().values())


@given(st.lists(st.floats(-1e-6, 100), max_size=50))
def test_each_duration_falls_into_the_first_bucket_that_holds_it(seconds: list[float]) -> None:
    durations = Durations()
    for one in seconds:
        durations.add(one)
    for index, bound in enumerate(BOUNDS_S):
        assert sum(durations.counts[: index + 1]) == sum(one <= bound for one in seconds)
    assert sum(durations.counts) == len(seconds)
    assert durations.sum_s == pytest.approx(sum(max(0, one) for one in seconds))


def test_what_nobody_counts_is_forgotten_but_for_the_newest() -> None:
    stages = StageTimes()
    for _ in range(10_001):
        stages.note(message(None, 18.0), 24.0)
    assert sum(stages.so_far()["compute", "ridge"].counts) == 10_000
