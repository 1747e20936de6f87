"""Owns the service's sockets: all that it and its workers publish leaves through here."""

from __future__ import annotations

import contextlib
import logging
import threading
from itertools import chain
from typing import TYPE_CHECKING, Self

import zmq
from pydantic import ValidationError

from rtdecode.bus.curve import Door
from rtdecode.bus.envelope import Envelope
from rtdecode.bus.history import History
from rtdecode.bus.sockets import (
    CONTROL_HIGH_WATER_MARK,
    HIGH_WATER_MARK,
    MAX_REQUEST_BYTES,
    PROBE,
    SERVICE,
    WELCOME,
    Endpoints,
    end_context,
    endpoint,
    open_socket,
    to_listen_on,
)
from rtdecode.bus.wire import MAX_MESSAGE_BYTES, Fault, WireError, decode
from rtdecode.contracts import ControlReply, ControlRequest
from rtdecode.errors import UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from rtdecode.bus.curve import ServiceKeys
    from rtdecode.contracts import Message

_log = logging.getLogger(__name__)

_WAKE = "inproc://wake"
_STOP, _MORE = b"stop", b"more"
_STOP_MS = 1000
_SUBSCRIPTIONS_A_TURN = 16
"""More that come at once are left to the broker's thread: whoever publishes must not wait for them."""

_SUBSCRIBE_TO_ALL = b"\x01"
_DROPS = (*(f"worker_{fault}" for fault in Fault), "worker_forged", "control_malformed")


