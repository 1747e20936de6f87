"""``rtdecode bench live``: where the milliseconds go between the last sample and the answer."""

from __future__ import annotations

import datetime as dt
import json
import math
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from replay.processes import Process, free_ports, is_answered, serve_config
from rtdecode.bus.control import ControlClient
from rtdecode.bus.sockets import Endpoints
from rtdecode.bus.subscriber import Subscriber
from rtdecode.contracts import EmbeddingMessage, VerdictMessage
from rtdecode.decoder import WINDOW_INPUT, Decoder, open_session
from rtdecode.errors import UserError
from rtdecode.machine import versions
from rtdecode.output import check_writable, write_file
from rtdecode.sources.lsl import LslClock
from training.bench.models import write_renamed, write_ridge
from training.bench.sender import SENT, Sending
from training.bench.table import live_table
from training.bench.usage import Usage, machine
from training.metrics import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtdecode.bus.wire import Received
    from rtdecode.contracts import SignalContract, Stamps

LATE_S = 0.05
"""A trial is missed that takes longer than this beyond the 99th percentile of inference."""

_CHANNELS = 64
_RATE_HZ = 1000.0

_PACKAGES = ("rtdecode", "numpy", "scipy", "onnxruntime", "onnxruntime-gpu", "pylsl", "pyzmq", "mne-lsl")

_MARGIN_S = 0.5
"""Of the stream before the first window and after the last."""

_LAST_WORDS_S = 10.0
"""How long answers may take after the last sample."""

_IDLE_S = 0.1
"""When nothing has come for so long, there is time to draw."""

_BARE_RUNS = 100
_BARE_PAUSE_S = 0.1
"""Between two bare runs: without any, each would find its weights in a cache that trials do not find warm."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What is measured; as the command's options."""

    channels: int | None = None
    rate_hz: float | None = None
    chunk: int = 10
    streams: int = 1
    seconds: float = 600.0
    markers_per_second: float = 5.0
    warmup_trials: int = 20
    decoder: Path | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    """An embedding's stamps, the sample that its onset was found at, when it was sealed and received."""

    stamps: Stamps
    onset_sample: int
    sent_at: float
    received_at: float


@dataclass(slots=True)
class _Answers:
    """What the service said, by request: stream and marker."""

    embeddings: dict[tuple[int, int], _Answer] = field(default_factory=dict)
    verdicts: dict[tuple[int, int], str] = field(default_factory=dict)

    def take(self, received: Received, at: float) -> int | None:
        """Keep a message that came at ``at``; returns the marker's number if it is an embedding."""
        message = received.message
        if isinstance(message, EmbeddingMessage):
            trial = int(message.label)
            answer = _Answer(message.stamps, message.onset_sample, message.sent_at, at)
            self.embeddings[int(message.request.stream), trial] = answer
            return trial
        if isinstance(message, VerdictMessage):
            self.verdicts[int(message.request.stream), int(message.label)] = message.verdict.value
        return None


@dataclass(frozen=True, slots=True)
class _Trial:
    """One request: sample of its onset, when the chunk with its last sample was pushed, and the answer."""

    onset: int
    pushed: float
    answer: _Answer | None


