"""``rtdecode keys``: who may connect to a service that other machines can reach."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click
import zmq

from rtdecode.bus.curve import (
    ALLOWED_FOLDER,
    CLIENTS_FOLDER,
    PUBLIC_SUFFIX,
    SECRET_SUFFIX,
    SERVICE_PUBLIC,
    SERVICE_SECRET,
    allowed_clients,
    read_key,
)
from rtdecode.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def make_keys(folder: Path, clients: tuple[str, ...] = ()) -> list[Path]:
    """Make the service's key pair where there is none yet, and one for each client.

    Secret files are readable by their owner alone from the moment they exist; where the system has no such
    modes (Windows), the folders are the owner's alone as far as Python can make them so.

    Parameters
    ----------
    folder
        Where; it is made if need be.
    clients
        Names of new clients.

    Returns
    -------
    What was made, in order.

    Raises
    ------
    UserError
        If a name will not do, a key would be overwritten, or something cannot be written.
    """
    if not zmq.has("curve"):
        raise UserError("this build of pyzmq knows no keys (CURVE): install pyzmq from its wheel")
    for name in clients:
        if not _NAME.fullmatch(name):
            raise UserError(f"client {name!r}: a name is up to 64 of A-Z, a-z, 0-9, . _ -, not . _ - first")
        if clients.count(name) > 1:
            raise UserError(f"client {name!r} is named twice")
    public, secret = folder / SERVICE_PUBLIC, folder / SERVICE_SECRET
    fresh = not secret.exists()
    if not fresh and not clients:
        raise UserError(
            f"{folder} holds the service's keys already: add clients with --client NAME, or name another "
            "folder"
        )
    pairs = {
        name: (
            folder / ALLOWED_FOLDER / f"{name}{PUBLIC_SUFFIX}",
            folder / CLIENTS_FOLDER / f"{name}{SECRET_SUFFIX}",
        )
        for name in clients
    }
    for path in [*([public] if fresh else []), *(path for pair in pairs.values() for path in pair)]:
        if path.exists():
            raise UserError(f"{path} exists already: keys are never overwritten; remove it first, or rename")
    made = []
    try:
        for each in (folder, folder / ALLOWED_FOLDER, folder / CLIENTS_FOLDER):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fresh:
            theirs = _write_pair(public, secret, "the service")
            made += [public, secret]
        else:
            theirs = zmq.curve_public(read_key(secret, "secret"))
        for name, (allowed, own) in pairs.items():
            _write_pair(allowed, own, f"client {name}", service=theirs)
            made += [allowed, own]
    except OSError as error:
        raise UserError(
            f"cannot write {error.filename or folder}: {error.strerror}; name another folder"
        ) from error
    return made


def _write_pair(public_path: Path, secret_path: Path, whose: str, *, service: bytes | None = None) -> bytes:
    public, secret = zmq.curve_keypair()
    lines = [f"# Key pair of {whose}. Keep it secret.", f'public = "{public.decode()}"']
    lines.append(f'secret = "{secret.decode()}"')
    if service is not None:
        lines.append(f'service = "{service.decode()}"  # public key of the service')
    _write_new(secret_path, lines, 0o600)
    _write_new(public_path, [f"# Public key of {whose}.", f'public = "{public.decode()}"'], 0o644)
    return public


def _write_new(path: Path, lines: list[str], mode: int) -> None:
    """Write a file that must not exist, with its mode from the start."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="ascii", newline="\n") as file:
        file.write("\n".join(lines) + "\n")


@click.group()
def keys() -> None:
    """Make and list the keys of a service that other machines can reach, and of its clients."""


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--client", "clients", multiple=True, metavar="NAME", help="Make keys for this client as well.")
def make(folder: Path, clients: tuple[str, ...]) -> None:
    """Make keys in FOLDER: the service's where there are none yet, and each client's; none is overwritten."""
    for path in make_keys(folder, clients):
        click.echo(f"made {path}")
    where = folder.resolve().as_posix()  # a path in a configuration begins at its file, not here
    click.echo(f'The service reads them when it starts with, under [bus]: keys = "{where}"')
    for name in clients:
        secret = folder / CLIENTS_FOLDER / f"{name}{SECRET_SUFFIX}"
        click.echo(f"Client {name} needs one file, by a safe way: {secret}; the service needs no copy of it.")


@keys.command("list")
@click.argument("folder", type=click.Path(path_type=Path))
def list_(folder: Path) -> None:
    """List the clients that FOLDER allows, with their public keys.

    To shut a client out, remove its file from FOLDER/allowed and start the service anew.
    """
    service = zmq.curve_public(read_key(folder / SERVICE_SECRET, "secret"))
    clients = allowed_clients(folder)
    width = max(map(len, [*clients, "(service)"]))
    for name, key in {"(service)": service, **clients}.items():
        click.echo(f"{name:<{width}}  {key.decode()}")
    if not clients:
        click.echo("no client is allowed: `rtdecode keys make FOLDER --client NAME` makes one")
