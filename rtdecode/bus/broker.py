"""Owns the service's sockets: all that it and its workers publish leaves through here."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Self

import zmq
from pydantic import ValidationError

from rtdecode.bus.curve import Door
from rtdecode.bus.envelope import Envelope
from rtdecode.bus.sockets import (
    MAX_REQUEST_BYTES,
    PROBE,
    WELCOME,
    Endpoints,
    endpoint,
    milliseconds,
    open_socket,
    to_listen_on,
)
from rtdecode.bus.wire import MAX_MESSAGE_BYTES
from rtdecode.contracts import ControlReply, ControlRequest
from rtdecode.errors import UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from rtdecode.bus.curve import ServiceKeys
    from rtdecode.contracts import Message

_log = logging.getLogger(__name__)

_HAND_OVER = "inproc://hand-over"
_STOP = [b""]  # never a message: those have at least two frames
_SUBSCRIBE_TO_ALL = b"\x01"


class Broker:
    """Binds the bus, and forwards on one thread what the service and its workers publish.

    The thread sleeps until one of its sockets has something; nothing in it polls, and a subscriber that does
    not read only fills its own queue.

    Parameters
    ----------
    host
        Address or name to listen on; any but loopback needs ``keys``.
    publish_port, subscribe_port, control_port
        For subscribers, for workers' publishers, for control; 0 takes any free port.
    on_control
        Answers control requests, on the broker's thread: it must be quick, and must not call :meth:`stop`.
    clock
        Gives ``sent_at`` of the published messages, seconds.
    keys
        The service's, and who may connect; None where it listens on loopback only, to everybody.
    on_forwarded
        Told the frames of every message that leaves for the subscribers, on the broker's thread: it must be
        quick.
    """

    def __init__(
        self,
        host: str,
        publish_port: int,
        subscribe_port: int,
        control_port: int,
        on_control: Callable[[ControlRequest], ControlReply],
        *,
        clock: Callable[[], float],
        keys: ServiceKeys | None = None,
        on_forwarded: Callable[[Sequence[bytes]], None] = lambda _: None,
    ) -> None:
        self._host = host
        self._ports = {
            "publish_port": publish_port,
            "subscribe_port": subscribe_port,
            "control_port": control_port,
        }
        self._on_control = on_control
        self._keys = keys
        self._on_forwarded = on_forwarded
        self._envelope = Envelope("service", clock)
        self._lock = threading.Lock()
        self._door: Door | None = None
        self._hand_over: zmq.Socket[bytes] | None = None
        self._endpoints: Endpoints | None = None

    @property
    def boot_id(self) -> str:
        """Boot in the envelopes of what is published here."""
        return self._envelope.boot_id

    @property
    def endpoints(self) -> Endpoints:
        """Where it listens, with the ports it got.

        Raises
        ------
        RuntimeError
            If it was not started.
        """
        if self._endpoints is None:
            raise RuntimeError("the broker was not started")
        return self._endpoints

    @property
    def is_alive(self) -> bool:
        """Whether it forwards."""
        return self._hand_over is not None and self._thread.is_alive()

    def start(self) -> None:
        """Bind the sockets and start to forward.

        Raises
        ------
        UserError
            If the host needs keys, or a port is taken.
        """
        self._context = zmq.Context()
        try:
            self._door = None if self._keys is None else Door(self._context, self._keys)
            xpub = self._open(zmq.XPUB, "publish_port", MAX_REQUEST_BYTES)
            xsub = self._open(zmq.XSUB, "subscribe_port", MAX_MESSAGE_BYTES)
            router = self._open(zmq.ROUTER, "control_port", MAX_REQUEST_BYTES)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._endpoints = Endpoints(*(s.getsockopt_string(zmq.LAST_ENDPOINT) for s in (xpub, xsub, router)))
        # Not only what subscribers want: a worker's first message would race the news of a subscription.
        xsub.send(_SUBSCRIBE_TO_ALL)
        inbox = open_socket(self._context, zmq.PULL, _HAND_OVER)
        inbox.bind(_HAND_OVER)
        self._hand_over = open_socket(self._context, zmq.PUSH, _HAND_OVER)
        self._hand_over.setsockopt(zmq.LINGER, -1)  # its other end reads on until the stop
        self._hand_over.connect(_HAND_OVER)
        # Starting a thread is a full memory barrier: from here on the sockets are that thread's alone.
        self._thread = threading.Thread(
            target=self._forward, args=(xpub, xsub, router, inbox, self._door), name="broker", daemon=True
        )
        self._thread.start()

    def publish(self, message: Message, payload: Sequence[np.ndarray | bytes] = ()) -> None:
        """Fill a message's envelope and send it, from any thread.

        It waits only if the broker's thread is thousands of messages behind; subscribers never hold it up.

        Parameters
        ----------
        message
            The header; its envelope is overwritten.
        payload
            As :func:`rtdecode.bus.wire.encode` takes it.

        Raises
        ------
        WireError
            If the message cannot be sent.
        RuntimeError
            If the broker is not running.
        """
        # One socket behind one lock, not one a thread: sequence numbers then leave in order.
        with self._lock:
            if self._hand_over is None:
                raise RuntimeError("the broker is not running")
            self._hand_over.send_multipart(self._envelope.seal(message, payload))

    def dropped(self) -> dict[str, int]:
        """What was turned away so far, from any thread: ``stranger``, connections with an unknown key."""
        return {"stranger": 0 if self._door is None else self._door.refused}

    def stop(self, linger_s: float = 1.0) -> None:
        """Send all that was published before, then close; a second call does nothing.

        Parameters
        ----------
        linger_s
            How long subscribers may take to fetch what is queued for them.
        """
        with self._lock:
            if self._hand_over is None:
                return
            self._linger_ms = milliseconds(linger_s)
            self._hand_over.send_multipart(_STOP)
            self._hand_over.close()
            self._hand_over = None
        self._thread.join()
        self._context.term()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _open(self, kind: int, name: str, max_bytes: int) -> zmq.Socket[bytes]:
        port = self._ports[name]
        address = endpoint(self._host if self._keys is None else to_listen_on(self._host), port)
        socket = open_socket(self._context, kind, address, self._keys, max_bytes=max_bytes)
        if kind == zmq.XPUB:
            socket.setsockopt(zmq.XPUB_WELCOME_MSG, WELCOME)  # before a subscriber can connect
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                raise UserError(
                    f"{self._host}:{port} is already in use: stop the program that listens there (another "
                    f"`rtdecode serve`?), or set another {name} in [bus]"
                ) from error
            reason = zmq.strerror(error.errno or 0)
            raise UserError(
                f"cannot listen on {self._host}:{port}: {reason}; set another host or {name} in [bus]"
            ) from error
        return socket

    def _forward(
        self,
        xpub: zmq.Socket[bytes],
        xsub: zmq.Socket[bytes],
        router: zmq.Socket[bytes],
        inbox: zmq.Socket[bytes],
        door: Door | None,
    ) -> None:
        sockets = [inbox, xsub, xpub, router, *([] if door is None else [door.socket])]
        poller = zmq.Poller()
        for socket in sockets:
            poller.register(socket, zmq.POLLIN)
        while True:
            # One message of each a round: none can starve the others.
            ready = dict(poller.poll())
            if inbox in ready:
                frames = inbox.recv_multipart()
                if frames == _STOP:
                    break
                xpub.send_multipart(frames)
                self._on_forwarded(frames)
            if xsub in ready:
                frames = xsub.recv_multipart()
                if len(frames) > 1:  # a single frame is the broker's own: a welcome, or the answer to a probe
                    xpub.send_multipart(frames)
                    self._on_forwarded(frames)
            if xpub in ready:
                subscription = xpub.recv_multipart()[0]
                if subscription.startswith(b"\x01" + PROBE):
                    xpub.send(subscription[1:])
            if router in ready:
                self._answer(router)
            if door is not None and door.socket in ready:
                door.answer()
        for socket in sockets:
            socket.close(linger=self._linger_ms)

    def _answer(self, router: zmq.Socket[bytes]) -> None:
        peer, *frames = router.recv_multipart()
        if len(frames) != 2 or frames[0]:
            return  # not from a REQ socket
        try:
            reply = self._on_control(ControlRequest.model_validate_json(frames[1], strict=True))
            body = reply.model_dump_json()
        except ValidationError as error:
            body = _declined(f"not a control request: {validation_line(error)}")
        except Exception as error:  # one faulty answer must not end the bus
            _log.exception("control request failed")
            body = _declined(type(error).__name__)
        router.send_multipart([peer, b"", body.encode()])


def _declined(reason: str) -> str:
    return ControlReply(ok=False, error=reason).model_dump_json()
