"""Ways off the bus: every message in order, or only ever the newest."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from typing import TYPE_CHECKING, Self, get_args

import zmq

from rtdecode.bus.sockets import PROBE, WELCOME, client_keys, milliseconds, open_socket
from rtdecode.bus.wire import WireError, decode
from rtdecode.contracts import AnyMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rtdecode.bus.wire import Received

_log = logging.getLogger(__name__)

KINDS: tuple[str, ...] = tuple(
    message.model_fields["kind"].default for message in get_args(get_args(AnyMessage)[0])
)
"""Kinds of messages on the bus."""

_WAKE_S = 0.2
"""How often an idle wait looks whether it should end; messages never wait for it."""


class Subscriber:
    """Receives every message of some kinds, in order; one thread owns it.

    It may connect before the broker is there, and connects again when the broker was restarted.

    Parameters
    ----------
    endpoint
        The broker's address for subscribers.
    kinds
        Which messages: ``"embedding"``, ``"verdict"``, ``"marker"``, ``"retrieval"``, ``"status"``.
    keys
        This client's file of ``rtdecode keys``, where the service demands keys.

    Attributes
    ----------
    joined
        Set while the subscription is in force: all that the broker publishes then arrives. A broker that goes
        away does not clear it, the one that follows does until it is in force there.
    lost
        Messages that never came, by the jumps in their sequence numbers.
    refused
        Messages that were malformed.

    Raises
    ------
    ValueError
        If a kind does not exist.
    """

    def __init__(
        self, endpoint: str, kinds: Sequence[str] = ("embedding",), *, keys: Path | None = None
    ) -> None:
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise ValueError(f"no messages of kind {unknown[0]!r}; there are {', '.join(KINDS)}")
        secured = client_keys(keys, endpoint)
        self.joined = threading.Event()
        self.lost = 0
        self.refused = 0
        self._sequences: dict[tuple[str, str, str, bytes], int] = {}
        self._early: deque[Received] = deque()
        self._probe = b""
        self._context = zmq.Context()
        self._socket = open_socket(self._context, zmq.SUB, endpoint, secured)
        for kind in kinds:
            self._socket.subscribe(f"{kind}/")
        self._socket.subscribe(WELCOME)
        self._socket.connect(endpoint)

    def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the subscription is in force; False if it is not within ``timeout_s``."""
        if not self.joined.is_set():
            for received in self._incoming(timeout_s):
                if received is not None:
                    self._early.append(received)
                if self.joined.is_set():
                    break
        return self.joined.is_set()

    def receive(self, timeout_s: float) -> Received | None:
        """Return the next message, or None if none comes within ``timeout_s``."""
        if self._early:
            return self._early.popleft()
        return next((received for received in self._incoming(timeout_s) if received is not None), None)

    def __iter__(self) -> Iterator[Received]:
        """Yield messages without end."""
        while True:
            # Not one endless wait: Windows would not deliver Ctrl-C.
            received = self.receive(_WAKE_S)
            if received is not None:
                yield received

    def close(self) -> None:
        """Disconnect; what was not received is dropped."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _incoming(self, timeout_s: float) -> Iterator[Received | None]:
        """Yield what arrives within ``timeout_s``, None for what is no message."""
        deadline = time.monotonic() + timeout_s
        while self._socket.poll(milliseconds(timeout_s)):
            yield self._take(self._socket.recv_multipart())
            timeout_s = deadline - time.monotonic()
            if timeout_s <= 0:
                break

    def _take(self, frames: list[bytes]) -> Received | None:
        if frames == [WELCOME]:
            # There is a connection, so the subscriptions are on their way; a probe sent now comes after them.
            self.joined.clear()
            if self._probe:
                self._socket.unsubscribe(self._probe)
            self._probe = PROBE + uuid.uuid4().hex.encode()
            self._socket.subscribe(self._probe)
            return None
        if len(frames) == 1 and frames[0].startswith(PROBE):
            if frames[0] == self._probe:  # else it answers a probe from before the connection was lost
                self._socket.unsubscribe(self._probe)
                self._probe = b""
                self.joined.set()
            return None
        try:
            received = decode(frames)
        except WireError as error:
            self.refused += 1
            _log.warning("refused a message: %.300s", error)
            return None
        self._count_lost(received)
        return received

    def _count_lost(self, received: Received) -> None:
        message = received.message
        key = (message.host, message.boot_id, message.publisher, received.topic)
        last = self._sequences.get(key)
        if last is not None:  # else it joined late: what came before was not meant for it
            self.lost += max(0, message.sequence - last - 1)
        self._sequences[key] = message.sequence


class LatestSubscriber:
    """Receives only ever the newest message: for workers slower than the stream.

    A thread drains a :class:`Subscriber` into a one-slot mailbox, so nothing old is ever waiting.

    Parameters
    ----------
    endpoint, kinds, keys
        As for :class:`Subscriber`.

    Attributes
    ----------
    skipped
        Messages that a newer one replaced before they were received.
    """

    def __init__(
        self, endpoint: str, kinds: Sequence[str] = ("embedding",), *, keys: Path | None = None
    ) -> None:
        self.skipped = 0
        self._subscriber = Subscriber(endpoint, kinds, keys=keys)
        self._mailbox: Received | None = None
        self._filled = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._drain, name="latest", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Messages that never came, by the jumps in their sequence numbers."""
        return self._subscriber.lost

    @property
    def refused(self) -> int:
        """Messages that were malformed."""
        return self._subscriber.refused

    def wait_joined(self, timeout_s: float) -> bool:
        """Wait until the subscription is in force; False if it is not within ``timeout_s``."""
        return self._subscriber.joined.wait(timeout_s)

    def receive(self, timeout_s: float) -> Received | None:
        """Return the newest message not yet received, or None if none comes within ``timeout_s``."""
        with self._filled:
            self._filled.wait_for(lambda: self._mailbox is not None, timeout_s)
            received, self._mailbox = self._mailbox, None
        return received

    def close(self) -> None:
        """Stop the thread and disconnect."""
        self._closing = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _drain(self) -> None:
        with self._subscriber as subscriber:
            while not self._closing:
                received = subscriber.receive(_WAKE_S)
                if received is None:
                    continue
                with self._filled:
                    self.skipped += self._mailbox is not None
                    self._mailbox = received
                    self._filled.notify()
