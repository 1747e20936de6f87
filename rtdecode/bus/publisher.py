"""A worker's way onto the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import zmq

from rtdecode.bus.envelope import Envelope
from rtdecode.bus.sockets import client_keys, end_context, milliseconds, open_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from rtdecode.contracts import Message

_LINGER_S = 1.0


class Publisher:
    """Publishes through a broker; one thread owns it.

    What is sent while no broker is there is dropped: await :meth:`connected` first where that matters.

    Parameters
    ----------
    endpoint
        The broker's address for publishers.
    name
        Role of this process.
    clock
        Gives ``sent_at``, seconds.
    keys
        This client's file of ``rtdecode keys``, where the service demands keys.
    """

    def __init__(
        self, endpoint: str, name: str, *, clock: Callable[[], float], keys: Path | None = None
    ) -> None:
        secured = client_keys(keys, endpoint)
        self._envelope = Envelope(name, clock)
        self._context = zmq.Context()
        # XPUB and not PUB: it sees the broker's subscription, so it knows when messages get through.
        self._socket = open_socket(self._context, zmq.XPUB, endpoint, secured)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # forget a broker that went, with what was meant for it
        self._socket.connect(endpoint)
        self._connected = False

    def connected(self, timeout_s: float = 0.0) -> bool:
        """Whether a broker takes what is sent; waits up to ``timeout_s`` for one."""
        while self._socket.poll(0 if self._connected else milliseconds(timeout_s)):
            self._connected = self._socket.recv()[:1] == b"\x01"
        return self._connected

    def send(self, message: Message, payload: Sequence[np.ndarray | bytes] = ()) -> None:
        """Fill a message's envelope and send it.

        Raises
        ------
        WireError
            If the message cannot be sent.
        """
        self._socket.send_multipart(self._envelope.seal(message, payload))

    def close(self) -> None:
        """Send what is queued, waiting a second at most, and disconnect."""
        self._socket.close(linger=-1)
        end_context(self._context, _LINGER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
