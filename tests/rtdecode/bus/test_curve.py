"""With keys, allowed clients get everything, and all others nothing, disturbing nobody."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import zmq

from rtdecode.bus import Broker, ControlClient, NoAnswerError, Publisher, Subscriber
from rtdecode.bus.curve import ServiceKeys
from rtdecode.contracts import ControlReply, ControlRequest
from rtdecode.errors import UserError
from rtdecode.keys import make_keys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtdecode.contracts import StatusMessage, VerdictMessage

TIMEOUT_S = 20.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Keys of a service, and of the client ``lab``."""
    make_keys(tmp_path / "keys", ("lab",))
    return tmp_path / "keys"


@pytest.fixture
def lab(folder: Path) -> Path:
    return folder / "clients" / "lab.key_secret"


@pytest.fixture
def stranger(tmp_path: Path, folder: Path) -> Path:
    """A client that knows the service's public key but is not allowed."""
    make_keys(folder, ("stranger",))
    (folder / "allowed" / "stranger.key").unlink()
    return folder / "clients" / "stranger.key_secret"


@pytest.fixture
def misled(tmp_path: Path, lab: Path) -> Path:
    """The allowed client, but it takes another service for its own."""
    make_keys(tmp_path / "other", ("x",))
    service = (tmp_path / "other" / "clients" / "x.key_secret").read_text().splitlines()[-1]
    path = tmp_path / "misled.key_secret"
    path.write_text("\n".join([*lab.read_text().splitlines()[:-1], service]))
    return path


@pytest.fixture
def broker(folder: Path, stranger: Path, status: StatusMessage) -> Iterator[Broker]:
    def answer(request: ControlRequest) -> ControlReply:
        return ControlReply(ok=True, status=status)

    with Broker("127.0.0.1", 0, 0, 0, answer, clock=lambda: 0.0, keys=ServiceKeys.load(folder)) as running:
        yield running


def test_an_allowed_client_gets_and_gives_everything(
    broker: Broker, lab: Path, verdict: VerdictMessage, status: StatusMessage
) -> None:
    with (
        Subscriber(broker.endpoints.publish, ("verdict",), keys=lab) as subscriber,
        Publisher(broker.endpoints.subscribe, "worker", clock=lambda: 0.0, keys=lab) as publisher,
        ControlClient(broker.endpoints.control, TIMEOUT_S, keys=lab) as control,
    ):
        assert subscriber.wait_joined(TIMEOUT_S)
        assert publisher.connected(TIMEOUT_S)
        broker.publish(verdict)
        first = subscriber.receive(TIMEOUT_S)
        publisher.send(verdict)
        second = subscriber.receive(TIMEOUT_S)
        assert control.status() == status
    assert first is not None
    assert second is not None
    assert (first.message.publisher, second.message.publisher) == ("service", "worker")


@pytest.mark.parametrize("who", ["without keys", "stranger", "misled"])
def test_others_get_and_give_nothing_and_disturb_nobody(
    broker: Broker,
    lab: Path,
    stranger: Path,
    misled: Path,
    verdict: VerdictMessage,
    caplog: pytest.LogCaptureFixture,
    who: str,
) -> None:

    def turned_away() -> list[str]:
        return [record.getMessage() for record in caplog.records if "turns this" in record.getMessage()]

    shown = {"without keys": None, "stranger": stranger, "misled": misled}[who]
    caplog.set_level(logging.WARNING)
    with (
        Subscriber(broker.endpoints.publish, ("verdict",), keys=shown) as outside,
        Publisher(broker.endpoints.subscribe, "intruder", clock=lambda: 0.0, keys=shown) as intruder,
        Subscriber(broker.endpoints.publish, ("verdict",), keys=lab) as inside,
    ):
        assert inside.wait_joined(TIMEOUT_S)
        with (
            ControlClient(broker.endpoints.control, 0.5, keys=shown) as control,
            pytest.raises(NoAnswerError),
        ):
            control.status()
        for _ in range(20):
            broker.publish(verdict)
            intruder.send(verdict)
            received = inside.receive(TIMEOUT_S)
            assert received is not None
            assert received.message.publisher == "service"
        assert not intruder.connected()
        while not (told := turned_away()):
            assert not outside.wait_joined(0.01)
        assert outside.receive(0.01) is None
        assert turned_away() == told  # once
        assert len(told) == 1
        assert ("demands keys" in told[0]) == (shown is None)
    refusals = [record.getMessage() for record in caplog.records if "is not allowed" in record.getMessage()]
    if who == "stranger":  # it reaches the door; the others are turned away before
        assert broker.dropped()["stranger"] > 0
        assert len(refusals) == 1  # told once, however often it tries
        assert "127.0.0.1" in refusals[0]
    else:
        assert broker.dropped()["stranger"] > 0
        assert not refusals
        told = [record.getMessage() for record in caplog.records if "without keys, or" in record.getMessage()]
        assert len(told) == 1


