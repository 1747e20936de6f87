"""The broker carries what the service and its workers publish to whoever subscribed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zmq

from rtdecode.bus import Broker, ControlClient, Publisher, Subscriber, WireError
from rtdecode.bus.sockets import HIGH_WATER_MARK, PROBE, WELCOME
from rtdecode.bus.wire import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES, decode, encode, floats
from rtdecode.contracts import ControlReply, ServiceState, StatusMessage
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from rtdecode.contracts import ControlRequest, EmbeddingMessage, VerdictMessage

TIMEOUT_S = 20.0


def declines(_: object) -> ControlReply:
    return ControlReply(ok=False)


def test_messages_arrive_with_their_envelope_filled(
    broker: Broker, embedding: EmbeddingMessage, payload: list[np.ndarray], verdict: VerdictMessage
) -> None:
    with Subscriber(broker.endpoints.publish, ("embedding", "verdict")) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        broker.publish(embedding, payload)
        broker.publish(verdict)
        broker.publish(embedding, payload)
        received = [subscriber.receive(TIMEOUT_S) for _ in range(3)]
    messages = [one.message for one in received if one is not None]
    assert [message.sequence for message in messages] == [0, 0, 1]  # counted by topic
    assert [message.sent_at for message in messages] == [1.0, 2.0, 3.0]  # the injected clock
    assert {message.publisher for message in messages} == {"service"}
    assert {message.host for message in messages} == {socket.gethostname()}
    assert len({message.boot_id for message in messages}) == 1
    assert (
        messages[0].model_copy(update={"host": "", "boot_id": "", "publisher": "", "sent_at": 0.0})
        == embedding
    )
    first = received[0]
    assert first is not None
    np.testing.assert_array_equal(floats(first.payload[0], 3), payload[0])


def test_a_subscriber_gets_only_the_kinds_it_asked_for(
    broker: Broker, verdict: VerdictMessage, status: StatusMessage
) -> None:
    with Subscriber(broker.endpoints.publish, ("status",)) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        broker.publish(verdict)
        broker.publish(status)
        received = subscriber.receive(TIMEOUT_S)
    assert received is not None
    assert received.message.kind == "status"


def test_all_that_is_published_once_the_subscription_is_in_force_arrives(
    broker: Broker, status: StatusMessage
) -> None:
    for _ in range(30):  # a slow joiner would miss the first message in some of them
        with Subscriber(broker.endpoints.publish, ("status",)) as subscriber:
            assert subscriber.wait_joined(TIMEOUT_S)
            broker.publish(status)
            assert subscriber.receive(TIMEOUT_S) is not None


def test_messages_of_many_threads_all_arrive_in_sequence(broker: Broker, verdict: VerdictMessage) -> None:
    n_threads, n = 4, 100

    def publish() -> None:
        for _ in range(n):
            broker.publish(verdict)

    with Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        threads = [threading.Thread(target=publish) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        received = [subscriber.receive(TIMEOUT_S) for _ in range(n_threads * n)]
        for thread in threads:
            thread.join()
    sequences = [one.message.sequence for one in received if one is not None]
    assert sequences == list(range(n_threads * n))
    assert subscriber.lost == 0


def test_what_workers_publish_reaches_subscribers(broker: Broker, verdict: VerdictMessage) -> None:
    with (
        Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber,
        Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 7.0) as publisher,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        assert publisher.connected(TIMEOUT_S)
        publisher.send(verdict)
        received = subscriber.receive(TIMEOUT_S)
    assert received is not None
    assert (received.message.publisher, received.message.sent_at) == ("worker", 7.0)


def test_a_worker_cannot_speak_for_the_broker(broker: Broker, verdict: VerdictMessage) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber, context.socket(zmq.XPUB) as worker:
        for socket_ in (subscriber, worker):
            socket_.setsockopt(zmq.RCVTIMEO, int(TIMEOUT_S * 1000))
            socket_.setsockopt(zmq.LINGER, 0)
        subscriber.subscribe(b"")
        subscriber.connect(broker.endpoints.publish)
        assert subscriber.recv_multipart() == [WELCOME]
        subscriber.subscribe(PROBE + b"mine")
        assert subscriber.recv_multipart() == [PROBE + b"mine"]
        worker.connect(broker.endpoints.subscribe)
        assert worker.recv() == b"\x01"  # the broker takes what is sent from here on
        theirs = encode(verdict)
        for frames in ([WELCOME], [PROBE + b"mine"], theirs):
            worker.send_multipart(frames)
        assert subscriber.recv_multipart() == theirs


def test_a_worker_cannot_speak_for_the_service(
    broker: Broker, verdict: VerdictMessage, status: StatusMessage
) -> None:
    context = zmq.Context()
    worker = context.socket(zmq.XPUB)
    worker.connect(broker.endpoints.subscribe)
    with Subscriber(broker.endpoints.publish, ("verdict", "status")) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        assert worker.recv() == b"\x01"
        broker.publish(verdict)
        received = subscriber.receive(TIMEOUT_S)
        assert received is not None
        for claim in ({"publisher": "service"}, {"boot_id": received.message.boot_id}):
            for message in (verdict, status.model_copy(update={"sequences": {"verdict/eeg/ridge": 999}})):
                worker.send_multipart(encode(message.model_copy(update={"sequence": 7, **claim})))
        worker.send_multipart(encode(verdict.model_copy(update={"publisher": "worker"})))
        received = subscriber.receive(TIMEOUT_S)
    assert received is not None
    assert received.message.publisher == "worker"
    assert broker.dropped()["worker_forged"] == 4
    worker.close(linger=0)
    context.term()


def test_what_is_no_message_is_dropped_and_counted(
    broker: Broker, verdict: VerdictMessage, embedding: EmbeddingMessage, payload: list[np.ndarray]
) -> None:
    good = encode(verdict)
    whole = encode(embedding, payload)
    junk = {
        "worker_truncated": [[b"verdict/"], [b""], whole[:3], [*whole[:3], whole[3][:-1]]],
        "worker_oversized": [
            [*good, b"more"],
            [*whole[:3], whole[3] + b"x"],
            [good[0], good[1] + b" " * MAX_HEADER_BYTES],
        ],
        "worker_malformed": [[b"verdict/", b"{}"], [b"\xff", b"\xff" * 100], [good[0], good[1][:-5]]],
        "worker_topic": [[b"verdict/eeg/other", good[1]], [whole[0], good[1]]],
    }
    context = zmq.Context()
    worker = context.socket(zmq.XPUB)
    worker.connect(broker.endpoints.subscribe)
    with context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        subscriber.subscribe(b"")
        subscriber.connect(broker.endpoints.publish)
        assert subscriber.recv_multipart() == [WELCOME]
        assert worker.recv() == b"\x01"
        for frames in chain.from_iterable(junk.values()):
            worker.send_multipart(frames)
        worker.send_multipart(good)
        assert subscriber.recv_multipart() == good  # nothing else came through
    assert {reason: count for reason, count in broker.dropped().items() if count} == {
        reason: len(examples) for reason, examples in junk.items()
    }
    worker.close(linger=0)
    context.term()


def test_stop_delivers_all_that_was_published_before(verdict: VerdictMessage) -> None:
    broker = Broker("127.0.0.1", 0, 0, 0, declines, clock=lambda: 0.0)
    broker.start()
    n = HIGH_WATER_MARK // 2
    with Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(n):
            broker.publish(verdict)
        broker.stop(linger_s=TIMEOUT_S)
        sequences = [subscriber.receive(TIMEOUT_S) for _ in range(n)]
    assert [one.message.sequence for one in sequences if one is not None] == list(range(n))


def test_a_subscriber_that_never_reads_holds_up_nobody(broker: Broker, embedding: EmbeddingMessage) -> None:
    large = embedding.model_copy(update={"heads": (embedding.heads[0].model_copy(update={"dim": 2048}),)})
    payload = [np.zeros(2048, np.float32)]
    context = zmq.Context()
    stuck = context.socket(zmq.SUB)
    stuck.set_hwm(1)
    stuck.setsockopt(zmq.RCVBUF, 4096)
    stuck.subscribe(b"")
    stuck.connect(broker.endpoints.publish)
    assert stuck.poll(TIMEOUT_S * 1000)  # it is connected: the welcome came; it never reads it
    with Subscriber(broker.endpoints.publish) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        for _ in range(8):  # far more than one queue holds; a reader is never more than half of one behind
            for _ in range(HIGH_WATER_MARK // 2):
                broker.publish(large, payload)
            for _ in range(HIGH_WATER_MARK // 2):
                assert subscriber.receive(TIMEOUT_S) is not None
        assert subscriber.lost == 0
    stuck.close(linger=0)
    context.term()


def test_a_broker_that_is_held_up_holds_up_nobody(verdict: VerdictMessage) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(_: ControlRequest) -> ControlReply:
        asked.set()
        go_on.wait()
        return ControlReply(ok=True)

    with (
        Broker("127.0.0.1", 0, 0, 0, slow, clock=lambda: 0.0) as broker,
        Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber,
        ControlClient(broker.endpoints.control, TIMEOUT_S) as control,
        ThreadPoolExecutor(1) as thread,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        stopping = thread.submit(control.stop)
        assert asked.wait(TIMEOUT_S)
        for sequence in range(500):
            broker.publish(verdict)
            received = subscriber.receive(TIMEOUT_S)
            assert received is not None
            assert received.message.sequence == sequence
        go_on.set()
        stopping.result()


def test_a_subscriber_may_join_while_messages_are_sent_without_end(verdict: VerdictMessage) -> None:
    """Sending and joining share a socket: neither may make the broker overlook the other."""
    done = threading.Event()
    with Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as broker:

        def publish() -> None:
            while not done.is_set():
                broker.publish(verdict)

        publishers = [threading.Thread(target=publish) for _ in range(2)]
        for publisher in publishers:
            publisher.start()
        try:
            for _ in range(20):
                with Subscriber(broker.endpoints.publish, ("marker",)) as subscriber:
                    assert subscriber.wait_joined(TIMEOUT_S)
        finally:
            done.set()
            for publisher in publishers:
                publisher.join()


def test_a_flood_of_subscriptions_shuts_nobody_out(broker: Broker, verdict: VerdictMessage) -> None:
    context = zmq.Context()
    with context.socket(zmq.XSUB) as flood:
        flood.linger = 0
        flood.set_hwm(0)
        flood.connect(broker.endpoints.publish)
        for number in range(5_000):
            flood.send(b"\x01verdict/%d" % number)
        with Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber:
            broker.publish(verdict)
            assert subscriber.wait_joined(TIMEOUT_S)
            while subscriber.receive(0.0) is not None:
                pass
            broker.publish(verdict)
            assert subscriber.receive(TIMEOUT_S) is not None
    context.term()


def test_half_a_message_from_a_subscriber_holds_up_nobody(broker: Broker, verdict: VerdictMessage) -> None:
    """XPUB hands out the first frame, which tells of another, and keeps that: it is a subscription."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB"
    port = int(broker.endpoints.publish.rpartition(":")[2])
    with (
        Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber,
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S) as hostile,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        hostile.sendall(greeting + ready)
        heard = b""
        while WELCOME not in heard:
            heard += hostile.recv(4096)
        hostile.sendall(b"\x01\x00" + b"\x00\x09\x01verdict/" + b"\x00\x07\x01probe/")
        while b"probe/" not in heard:
            heard += hostile.recv(4096)
        broker.publish(verdict)
        assert subscriber.receive(TIMEOUT_S) is not None


