"""What the commands that talk to a service share: options that say where it is, and an end by signal."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from rtdecode.bus import ControlClient, Endpoints
from rtdecode.bus.sockets import endpoint
from rtdecode.ending import stopped_by_signals

if TYPE_CHECKING:
    from collections.abc import Callable

_PORT = click.IntRange(1, 65535)


class Worker(Protocol):
    """Runs until it is told to stop."""

    def run(self) -> None:
        """Work."""

    def stop(self) -> None:
        """End :meth:`run` soon, from any thread."""


_HOST = click.option("--host", default="127.0.0.1", show_default=True, help="Where the service runs.")


def _port(name: str, default: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Option for a port of ``[bus]``; the variable that moves the service's own moves it as well."""
    return click.option(
        f"--{name.replace('_', '-')}",
        default=default,
        type=_PORT,
        envvar=f"RTDECODE_BUS__{name.upper()}",
        show_default=True,
        show_envvar=True,
        help=f"{name} in its [bus].",
    )


_CONTROL_PORT = _port("control_port", 5557)
_KEYS = click.option(
    "--keys",
    type=click.Path(path_type=Path),
    help="This client's file of `rtdecode keys`, if the service demands keys.",
)


def bus_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``[bus]``; it takes what they say as ``endpoints`` and ``keys``."""

    @_HOST
    @_port("publish_port", 5555)
    @_port("subscribe_port", 5556)
    @_CONTROL_PORT
    @_KEYS
    @functools.wraps(command)
    def with_endpoints(
        *, host: str, publish_port: int, subscribe_port: int, control_port: int, **options: Any
    ) -> None:
        command(endpoints=Endpoints.at(host, publish_port, subscribe_port, control_port), **options)

    return with_endpoints


def control_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say where a service's control socket is; it takes a ``control``."""

    @_HOST
    @_CONTROL_PORT
    @_KEYS
    @functools.wraps(command)
    def with_control(*, host: str, control_port: int, keys: Path | None, **options: Any) -> None:
        with ControlClient(endpoint(host, control_port), keys=keys) as control:
            command(control=control, **options)

    return with_control


def run_until_signalled(worker: Worker) -> None:
    """Run a worker; Ctrl-C and the system's request to end stop it."""
    with stopped_by_signals(worker.stop):
        worker.run()
