"""A page fetched over HTTP, without any proxy of the environment."""

from __future__ import annotations

from http.client import HTTPConnection
from urllib.parse import urlsplit


def fetch(url: str, **headers: str) -> tuple[int, str]:
    """Status and text of a page."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(
            "GET", f"{parts.path}?{parts.query}" if parts.query else parts.path, headers=headers
        )
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()
