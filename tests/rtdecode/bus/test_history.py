"""The history gives back what it was given, verbatim and bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.bus import history
from rtdecode.bus.history import History
from rtdecode.contracts import Missed

TOPIC = "verdict/eeg/ridge"


def frames(sequence: int, size: int = 0) -> list[bytes]:
    return [TOPIC.encode(), str(sequence).encode(), bytes(size)]


def missed(first: int, last: int, boot_id: str = "boot") -> Missed:
    return Missed(boot_id=boot_id, publisher="service", topic=TOPIC, first=first, last=last)


def all_of(kept: History, wanted: Missed) -> list[int]:
    """As a subscriber asks: again and again, for what follows the last that came."""
    sequences: list[int] = []
    first = wanted.first
    while first <= wanted.last and (found := kept.find(missed(first, wanted.last))):
        sequences += [int(each[1]) for each in found]
        first = sequences[-1] + 1
    return sequences


@given(
    st.lists(st.integers(1, 4), max_size=300),
    st.integers(0, 400),
    st.integers(0, 400),
)
def test_a_range_comes_back_as_far_as_it_is_there(steps: list[int], first: int, length: int) -> None:
    kept, sequence, there = History(), 0, []
    for step in steps:
        sequence += step
        there.append(sequence)
        kept.add("boot", "service", sequence, frames(sequence))
    wanted = missed(first, first + length)
    assert all_of(kept, wanted) == [each for each in there if first <= each <= first + length]


def test_another_start_another_publisher_another_topic_is_not_mixed_up() -> None:
    kept = History()
    kept.add("boot", "service", 0, frames(0))
    assert kept.find(missed(0, 0)) == [frames(0)]
    assert kept.find(missed(0, 0, boot_id="other")) == []
    assert kept.find(missed(0, 0).model_copy(update={"publisher": "worker"})) == []
    assert kept.find(missed(0, 0).model_copy(update={"topic": "status/"})) == []


@pytest.mark.parametrize(("bound", "value"), [("HISTORY_MESSAGES", 10), ("HISTORY_BYTES", 10_500)])
def test_it_forgets_the_oldest_beyond_its_bounds(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int
) -> None:
    monkeypatch.setattr(history, bound, value)
    kept = History()
    for sequence in range(100):
        kept.add("boot", "service", sequence, frames(sequence, size=1000))
    assert all_of(kept, missed(0, 99)) == list(range(90, 100))


def test_it_forgets_what_is_old() -> None:
    now = 0.0
    kept = History(clock=lambda: now)
    kept.add("boot", "service", 0, frames(0))
    now = history.HISTORY_S + 1
    kept.add("boot", "service", 1, frames(1))
    assert all_of(kept, missed(0, 1)) == [1]


def test_a_message_larger_than_the_history_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "HISTORY_BYTES", 100)
    kept = History()
    kept.add("boot", "service", 0, frames(0, size=1000))
    assert kept.find(missed(0, 0)) == []
    kept.add("boot", "service", 1, frames(1))
    assert kept.find(missed(0, 1)) == [frames(1)]


def test_an_answer_is_bounded_whatever_was_asked_for() -> None:
    kept = History()
    kept.add("boot", "worker-with-holes", 0, frames(0))
    kept.add("boot", "worker-with-holes", 2**62, frames(2**62))
    wanted = missed(0, 2**63 - 1).model_copy(update={"publisher": "worker-with-holes"})
    assert kept.find(wanted) == [frames(0)]
    for sequence in range(1000):
        kept.add("boot", "service", sequence, frames(sequence, size=100_000))
    found = kept.find(missed(0, 999))
    assert 0 < sum(len(frame) for each in found for frame in each) < 500_000
