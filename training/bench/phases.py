"""What a measurement is made of: onnxruntime alone, the service, the floor, the peer; one after the other."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from replay.processes import Process, free_ports, is_answered, serve_config
from rtdecode.bus.control import ControlClient
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import Subscriber
from rtdecode.contracts import EmbeddingMessage, VerdictMessage
from rtdecode.decoder import WINDOW_INPUT, open_session
from rtdecode.sources.lsl import LslClock
from training.bench.peer import CODES
from training.bench.sender import SENT
from training.bench.usage import Usage
from training.latency import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rtdecode.bus.wire import Received
    from rtdecode.contracts import SignalContract, Stamps
    from rtdecode.decoder import Decoder
    from training.bench.sending import Sending

_LAST_WORDS_S = 10.0
"""How long answers may take after the last sample."""

_IDLE_S = 0.1
"""When nothing has come for so long, there is time to draw."""

_PAUSE_S = 0.1
"""Between two runs alone: without it they would find their weights in a cache, as no trial does."""


_REASONS = 20
"""Reasons for other verdicts that are told, the commonest first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An embedding's stamps, when it was sealed, and when it was received."""

    stamps: Stamps
    sent_at: float
    received_at: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One request.

    Parameters
    ----------
    number
        Of its marker.
    last_sample, pushed
        The last sample that its window needs, and when the chunk with it was pushed; NaN if it never was.
    answer
        What came, if anything came.
    answered_sample
        The last sample of the window that was decoded.
    """

    number: int
    last_sample: int
    pushed: float
    answer: Answer | None
    answered_sample: int | None

    @property
    def misplaced(self) -> bool:
        """Whether it was answered with another window."""
        return self.answer is not None and self.answered_sample != self.last_sample


@dataclass(slots=True)
class _Answers:
    """What the service said, by request: stream and marker."""

    embeddings: dict[tuple[int, int], Answer] = field(default_factory=dict)
    verdicts: dict[tuple[int, int], str] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)

    def take(self, received: Received, at: float) -> int | None:
        """Keep a message that came at ``at``; returns the marker's number if it is an embedding."""
        message = received.message
        if isinstance(message, EmbeddingMessage):
            trial = int(message.label)
            answer = Answer(message.stamps, message.sent_at, at)
            self.embeddings[int(message.request.stream), trial] = answer
            return trial
        if isinstance(message, VerdictMessage):
            self.verdicts[int(message.request.stream), int(message.label)] = message.verdict.value
            if message.reason:
                self.reasons[message.reason] += 1
        return None


def run_alone(
    path: Path, signal: SignalContract, n: int, moved: Callable[[int], None]
) -> tuple[np.ndarray, float]:
    """Run onnxruntime alone in this process, with the service's session options.

    Parameters
    ----------
    path
        The decoder.
    signal
        Its signal contract.
    n
        How many runs; one before them is not counted.
    moved
        Told the number of runs so far.

    Returns
    -------
    seconds : array of shape (n,)
        Of each run.
    cpu_s
        Processor time of all.
    """
    session = open_session(path.read_bytes())
    outputs = [output.name for output in session.get_outputs()]
    shape = (1, signal.window.n_samples, len(signal.channels))
    feed = {WINDOW_INPUT: np.random.default_rng(0).standard_normal(shape, np.float32)}
    session.run(outputs, feed)
    clock = LslClock()
    seconds, cpu_s = np.empty(n), 0.0
    for i in range(n):
        time.sleep(_PAUSE_S)
        cpu, start = time.process_time(), clock.now()
        session.run(outputs, feed)
        seconds[i] = clock.now() - start
        cpu_s += time.process_time() - cpu
        moved(i + 1)
    return seconds, cpu_s