def report(settings: LiveSettings, json_path: Path | None) -> None:
    """Measure, show progress and the table, and write the numbers.

    Raises
    ------
    UserError
        If the settings contradict each other, or a process fails.
    """
    if json_path is not None:
        check_writable(json_path)
    console = Console(stderr=True)
    console.print("[yellow]SIMULATED signals over loopback: latencies, no decoding[/yellow]", highlight=False)
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    with (
        tempfile.TemporaryDirectory(prefix="rtdecode-bench-") as folder,
        # Drawn only when told to: it must not take the receiving thread's time when an answer comes.
        Progress(*columns, console=console, auto_refresh=False) as bars,
    ):

        def bar(title: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(title, total=total)
            return lambda done: bars.update(task, completed=done, refresh=True)

        result = measure(settings, Path(folder), bar)
    Console().print(live_table(result))
    if json_path is not None:
        write_file(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def measure(
    settings: LiveSettings, folder: Path, bar: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Run bare onnxruntime, the service, the peer if one is named, and bare onnxruntime again.

    Parameters
    ----------
    settings
        What is measured.
    folder
        For decoders, configuration, logs.
    bar
        Given a title and a total, starts a progress bar and returns what moves it.

    Returns
    -------
    dict
        See the README.
    """
    path = _decoder(settings, folder)
    decoder = Decoder(path)
    signal = decoder.manifest.signal
    sending = plan(settings, signal)
    n_bare = min(_BARE_RUNS, len(sending.onsets))
    bare, bare_cpu_s = _bare(path, signal, bar("onnxruntime alone, before", n_bare), n_bare)
    trials, service = _live(settings, sending, decoder, folder, bar)
    after, after_cpu_s = _bare(path, signal, bar("onnxruntime alone, after", n_bare), n_bare)
    bare = np.concatenate([bare, after])
    inference_cpu_s = service.pop("inferences") * (bare_cpu_s + after_cpu_s) / len(bare)
    answered = [(trial, trial.answer) for trial in trials if trial.answer is not None]
    if not answered:
        raise UserError(f"no trial was answered; the service's verdicts: {service['verdicts']}")
    stages = {
        "transport": [answer.stamps.data_arrival - trial.pushed for trial, answer in answered],
        "feed": [answer.stamps.inference_start - answer.stamps.data_arrival for _, answer in answered],
        "seal": [answer.sent_at - answer.stamps.inference_end for _, answer in answered],
        "bus": [answer.received_at - answer.sent_at for _, answer in answered],
    }
    compute = np.array([answer.received_at - trial.pushed for trial, answer in answered])
    inference = np.array([a.stamps.inference_end - a.stamps.inference_start for _, a in answered])
    late = compute > LATE_S + np.percentile(inference, 99)
    drops = len(trials) - len(answered)
    seconds = service.pop("seconds")
    return {
        "simulated": True,
        "n": len(trials),
        "misses": int(np.count_nonzero(late)) + drops,
        "drops": drops,
        "misplaced": sum(answer.onset_sample != trial.onset for trial, answer in answered),
        "cpu_share": service["cpu_s"] / seconds,
        "cpu_share_without_inference": (service.pop("cpu_s") - inference_cpu_s) / seconds,
        **service,
        "latency_ms": {
            "structural": percentiles_ms([signal.structural_s]),
            "inference": percentiles_ms(inference),
            "bare_inference": percentiles_ms(bare),
            "compute": percentiles_ms(compute),
            "overhead": percentiles_ms(compute - inference),
        },
        "stages_ms": {name: percentiles_ms(times) for name, times in stages.items()},
        "warmup_trials": settings.warmup_trials * settings.streams,
        "settings": {
            "channels": len(signal.channels),
            "rate_hz": signal.rate_hz,
            "chunk": settings.chunk,
            "streams": settings.streams,
            "seconds": settings.seconds,
            "markers_per_second": settings.markers_per_second,
            "decoder": decoder.name,
            "provider": decoder.provider,
        },
        "machine": machine(),
        "versions": versions(
            "rtdecode", "numpy", "onnxruntime", "onnxruntime-gpu", "pylsl", "pyzmq", "mne-lsl"
        ),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def plan(settings: LiveSettings, signal: SignalContract) -> Sending:
    """Say what the sender sends: markers from when the front end is warm on, not in step with the chunks."""
    rate_hz, window = signal.rate_hz, signal.window
    margin = math.ceil(_MARGIN_S * rate_hz)
    first = signal.warmup_samples + max(-window.first_sample, 0) + margin
    n = settings.warmup_trials + max(1, round(settings.seconds * settings.markers_per_second))
    regular = first + np.arange(n) * rate_hz / settings.markers_per_second
    onsets = np.sort(regular.astype(int) + np.random.default_rng(0).integers(0, settings.chunk, n))
    return Sending(
        source_id=f"rtdecode-bench-{time.time_ns():x}",
        channels=signal.channels,
        rate_hz=rate_hz,
        chunk=settings.chunk,
        streams=settings.streams,
        n_samples=int(onsets[-1]) + max(window.last_sample, 0) + margin,
        onsets=tuple(onsets.tolist()),
    )


def _decoder(settings: LiveSettings, folder: Path) -> Path:
    if settings.decoder is not None:
        if settings.channels is not None or settings.rate_hz is not None:
            raise UserError(
                "the decoder says how many channels at which rate: leave out --channels and --rate"
            )
        return settings.decoder
    path = folder / "decoder.onnx"
    write_ridge(path, settings.channels or _CHANNELS, settings.rate_hz or _RATE_HZ)
    return path


def _bare(
    path: Path, signal: SignalContract, moved: Callable[[int], None], n: int
) -> tuple[np.ndarray, float]:
    """Seconds of each run of onnxruntime alone, and the processor time of all, in this process."""
    session = open_session(path.read_bytes())
    outputs = [output.name for output in session.get_outputs()]
    shape = (1, signal.window.n_samples, len(signal.channels))
    feed = {WINDOW_INPUT: np.random.default_rng(0).standard_normal(shape, np.float32)}
    session.run(outputs, feed)
    clock = LslClock()
    seconds, cpu_s = np.empty(n), 0.0
    for i in range(n):
        time.sleep(_BARE_PAUSE_S)
        cpu, start = time.process_time(), clock.now()
        session.run(outputs, feed)
        seconds[i] = clock.now() - start
        cpu_s += time.process_time() - cpu
        moved(i + 1)
    return seconds, cpu_s


def _live(
    settings: LiveSettings,
    sending: Sending,
    decoder: Decoder,
    folder: Path,
    bar: Callable[[str, int], Callable[[int], None]],
) -> tuple[list[_Trial], dict[str, Any]]:
    """Sender and service in processes of their own; what came of it, and what the service used."""
    ports = free_ports()
    endpoints = Endpoints.at("127.0.0.1", **ports)
    config, plan_path, record = folder / "serve.toml", folder / "sending.json", folder / "sent.npz"
    streams = {str(stream): sending.signal_id(stream) for stream in range(sending.streams)}
    config.write_text(
        serve_config(streams, sending.source_id, _one_each(decoder, streams, folder), ports),
        encoding="utf-8",
    )
    plan_path.write_text(sending.model_dump_json(), encoding="utf-8")
    answers, clock = _Answers(), LslClock()
    n_requests = len(sending.onsets) * sending.streams
    moved = bar("rtdecode serve", n_requests)
    marks: list[tuple[float, Usage, int]] = []  # when, what was used, how many were decoded: begin, end
    with ExitStack() as stack:
        service = stack.enter_context(Process(["serve", str(config)], folder / "serve.log"))
        control = stack.enter_context(ControlClient(endpoints.control))
        service.wait_until(lambda: is_answered(control))
        subscriber = stack.enter_context(Subscriber(endpoints.publish, ("embedding", "verdict")))
        service.wait_until(lambda: subscriber.wait_joined(1.0))
        sender = Process(["bench", "send", str(plan_path), str(record)], folder / "send.log")
        stack.enter_context(sender)
        heard_at = clock.now()

        def mark() -> None:
            marks.append((clock.now(), Usage.of(service.pid), len(answers.embeddings)))

        while len(answers.verdicts) < n_requests:
            received = subscriber.receive(_IDLE_S)
            at = clock.now()
            if received is None:
                moved(len(answers.verdicts))
                service.check()
                sender.check()
                if at - heard_at > _LAST_WORDS_S and sender.said(SENT):
                    break
                continue
            heard_at = at
            trial = answers.take(received, at)
            if trial is not None and trial >= settings.warmup_trials and not marks:
                mark()
        mark()
        moved(n_requests)
        lost = subscriber.lost
        accounts = control.status().accounts
        control.stop()
        service.wait_for_end()
        sender.wait_for_end()
    trials, late = _trials(sending, answers, decoder.manifest.signal, record, settings.warmup_trials)
    (begin, used, n_before), (end, usage, n_after) = marks[0], marks[-1]
    return trials, {
        "seconds": end - begin,
        "cpu_s": usage.cpu_s - used.cpu_s,
        "inferences": n_after - n_before,
        "rss_mb": usage.rss_mb,
        "lost_messages": lost,
        "verdicts": dict(Counter(answers.verdicts.values())),
        "n_open": accounts.n_open,
        "sender_late_ms": percentiles_ms(late),
    }


def _one_each(decoder: Decoder, streams: dict[str, str], folder: Path) -> list[tuple[str, Path]]:
    """The decoder for each stream, under names of their own."""
    if len(streams) == 1:
        return [(stream, decoder.path) for stream in streams]
    paths = {stream: folder / f"decoder-{stream}.onnx" for stream in streams}
    for stream, path in paths.items():
        write_renamed(decoder.path, path, f"{decoder.name}-{stream}")
    return list(paths.items())


def _trials(
    sending: Sending, answers: _Answers, signal: SignalContract, record: Path, warmup_trials: int
) -> tuple[list[_Trial], np.ndarray]:
    """The trials that count, and the sender's own delays."""
    with np.load(record) as sent:
        pushed = [sent[f"pushed_{stream}"] for stream in range(sending.streams)]
        late = sent["late"]
    trials = []
    for stream in range(sending.streams):
        for number, onset in enumerate(sending.onsets[warmup_trials:], start=warmup_trials):
            chunk = sending.chunk_of(stream, onset + signal.window.last_sample)
            answer = answers.embeddings.get((stream, number))
            trials.append(_Trial(onset, float(pushed[stream][chunk]), answer))
    return trials, late
