"""A service with its workers at real time, and what goes wrong in a lab."""

from __future__ import annotations

import json
import math
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.processes import Process, free_ports, is_answered, port_options, serve_config
from rtdecode.bus.control import ControlClient
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import Subscriber
from rtdecode.contracts import (
    EmbeddingMessage,
    MarkerMessage,
    RetrievalMessage,
    StatusMessage,
    VerdictMessage,
)
from rtdecode.gallery import GalleryDescription, write_gallery
from rtdecode.sources.lsl import LslClock
from training.bench.phases import Answer, sender, sent_trials
from training.bench.sender import SENT
from training.bench.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rtdecode.bus.wire import Received
    from rtdecode.decoder import Decoder
    from training.bench.phases import Trial
    from training.bench.sending import Sending

_KILLS = {"retrieve": 0.4, "outlet": 0.55}
"""When each worker is killed, as a share of the run."""

_SAMPLE_S = 1.0
"""How often memory is looked at."""

_LAST_WORDS_S = 15.0
"""How long answers may take after the last sample."""

_GALLERY = 200


@dataclass(slots=True)
class Heard:
    """What came off the bus: embeddings by stream and number, the others counted, answers' arrivals."""

    embeddings: dict[tuple[int, int], Answer] = field(default_factory=dict)
    verdicts: Counter[str] = field(default_factory=Counter)
    markers: Counter[str] = field(default_factory=Counter)
    retrievals: list[float] = field(default_factory=list)
    stopped: bool = False

    def take(self, received: Received, at: float) -> None:
        """Keep a message that came at ``at``."""
        match message := received.message:
            case EmbeddingMessage():
                answer = Answer(message.stamps, message.sent_at, at)
                self.embeddings[int(message.request.stream), int(message.label)] = answer
            case VerdictMessage():
                self.verdicts[message.verdict.value] += 1
            case MarkerMessage():
                self.markers[message.fate.value] += 1
            case RetrievalMessage():
                self.retrievals.append(at)
            case StatusMessage():
                self.stopped = self.stopped or message.state == "stopped"


@dataclass(slots=True)
class _Worker:
    """A worker, and what became of it."""

    name: str
    arguments: list[str]
    folder: Path
    process: Process
    restarted_at: float = math.inf

    @classmethod
    def start(cls, name: str, arguments: list[str], folder: Path) -> _Worker:
        process = Process([name, *arguments], folder / f"{name}.log")
        process.__enter__()
        return cls(name, arguments, folder, process)

    def kill_and_restart(self, now: float) -> None:
        self.process.kill()
        self.process = Process([self.name, *self.arguments], self.folder / f"{self.name}-again.log")
        self.process.__enter__()
        self.restarted_at = now

    def stop(self) -> None:
        self.process.__exit__()


@dataclass(slots=True)
class Seen:
    """What came of a run.

    Parameters
    ----------
    heard
        What came off the bus.
    memory
        When, and the resident memory of the service then, MiB.
    ledger
        The service's books at its end.
    trials
        Every request.
    lost, repaired
        Messages that never came, and that came when they were asked for.
    workers
        By name, whether it was killed and came back.
    sender_late : array of shape (n_chunks,)
        How late each push was, seconds.
    """

    heard: Heard
    memory: list[tuple[float, float]]
    ledger: dict[str, Any]
    trials: list[Trial]
    lost: int
    repaired: int
    workers: dict[str, bool]
    sender_late: np.ndarray


def run_lab(
    sending: Sending,
    decoder: Decoder,
    folder: Path,
    moved: Callable[[int], None],
    *,
    journal: Path | None = None,
) -> Seen:
    """Run sender, service and workers at real time; kill each worker once, and start it again.

    Parameters
    ----------
    sending
        What is sent, with the outages of the source; one stream.
    decoder
        What decodes it.
    folder
        For configuration, gallery and logs.
    moved
        Told the seconds since the start.
    journal
        Where the service keeps its journal, if it does.

    Raises
    ------
    UserError
        If the service or the sender fails.
    """
    ports = free_ports()
    endpoints = Endpoints.at("127.0.0.1", **ports)
    config, ledger = folder / "serve.toml", folder / "ledger.json"
    config.write_text(
        serve_config(
            {"0": sending.signal_id(0)},
            sending.source_id,
            [("0", decoder.path)],
            ports,
            journal=journal,
        ),
        encoding="utf-8",
    )
    gallery = _write_gallery(folder / "gallery", decoder)
    options = port_options(ports)
    heard, clock = Heard(), LslClock()
    memory: list[tuple[float, float]] = []
    lasts_s = sending.n_samples / sending.rate_hz
    with ExitStack() as stack:
        service = Process(["serve", str(config), "--json", str(ledger)], folder / "serve.log")
        stack.enter_context(service)
        control = stack.enter_context(ControlClient(endpoints.control))
        service.wait_until(lambda: is_answered(control))
        kinds = ("embedding", "verdict", "marker", "retrieval", "status")
        subscriber = stack.enter_context(Subscriber(endpoints.publish, kinds, control=endpoints.control))
        service.wait_until(lambda: subscriber.wait_joined(1.0))
        workers = [
            _Worker.start("retrieve", ["--gallery", str(gallery), *options], folder),
            _Worker.start(
                "outlet", [*port_options(ports), "--source-id", f"{sending.source_id}-out"], folder
            ),
        ]
        for worker in workers:
            stack.callback(worker.stop)
        workers[0].process.wait_until(lambda: workers[0].process.said("ready"))
        source = stack.enter_context(sender(sending, folder / "sent"))
        begin = heard_at = sampled_at = clock.now()
        while heard.verdicts.total() < len(sending.onsets):
            received = subscriber.receive(0.1)
            now = clock.now()
            if received is not None:
                heard_at = now
                heard.take(received, now)
            if now - sampled_at >= _SAMPLE_S:
                sampled_at = now
                memory.append((now, Usage.of(service.pid).rss_mb))
                moved(round(now - begin))
                service.check()
                source.check()
                for worker in workers:
                    if now - begin >= _KILLS[worker.name] * lasts_s and worker.restarted_at == math.inf:
                        worker.kill_and_restart(now)
                if now - heard_at > _LAST_WORDS_S and source.said(SENT):
                    break
        back = {worker.name: worker.process.said("ready") for worker in workers}
        back["retrieve"] &= any(at > workers[0].restarted_at for at in heard.retrievals)
        control.stop()
        until = clock.now() + _LAST_WORDS_S
        while not heard.stopped and clock.now() < until:
            if (received := subscriber.receive(0.1)) is not None:
                heard.take(received, clock.now())
        service.wait_for_end()
        source.wait_for_end()
    trials, late = sent_trials(sending, folder / "sent", decoder.manifest.signal, heard.embeddings)
    accounts = json.loads(ledger.read_text(encoding="utf-8"))["accounts"]
    return Seen(heard, memory, accounts, trials, subscriber.lost, subscriber.repaired, back, late)


def _write_gallery(folder: Path, decoder: Decoder) -> Path:
    """Gallery of random embeddings in the space of the decoder's first head."""
    space = decoder.manifest.heads[0].space
    embeddings = np.random.default_rng(0).standard_normal((_GALLERY, space.dim), np.float32)
    description = GalleryDescription(name="random", space=space, simulated=True)
    write_gallery(folder, description, embeddings, [f"image-{i}" for i in range(_GALLERY)])
    return folder
