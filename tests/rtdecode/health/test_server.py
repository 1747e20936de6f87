"""Pages over HTTP, whoever asks and however."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from http_page import fetch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtdecode.errors import UserError
from rtdecode.health.server import Page, PageServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    def broken(_: str) -> Page:
        raise RuntimeError("out of order")

    pages = {"/hello": lambda accept: Page(200, f"hello {accept}".encode()), "/broken": broken}
    with PageServer("127.0.0.1", 0, pages) as running:
        yield running


def connect(server: PageServer) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def test_pages_are_found_by_their_path_and_know_what_is_accepted(server: PageServer) -> None:
    assert fetch(f"{server.url}/hello?once", Accept="text/x") == (200, "hello text/x")
    assert fetch(f"{server.url}/") == (404, "there are /hello, /broken\n")


def test_a_page_that_fails_says_so_and_the_next_one_comes(server: PageServer) -> None:
    assert fetch(f"{server.url}/broken") == (500, "RuntimeError: out of order\n")
    assert fetch(f"{server.url}/hello")[0] == 200


def test_clients_that_say_nothing_or_hang_up_hold_nobody_up_for_long(server: PageServer) -> None:
    connect(server).close()
    with connect(server) as silent, connect(server) as dripping:
        dripping.sendall(b"GET /hello HT")
        assert fetch(f"{server.url}/hello")[0] == 200
        assert silent.recv(1) == b""  # hung up on
        assert dripping.recv(1) == b""


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /hello HTTP/1.1\r\n\r\n", b"501"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /hello HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /hello HTTP/1.1\r\n" + 200 * b"X: y\r\n" + b"\r\n", b"431"),
    ],
)
def test_what_is_no_request_for_a_page_is_refused(server: PageServer, sent: bytes, status: bytes) -> None:
    with connect(server) as client:
        client.sendall(sent)
        answer = b""
        while part := client.recv(4096):
            answer += part
    assert status in answer.splitlines()[0] or status in answer


@given(st.binary(max_size=200))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_leave_it_answering(server: PageServer, sent: bytes) -> None:
    with connect(server) as client:
        client.sendall(sent + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass
    assert fetch(f"{server.url}/hello")[0] == 200


def test_a_port_that_is_taken_and_a_host_that_nobody_knows_are_one_line(server: PageServer) -> None:
    for host, port in (("127.0.0.1", int(server.url.rpartition(":")[2])), ("no-such-host.invalid", 0)):
        with (
            pytest.raises(UserError, match=r"cannot listen on .*\[health\]") as caught,
            PageServer(host, port, {}),
        ):
            pass
        assert "\n" not in str(caught.value)
