"""Services in this process, each fed over LSL by a recording with faults; what they say beside the truth."""

from __future__ import annotations

import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from index_decoder import index_channels, index_manifest, write_index_decoder

from replay.faults import parse_fault
from replay.player import LslPlayer
from replay.recordings.recording import Markers, Recording, array_reader
from rtdecode.bus.subscriber import Subscriber
from rtdecode.bus.wire import floats
from rtdecode.config import ServeConfig
from rtdecode.contracts import AlarmMessage, EmbeddingMessage, MarkerMessage, Verdict, VerdictMessage
from rtdecode.contracts.signal import IirSos
from rtdecode.service import Service

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rtdecode.bus.wire import Received
    from rtdecode.contracts import Accounts, AlarmCode

RATE_HZ = 256.0
WINDOW = (-5, 40)
INDEX_V = 1e-6

_LONGEST_S = 40.0
_EVERY_S = 0.15
_QUIET_S = 0.4


@dataclass(frozen=True, eq=False, slots=True)
class Case:
    """What goes wrong, and what must come of it.

    Parameters
    ----------
    name
        Its name in the table of the documentation.
    faults
        As on the command line.
    begins, over
        Seconds of the recording between which it may matter. Each marker before and after must be decoded.
    verdicts
        How requests end between the two, beside being decoded.
    alarms
        Alarms raised.
    within
        How many samples an onset may be off.
    enough
        How many trials afterwards are enough to judge by.
    gone_at
        When a stream goes away that has to be found again: it is over with the first trial after that.
    recovers
        Whether trials are decoded again.
    quality
        What must be said of some trial's quality between the two, by field.
    stream, service, section
        Of ``[[streams]]``, ``[service]`` and ``[quality]`` of the configuration.
    warmup_s
        How long the decoder's filter claims to warm up; it changes nothing.
    """

    name: str
    faults: tuple[str, ...]
    begins: float = 0.0
    over: float = 0.0
    verdicts: frozenset[Verdict] = frozenset()
    alarms: frozenset[AlarmCode] = frozenset()
    within: int = 0
    enough: int = 5
    gone_at: float | None = None
    recovers: bool = True
    quality: Mapping[str, object] = field(default_factory=dict)
    stream: Mapping[str, object] = field(default_factory=dict)
    service: Mapping[str, object] = field(default_factory=dict)
    section: Mapping[str, object] = field(default_factory=dict)
    warmup_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Said:
    """How one request ended, and what was decoded: first and last sample of the recording in the window."""

    label: str
    onset: int
    verdict: Verdict
    reason: str
    window: tuple[int, int] | None
    message: EmbeddingMessage | None

    @property
    def at(self) -> float:
        """Where its marker truly lies, seconds of the recording."""
        return self.onset / RATE_HZ


@dataclass(slots=True)
class Outcome:
    """All that came of one faulty session, and the labels of all markers in the order in which they left."""

    sent: list[str]
    onsets: dict[str, int]
    said: list[Said] = field(default_factory=list)
    markers: list[MarkerMessage] = field(default_factory=list)
    alarms: list[AlarmMessage] = field(default_factory=list)
    accounts: Accounts | None = None
    _embeddings: dict[int, tuple[EmbeddingMessage, np.ndarray]] = field(default_factory=dict)

    @property
    def verdicts(self) -> Counter[Verdict]:
        """How many requests ended how."""
        return Counter(said.verdict for said in self.said)

    @property
    def emitted(self) -> list[Said]:
        """Those that were decoded."""
        return [said for said in self.said if said.verdict is Verdict.EMITTED]

    def is_enough(self, case: Case) -> bool:
        """Whether there is enough to judge a case by."""
        after = self.emitted if case.recovers else self.said
        if case.gone_at is not None and not any(alarm.active for alarm in self.alarms):
            return False
        over = max(case.begins, case.over, case.gone_at or 0.0)
        return sum(said.at >= over for said in after) >= case.enough

    def take(self, received: Received) -> None:
        """Keep one message of the bus."""
        message = received.message
        match message:
            case EmbeddingMessage():
                embedding = floats(received.payload[0], message.heads[0].dim)
                self._embeddings[message.request.index] = message, embedding
            case VerdictMessage():
                header, window = None, None
                if message.request.index in self._embeddings:
                    header, embedding = self._embeddings[message.request.index]
                    window = round(float(embedding[0]) / INDEX_V), round(float(embedding[1]) / INDEX_V)
                self.said.append(
                    Said(
                        message.label,
                        self.onsets[message.label],
                        message.verdict,
                        message.reason,
                        window,
                        header,
                    )
                )
            case MarkerMessage():
                self.markers.append(message)
            case AlarmMessage():
                self.alarms.append(message)