def test_a_subscriber_is_told_when_a_service_with_keys_takes_the_place_of_one_without(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broker(port: int, keys: ServiceKeys | None) -> Broker:
        return Broker("127.0.0.1", port, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0, keys=keys)

    with broker(0, None) as plain:
        endpoint = plain.endpoints.publish
        subscriber = Subscriber(endpoint)
        assert subscriber.wait_joined(TIMEOUT_S)
    with subscriber, broker(int(endpoint.rpartition(":")[2]), ServiceKeys.load(folder)):
        while "it demands keys" not in caplog.text:
            assert subscriber.receive(0.01) is None


def test_a_client_with_keys_trusts_no_service_without(lab: Path, status: StatusMessage) -> None:
    with (
        Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as plain,
        Subscriber(plain.endpoints.publish, ("status",), keys=lab) as subscriber,
    ):
        plain.publish(status)
        assert not subscriber.wait_joined(0.3)
        assert subscriber.receive(0.0) is None


def test_with_keys_any_address_may_be_listened_on(folder: Path, lab: Path, status: StatusMessage) -> None:
    with Broker(
        "0.0.0.0",  # noqa: S104
        0,
        0,
        0,
        lambda _: ControlReply(ok=True),
        clock=lambda: 0.0,
        keys=ServiceKeys.load(folder),
    ) as broker:
        port = broker.endpoints.publish.rpartition(":")[2]
        with Subscriber(f"tcp://localhost:{port}", ("status",), keys=lab) as subscriber:
            assert subscriber.wait_joined(TIMEOUT_S)
            broker.publish(status)
            assert subscriber.receive(TIMEOUT_S) is not None


def test_a_name_nobody_knows_is_one_line(folder: Path) -> None:
    keys = ServiceKeys.load(folder)
    for host in ("no-such-host.invalid", "*", ""):
        broker = Broker(host, 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0, keys=keys)
        with pytest.raises(UserError, match=r"host .*in \[bus\]"):
            broker.start()


@pytest.mark.parametrize("host", ["192.0.2.1", "lab-pc.example.org", "0.0.0.0"])  # noqa: S104
def test_without_keys_no_client_connects_to_another_machine(host: str) -> None:
    address = f"tcp://{host}:5555"
    for connect in (
        lambda: Subscriber(address),
        lambda: Publisher(address, "worker", clock=lambda: 0.0),
        lambda: ControlClient(address),
    ):
        with pytest.raises(UserError, match="rtdecode keys make"):
            connect()


def test_a_client_that_was_not_allowed_gets_in_once_it_is(
    folder: Path, stranger: Path, status: StatusMessage
) -> None:
    def broker(port: int = 0) -> Broker:
        keys = ServiceKeys.load(folder)
        return Broker("127.0.0.1", port, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0, keys=keys)

    with broker() as first:
        endpoint = first.endpoints.publish
        with Subscriber(endpoint, ("status",), keys=stranger) as subscriber:
            while not first.dropped()["stranger"]:
                assert not subscriber.wait_joined(0.01)
            first.stop()
            own = stranger.read_text().splitlines()
            (folder / "allowed" / "stranger.key").write_text(own[1])
            with broker(int(endpoint.rpartition(":")[2])) as second:
                assert subscriber.wait_joined(TIMEOUT_S)
                second.publish(status)
                assert subscriber.receive(TIMEOUT_S) is not None


def test_without_a_door_nobody_gets_in(folder: Path, lab: Path) -> None:
    """Were the handler ever missing, libzmq would by default let everybody in."""
    context = zmq.Context()
    with context.socket(zmq.XPUB) as service:
        service.linger = 0
        ServiceKeys.load(folder).secure(service)
        port = service.bind_to_random_port("tcp://127.0.0.1")
        with Subscriber(f"tcp://127.0.0.1:{port}", ("status",), keys=lab) as subscriber:
            assert not subscriber.wait_joined(0.3)
            assert not service.poll(0)
    context.term()
