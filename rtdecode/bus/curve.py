"""Who may speak on the bus: CURVE keys of the service and of its clients, and the door that looks at them."""

from __future__ import annotations

import logging
import struct
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import zmq
from zmq.utils import z85

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_log = logging.getLogger(__name__)

SERVICE_PUBLIC = "service.key"
SERVICE_SECRET = "service.key_secret"  # noqa: S105
ALLOWED_FOLDER = "allowed"
CLIENTS_FOLDER = "clients"
PUBLIC_SUFFIX = ".key"
SECRET_SUFFIX = ".key_secret"  # noqa: S105

_DOMAIN = b"rtdecode"
_DOOR = "inproc://zeromq.zap.01"  # the name that libzmq looks for (RFC 27, ZAP)
_NAMED_REFUSALS = 100
"""Refused peers that the log names; more are only counted, so that nobody can fill the disk by knocking."""


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """The service's secret key, and who may connect.

    Parameters
    ----------
    secret
        In Z85, as all keys in files.
    allowed
        Name of each client by its public key, raw bytes.
    """

    secret: bytes = field(repr=False)
    allowed: Mapping[bytes, str]

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder that ``rtdecode keys make`` made.

        Raises
        ------
        UserError
            If it is none, or one of its files is not what it should be.
        """
        secret = read_key(folder / SERVICE_SECRET, "secret")
        return cls(secret, {z85.decode(key): name for name, key in allowed_clients(folder).items()})

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket that will bind demand keys; a :class:`Door` must be open in its context."""
        socket.curve_secretkey = self.secret
        socket.curve_publickey = zmq.curve_public(self.secret)
        socket.curve_server = True
        socket.setsockopt(zmq.ZAP_DOMAIN, _DOMAIN)
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without a door nobody gets in, rather than everybody


@dataclass(frozen=True, slots=True)
class ClientKeys:
    """A client's secret key, and the service's public one, both in Z85."""

    secret: bytes = field(repr=False)
    service: bytes

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the file that ``rtdecode keys make FOLDER --client NAME`` made for a client.

        Raises
        ------
        UserError
            If it is none.
        """
        return cls(read_key(path, "secret"), read_key(path, "service"))

    def secure(self, socket: zmq.Socket[bytes]) -> None:
        """Make a socket that will connect show its key, to no other service than its own."""
        socket.curve_secretkey = self.secret
        socket.curve_publickey = zmq.curve_public(self.secret)
        socket.curve_serverkey = self.service


class Door:
    """Lets in only clients whose keys are allowed (ZAP, ZeroMQ RFC 27); one thread owns it.

    Parameters
    ----------
    context
        That of the sockets it guards.
    keys
        Who may come in.

    Attributes
    ----------
    socket
        When it has something to read, :meth:`answer`.
    refused
        How often an unknown key, or one for another service, or none was turned away.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: ServiceKeys) -> None:
        self.refused = 0
        self._keys = keys
        self._named: set[tuple[bytes, bytes]] = set()
        self._is_told = False
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(_DOOR)

    def answer(self) -> None:
        """Let one waiting client in, or turn it away."""
        version, request, _domain, address, _identity, mechanism, *credentials = self.socket.recv_multipart()
        name = self._keys.allowed.get(credentials[0]) if mechanism == b"CURVE" else None
        if name is None:
            self.refused += 1
            self._tell(address, credentials[0] if credentials else b"")
            # Not 400, "for good": libzmq's clients would then never try again, not even when the service was
            # restarted with their key on its list.
            status, text = b"300", b"unknown key"
        else:
            status, text = b"200", b"OK"
        self.socket.send_multipart([version, request, status, text, (name or "").encode(), b""])

    def turned_back(self) -> None:
        """Count a client that never came as far as to show an allowed or unknown key."""
        self.refused += 1
        if not self._is_told:  # nothing tells its address
            self._is_told = True
            _log.warning(
                "refused a client without keys, or with another service's public key: give it its file of "
                "`rtdecode keys` with --keys; more such are only counted, as strangers"
            )

    def _tell(self, address: bytes, key: bytes) -> None:
        if (
            len(self._named) < _NAMED_REFUSALS and (address, key) not in self._named
        ):  # it tries again and again
            self._named.add((address, key))
            _log.warning(
                "refused %s: its public key %s is not allowed here; `rtdecode keys` makes keys, and the "
                "service reads the allowed ones when it starts",
                address.decode(errors="replace"),
                z85.encode(key).decode() if len(key) == 32 else "(none)",
            )


def allowed_clients(folder: Path) -> dict[str, bytes]:
    """Public keys of the allowed clients, in Z85, by name.

    Raises
    ------
    UserError
        If one cannot be read, or two clients share one.
    """
    clients: dict[str, bytes] = {}
    for path in sorted((folder / ALLOWED_FOLDER).glob(f"*{PUBLIC_SUFFIX}")):
        key, name = read_key(path, "public"), path.name.removesuffix(PUBLIC_SUFFIX)
        if twin := next((other for other in clients if clients[other] == key), None):
            raise UserError(f"clients {twin!r} and {name!r} in {folder} have the same key: remove one")
        clients[name] = key
    return clients


def read_key(path: Path, which: str) -> bytes:
    """Read one key, ``public``, ``secret`` or ``service``, in Z85.

    Raises
    ------
    UserError
        If the file is missing, or does not hold it.
    """
    remedy = "`rtdecode keys make` makes such files"
    if path.is_dir():
        raise UserError(
            f"{path} is a folder; a client needs one file: {path / CLIENTS_FOLDER / f'NAME{SECRET_SUFFIX}'}"
        )
    try:
        entries = tomllib.loads(path.read_text(encoding="ascii"))
    except OSError as error:
        raise UserError(f"cannot read key file {path}: {error.strerror}; {remedy}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not a key file; {remedy}") from error
    key = entries.get(which)
    try:
        if not isinstance(key, str) or len(z85.decode(key)) != 32:
            raise ValueError
        if which == "secret":
            zmq.curve_public(key.encode())
    except (ValueError, KeyError, struct.error, zmq.ZMQError) as error:
        raise UserError(f"{path} holds no {which} key; {remedy}") from error
    return key.encode()
