"""A dress rehearsal: a recording through real LSL to a service and a worker in processes of their own.

Everything is as it will be in the lab but the amplifier; what comes out is kept, with the moment at which it
reached this process.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replay.player import LslPlayer
from replay.processes import START_S, Process, free_ports, is_answered, port_options, serve_config
from rtdecode.bus.control import ControlClient
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
from rtdecode.sources.lsl import LslClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

    from replay.recordings.recording import Recording
    from rtdecode.bus.wire import Received

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
    ports = free_ports()
    endpoints = Endpoints.at("127.0.0.1", **ports)
    player = LslPlayer(
        recording, name=f"{recording.name}-rehearsal", speed=speed, wait_timeout_s=START_S, grace_s=1.0
    )
    config = folder / "serve.toml"
    config.write_text(
        serve_config(
            {"replay": player.source_id},
            player.marker_source_id,
            [("replay", decoder)],
            ports,
            allow_speed=player.speed != 1.0,
        ),
        encoding="utf-8",
    )
    with ExitStack() as stack:
        service = stack.enter_context(Process(["serve", str(config)], folder / "serve.log"))
        worker = None
        if gallery is not None:
            arguments = ["retrieve", "--gallery", str(gallery), *port_options(ports)]
            worker = Process(arguments, folder / "retrieve.log")
            stack.enter_context(worker)  # both start at once; the worker waits for the service
        control = stack.enter_context(ControlClient(endpoints.control))
        service.wait_until(lambda: is_answered(control))
        subscriber = stack.enter_context(
            Subscriber(
                endpoints.publish,
                ("embedding", "verdict", "marker", "retrieval"),
                control=endpoints.control,
            )
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
