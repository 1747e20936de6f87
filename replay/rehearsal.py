"""A dress rehearsal: a recording through real LSL to a service and a worker in processes of their own.

Everything is as it will be in the lab but the amplifier; what comes out is kept, with the moment at which it
reached this process.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from replay.player import LslPlayer
from rtdecode.bus.control import ControlClient, NoAnswerError
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import Subscriber
from rtdecode.bus.wire import floats
from rtdecode.contracts import (
    Accounts,
    EmbeddingMessage,
    MarkerMessage,
    RetrievalMessage,
    Verdict,
    VerdictMessage,
)
from rtdecode.errors import UserError
from rtdecode.sources.lsl import LslClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np

    from replay.recordings.recording import Recording
    from rtdecode.bus.wire import Received

_PORTS = ("publish_port", "subscribe_port", "control_port")

_START_S = 60.0
"""How long a process may take to start on a slow machine."""

_LAST_WORDS_S = 15.0
"""How long answers may take after the recording has ended."""


@dataclass(slots=True)
class Answers:
    """What came off the bus.

    Parameters
    ----------
    embeddings
        By index of the accepted marker: the message, and the embedding of its first head, ``(dim,)``.
    received_at
        When that reached this process, seconds of this machine's LSL clock.
    retrievals
        Answers of the retrieval worker, likewise.
    verdicts
        How each request ended, likewise.
    markers
        What became of each marker, in order.
    lost
        Messages that never came, by their sequence numbers.
    accounts
        The service's own books, once all is over.
    """

    embeddings: dict[int, tuple[EmbeddingMessage, np.ndarray]] = field(default_factory=dict)
    received_at: dict[int, float] = field(default_factory=dict)
    retrievals: dict[int, RetrievalMessage] = field(default_factory=dict)
    verdicts: dict[int, VerdictMessage] = field(default_factory=dict)
    markers: list[MarkerMessage] = field(default_factory=list)
    lost: int = 0
    accounts: Accounts = field(default_factory=lambda: Accounts(markers={}, requests={}, n_open=0))

    def take(self, received: Received, at: float) -> None:
        """Keep one message that arrived at ``at``."""
        message = received.message
        if isinstance(message, EmbeddingMessage):
            index = message.request.index
            self.embeddings[index] = (message, floats(received.payload[0], message.heads[0].dim))
            self.received_at[index] = at
        elif isinstance(message, RetrievalMessage):
            self.retrievals[message.request.index] = message
        elif isinstance(message, VerdictMessage):
            self.verdicts[message.request.index] = message
        elif isinstance(message, MarkerMessage):
            self.markers.append(message)

    def collect(
        self,
        subscriber: Subscriber,
        n_markers: int,
        *,
        retrieval: bool,
        is_over: Callable[[], bool],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Receive until everything is answered, or nothing has come for long after ``is_over``.

        Parameters
        ----------
        subscriber
            Of embeddings, verdicts and markers, and of retrievals if they are waited for.
        n_markers
            Markers that will be sent.
        retrieval
            Whether each embedding will be answered by a retrieval worker.
        is_over
            Whether the last sample has been sent.
        check
            Called while nothing comes; raises where waiting makes no sense any more.
        """
        clock = LslClock()
        heard_at = clock.now()
        while not self.complete(n_markers, retrieval=retrieval):
            received = subscriber.receive(0.2)
            if received is not None:
                heard_at = clock.now()
                self.take(received, heard_at)
                continue
            check()
            if is_over() and clock.now() - heard_at > _LAST_WORDS_S:
                return

    def complete(self, n_markers: int, *, retrieval: bool) -> bool:
        """Whether all markers, their verdicts, and the answers to what was emitted have come."""
        accepted = sum(marker.index is not None for marker in self.markers)
        emitted = sum(verdict.verdict is Verdict.EMITTED for verdict in self.verdicts.values())
        return (
            len(self.markers) >= n_markers
            and len(self.verdicts) >= accepted
            and len(self.embeddings) >= emitted
            and (not retrieval or len(self.retrievals) >= emitted)
        )