def run_service(
    sending: Sending, decoder: Decoder, folder: Path, warmup_trials: int, moved: Callable[[int], None]
) -> tuple[list[Trial], dict[str, Any]]:
    """Run sender and service in processes of their own, and receive in this one.

    Parameters
    ----------
    sending
        What is sent.
    decoder
        What decodes each stream.
    folder
        For configuration, decoders and logs.
    warmup_trials
        First markers, that do not count.
    moved
        Told the number of verdicts so far.

    Returns
    -------
    trials
        Those that count.
    service
        What it used from the first answer that counts to the last, and what it said.

    Raises
    ------
    UserError
        If a process fails.
    """
    ports = free_ports()
    endpoints = Endpoints.at("127.0.0.1", **ports)
    streams = {str(stream): sending.signal_id(stream) for stream in range(sending.streams)}
    config = folder / "serve.toml"
    config.write_text(
        serve_config(streams, sending.source_id, [(stream, decoder.path) for stream in streams], ports),
        encoding="utf-8",
    )
    answers, clock = _Answers(), LslClock()
    n_requests = len(sending.onsets) * sending.streams
    marks: list[tuple[float, Usage, int]] = []  # when, what was used, how many were decoded: begin, end
    with ExitStack() as stack:
        service = stack.enter_context(Process(["serve", str(config)], folder / "serve.log"))
        control = stack.enter_context(ControlClient(endpoints.control))
        service.wait_until(lambda: is_answered(control))
        subscriber = stack.enter_context(Subscriber(endpoints.publish, ("embedding", "verdict")))
        service.wait_until(lambda: subscriber.wait_joined(1.0))
        source = stack.enter_context(sender(sending, folder / "sent"))
        heard_at = clock.now()

        def mark() -> None:
            marks.append((clock.now(), Usage.of(service.pid), len(answers.embeddings)))

        while len(answers.verdicts) < n_requests:
            received = subscriber.receive(_IDLE_S)
            at = clock.now()
            if received is None:
                moved(len(answers.verdicts))
                service.check()
                source.check()
                if at - heard_at > _LAST_WORDS_S and source.said(SENT):
                    break
                continue
            heard_at = at
            trial = answers.take(received, at)
            if trial is not None and trial >= warmup_trials and not marks:
                mark()
        mark()
        moved(len(answers.verdicts))
        accounts = control.status().accounts
        control.stop()
        service.wait_for_end()
        source.wait_for_end()
    (begin, used, n_before), (end, usage, n_after) = marks[0], marks[-1]
    trials, late = sent_trials(sending, folder / "sent", decoder.manifest.signal, answers.embeddings)
    trials = [trial for trial in trials if trial.number >= warmup_trials]
    return trials, {
        "seconds": end - begin,
        "cpu_s": usage.cpu_s - used.cpu_s,
        "inferences": n_after - n_before,
        "rss_mb": usage.rss_mb,
        "lost_messages": subscriber.lost,
        "verdicts": dict(Counter(answers.verdicts.values())),
        "reasons": dict(answers.reasons.most_common(_REASONS)),
        "n_open": accounts.n_open,
        "sender_late_ms": percentiles_ms(late),
    }


def run_peer(
    sending: Sending, decoder: Decoder, folder: Path, warmup_trials: int, moved: Callable[[int], None]
) -> dict[str, Any]:
    """Run the sender and mne-lsl in processes of their own.

    Parameters
    ----------
    sending, decoder, folder, warmup_trials
        As for :func:`run_service`; one stream.
    moved
        Told the number of markers sent so far, about.

    Returns
    -------
    dict
        Its percentiles; ``latency_ms`` is what it adds to inference, as the service's overhead.

    Raises
    ------
    UserError
        If a process fails.
    """
    numbered = sending.model_copy(update={"source_id": f"{sending.source_id}-peer", "codes": CODES})
    clock = LslClock()
    record = folder / "peer.npz"
    with sender(numbered, folder / "peer-sent") as source:
        arguments = [str(folder / "peer-sent.json"), str(decoder.path), str(record), str(warmup_trials)]
        with Process(["bench", "peer", *arguments], folder / "peer.log") as peer:
            start = clock.now()
            while not peer.ended(0.5):
                share = (clock.now() - start) * numbered.rate_hz / numbered.n_samples
                moved(round(min(share, 1.0) * len(numbered.onsets)))
                if not source.said(SENT):
                    source.check()
            peer.wait_for_end()
        source.wait_for_end()
    trials, _ = sent_trials(numbered, folder / "peer-sent", decoder.manifest.signal, {})
    pushed = np.array([trial.pushed for trial in trials])
    with np.load(record) as found:
        counts = found["number"] >= warmup_trials
        number, began, ended = (found[key][counts] for key in ("number", "inference_start", "inference_end"))
        cpu_share = float(found["cpu_s"] / found["seconds"])
    n = len(numbered.onsets) - warmup_trials
    return {"name": "mne-lsl", **_compared(n, pushed[number], began, ended, ended, cpu_share)}


