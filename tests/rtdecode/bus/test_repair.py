"""A subscriber gets what it missed, in order and once, or knows exactly how much is gone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtdecode.bus import Broker, Publisher, Subscriber, history
from rtdecode.bus.sockets import PROBE, WELCOME
from rtdecode.bus.wire import encode
from rtdecode.contracts import ControlReply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rtdecode.bus import Received
    from rtdecode.contracts import StatusMessage, VerdictMessage

TIMEOUT_S = 20.0


class Leak:
    """Stands between a broker and its subscribers, and loses the messages with the numbers it is told."""

    def __init__(self, broker: Broker, loses: Callable[[int], bool]) -> None:
        self._loses = loses
        self.seen: list[list[bytes]] = []
        self._context = zmq.Context()
        self._source = self._context.socket(zmq.XSUB)
        self._source.set_hwm(0)
        self._source.connect(broker.endpoints.publish)
        self._source.send(b"\x01")
        self._out = self._context.socket(zmq.XPUB)
        self._out.set_hwm(0)
        self._out.setsockopt(zmq.XPUB_WELCOME_MSG, WELCOME)
        self.endpoint = f"tcp://127.0.0.1:{self._out.bind_to_random_port('tcp://127.0.0.1')}"
        assert self._source.recv() == WELCOME
        self._source.send(b"\x01" + PROBE)
        assert self._source.recv() == PROBE  # from here on everything comes
        self._end = self._context.socket(zmq.PAIR)
        self._end.bind("inproc://end")
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        with self._context.socket(zmq.PAIR) as end:
            end.connect("inproc://end")
            end.send(b"")
            self._thread.join()
        for each in (self._source, self._out, self._end):
            each.close(linger=0)
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        for each in (self._source, self._out, self._end):
            poller.register(each, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._end in ready:
                return
            if self._source in ready:
                frames = self._source.recv_multipart()
                self.seen.append(frames)
                if not self._loses(len(self.seen) - 1):
                    self._out.send_multipart(frames)
            if self._out in ready:
                subscription = self._out.recv()
                if subscription.startswith(b"\x01" + PROBE):
                    self._out.send(subscription[1:])


@contextmanager
def leaking(loses: Callable[[int], bool]) -> Iterator[tuple[Broker, Leak]]:
    with Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as broker:
        leak = Leak(broker, loses)
        try:
            yield broker, leak
        finally:
            leak.close()


def heartbeat(broker: Broker, status: StatusMessage) -> None:
    broker.publish(status.model_copy(update={"sequences": broker.sequences()}))


def of_decoder(verdict: VerdictMessage, name: str) -> VerdictMessage:
    return verdict.model_copy(update={"request": verdict.request.model_copy(update={"decoder": name})})


def identity(received: Received) -> tuple[str, str, int]:
    return received.message.publisher, received.topic.decode(), received.message.sequence


def receive_all(subscriber: Subscriber, n: int) -> list[tuple[str, str, int]]:
    got = []
    while len(got) < n:
        received = subscriber.receive(TIMEOUT_S)
        assert received is not None
        got.append(identity(received))
    return got


@given(
    lost=st.lists(st.booleans(), max_size=120),
    plan=st.lists(st.sampled_from(["a", "b", "heartbeat", "worker"]), min_size=1, max_size=120),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_lost_on_the_way_is_delivered_in_order_and_once(
    verdict: VerdictMessage, status: StatusMessage, lost: list[bool], plan: list[str]
) -> None:
    n_first = 3
    with (
        leaking(
            lambda number: number >= n_first and number - n_first < len(lost) and lost[number - n_first]
        ) as (
            broker,
            leak,
        ),
        Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 0.0) as worker,
        Subscriber(leak.endpoint, ("verdict", "status"), control=broker.endpoints.control) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        assert worker.connected(TIMEOUT_S)
        heartbeat(broker, status)  # before it nothing was published
        broker.publish(of_decoder(verdict, "a"))
        worker.send(of_decoder(verdict, "worker"))
        got = receive_all(subscriber, n_first)
        for step in plan:
            match step:
                case "heartbeat":
                    heartbeat(broker, status)
                case "worker":
                    worker.send(of_decoder(verdict, "worker"))
                case _:
                    broker.publish(of_decoder(verdict, step))
        sent = n_first + len(plan)
        while len(got) < sent:  # a later message of each shows what is missing
            worker.send(of_decoder(verdict, "worker"))
            heartbeat(broker, status)
            sent += 2
            while len(got) < sent and (received := subscriber.receive(0.05)) is not None:
                got.append(identity(received))
        assert (subscriber.lost, subscriber.refused) == (0, 0)
    sequences: dict[tuple[str, str], list[int]] = {}
    for publisher, topic, sequence in got:
        sequences.setdefault((publisher, topic), []).append(sequence)
    for each in sequences.values():
        assert each == list(range(len(each)))
    assert len(got) == sent


def test_a_repaired_message_is_the_very_same(verdict: VerdictMessage) -> None:
    with (
        leaking(lambda number: number == 1) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict",), control=broker.endpoints.control) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        for label in ("first", "second", "third"):
            broker.publish(verdict.model_copy(update={"label": label}))
        received = [subscriber.receive(TIMEOUT_S) for _ in range(3)]
        assert subscriber.repaired == 1
    assert [one and one.message.model_dump_json().encode() for one in received] == [
        header for _, header in leak.seen
    ]


def test_a_loss_at_the_end_shows_with_the_heartbeat(verdict: VerdictMessage, status: StatusMessage) -> None:
    with (
        leaking(lambda number: number in (1, 2, 3)) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict",), control=broker.endpoints.control) as repairing,
        Subscriber(leak.endpoint, ("verdict",)) as counting,
    ):
        for subscriber in (repairing, counting):
            assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(4):
            broker.publish(verdict)
        heartbeat(broker, status)
        assert [sequence for *_, sequence in receive_all(repairing, 4)] == [0, 1, 2, 3]
        assert (repairing.lost, repairing.repaired) == (0, 3)
        assert counting.receive(TIMEOUT_S) is not None
        while counting.lost == 0:  # it does not get the heartbeat, which it did not ask for
            assert counting.receive(0.05) is None
        assert counting.lost == 3


def test_a_topic_of_which_nothing_came_is_missed_too(verdict: VerdictMessage, status: StatusMessage) -> None:
    with (
        leaking(lambda number: number == 1) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict", "status"), control=broker.endpoints.control) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        heartbeat(broker, status)
        broker.publish(verdict)
        heartbeat(broker, status)
        assert [topic for _, topic, _ in receive_all(subscriber, 3)] == [
            "status/",
            "verdict/eeg/ridge",
            "status/",
        ]


def test_what_was_published_before_it_joined_is_no_loss(
    verdict: VerdictMessage, status: StatusMessage
) -> None:
    with Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as broker:
        where = broker.endpoints
        for _ in range(5):
            broker.publish(verdict)
        with Subscriber(where.publish, ("verdict", "status"), control=where.control) as subscriber:
            assert subscriber.wait_joined(TIMEOUT_S)
            heartbeat(broker, status)
            broker.publish(verdict)
            assert [sequence for *_, sequence in receive_all(subscriber, 2)] == [0, 5]
            assert (subscriber.repaired, subscriber.lost) == (0, 0)


def test_what_the_broker_has_forgotten_is_lost_and_counted(
    verdict: VerdictMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "HISTORY_MESSAGES", 5)
    with (
        leaking(lambda number: 1 <= number <= 20) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict",), control=broker.endpoints.control) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(22):
            broker.publish(verdict)
        assert [sequence for *_, sequence in receive_all(subscriber, 6)] == [0, *range(17, 22)]
        assert (subscriber.repaired, subscriber.lost) == (4, 16)


def test_with_nobody_to_ask_what_is_missing_is_lost_and_the_rest_goes_on(verdict: VerdictMessage) -> None:
    with (
        leaking(lambda number: number == 1) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict",), control="tcp://127.0.0.1:9") as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(3):
            broker.publish(verdict)
        assert [sequence for *_, sequence in receive_all(subscriber, 2)] == [0, 2]
        assert (subscriber.repaired, subscriber.lost) == (0, 1)


def test_a_long_outage_is_repaired_in_bounded_answers(verdict: VerdictMessage) -> None:
    n = 1000
    with (
        leaking(lambda number: 1 <= number <= n) as (broker, leak),
        Subscriber(leak.endpoint, ("verdict",), control=broker.endpoints.control) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(n + 2):
            broker.publish(verdict)
        assert [sequence for *_, sequence in receive_all(subscriber, n + 2)] == list(range(n + 2))
        assert (subscriber.repaired, subscriber.lost) == (n, 0)


@pytest.mark.parametrize("answer", ["nonsense", "another", "frames too few", "refusal"])
def test_an_answer_that_is_wrong_is_a_loss_and_nothing_worse(
    verdict: VerdictMessage, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    answers = {
        "nonsense": [b'{"ok":true,"replayed":[2]}', b"a", b"b"],
        "another": [
            b'{"ok":true,"replayed":[2]}',
            *encode(verdict.model_copy(update={"publisher": "service", "sequence": 1, "boot_id": "other"})),
        ],
        "frames too few": [b'{"ok":true,"replayed":[2,2]}', b"a", b"b"],
        "refusal": [b'{"ok":false,"error":"no"}'],
    }
    context = zmq.Context()
    with (
        leaking(lambda number: number == 1) as (broker, leak),
        context.socket(zmq.REP) as false_service,
        ThreadPoolExecutor(1) as thread,
    ):
        false_service.linger = 0
        port = false_service.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(leak.endpoint, ("verdict",), control=f"tcp://127.0.0.1:{port}") as subscriber:
            assert subscriber.wait_joined(TIMEOUT_S)
            for _ in range(3):
                broker.publish(verdict)
            got = thread.submit(receive_all, subscriber, 2)
            false_service.recv()
            false_service.send_multipart(answers[answer])
            assert [sequence for *_, sequence in got.result()] == [0, 2]
            assert (subscriber.repaired, subscriber.lost) == (0, 1)
    context.term()