class Broker:
    """Binds the bus, sends what the service publishes, and forwards what its workers publish.

    Its thread sleeps until one of its sockets has something; nothing in it polls. The socket of the
    subscribers alone is shared, behind a lock: a thread that publishes sends by itself, since waking another
    one for it would take longer than all the rest. Sending never waits: a subscriber that does not read only
    fills its own queue.

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
        Told the frames of every message that leaves for the subscribers, the service's and the workers', by
        the thread that sends it and behind the lock: it must be quick, and must not raise.
    on_failure
        Told of an error that ended the broker's thread.
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
        on_failure: Callable[[BaseException], None] | None = None,
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
        self._on_failure = on_failure
        self._envelope = Envelope(SERVICE, clock)
        # Guards the subscribers' socket (taking it is the memory barrier that ZeroMQ asks for when a socket
        # changes threads), the envelope and the history.
        self._lock = threading.Lock()
        self._subscribers: zmq.Socket[bytes] | None = None
        self._door: Door | None = None
        self._history = History()
        self._dropped = dict.fromkeys(_DROPS, 0)
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
        return self._subscribers is not None and self._thread.is_alive()

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
            router = self._open(zmq.ROUTER, "control_port", MAX_REQUEST_BYTES, CONTROL_HIGH_WATER_MARK)
        except BaseException:
            self._context.destroy(linger=0)
            raise
        self._endpoints = Endpoints(*(s.getsockopt_string(zmq.LAST_ENDPOINT) for s in (xpub, xsub, router)))
        # Not only what subscribers want: a worker's first message would race the news of a subscription.
        xsub.send(_SUBSCRIBE_TO_ALL)
        inbox = open_socket(self._context, zmq.PULL, _WAKE)
        inbox.bind(_WAKE)
        self._wake = open_socket(self._context, zmq.PUSH, _WAKE)
        self._wake.setsockopt(zmq.SNDTIMEO, _STOP_MS)
        self._wake.connect(_WAKE)
        self._subscribers = xpub
        self._knocks = [
            socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
            for socket in ((xpub, xsub, router) if self._door is not None else ())
        ]
        # Starting a thread is a full memory barrier: from here on all but the first are that thread's alone.
        self._thread = threading.Thread(
            target=self._forward, args=(xpub, xsub, router, inbox), name="broker", daemon=True
        )
        self._thread.start()

    def publish(self, message: Message, payload: Sequence[np.ndarray | bytes] = ()) -> None:
        """Fill a message's envelope and send it, from any thread, never waiting for a subscriber.

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
        with self._lock:  # sealing too: sequence numbers then leave in order
            if self._subscribers is None:
                raise RuntimeError("the broker is not running")
            frames = self._envelope.seal(message, payload)
            sequence = self._envelope.sequences[frames[0]] - 1
            self._send(self._subscribers, frames, self._envelope.boot_id, SERVICE, sequence)

    def sequences(self) -> dict[str, int]:
        """The next sequence number of each topic that the service published, from any thread."""
        with self._lock:
            return {topic.decode(): sequence for topic, sequence in self._envelope.sequences.items()}

    def dropped(self) -> dict[str, int]:
        """What was thrown away so far, by side and reason, from any thread.

        ``worker_truncated``, ``…_oversized``, ``…_malformed``, ``…_topic``: frames that are no message;
        ``worker_forged``: a message in the service's name. ``control_malformed``: what is no question.
        ``stranger``: connections with an unknown key, or one for another service, or none.
        """
        return {**self._dropped, "stranger": 0 if self._door is None else self._door.refused}

    def stop(self, linger_s: float = 1.0) -> None:
        """Send all that was published before, then close; a second call does nothing.

        Parameters
        ----------
        linger_s
            How long subscribers may take to fetch what is queued for them.
        """
        with self._lock:
            if self._subscribers is None:
                return
            self._subscribers = None
            with contextlib.suppress(zmq.Again):  # nobody is there if the thread has ended
                self._wake.send(_STOP)
            self._wake.close(linger=-1)  # its other end reads on until the stop
        self._thread.join()
        end_context(self._context, linger_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _open(self, kind: int, name: str, max_bytes: int, queue: int = HIGH_WATER_MARK) -> zmq.Socket[bytes]:
        port = self._ports[name]
        address = endpoint(self._host if self._keys is None else to_listen_on(self._host), port)
        socket = open_socket(self._context, kind, address, self._keys, max_bytes=max_bytes, queue=queue)
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
    ) -> None:
        door = self._door
        own = [inbox, xsub, router, *([] if door is None else [door.socket])]
        # Of the shared socket only its file descriptor is watched, which says that there may be news.
        news = xpub.getsockopt(zmq.FD)
        poller = zmq.Poller()
        for watched in (*own, *self._knocks, news):
            poller.register(watched, zmq.POLLIN)
        more = False
        try:
            while True:
                # One message of each a round: none can starve the others.
                ready = dict(poller.poll(0 if more else None))
                if inbox in ready:
                    if inbox.recv() == _STOP:
                        break
                    more = True
                if xsub in ready:
                    self._pass_on(xsub.recv_multipart(), xpub)
                if news in ready or more:
                    with self._lock:
                        more = _take_subscriptions(xpub)
                if router in ready:
                    self._answer(router)
                if door is not None and door.socket in ready:
                    door.answer()
                for knock in self._knocks:
                    if door is not None and knock in ready:
                        knock.recv_multipart()
                        door.turned_back()
        except BaseException as error:
            if self._on_failure is None:
                raise
            self._on_failure(error)
        finally:
            with self._lock:
                if self._knocks:
                    xpub.disable_monitor()
                xpub.close(linger=-1)
            if self._knocks:
                xsub.disable_monitor()
                router.disable_monitor()
            for knock in self._knocks:
                knock.close(linger=0)
            for socket in own:
                socket.close(linger=-1)

    def _send(
        self, xpub: zmq.Socket[bytes], frames: list[bytes], boot_id: str, publisher: str, sequence: int
    ) -> None:
        """Send, keep and tell of a message; behind the lock."""
        xpub.send_multipart(frames)
        self._history.add(boot_id, publisher, sequence, frames)
        self._on_forwarded(frames)
        # Sending may have used up the sign that there are some.
        if _take_subscriptions(xpub) and self._subscribers is not None:
            with contextlib.suppress(zmq.Again):  # it has been told often enough
                self._wake.send(_MORE, zmq.NOBLOCK)

    def _pass_on(self, frames: list[bytes], xpub: zmq.Socket[bytes]) -> None:
        """Forward what a worker published, if it is a message and in the worker's own name."""
        try:
            message = decode(frames).message
        except WireError as error:
            self._dropped[f"worker_{error.fault}"] += 1
            _log.debug("dropped what a worker sent: %.300s", error)
            return
        if message.publisher == SERVICE or message.boot_id == self._envelope.boot_id:
            self._dropped["worker_forged"] += 1
            return
        with self._lock:
            self._send(xpub, frames, message.boot_id, message.publisher, message.sequence)

    def _answer(self, router: zmq.Socket[bytes]) -> None:
        peer, *frames = router.recv_multipart()
        if len(frames) != 2 or frames[0]:
            self._dropped["control_malformed"] += 1
            return  # not from a REQ socket
        replayed: list[list[bytes]] = []
        try:
            request = ControlRequest.model_validate_json(frames[1], strict=True)
            if request.op == "replay":
                if request.missed is not None:
                    with self._lock:
                        replayed = self._history.find(request.missed)
                reply = ControlReply(ok=True, replayed=tuple(map(len, replayed)))
            else:
                reply = self._on_control(request)
            body = reply.model_dump_json()
        except ValidationError as error:
            self._dropped["control_malformed"] += 1
            body = _declined(f"not a control request: {validation_line(error)}")
        except Exception as error:  # one faulty answer must not end the bus
            _log.exception("control request failed")
            body = _declined(type(error).__name__)
        router.send_multipart([peer, b"", body.encode(), *chain.from_iterable(replayed)])


def _take_subscriptions(xpub: zmq.Socket[bytes]) -> bool:
    """Read what subscribers asked for, and answer probes; True if there may be more of it."""
    for _ in range(_SUBSCRIPTIONS_A_TURN):
        if not int(xpub.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            return False
        # Frame by frame: XPUB hands out the first of a message before, or without, the others.
        try:
            subscription = xpub.recv(zmq.NOBLOCK)
        except zmq.Again:  # its subscriber went meanwhile
            return False
        if subscription.startswith(b"\x01" + PROBE):
            xpub.send(subscription[1:])
    return True


def _declined(reason: str) -> str:
    return ControlReply(ok=False, error=reason).model_dump_json()