def run_floor(
    sending: Sending, decoder: Decoder, folder: Path, warmup_trials: int, moved: Callable[[int], None]
) -> dict[str, Any]:
    """Run the sender and a bare loop in processes of their own, and receive in this one.

    Parameters
    ----------
    sending, decoder, folder, warmup_trials
        As for :func:`run_service`; one stream.
    moved
        Told the number of answers so far.

    Returns
    -------
    dict
        Its percentiles; ``latency_ms`` is what it adds to inference, as the service's overhead.

    Raises
    ------
    UserError
        If a process fails.
    """
    again = sending.model_copy(update={"source_id": f"{sending.source_id}-floor"})
    clock = LslClock()
    answers: dict[int, tuple[float, float, float]] = {}
    cpu_share: float | None = None
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        subscriber = stack.enter_context(context.socket(zmq.SUB))
        subscriber.subscribe(b"")
        subscriber.bind("tcp://127.0.0.1:*")
        address = subscriber.getsockopt_string(zmq.LAST_ENDPOINT)
        source = stack.enter_context(sender(again, folder / "floor-sent"))
        arguments = [str(folder / "floor-sent.json"), str(decoder.path), address]
        loop = stack.enter_context(Process(["bench", "bare", *arguments], folder / "floor.log"))
        while cpu_share is None:
            if not subscriber.poll(round(1e3 * _IDLE_S)):
                moved(len(answers))
                loop.check()
                continue
            header = json.loads(subscriber.recv_multipart()[0])
            at = clock.now()
            cpu_share = header.get("cpu_share")
            if cpu_share is None:
                answers[header["number"]] = (header["inference_start"], header["inference_end"], at)
        moved(len(answers))
        loop.wait_for_end()
        source.wait_for_end()
    trials, _ = sent_trials(again, folder / "floor-sent", decoder.manifest.signal, {})
    counted = [trial for trial in trials if trial.number >= warmup_trials and trial.number in answers]
    began, ended, received = np.array([answers[trial.number] for trial in counted]).T
    pushed = np.array([trial.pushed for trial in counted])
    return _compared(len(again.onsets) - warmup_trials, pushed, began, ended, received, cpu_share)


def _compared(
    n: int, pushed: np.ndarray, began: np.ndarray, ended: np.ndarray, received: np.ndarray, cpu_share: float
) -> dict[str, Any]:
    """Numbers of what the service is compared with; of ``n`` trials, the moments of those answered."""
    compute, inference = received - pushed, ended - began
    return {
        "n": n,
        "drops": n - len(pushed),
        "latency_ms": percentiles_ms(compute - inference),
        "compute_ms": percentiles_ms(compute),
        "inference_ms": percentiles_ms(inference),
        "cpu_share": cpu_share,
    }


def sender(sending: Sending, name: Path) -> Process:
    """Sender in a process of its own; ``name`` without an ending is that of its files."""
    plan = name.with_suffix(".json")
    plan.write_text(sending.model_dump_json(), encoding="utf-8")
    return Process(["bench", "send", str(plan), str(name.with_suffix(".npz"))], name.with_suffix(".log"))


def sent_trials(
    sending: Sending, name: Path, signal: SignalContract, answers: Mapping[tuple[int, int], Answer]
) -> tuple[list[Trial], np.ndarray]:
    """What became of every request, stream by stream; and how late each push was, seconds.

    Parameters
    ----------
    sending
        What was sent.
    name
        Of the sender's files, as for :func:`sender`.
    signal
        The decoder's.
    answers
        By stream and number.
    """
    with np.load(name.with_suffix(".npz")) as sent:
        pushed = [sent[f"pushed_{stream}"] for stream in range(sending.streams)]
        start, late = float(sent["start"]), sent["late"]
    trials = []
    for stream in range(sending.streams):
        for number, onset in enumerate(sending.onsets):
            last_sample = onset + signal.window.last_sample
            answer = answers.get((stream, number))
            found = None if answer is None else round((answer.stamps.data_source - start) * sending.rate_hz)
            at = float(pushed[stream][sending.chunk_of(stream, last_sample)])
            trials.append(Trial(number, last_sample, at, answer, found))
    return trials, late
