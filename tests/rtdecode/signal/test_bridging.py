"""What was put in is remembered as long as it matters, and received samples are found beside it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.signal.bridging import Bridges, GapPolicy
from rtdecode.signal.ring import LeftRingError


@given(
    pieces=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=20),
    capacity=st.integers(10, 60),
)
def test_received_samples_keep_their_place_beside_those_put_in(
    pieces: list[tuple[int, int]], capacity: int
) -> None:
    """``pieces``: so many samples received, then so many put in."""
    bridges = Bridges()
    is_bridge: list[bool] = []
    for received, put_in in pieces:
        is_bridge += [False] * received
        bridges.add(len(is_bridge), len(is_bridge) + put_in, max(0, len(is_bridge) - capacity))
        is_bridge += [True] * put_in
    is_bridge += [False] * 3
    first = max(0, len(is_bridge) - capacity)
    assert bridges.n_samples == sum(is_bridge)
    assert bridges.count(first, len(is_bridge)) == sum(is_bridge[first:])
    places = [index for index, put_in in enumerate(is_bridge) if not put_in]
    for received, place in enumerate(places):
        if place >= first:
            assert bridges.place(received) == place
        else:  # no longer held: either told so, or told truly
            with contextlib.suppress(LeftRingError):
                assert bridges.place(received) == place


def test_little_is_remembered_of_a_long_session() -> None:
    bridges = Bridges()
    for start in range(0, 100_000, 10):
        bridges.add(start, start + 2, max(0, start - 100))
    assert len(bridges._bridges) < 20
    with pytest.raises(LeftRingError):
        bridges.place(5)


@pytest.mark.parametrize(
    ("step_s", "n_lost"),
    [(0.01, 0), (0.019, 1), (0.0249, 1), (0.06, 5), (0.064, 5), (0.066, 0), (-0.06, 0), (float("nan"), 0)],
)
def test_as_many_samples_are_lost_as_the_stamps_say(step_s: float, n_lost: int) -> None:
    assert GapPolicy("mark", 5).n_lost(step_s, 0.01) == n_lost
    assert GapPolicy("drop", 5).n_lost(step_s, 0.01) == 0
