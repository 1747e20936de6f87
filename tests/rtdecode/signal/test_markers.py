"""Onsets in a trigger channel are found once each, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.signal.markers import TriggerDetector, TriggerSettings


def find(values: list[float], borders: list[int] | None = None, **how: object) -> list[tuple[int, int]]:
    detector = TriggerDetector(TriggerSettings(**how))  # type: ignore[arg-type]
    found = []
    for part in np.split(np.array(values, float), sorted(borders or [])):
        found += detector.process(part)
    return found


@pytest.mark.parametrize("edge", ["rising", "change", "falling"])
@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.0, 255.0, 256.0, np.nan]), max_size=60),
    borders=st.lists(st.integers(0, 60), max_size=10),
)
def test_any_chunking_finds_the_same_onsets(edge: str, values: list[float], borders: list[int]) -> None:
    assert find(values, borders, edge=edge) == find(values, edge=edge)


def test_rising_finds_each_step_up_from_zero() -> None:
    assert find([0, 5, 5, 0, 0, 7, 9, 0, 1]) == [(1, 5), (5, 7), (8, 1)]


def test_change_finds_steps_between_codes_too() -> None:
    assert find([0, 5, 5, 0, 0, 7, 9, 0, 1], edge="change") == [(1, 5), (5, 7), (6, 9), (8, 1)]


def test_falling_finds_each_step_back_to_zero_and_the_code_that_ended() -> None:
    assert find([3, 0, 5, 5, 0, 0, 7, 9, 0, 1], edge="falling") == [(1, 3), (4, 5), (8, 9)]


def test_the_mask_picks_the_bits_of_the_code() -> None:
    # Bit 8 (256) is a button that is held, bits 16 and up belong to the amplifier.
    assert find([256, 256 + 3, 256, 4, 65536 + 2], mask=0xFF) == [(1, 3), (3, 4)]
    assert find([65536, 65536 + 3, 65536], mask=0xFFFF) == [(1, 3)]
    assert find([-65536, 3 - 65536], mask=0xFF) == [(1, 3)]  # a signed 24-bit status word


def test_a_code_that_is_there_from_the_start_is_no_onset() -> None:
    assert find([5, 5, 0, 5]) == [(3, 5)]


def test_values_are_rounded_and_what_is_no_number_is_passed_over() -> None:
    assert find([0.0, 4.9999, np.nan, 5.0001, np.inf, 0.001, 6.0]) == [(1, 5), (6, 6)]


def test_samples_are_counted_from_the_first_one_read() -> None:
    detector = TriggerDetector()
    assert detector.process(np.zeros(1000)) == []
    assert detector.process(np.empty(0)) == []
    assert detector.process(np.array([0.0, 1.0])) == [(1001, 1)]


def test_a_value_too_large_for_a_code_is_passed_over() -> None:
    assert find([0, 1e300, 5, -1e300, 0, 3]) == [(2, 5), (5, 3)]