def test_a_stuck_subscriber_costs_others_nothing_and_knows_what_it_missed(
    broker: Broker, verdict: VerdictMessage, status: StatusMessage
) -> None:
    n = 20_000
    where = broker.endpoints
    with (
        Subscriber(where.publish, ("verdict", "status")) as stuck,
        Subscriber(where.publish, ("verdict",), control=where.control) as healthy,
        ThreadPoolExecutor(1) as thread,
    ):
        assert stuck.wait_joined(TIMEOUT_S)
        assert healthy.wait_joined(TIMEOUT_S)

        def read() -> list[int]:
            sequences = []
            while len(sequences) < n:
                received = healthy.receive(0.2)
                if received is not None:
                    sequences.append(received.message.sequence)
                elif published.is_set():
                    broker.publish(status.model_copy(update={"sequences": broker.sequences()}))
            return sequences

        def publish(number: int) -> None:
            for _ in range(number):
                broker.publish(verdict)

        published = threading.Event()
        publish(1)  # both know the topic
        reading = thread.submit(read)
        publish(n - 1)
        published.set()
        assert reading.result() == list(range(n))
        assert healthy.lost == 0

        got = 0
        while stuck.receive(0.1) is not None:
            got += 1
        broker.publish(
            status.model_copy(update={"state": ServiceState.STOPPED, "sequences": broker.sequences()})
        )
        for received in stuck:
            got += 1
            if isinstance(received.message, StatusMessage) and received.message.state == "stopped":
                break
        assert stuck.lost == sum(broker.sequences().values()) - got > 0


