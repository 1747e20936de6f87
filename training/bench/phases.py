"""What a measurement is made of: onnxruntime alone, and the service."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.processes import Process, free_ports, is_answered, serve_config
from rtdecode.bus.control import ControlClient
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import Subscriber
from rtdecode.contracts import EmbeddingMessage, VerdictMessage
from rtdecode.decoder import WINDOW_INPUT, open_session
from rtdecode.sources.lsl import LslClock
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
        What it used from the last answer that does not count to the last of all, and what it said.

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

        mark()
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
            # To ask takes time: so it is done before the trials that count.
            if trial is not None and trial == warmup_trials - 1 and len(marks) == 1:
                mark()
        mark()
        moved(len(answers.verdicts))
        accounts = control.status().accounts
        control.stop()
        service.wait_for_end()
        source.wait_for_end()
    (begin, used, n_before), (end, usage, n_after) = marks[-2:]
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
