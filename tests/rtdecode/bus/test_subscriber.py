"""Subscribers lose nothing silently, survive junk and restarts, and can keep to the newest message."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import zmq

from rtdecode.bus import Broker, LatestSubscriber, Subscriber
from rtdecode.bus.wire import encode
from rtdecode.contracts import ControlReply

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pytest

    from rtdecode.bus import Received
    from rtdecode.contracts import EmbeddingMessage, StatusMessage, VerdictMessage

TIMEOUT_S = 20.0


@contextmanager
def raw_publisher(broker: Broker) -> Iterator[zmq.Socket[bytes]]:
    """Something that sends whatever frames a test likes."""
    context = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.connect(broker.endpoints.subscribe)
    assert socket.recv() == b"\x01"
    yield socket
    socket.close(linger=0)
    context.term()


def test_losses_are_seen_by_sequence_for_each_publisher_and_topic(
    broker: Broker, verdict: VerdictMessage
) -> None:
    other = verdict.model_copy(
        update={"request": verdict.request.model_copy(update={"decoder": "other"}), "sequence": 5}
    )
    sent = [
        verdict.model_copy(update={"sequence": 3}),  # joined late: 0 to 2 are no loss
        verdict.model_copy(update={"sequence": 4}),
        other,
        verdict.model_copy(update={"sequence": 7}),  # lost 5 and 6
        other.model_copy(update={"sequence": 6}),
        verdict.model_copy(update={"sequence": 0, "boot_id": "restarted"}),
        verdict.model_copy(update={"sequence": 2, "boot_id": "restarted"}),  # lost 1
    ]
    with raw_publisher(broker) as socket, Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        lost = []
        for message in sent:
            socket.send_multipart(encode(message))
            assert subscriber.receive(TIMEOUT_S) is not None
            lost.append(subscriber.lost)
    assert lost == [0, 0, 0, 2, 2, 2, 3]


def test_junk_is_counted_and_passed_over(verdict: VerdictMessage, caplog: pytest.LogCaptureFixture) -> None:
    """Our broker lets none through; another program at its address might send any."""
    junk = [[b"verdict/"], [b"verdict/", b"{}"], [b"verdict/", b"\xff" * 1000, b""], [b"probe/x"]]
    context = zmq.Context()
    with context.socket(zmq.XPUB) as service:
        service.linger = 0
        port = service.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}", ("verdict",)) as subscriber:
            for _ in range(3):
                service.recv()
            for frames in [*junk, encode(verdict)]:
                service.send_multipart(frames)
            received = subscriber.receive(TIMEOUT_S)
            assert subscriber.refused == 3
            assert received is not None
            assert received.message == verdict
            assert not subscriber.joined.is_set()
    context.term()
    assert all(len(record.getMessage()) < 400 for record in caplog.records)


def test_nothing_comes_from_nobody() -> None:
    with Subscriber("tcp://127.0.0.1:9") as subscriber:
        assert not subscriber.wait_joined(0.01)
        assert subscriber.receive(0.01) is None


def test_a_person_is_told_once_that_nobody_answers(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtdecode.bus.subscriber._SILENT_S", 0.0)
    with Subscriber("tcp://127.0.0.1:9") as subscriber:
        for _ in range(3):
            assert subscriber.receive(0.01) is None
    assert [record.getMessage().partition(" for ")[0] for record in caplog.records] == [
        "no service answers at tcp://127.0.0.1:9"
    ]


def test_each_silence_of_a_service_is_told_once(
    status: StatusMessage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as broker,
        Subscriber(broker.endpoints.publish, ("status",)) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        monkeypatch.setattr("rtdecode.bus.subscriber._SILENT_S", 0.0)
        for n in (1, 2):
            broker.publish(status)
            assert subscriber.receive(TIMEOUT_S) is not None
            for _ in range(3):
                assert subscriber.receive(0.0) is None
            assert caplog.text.count("nothing has come from the service") == n


def test_messages_that_come_while_joining_are_kept(status: StatusMessage) -> None:
    context = zmq.Context()
    with context.socket(zmq.XPUB) as service:
        service.linger = 0
        port = service.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}", ("status",)) as subscriber:
            assert {service.recv(), service.recv()} == {b"\x01status/", b"\x01welcome"}
            service.send(b"welcome")
            service.send_multipart(encode(status))
            probe = b""
            while not probe:
                assert not subscriber.wait_joined(0.01)
                probe = service.recv() if service.poll(0) else b""
            service.send(probe[1:])
            assert subscriber.wait_joined(TIMEOUT_S)
            service.send_multipart(encode(status.model_copy(update={"sequence": 1})))
            sequences = [one.message.sequence for _, one in zip(range(2), subscriber, strict=False)]
    context.term()
    assert sequences == [0, 1]


def test_it_waits_for_a_broker_and_outlives_its_restart(status: StatusMessage) -> None:
    def broker(publish_port: int = 0) -> Broker:
        return Broker("127.0.0.1", publish_port, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0)

    with broker() as first:
        endpoint = first.endpoints.publish
    with Subscriber(endpoint, ("status",)) as subscriber:
        assert not subscriber.wait_joined(0.01)
        boots = set()
        for _ in range(3):
            with broker(int(endpoint.rpartition(":")[2])) as restarted:
                received = None
                while received is None:  # it joins anew in the course of receiving
                    restarted.publish(status)
                    received = subscriber.receive(0.1)
                boots.add(received.message.boot_id)
            while subscriber.receive(0.0) is not None:
                pass
    assert len(boots) == 3


def test_latest_gives_the_newest_message_whole_and_counts_the_skipped(
    broker: Broker, embedding: EmbeddingMessage, payload: list[np.ndarray]
) -> None:
    n = 50
    with LatestSubscriber(broker.endpoints.publish) as latest, Subscriber(broker.endpoints.publish) as every:
        assert latest.wait_joined(TIMEOUT_S)
        assert every.wait_joined(TIMEOUT_S)
        for _ in range(n):
            broker.publish(embedding, payload)
        sequences = []
        while not sequences or sequences[-1] < n - 1:
            received = latest.receive(TIMEOUT_S)
            assert received is not None
            assert len(received.payload) == 2  # CONFLATE would have kept the last frame only
            sequences.append(received.message.sequence)
        assert sequences == sorted(set(sequences))
        assert latest.skipped + len(sequences) == n
        assert (latest.lost, latest.refused) == (0, 0)
        assert latest.receive(0.01) is None


def test_latest_holds_back_nothing_old(
    broker: Broker, status: StatusMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained, sequences = threading.Event(), []
    receive = Subscriber.receive

    def watched(self: Subscriber, timeout_s: float) -> Received | None:
        if sequences[-1:] == [2]:  # it asks for more: the newest has reached the mailbox
            drained.set()
        received = receive(self, timeout_s)
        if received is not None:
            sequences.append(received.message.sequence)
        return received

    monkeypatch.setattr(Subscriber, "receive", watched)
    with LatestSubscriber(broker.endpoints.publish, ("status", "verdict")) as latest:
        assert latest.wait_joined(TIMEOUT_S)
        for _ in range(3):
            broker.publish(status)
        assert drained.wait(TIMEOUT_S)  # its thread drains without being asked
        received = latest.receive(TIMEOUT_S)
    assert received is not None
    assert received.message.sequence == 2
    assert latest.skipped == 2