@pytest.mark.skipif(os.name != "posix", reason="no such signals here")
def test_a_frozen_or_killed_subscriber_holds_up_nobody_and_the_frozen_one_catches_up(
    broker: Broker, verdict: VerdictMessage
) -> None:
    script = """
import sys
from rtdecode.bus import Subscriber
with Subscriber(sys.argv[1], ("verdict",), control=sys.argv[2]) as subscriber:
    assert subscriber.wait_joined(30)
    print("joined", flush=True)
    sequences = []
    for received in subscriber:
        sequences.append(received.message.sequence)
        if received.message.label == "last":
            break
    print(sequences == list(range(len(sequences))), len(sequences), subscriber.lost)
"""
    n, where = 15_000, broker.endpoints

    def start() -> subprocess.Popen[str]:
        arguments = [sys.executable, "-W", "error", "-c", script, where.publish, where.control]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)

    with start() as frozen, start() as killed:
        for child in (frozen, killed):
            assert child.stdout is not None
            assert child.stdout.readline() == "joined\n"
        frozen.send_signal(signal.SIGSTOP)
        try:
            for number in range(n):
                broker.publish(verdict)
                if number == n // 2:
                    killed.kill()
        finally:
            frozen.send_signal(signal.SIGCONT)
        while frozen.poll() is None:  # until there is room in its queue again
            broker.publish(verdict.model_copy(update={"label": "last"}))
            with contextlib.suppress(subprocess.TimeoutExpired):
                frozen.wait(0.2)
        assert frozen.stdout is not None
        complete, received, lost = frozen.stdout.read().split()
    assert (complete, lost) == ("True", "0")
    assert int(received) > n


