"""Each volume goes out once, in order, at its own place in time; time is synthetic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.volumes.runs import SILENT_TR, WAIT_TR, Runs

if TYPE_CHECKING:
    from collections.abc import Iterable

TR = 2.0
DELAY_S = 3.0
BEGIN = 1000.0


class Scanner:
    """Hands volumes over when told to, and looks each tenth of a second."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.runs = Runs(TR, DELAY_S, self.told.append)
        self.sent: list[tuple[float, float]] = []
        self.now = BEGIN

    def until(self, now: float) -> None:
        while self.now < now - 1e-9:
            self.now = min(self.now + 0.1, now)
            self._look()

    def give(self, number: int, at: float, key: str = "a", content: float | None = None) -> None:
        """A volume that holds its number, or something else."""
        self.until(at)
        values = np.array([number if content is None else content], np.float64)
        self.runs.take(key, f"run {key}", number, values, at)
        self._look()

    def scan(self, numbers: Iterable[int], begin: float, key: str = "a", content: float = 0.0) -> None:
        """One volume each repetition time, as if number 1 had come at ``begin``."""
        for number in numbers:
            self.give(number, begin + (number - 1) * TR, key, content + number)

    def _look(self) -> None:
        self.sent += [(float(one.values[0]), one.stamp) for one in self.runs.ready(self.now)]


@pytest.fixture
def scanner() -> Scanner:
    return Scanner()


def on_grid(numbers: Iterable[int], begin: float = BEGIN, content: float = 0.0) -> list[tuple[float, float]]:
    return [(content + n, pytest.approx(begin - DELAY_S + (n - 1) * TR)) for n in numbers]


def test_volumes_are_stamped_by_arrival_minus_the_delay_on_a_steady_grid(scanner: Scanner) -> None:
    for number in range(1, 20):
        late = 0.4 * np.sin(7 * number) ** 2 if number > 1 else 0.0
        scanner.give(number, BEGIN + (number - 1) * TR + late)
    assert scanner.sent == on_grid(range(1, 20))
    assert scanner.told == []


@settings(max_examples=200, deadline=None)
@given(
    lost=st.sets(st.integers(2, 29), max_size=8),
    twice=st.sets(st.integers(1, 29), max_size=5),
    late=st.lists(st.floats(0, 0.9 * WAIT_TR * TR), min_size=30, max_size=30),
    first=st.sampled_from([0, 1]),
)
def test_whatever_is_lost_late_or_sent_twice_no_volume_is_ever_at_anothers_place(
    lost: set[int], twice: set[int], late: list[float], first: int
) -> None:
    scanner = Scanner()
    arrivals = [
        (BEGIN + (number - 1) * TR + (late[number] if number > first else 0.0) + again * 0.3, number)
        for number in range(first, 30)
        for again in range(1 + (number in twice))
        if number not in lost
    ]
    for at, number in sorted(arrivals):
        scanner.give(number, at)
    scanner.until(BEGIN + 40 * TR)
    assert scanner.sent == on_grid([n for n in range(first, 30) if n not in lost])
    assert sum("did not come: a gap" in line for line in scanner.told) == sum(
        n in lost and n - 1 not in lost for n in range(first, 29) if n < max(set(range(30)) - lost)
    )


@pytest.mark.parametrize("numbers", [[3, 2, 1], [2, 1, 3], [1, 3, 2]])
def test_volumes_that_overtake_each_other_are_put_in_order(scanner: Scanner, numbers: list[int]) -> None:
    for delay, number in enumerate(numbers):
        scanner.give(number, BEGIN + 0.1 * delay)
    scanner.until(BEGIN + 1.0)
    assert [content for content, _ in scanner.sent] == [1, 2, 3]
    stamps = [stamp for _, stamp in scanner.sent]
    assert np.diff(stamps) == pytest.approx([TR, TR])


