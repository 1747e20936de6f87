"""A recording fed to the engine on a virtual clock: no LSL, as fast as it goes, the same bytes each time."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from replay.faults import burst_size
from replay.programme import Back, Chunk, Gone, Mark, Programme
from replay.schedule import Grid
from rtdecode.config import ServiceSettings
from rtdecode.connection import StreamFacts
from rtdecode.contracts import EmbeddingMessage, Verdict, VerdictMessage
from rtdecode.engine import Engine
from rtdecode.errors import MismatchError
from rtdecode.gate import MarkerGate
from rtdecode.output import replaced_folder
from rtdecode.signal.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from replay.faults import Fault
    from replay.layout import Layout
    from replay.recordings.recording import Recording
    from rtdecode.config import QualitySettings
    from rtdecode.contracts import Accounts, Message
    from rtdecode.decoder import Decoder

_STREAM = "recording"


class VirtualClock:
    """Shows the time it was last set to."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        """Seconds since the recording's first sample."""
        return self.time


@dataclass(slots=True)
class VirtualRun:
    """What came out of one run.

    Parameters
    ----------
    messages
        All messages in order; the envelope's host, boot and sequence are empty.
    embeddings
        By decoder and head; entry ``i``, of shape ``(dim,)``, is of the decoder's i-th embedding message.
    accounts
        Both ledgers at the end.
    """

    messages: list[Message] = field(default_factory=list)
    embeddings: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    accounts: Accounts | None = None

    @property
    def decoded(self) -> list[EmbeddingMessage]:
        """The embedding messages, in order."""
        return [message for message in self.messages if isinstance(message, EmbeddingMessage)]

    @property
    def verdicts(self) -> list[VerdictMessage]:
        """The verdict messages, in order."""
        return [message for message in self.messages if isinstance(message, VerdictMessage)]

    def take(self, message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        """Keep one message; the engine calls this."""
        self.messages.append(message)
        if isinstance(message, EmbeddingMessage):
            for head, embedding in zip(message.heads, payload, strict=True):
                self.embeddings.setdefault((message.request.decoder, head.name), []).append(embedding)

    def save(self, folder: Path) -> None:
        """Write ``messages.jsonl`` and one ``DECODER.HEAD.npy`` of shape ``(n_emitted, dim)`` a head.

        The folder appears only when it is complete; one that is there is replaced.

        Raises
        ------
        UserError
            If it cannot be written.
        """
        lines = (json.dumps(message.model_dump(mode="json")) for message in self.messages)
        with replaced_folder(folder) as part:
            (part / "messages.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
            for (decoder, head), embeddings in self.embeddings.items():
                np.save(part / f"{decoder}.{head}.npy", np.stack(embeddings))


def run_virtual(
    recording: Recording,
    decoders: Sequence[Decoder],
    *,
    gate: MarkerGate | None = None,
    settings: ServiceSettings | None = None,
    quality: QualitySettings | None = None,
    strides_ms: Mapping[str, float] | None = None,
    chunk: int = 32,
    faults: Sequence[Fault] = (),
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> VirtualRun:
    """Feed a whole recording to decoders, through the code that runs live.

    Parameters
    ----------
    recording
        Its samples are stamped on a regular grid that jumps where the recording has a break; a marker comes
        with the chunk that holds its sample.
    decoders
        Each answers each accepted marker, or in continuous mode each stride.
    gate
        Decides about markers; by default each is accepted and its label is its stimulus.
    settings, quality
        As in the live service's configuration.
    strides_ms
        Strides of the decoders in continuous mode, by name, milliseconds.
    chunk
        Samples fed at once; results do not depend on it.
    faults, seed
        What goes wrong, and the seed of its chance; as for :class:`~replay.player.LslPlayer`.
    progress
        Called with the number of samples done.

    Raises
    ------
    UserError
        If the recording does not fit a decoder, or a fault not the recording.
    """
    clock = VirtualClock()
    run = VirtualRun()
    engine = Engine(
        {_STREAM: decoders},
        gate or MarkerGate(),
        clock,
        run.take,
        settings or ServiceSettings(),
        quality=quality,
        strides_ms={(_STREAM, name): stride_ms for name, stride_ms in (strides_ms or {}).items()},
    )
    grid = Grid.of(recording, burst_size(faults) or chunk, speed=1.0)
    programme = Programme(recording, grid, faults=faults, seed=seed)
    engine.connect(_STREAM, _facts(recording, programme.layout))
    connected = True
    loaded = (
        (batch, programme.loaded(batch, recording.read(batch.start, batch.stop)))
        for batch in programme.batches()
    )
    for event in programme.events(loaded):
        clock.time = event.due
        match event:
            case Mark():
                marker = Marker(_STREAM, event.label, stamp=event.stamp, time=event.stamp, arrival=event.due)
                engine.admit(marker)
            case Chunk() if connected:
                engine.feed(_STREAM, event.samples, event.stamps, 0.0, event.due)
                for job in engine.advance(_STREAM):
                    engine.decode([job])
            case Gone(stream="signal"):
                engine.disconnect(_STREAM, Verdict.GAP, "the stream was lost")
                connected = False
            case Back(stream="signal"):
                with suppress(MismatchError):  # as live: it waits for one that fits
                    engine.connect(_STREAM, _facts(recording, event.layout))
                    connected = True
        if progress is not None and isinstance(event, Chunk):
            progress(event.position)
    if connected:  # markers may have come after the last samples
        for job in engine.advance(_STREAM):
            engine.decode([job])
    engine.disconnect(_STREAM, Verdict.TIMEOUT, "the recording ended before the window did")
    run.accounts = engine.accounts()
    return run


def _facts(recording: Recording, layout: Layout) -> StreamFacts:
    return StreamFacts(
        channels=layout.channels,
        rate_hz=layout.rate_hz,
        simulated=recording.simulated,
        latency_comparable=False,
    )
