"""Options by which every worker is told where its service is."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import click

from rtdecode.bus import Endpoints

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = click.IntRange(1, 65535)


def bus_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``[bus]``, and hand it what they say as ``endpoints``."""

    @click.option("--host", default="127.0.0.1", show_default=True, help="Where the service runs.")
    @click.option(
        "--publish-port", default=5555, type=_PORT, show_default=True, help="publish_port in its [bus]."
    )
    @click.option(
        "--subscribe-port", default=5556, type=_PORT, show_default=True, help="subscribe_port in its [bus]."
    )
    @click.option(
        "--control-port", default=5557, type=_PORT, show_default=True, help="control_port in its [bus]."
    )
    @functools.wraps(command)
    def with_endpoints(
        *, host: str, publish_port: int, subscribe_port: int, control_port: int, **options: Any
    ) -> None:
        command(endpoints=Endpoints.at(host, publish_port, subscribe_port, control_port), **options)

    return with_endpoints
