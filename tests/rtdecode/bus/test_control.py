"""Questions to the service get one answer each, or one clear line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import zmq

from rtdecode.bus import Broker, ControlClient, NoAnswerError
from rtdecode.contracts import BadChannels, ControlReply, ControlRequest
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from rtdecode.contracts import StatusMessage

TIMEOUT_S = 20.0


def test_a_question_is_answered(broker: Broker, status: StatusMessage) -> None:
    with ControlClient(broker.endpoints.control) as client:
        assert client.status() == status
        assert client.status() == status


def test_a_service_that_declines_says_why(broker: Broker) -> None:
    with ControlClient(broker.endpoints.control) as client, pytest.raises(UserError, match="busy recording"):
        client.stop()


def test_a_fault_in_an_answer_does_not_end_the_bus(broker: Broker, status: StatusMessage) -> None:
    with ControlClient(broker.endpoints.control) as client:
        with pytest.raises(UserError, match="RuntimeError"):
            client.decoders()
        assert client.status() == status


def test_an_answer_that_cannot_be_written_does_not_end_the_bus(status: StatusMessage) -> None:
    broken = status.model_copy(update={"streams": {"eeg": "\udcff"}})
    answers = iter([ControlReply(ok=True, status=broken), ControlReply(ok=True, status=status)])
    with (
        Broker("127.0.0.1", 0, 0, 0, lambda _: next(answers), clock=lambda: 0.0) as broker,
        ControlClient(broker.endpoints.control) as client,
    ):
        with pytest.raises(UserError, match="declined"):
            client.status()
        assert client.status() == status


def test_an_answer_without_its_content_is_an_error() -> None:
    with (
        Broker("127.0.0.1", 0, 0, 0, lambda _: ControlReply(ok=True), clock=lambda: 0.0) as broker,
        ControlClient(broker.endpoints.control) as client,
    ):
        with pytest.raises(UserError, match="without its status"):
            client.status()
        with pytest.raises(UserError, match="without its decoders"):
            client.decoders()
        client.stop()


def test_no_service_is_one_clear_line() -> None:
    with (
        ControlClient("tcp://127.0.0.1:9", timeout_s=0.05) as client,
        pytest.raises(NoAnswerError, match="rtdecode serve"),
    ):
        client.status()


def test_the_question_asked_is_the_one_answered() -> None:
    asked: list[ControlRequest] = []

    def answer(request: ControlRequest) -> ControlReply:
        asked.append(request)
        return ControlReply(ok=True, decoders={})

    with (
        Broker("127.0.0.1", 0, 0, 0, answer, clock=lambda: 0.0) as broker,
        ControlClient(broker.endpoints.control) as client,
    ):
        assert client.decoders() == {}
        client.declare_bad("eeg", ["Cz", "Pz"])
        client.stop()
    assert [request.op for request in asked] == ["decoders", "bad_channels", "stop"]
    assert [request.bad_channels for request in asked] == [
        None,
        BadChannels(stream="eeg", channels=("Cz", "Pz")),
        None,
    ]


@pytest.mark.parametrize(
    "question", [b"", b"{}", b"\xff", b'{"op":"format"}', b'{"op":"stop","now":true}', b"[" * 10_000]
)
def test_hostile_questions_are_declined(broker: Broker, status: StatusMessage, question: bytes) -> None:
    context = zmq.Context()
    with context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.connect(broker.endpoints.control)
        socket.send(question)
        assert socket.poll(TIMEOUT_S * 1000)
        assert not ControlReply.model_validate_json(socket.recv()).ok
    context.term()
    with ControlClient(broker.endpoints.control) as client:
        assert client.status() == status


def test_frames_of_another_protocol_are_left_unanswered(broker: Broker, status: StatusMessage) -> None:
    context = zmq.Context()
    with context.socket(zmq.DEALER) as socket:
        socket.linger = 0
        socket.connect(broker.endpoints.control)
        for frames in ([b"hello"], [b"", b"a", b"b"], [b"x", b"{}"]):
            socket.send_multipart(frames)
        socket.send_multipart([b"", b'{"op":"status"}'])
        assert socket.poll(TIMEOUT_S * 1000)
        _, body = socket.recv_multipart()  # the only answer
        assert ControlReply.model_validate_json(body).status == status
        assert not socket.poll(0)
    context.term()


def test_a_service_of_another_version_is_named() -> None:
    context = zmq.Context()
    with context.socket(zmq.REP) as service:
        service.linger = 0
        port = service.bind_to_random_port("tcp://127.0.0.1")
        service.setsockopt(zmq.SNDTIMEO, 1000)
        client = ControlClient(f"tcp://127.0.0.1:{port}", timeout_s=TIMEOUT_S)
        with ThreadPoolExecutor(1) as pool, client:
            asked = pool.submit(client.status)
            service.recv()
            service.send(b'{"schema_version":2,"ok":true}')
            with pytest.raises(UserError, match="another version"):
                asked.result()
    context.term()