def test_a_run_that_is_joined_in_its_midst_begins_there(scanner: Scanner) -> None:
    scanner.scan(range(7, 12), BEGIN - 6 * TR)
    assert scanner.sent == on_grid(range(7, 12), BEGIN - 6 * TR)
    assert scanner.told == []


def test_a_volume_that_comes_after_later_ones_is_left_out(scanner: Scanner) -> None:
    scanner.scan([1, 2, 4, 5], BEGIN)
    scanner.give(3, BEGIN + 4 * TR + 0.5)
    scanner.scan([6], BEGIN)
    assert scanner.sent == on_grid([1, 2, 4, 5, 6])
    assert scanner.told == [
        "run a: volume 3 did not come: a gap",
        "run a: volume 3 came after later ones were sent: left out",
    ]


def test_a_new_series_is_a_new_grid(scanner: Scanner) -> None:
    scanner.scan(range(1, 6), BEGIN)
    scanner.scan(range(1, 6), BEGIN + 100.3, "b", content=50)
    assert scanner.sent == on_grid(range(1, 6)) + on_grid(range(1, 6), BEGIN + 100.3, 50)
    assert scanner.told == ["run a is over; volumes sent: 5, missing: 0"]


def test_a_series_that_follows_at_once_loses_no_volume(scanner: Scanner) -> None:
    scanner.scan(range(1, 6), BEGIN)
    begin = BEGIN + 4 * TR + 1.2 * TR
    scanner.scan(range(1, 6), begin, "b")
    assert scanner.sent == on_grid(range(1, 6)) + on_grid(range(1, 6), begin)


def test_of_two_series_at_once_the_first_alone_is_sent(scanner: Scanner) -> None:
    for number in range(1, 8):
        scanner.give(number, BEGIN + (number - 1) * TR)
        scanner.give(number, BEGIN + (number - 1) * TR + 0.2, "moco", content=-1)
    scanner.until(BEGIN + 7 * TR)
    assert scanner.sent == on_grid(range(1, 8))
    assert scanner.told == ["run moco: comes beside run a: only the latter is sent"]


def test_names_that_are_used_again_begin_a_new_run_and_copies_do_not(scanner: Scanner) -> None:
    scanner.scan(range(1, 6), BEGIN)
    scanner.scan(range(1, 4), BEGIN + 100.0)  # the same files, exported again
    assert scanner.sent == on_grid(range(1, 6))
    scanner.scan(range(1, 6), BEGIN + 200.0, content=50)
    assert scanner.sent[5:] == on_grid(range(1, 6), BEGIN + 200.0, 50)
    assert scanner.told == [
        "run a is over; volumes sent: 5, missing: 0",
        "run a: volume 1 came twice: it is sent once, and so are others",
        "run a begins again, with volume 1",
    ]


def test_a_stray_volume_before_the_first_does_not_move_the_run(scanner: Scanner) -> None:
    scanner.give(10, BEGIN)
    scanner.scan(range(1, 11), BEGIN + TR)
    assert scanner.sent[1:] == on_grid(range(1, 11), BEGIN + TR)
    assert scanner.told == [
        "run a is over; volumes sent: 1, missing: 0",
        "run a begins again, with volume 1",
    ]


def test_a_run_that_stalls_goes_on_where_it_was(scanner: Scanner) -> None:
    scanner.scan(range(1, 6), BEGIN)
    scanner.until(BEGIN + (4 + 3 * SILENT_TR) * TR)
    for number in range(6, 20):
        scanner.give(number, scanner.now)
    scanner.scan(range(21, 25), BEGIN)
    assert scanner.sent == on_grid([*range(1, 20), *range(21, 25)])


def test_volumes_that_come_before_they_can_have_been_taken_are_told_once(scanner: Scanner) -> None:
    scanner.give(1, BEGIN)
    for number in range(2, 10):
        scanner.give(number, BEGIN + (number - 1) * TR - 1.0)
    assert scanner.sent == on_grid(range(1, 10))
    assert len(scanner.told) == 1
    assert "came 1.00 s before it can have been taken" in scanner.told[0]
