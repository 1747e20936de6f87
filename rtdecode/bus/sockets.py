"""Where the bus listens, and how every socket of it is set."""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from typing import Self

import zmq

from rtdecode.bus.wire import MAX_MESSAGE_BYTES
from rtdecode.errors import UserError

HIGH_WATER_MARK = 1000
"""Messages that may wait for one peer; a subscriber that is further behind loses the newest."""

MAX_REQUEST_BYTES = 1 << 16
"""Largest subscription or control request that the broker takes."""

WELCOME = b"welcome"
"""Single frame that the broker sends to each subscriber that connects."""

PROBE = b"probe/"
"""Subscribing to a topic with this prefix makes the broker send that topic, as a single frame.

Subscriptions of one connection arrive in order, so the answer proves that all earlier ones are in force.
"""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The three addresses of a bus.

    Parameters
    ----------
    publish
        Subscribers connect here (XPUB).
    subscribe
        Workers' publishers connect here (XSUB).
    control
        Control clients connect here (ROUTER).
    """

    publish: str
    subscribe: str
    control: str

    @classmethod
    def at(
        cls,
        host: str = "127.0.0.1",
        publish_port: int = 5555,
        subscribe_port: int = 5556,
        control_port: int = 5557,
    ) -> Self:
        """Endpoints of a service at a host; the ports are those of ``[bus]`` in its configuration."""
        return cls(*(endpoint(host, port) for port in (publish_port, subscribe_port, control_port)))


def endpoint(host: str, port: int) -> str:
    """Write a host and a port as ZeroMQ does.

    Raises
    ------
    UserError
        If the host is not this machine's loopback: nothing on the bus is encrypted or authenticated.
    """
    if host == "localhost":  # may name IPv4 or IPv6, and both sides must mean the same
        host = "127.0.0.1"
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise UserError(f"the bus stays on this machine: set its host to 127.0.0.1, not {host!r}")
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]], kind: int, address: str, max_bytes: int = MAX_MESSAGE_BYTES
) -> zmq.Socket[bytes]:
    """Open a socket that bounds what it queues and takes, and drops what is unsent when it is closed.

    Parameters
    ----------
    context, kind
        As for :meth:`zmq.Context.socket`.
    address
        What the caller will bind it or connect it to.
    max_bytes
        Largest frame it takes; a peer that sends a larger one is disconnected.
    """
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, "[" in address)  # not always: it would write 127.0.0.1 as ::ffff:127.0.0.1
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.set_hwm(HIGH_WATER_MARK)
    return socket


def milliseconds(seconds: float) -> int:
    """Time-out for ZeroMQ, never rounded down to no wait at all."""
    return max(0, math.ceil(seconds * 1000))