def test_subscribers_that_go_as_the_broker_stops_take_nothing_down(embedding: EmbeddingMessage) -> None:
    """libzmq aborts the process where half a message is given up as its receiver goes (its issue 3442)."""
    script = """
import sys
import threading
import zmq
from rtdecode.bus import Broker
from rtdecode.contracts import ControlReply, EmbeddingMessage

message = EmbeddingMessage.model_validate_json(sys.argv[1])
payload = [bytes(4 * head.dim) for head in message.heads]
for _ in range(20):
    broker = Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0)
    broker.start()
    context = zmq.Context()
    stuck = [context.socket(zmq.SUB) for _ in range(5)]
    for each in stuck:
        each.set_hwm(10)
        each.subscribe(b"")
        each.connect(broker.endpoints.publish)
        each.recv()
    for _ in range(900):
        broker.publish(message, payload)
    leaving = threading.Thread(target=context.destroy, kwargs={"linger": 0})
    leaving.start()
    broker.stop(linger_s=0.0)
    leaving.join()
"""
    head = embedding.heads[0].model_copy(update={"dim": 1000})
    message = embedding.model_copy(update={"heads": (head,) * 6})
    subprocess.run(
        [sys.executable, "-W", "error", "-c", script, message.model_dump_json()], check=True, timeout=100
    )