def live_through(case: Case, folder: Path, recording: Recording | None = None) -> Outcome:
    """Send a recording with faults to a service until there is enough to judge by, and keep what it says."""
    write_index_decoder(
        folder / f"{case.name}.onnx",
        index_manifest(rate_hz=RATE_HZ, window=WINDOW, front_end=_passing(case.warmup_s)),
    )
    faults = [parse_fault(text) for text in case.faults]
    recording = recording or index_session()
    stamps = "grid" if recording.stamps is None else "original"
    player = LslPlayer(recording, stamps=stamps, wait_timeout_s=60, faults=faults, seed=7)
    truth = player.programme.truth()
    outcome = Outcome(
        list(truth.mark_label), dict(zip(truth.mark_label, truth.mark_sample.tolist(), strict=True))
    )
    config = ServeConfig(
        streams=[{"id": "eeg", "lsl": {"source_id": player.source_id}, **case.stream}],
        markers={"streams": [{"source_id": player.marker_source_id}]},
        decoders=[{"path": folder / f"{case.name}.onnx"}],
        bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
        service={"timeout_s": 1.0, "wait_s": 60.0, **case.service},
        quality=case.section,
    )
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        stack.callback(player.stop)
        with Service(config) as service:
            subscriber = stack.enter_context(
                Subscriber(service.endpoints.publish, ("embedding", "verdict", "marker", "alarm"))
            )
            assert subscriber.wait_joined(30)
            player.announce()
            service.connect()
            run = thread.submit(player.run)  # only now, so that no fault meets a service that still connects
            while not run.done() and not outcome.is_enough(case):
                if received := subscriber.receive(0.1):
                    outcome.take(received)
        while received := subscriber.receive(_QUIET_S):
            outcome.take(received)
        outcome.accounts = service.status().accounts
        player.stop()
        run.result(30)
    return outcome


def index_session(stamps: np.ndarray | None = None) -> Recording:
    """Noise of 10 uV whose first channel is the sample index in uV, with a marker each 0.15 s."""
    n_samples = round(_LONGEST_S * RATE_HZ) if stamps is None else len(stamps)
    samples = np.random.default_rng(1).normal(scale=1e-5, size=(n_samples, 3)).astype(np.float32)
    samples[:, 0] = np.arange(n_samples) * INDEX_V
    onsets = np.arange(100, n_samples - 100, round(_EVERY_S * RATE_HZ))
    return Recording(
        name=f"faulty-{uuid.uuid4().hex}",
        rate_hz=RATE_HZ,
        channels=index_channels(),
        n_samples=n_samples,
        markers=Markers(onsets, [f"m{i}" for i in range(len(onsets))]),
        reader=array_reader(samples.astype(np.float64)),
        simulated=True,
        stamps=stamps,
    )


def _passing(warmup_s: float) -> list[IirSos]:
    """A filter that changes nothing and asks for so long to warm up."""
    if not warmup_s:
        return []
    unchanged = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    return [
        IirSos(
            sections=(unchanged,),
            highpass_hz=None,
            lowpass_hz=None,
            design="unchanged",
            warmup_s=warmup_s,
            delay_s=0.0,
        )
    ]
