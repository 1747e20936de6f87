"""Which windows are decoded on which thread, and which together; the engine is one that only takes notes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
from turns import await_waiting

from rtdecode.contracts import Verdict
from rtdecode.inference import Inference
from rtdecode.turn import Turn

ENOUGH_S = 30.0


@dataclass(frozen=True)
class Window:
    """As much of a job as inference asks for."""

    number: int
    decoder: Any

    def goes_with(self, other: Window) -> bool:
        return self.decoder is other.decoder


@dataclass(frozen=True)
class Several:
    most_together: int


@dataclass
class Notes:
    """Stands for the engine, and for the alarms; the first window is held up until it is told to go on."""

    runs: list[tuple[list[int], str]] = field(default_factory=list)
    ended: list[tuple[int, Verdict]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    turn: Turn = field(default_factory=Turn)

    def decode(self, jobs: list[Window]) -> None:
        self.runs.append(([job.number for job in jobs], threading.current_thread().name))
        self.begun.set()
        assert self.go_on.wait(ENOUGH_S)

    def end(self, job: Window, verdict: Verdict, _: str) -> None:
        self.ended.append((job.number, verdict))

    def begin(self, *_: object) -> None:
        self.alarms.append("begin")


@pytest.fixture
def notes() -> Notes:
    return Notes()


def held_up(notes: Notes, most: int, waiting: list[Window]) -> None:
    """Have windows come while the stream ``first`` decodes one by itself, then let all of them be decoded."""
    inference = Inference(notes, most, notes, lambda error: pytest.fail(str(error)))  # type: ignore[arg-type]
    inference.start()
    first = threading.Thread(
        target=inference.take,
        args=([Window(0, Several(16))],),
        name="first",
    )
    first.start()
    assert notes.begun.wait(ENOUGH_S)
    for window in waiting:
        inference.take([window])  # type: ignore[list-item]
    notes.go_on.set()
    first.join()
    inference.finish([])
    assert inference.n_waiting == 0


def test_windows_that_wait_for_one_decoder_are_decoded_together_in_order(notes: Notes) -> None:
    linear, deep = Several(3), Several(1)
    decoders = [linear, linear, linear, linear, deep, deep, linear, linear]
    held_up(notes, 8, [Window(number, decoder) for number, decoder in enumerate(decoders, start=1)])
    assert [numbers for numbers, _ in notes.runs] == [[0], [1, 2, 3], [4], [5], [6], [7, 8]]
    assert [thread for _, thread in notes.runs] == ["first", *["inference"] * 5]


def test_windows_that_find_no_room_end_and_all_others_are_decoded(notes: Notes) -> None:
    linear, other = Several(4), Several(4)
    held_up(notes, 2, [Window(number, other if number == 2 else linear) for number in range(1, 6)])
    decoded = [number for numbers, _ in notes.runs for number in numbers]
    # One may have left the queue to wait for the run before it.
    assert len(notes.ended) in (2, 3)
    assert {verdict for _, verdict in notes.ended} == {Verdict.OVERFLOW}
    assert sorted(decoded + [number for number, _ in notes.ended]) == list(range(6))
    assert notes.alarms == ["begin"] * len(notes.ended)


def test_streams_that_wait_for_their_turn_have_it_before_windows_are_decoded(notes: Notes) -> None:
    linear = Several(16)
    notes.go_on.set()
    inference = Inference(notes, 8, notes, lambda error: pytest.fail(str(error)))  # type: ignore[arg-type]

    def feed(number: int) -> None:
        with notes.turn.taken():
            inference.take([Window(number, linear)])  # type: ignore[list-item]

    streams = [threading.Thread(target=feed, args=(number,), name="stream") for number in range(3)]
    inference.start()
    with notes.turn.taken():
        for stream in streams:
            stream.start()
        await_waiting(notes.turn, 3)
        inference.take([Window(3, linear)])  # type: ignore[list-item]
        await_waiting(notes.turn, 4)  # it waits behind them
    for stream in streams:
        stream.join(ENOUGH_S)
    inference.finish([])
    ((numbers, thread),) = notes.runs
    assert (numbers[0], sorted(numbers), thread) == (3, [0, 1, 2, 3], "inference")
