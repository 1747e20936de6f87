"""Where the bus listens, and how every socket of it is set."""

from __future__ import annotations

import ipaddress
import math
import socket as sockets
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import zmq

from rtdecode.bus.curve import ClientKeys
from rtdecode.bus.wire import MAX_MESSAGE_BYTES
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from rtdecode.bus.curve import ServiceKeys

HIGH_WATER_MARK = 1000
"""Messages that may wait for one peer, on either side of a connection.

What happens beyond, edge by edge; nowhere does anybody wait:

- broker to subscriber: that subscriber loses the newest; it sees so by the sequence numbers, and asks again.
- worker to broker: the worker's newest are lost, and are seen to be missing likewise.
- control: ``CONTROL_HIGH_WATER_MARK`` answers wait for one client; more are dropped, and it asks again.
- whoever publishes in the service sends by itself, and so waits for nobody either.
"""

CONTROL_HIGH_WATER_MARK = 16
"""Answers that may wait for one control client; those with replayed messages are large."""

MAX_REQUEST_BYTES = 1 << 16
"""Largest subscription or control request that the broker takes."""

WELCOME = b"welcome"
"""Single frame that the broker sends to each subscriber that connects."""

SERVICE = "service"
"""Role under which the service publishes, and nobody else may."""

PROBE = b"probe/"
"""Subscribing to a topic with this prefix makes the broker send that topic, as a single frame.

Subscriptions of one connection arrive in order, so the answer proves that all earlier ones are in force.
"""


_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
"""A peer whose machine or cable went is noticed within half a minute, and connected to again.

Not by ZeroMQ's own heartbeats: they take a subscriber that does not read for one that is gone.
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
    """Write a host and a port as ZeroMQ does."""
    if host == "localhost":  # may name IPv4 or IPv6, and both sides must mean the same
        host = "127.0.0.1"
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def to_listen_on(host: str) -> str:
    """Address of a host name, which ZeroMQ does not look up where it listens: IPv4 where there is one.

    Raises
    ------
    UserError
        If nobody knows the name.
    """
    if host in ("*", ""):
        raise UserError("to listen on all addresses of this machine, set host to 0.0.0.0 in [bus]")
    try:
        found = sockets.getaddrinfo(host, None, type=sockets.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UserError(f"no address is known for {host!r}: set another host in [bus]") from error
    addresses = [str(entry[4][0]) for entry in found]
    return next((address for address in addresses if ":" not in address), addresses[0])


def open_socket(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    address: str,
    keys: ServiceKeys | ClientKeys | None = None,
    *,
    max_bytes: int = MAX_MESSAGE_BYTES,
    queue: int = HIGH_WATER_MARK,
) -> zmq.Socket[bytes]:
    """Open a socket that bounds what it queues and takes, and drops what is unsent when it is closed.

    Parameters
    ----------
    context, kind
        As for :meth:`zmq.Context.socket`.
    address
        What the caller will bind it or connect it to.
    keys
        With them all that it carries is encrypted, and both sides prove who they are.
    max_bytes
        Largest frame it takes; a peer that sends a larger one is disconnected.
    queue
        Messages that may wait for one peer.

    Raises
    ------
    UserError
        If it would leave this machine without keys.
    """
    if keys is None:
        _check_stays_here(address)
    if keys is not None and not zmq.has("curve"):
        raise UserError("this build of pyzmq knows no keys (CURVE): install pyzmq from its wheel")
    socket = context.socket(kind)
    socket.setsockopt(zmq.IPV6, "[" in address)  # not always: it would write 127.0.0.1 as ::ffff:127.0.0.1
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
    socket.set_hwm(queue)
    for option, value in _KEEPALIVE.items():
        socket.setsockopt(option, value)
    if keys is not None:
        keys.secure(socket)
    return socket


def client_keys(path: Path | None, address: str) -> ClientKeys | None:
    """Keys of a client that will connect to an address.

    Raises
    ------
    UserError
        If the file holds none, or there is no file and the address is not this machine's loopback.
    """
    if path is None:
        _check_stays_here(address)
        return None
    return ClientKeys.load(path)


def end_context(context: zmq.Context[zmq.Socket[bytes]], linger_s: float) -> None:
    """End a context whose sockets were closed with endless linger, waiting for peers as long as told.

    Whoever has not fetched by then what is queued for it is left to a thread in the background, not given up:
    libzmq aborts the process where a peer goes at the very moment in which half a message to it is given up
    (its issue 3442).
    """
    thread = threading.Thread(target=context.term, name="farewell", daemon=True)
    thread.start()
    thread.join(linger_s)


def _check_stays_here(address: str) -> None:
    transport, _, place = address.partition("://")
    if transport == "inproc":
        return
    try:
        here = ipaddress.ip_address(place.rpartition(":")[0].strip("[]")).is_loopback
    except ValueError:
        here = False
    if not here:
        raise UserError(
            f"{address} is not this machine alone, and without keys anybody there could listen in: make some "
            "with `rtdecode keys make FOLDER --client NAME`, name the folder as keys in [bus], and give each "
            "client its file with --keys"
        )


def milliseconds(seconds: float) -> int:
    """Time-out for ZeroMQ, never rounded down to no wait at all."""
    return max(0, math.ceil(seconds * 1000))
