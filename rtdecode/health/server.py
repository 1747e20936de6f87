"""A few pages over HTTP, on one thread, that no client can hold up for long."""

from __future__ import annotations

import io
import os
import socket
import socketserver
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CLIENT_S = 1.0
"""How long a client may take to ask, and again to fetch the answer."""

_MAX_HEAD_BYTES = 16384
_WAITING_CLIENTS = 16


class Page(NamedTuple):
    """An answer: HTTP status, body, and its type."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"


class PageServer:
    """Serves pages while it is entered.

    One client is served after the other, on one thread. One that does not ask, or does not fetch its answer,
    within a second each is hung up on.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes any free one.
    pages
        What to answer, by path: a function of the request's ``Accept`` header.
    on_idle
        Called about twice a second, on the server's thread.

    Raises
    ------
    UserError
        On entry, if it cannot listen there.
    """

    def __init__(
        self,
        host: str,
        port: int,
        pages: Mapping[str, Callable[[str], Page]],
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = (host, port)
        self._pages = dict(pages)
        self._on_idle = on_idle

    @property
    def url(self) -> str:
        """Where it listens, once entered."""
        host, port = self._address[0], self._server.server_address[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def __enter__(self) -> Self:
        try:
            self._server = _Server(self._address, self._pages, self._on_idle)
        except (OSError, UnicodeError, OverflowError) as error:
            host, port = self._address
            raise UserError(
                f"cannot listen on {host}:{port} for monitors ({error}): set another host or port in [health]"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.TCPServer):
    # Not http.server's own class: that one asks the network for this machine's full name, and may wait.
    allow_reuse_address = os.name != "nt"  # there it would let two programs share the port
    request_queue_size = _WAITING_CLIENTS

    def __init__(
        self,
        address: tuple[str, int],
        pages: Mapping[str, Callable[[str], Page]],
        on_idle: Callable[[], None],
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.pages = pages
        self._on_idle = on_idle
        super().__init__(address, _Handler)

    def service_actions(self) -> None:
        """Do what is to be done each round of the loop, at least twice a second."""
        self._on_idle()

    def handle_error(self, request: object, client_address: object) -> None:
        """Pass over clients that hang up; every failure of our own is an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _CLIENT_S  # of the answer as a whole

    def setup(self) -> None:
        super().setup()
        self.rfile = io.BytesIO(_head(self.connection))

    def do_GET(self) -> None:
        """Answer one request."""
        page = self._page(urlsplit(self.path).path)
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: monitors ask every few seconds."""

    def _page(self, path: str) -> Page:
        make = self.server.pages.get(path)
        if make is None:
            return Page(404, f"there are {', '.join(self.server.pages)}\n".encode())
        try:
            return make(self.headers.get("Accept", ""))
        except Exception as error:  # a monitor must hear of it, and the next one be answered
            return Page(500, f"{type(error).__name__}: {error}\n".encode())


def _head(connection: socket.socket) -> bytes:
    """Request line and headers; what came of them if the client is too slow or says too much."""
    deadline = time.monotonic() + _CLIENT_S
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _MAX_HEAD_BYTES:
        connection.settimeout(max(1e-3, deadline - time.monotonic()))
        try:
            part = connection.recv(4096)
        except TimeoutError:
            return b""
        if not part:
            break
        head += part
    connection.settimeout(_CLIENT_S)
    return head