def test_what_is_forwarded_is_told(verdict: VerdictMessage, status: StatusMessage) -> None:
    told: list[list[bytes]] = []
    all_told = threading.Event()

    def on_forwarded(frames: list[bytes]) -> None:
        told.append(frames)
        if len(told) == 2:
            all_told.set()

    with (
        Broker("127.0.0.1", 0, 0, 0, declines, clock=lambda: 0.0, on_forwarded=on_forwarded) as broker,
        Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 0.0) as publisher,
    ):
        broker.publish(status)
        assert publisher.connected(TIMEOUT_S)
        publisher.send(verdict)
        assert all_told.wait(TIMEOUT_S)
    assert sorted(decode(frames).message.publisher for frames in told) == ["service", "worker"]


def test_a_frame_beyond_the_limit_costs_its_sender_the_connection(
    broker: Broker, verdict: VerdictMessage
) -> None:
    context = zmq.Context()
    hostile = context.socket(zmq.XPUB)
    hostile.connect(broker.endpoints.subscribe)
    with (
        Subscriber(broker.endpoints.publish, ("verdict",)) as subscriber,
        Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 0.0) as publisher,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        assert hostile.recv() == b"\x01"
        monitor = hostile.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        hostile.send(b"verdict/" + bytes(MAX_MESSAGE_BYTES))
        assert monitor.poll(TIMEOUT_S * 1000)
        hostile.disable_monitor()
        monitor.close()
        assert publisher.connected(TIMEOUT_S)
        publisher.send(verdict)
        received = subscriber.receive(TIMEOUT_S)
    assert received is not None
    assert received.message.publisher == "worker"
    hostile.close(linger=0)
    context.term()


def test_a_message_that_cannot_be_sent_spends_no_sequence_number(
    broker: Broker, embedding: EmbeddingMessage, payload: list[np.ndarray]
) -> None:
    with Subscriber(broker.endpoints.publish) as subscriber:
        assert subscriber.wait_joined(TIMEOUT_S)
        with pytest.raises(WireError):
            broker.publish(embedding, [np.array([np.nan] * 3), payload[1]])
        broker.publish(embedding, payload)
        received = subscriber.receive(TIMEOUT_S)
    assert received is not None
    assert received.message.sequence == 0


@pytest.mark.parametrize("taken", ["publish_port", "subscribe_port", "control_port"])
def test_a_taken_port_is_named_with_what_to_do(broker: Broker, taken: str) -> None:
    address = getattr(broker.endpoints, taken.removesuffix("_port"))
    ports = {"publish_port": 0, "subscribe_port": 0, "control_port": 0}
    ports[taken] = int(address.rpartition(":")[2])
    second = Broker("127.0.0.1", on_control=declines, clock=lambda: 0.0, **ports)
    with pytest.raises(UserError, match=f"127.0.0.1:{ports[taken]} is already in use.*{taken}") as caught:
        second.start()
    assert "\n" not in str(caught.value)
    second.stop()  # nothing was left open


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "", "*"])  # noqa: S104
def test_without_keys_only_loopback_is_listened_on(host: str) -> None:
    with pytest.raises(UserError, match=rf"{re.escape(host)}:0 .*rtdecode keys make"):
        Broker(host, 0, 0, 0, declines, clock=lambda: 0.0).start()


def test_localhost_means_the_same_to_both_sides() -> None:
    with Broker("localhost", 0, 0, 0, declines, clock=lambda: 0.0) as broker:
        assert broker.endpoints.publish.startswith("tcp://127.0.0.1:")


def test_ipv6_loopback_works_where_there_is_ipv6(status: StatusMessage) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
    with (
        Broker("::1", 0, 0, 0, declines, clock=lambda: 0.0) as broker,
        Subscriber(broker.endpoints.publish, ("status",)) as subscriber,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        broker.publish(status)
        assert subscriber.receive(TIMEOUT_S) is not None


def test_a_broker_that_does_not_run_says_so(status: StatusMessage) -> None:
    broker = Broker("127.0.0.1", 0, 0, 0, declines, clock=lambda: 0.0)
    with pytest.raises(RuntimeError, match="not started"):
        _ = broker.endpoints
    with pytest.raises(RuntimeError, match="not running"):
        broker.publish(status)
    broker.start()
    broker.stop()
    broker.stop()
    with pytest.raises(RuntimeError, match="not running"):
        broker.publish(status)
