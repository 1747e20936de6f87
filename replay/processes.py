"""Commands of this project in processes of their own: a service for a rehearsal or a measurement."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rtdecode.bus.control import NoAnswerError
from rtdecode.errors import UserError
from rtdecode.sources.lsl import LslClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rtdecode.bus.control import ControlClient

START_S = 60.0
"""How long a process may take to start on a slow machine."""

_LAST_WORDS_S = 30.0
"""How long it may take to end, its journal written, before it is killed."""

_OVERRIDES = "RTDECODE_"
"""What variables begin with that override a configuration; on every system in upper or lower case."""

_PORTS = ("publish_port", "subscribe_port", "control_port")


class Process:
    """One ``rtdecode`` command in a process of its own, its output in a file.

    It does what its arguments and files say: variables that would override them are not handed down.

    Parameters
    ----------
    arguments
        Of the command line, the command first.
    log
        File for all that it says.
    """

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._name = f"rtdecode {arguments[0]}"
        self._arguments = arguments
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rtdecode", *self._arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if not k.upper().startswith(_OVERRIDES)},
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(_LAST_WORDS_S)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        """Its number, once it was started."""
        return self._process.pid

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()

    def said(self, word: str) -> bool:
        """Whether its output holds a word so far."""
        return word in self._log.read_text(encoding="utf-8", errors="replace")

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready.

        Raises
        ------
        UserError
            If it ends first, or takes too long.
        """
        clock = LslClock()
        deadline = clock.now() + START_S
        while not ready():
            self.check()
            if clock.now() > deadline:
                raise UserError(f"{self._name} was not ready within {START_S:g} s; see {self._log}")
            time.sleep(0.05)  # another process: nothing here to wait on

    def ended(self, timeout_s: float) -> bool:
        """Whether it has ended by itself, or does within ``timeout_s``."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_for_end(self) -> None:
        """Wait until it has ended by itself.

        Raises
        ------
        UserError
            If it does not, or not well.
        """
        if not self.ended(START_S):
            raise UserError(f"{self._name} did not stop within {START_S:g} s; see {self._log}")
        if self._process.returncode:
            raise UserError(f"{self._name} ended with an error: {self.last_line()}; see {self._log}")

    def check(self) -> None:
        """Raise a UserError if it has ended."""
        if self._process.poll() is not None:
            raise UserError(f"{self._name} ended too early: {self.last_line()}; see {self._log}")

    def last_line(self) -> str:
        """The last thing it said."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


@contextmanager
def folder_for_logs(prefix: str) -> Iterator[Path]:
    """Make a temporary folder, and remove it at the end, unless an error names it or a file in it.

    Parameters
    ----------
    prefix
        What its name begins with.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    is_named = False
    try:
        yield folder
    except UserError as error:
        is_named = str(folder) in str(error)
        raise
    finally:
        if not is_named:
            shutil.rmtree(folder, ignore_errors=True)


def is_answered(control: ControlClient) -> bool:
    """Whether a service answers already."""
    try:
        control.status()
    except NoAnswerError:
        return False
    return True


def port_options(ports: Mapping[str, int]) -> list[str]:
    """Command-line options that lead a worker to the service at these ports."""
    return [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]


def free_ports() -> dict[str, int]:
    """Ports for ``[bus]`` that nobody listens on just now, by their keys there."""
    with ExitStack() as stack:  # all held until the last is found, so that they differ
        sockets = [stack.enter_context(socket.socket()) for _ in _PORTS]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in zip(_PORTS, sockets, strict=True)}


def serve_config(
    streams: Mapping[str, str],
    markers: str,
    decoders: Iterable[tuple[str, Path]],
    ports: Mapping[str, int],
    *,
    allow_speed: bool = False,
    journal: Path | None = None,
) -> str:
    """Write a configuration of ``rtdecode serve``.

    Parameters
    ----------
    streams
        LSL source ids of the signal streams, by identifier.
    markers
        LSL source id of the marker stream.
    decoders
        Stream identifier and ONNX file of each.
    ports
        From :func:`free_ports`.
    allow_speed
        Accept a replay faster than real time.
    journal
        Folder for the journal; None keeps none.

    Returns
    -------
    str
        TOML.
    """
    lines = []
    for name, source_id in streams.items():
        lines += ["[[streams]]", f"id = {_text(name)}", f"lsl = {{ source_id = {_text(source_id)} }}"]
    lines += ["[[markers.streams]]", f"source_id = {_text(markers)}"]
    for stream, path in decoders:
        lines += ["[[decoders]]", f"path = {_text(str(path.resolve()))}", f"stream = {_text(stream)}"]
    lines += ["[bus]", *(f"{name} = {port}" for name, port in ports.items())]
    lines += ["[service]", f"wait_s = {START_S:g}", f"allow_speed = {json.dumps(allow_speed)}"]
    if journal is not None:
        lines += ["[journal]", f"folder = {_text(str(journal.resolve()))}"]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    """A TOML string; JSON's are the same as long as no character is written as two surrogates."""
    return json.dumps(text, ensure_ascii=False)
