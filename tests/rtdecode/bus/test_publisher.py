"""A worker knows whether what it publishes gets through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtdecode.bus import Broker, Publisher, Subscriber
from rtdecode.contracts import ControlReply

if TYPE_CHECKING:
    from rtdecode.contracts import VerdictMessage

TIMEOUT_S = 20.0


def broker_at(subscribe_port: int) -> Broker:
    return Broker("127.0.0.1", 0, subscribe_port, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0)


def test_it_waits_for_a_broker_sees_it_go_and_finds_the_next(verdict: VerdictMessage) -> None:
    with broker_at(0) as first:
        endpoint = first.endpoints.subscribe
    port = int(endpoint.rpartition(":")[2])
    with Publisher(endpoint, "worker", clock=lambda: 0.0) as publisher:
        assert not publisher.connected(0.01)
        publisher.send(verdict)  # to nobody: dropped, not kept for a later service
        for _ in range(2):
            with broker_at(port) as broker, Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
                assert subscriber.wait_joined(TIMEOUT_S)
                assert publisher.connected(TIMEOUT_S)
                publisher.send(verdict)
                assert subscriber.receive(TIMEOUT_S) is not None
                assert subscriber.receive(0.0) is None
            while publisher.connected():
                pass


def test_what_was_sent_before_closing_arrives(verdict: VerdictMessage) -> None:
    n = 200
    with broker_at(0) as broker, Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        with Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 0.0) as publisher:
            assert publisher.connected(TIMEOUT_S)
            for _ in range(n):
                publisher.send(verdict)
        received = [subscriber.receive(TIMEOUT_S) for _ in range(n)]
    assert [one.message.sequence for one in received if one is not None] == list(range(n))
