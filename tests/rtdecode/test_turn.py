from __future__ import annotations

import threading

import pytest
from turns import await_waiting

from rtdecode.turn import Turn

ENOUGH_S = 30.0


class Queue:
    """Threads that ask for a turn one after the other while it is taken, and note when they have it."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self.order: list[str] = []
        self._threads: list[threading.Thread] = []

    def join(self, name: str, *, first: bool = False) -> None:
        n_waiting = len(self._turn._waiting)
        thread = threading.Thread(target=self._take, args=(name, first))
        thread.start()
        self._threads.append(thread)
        await_waiting(self._turn, n_waiting + 1)

    def _take(self, name: str, first: bool) -> None:
        with self._turn.taken(first=first):
            self.order.append(name)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join(ENOUGH_S)


def test_turns_come_in_the_order_in_which_they_were_asked_for_and_answers_first() -> None:
    turn = Turn()
    queue = Queue(turn)
    with turn.taken():
        for name in ("a", "b", "c"):
            queue.join(name)
        queue.join("answer", first=True)
        queue.join("d")
    queue.wait()
    assert queue.order == ["answer", "a", "b", "c", "d"]


def test_a_turn_that_ends_in_an_error_is_handed_on() -> None:
    turn = Turn()
    queue = Queue(turn)

    def fail() -> None:
        with turn.taken():
            queue.join("next")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    queue.wait()
    assert queue.order == ["next"]
    with turn.taken():
        pass


def test_only_one_thread_has_it_at_a_time() -> None:
    turn = Turn()
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for number in range(500):
            with turn.taken(first=number % 7 == 0):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENOUGH_S)
    assert (inside, most) == (0, 1)
    assert not turn._waiting