def rehearse(
    recording: Recording,
    decoder: Path,
    folder: Path,
    *,
    gallery: Path | None = None,
    speed: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Replay a recording through LSL to ``rtdecode serve`` (and ``rtdecode retrieve``), and collect.

    Parameters
    ----------
    recording
        What is replayed, its markers' labels being the stimuli.
    decoder
        ONNX file.
    folder
        Where the service's configuration and the logs go.
    gallery
        Gallery that a retrieval worker answers from; none runs where None.
    speed
        How many times as fast as recorded.
    progress
        Called with the number of samples sent.

    Raises
    ------
    UserError
        If a process does not start, or ends too early.
    """
    answers = Answers()
    ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
    endpoints = Endpoints.at("127.0.0.1", **ports)
    player = LslPlayer(
        recording, name=f"{recording.name}-rehearsal", speed=speed, wait_timeout_s=_START_S, grace_s=1.0
    )
    config = folder / "serve.toml"
    config.write_text(_serve_config(player, decoder, ports), encoding="utf-8")
    with ExitStack() as stack:
        service = stack.enter_context(_Process(["serve", str(config)], folder / "serve.log"))
        worker = None
        if gallery is not None:
            flags = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
            worker = _Process(["retrieve", "--gallery", str(gallery), *flags], folder / "retrieve.log")
            stack.enter_context(worker)  # both start at once; the worker waits for the service
        control = stack.enter_context(ControlClient(endpoints.control))
        service.wait_until(lambda: _answers(control))
        subscriber = stack.enter_context(
            Subscriber(endpoints.publish, ("embedding", "verdict", "marker", "retrieval"))
        )
        service.wait_until(lambda: subscriber.wait_joined(1.0))
        if worker is not None:
            worker.wait_until(lambda: worker.said("ready"))
        with ThreadPoolExecutor(1, thread_name_prefix="player") as thread:
            playing = thread.submit(player.run, progress)
            try:
                answers.collect(
                    subscriber,
                    len(recording.markers),
                    retrieval=gallery is not None,
                    is_over=playing.done,
                    check=service.check,
                )
                playing.result()
            except BaseException:
                player.stop()
                raise
        answers.lost = subscriber.lost
        answers.accounts = control.status().accounts
        control.stop()
        service.wait_for_end()
    return answers


class _Process:
    """One ``rtdecode`` command in a process of its own, its output in a file."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._name = f"rtdecode {arguments[0]}"
        self._arguments = arguments
        self._log = log

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rtdecode", *self._arguments], stdout=log, stderr=subprocess.STDOUT
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
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
        deadline = clock.now() + _START_S
        while not ready():
            self.check()
            if clock.now() > deadline:
                raise UserError(f"{self._name} was not ready within {_START_S:g} s; see {self._log}")
            time.sleep(0.05)  # another process: nothing here to wait on

    def wait_for_end(self) -> None:
        """Wait until it has ended by itself.

        Raises
        ------
        UserError
            If it does not, or not well.
        """
        try:
            code = self._process.wait(_START_S)
        except subprocess.TimeoutExpired:
            raise UserError(f"{self._name} did not stop within {_START_S:g} s; see {self._log}") from None
        if code:
            raise UserError(f"{self._name} ended with an error: {self.last_line()}")

    def check(self) -> None:
        """Raise a UserError if it has ended."""
        if self._process.poll() is not None:
            raise UserError(f"{self._name} ended too early: {self.last_line()}")

    def last_line(self) -> str:
        """The last thing it said."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else f"it said nothing in {self._log}"


def _answers(control: ControlClient) -> bool:
    try:
        control.status()
    except NoAnswerError:
        return False
    return True


def _free_ports(n: int) -> list[int]:
    """Ports that nobody listens on just now; all held until the last is found, so that they differ."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _serve_config(player: LslPlayer, decoder: Path, ports: Mapping[str, int]) -> str:
    lines = [
        "[[streams]]",
        'id = "replay"',
        f"lsl = {{ source_id = {_toml_text(player.source_id)} }}",
        "[[markers.streams]]",
        f"source_id = {_toml_text(player.marker_source_id)}",
        "[[decoders]]",
        f"path = {_toml_text(str(decoder.resolve()))}",
        "[bus]",
        *(f"{name} = {port}" for name, port in ports.items()),
        "[service]",
        f"wait_s = {_START_S:g}",
        f"allow_speed = {json.dumps(player.speed != 1.0)}",
    ]
    return "\n".join(lines) + "\n"


def _toml_text(text: str) -> str:
    """A TOML string; JSON's are the same as long as no character is written as two surrogates."""
    return json.dumps(text, ensure_ascii=False)
