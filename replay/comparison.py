"""What a session that was run again has in common with its recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.bus.wire import WireError
from rtdecode.contracts import EmbeddingMessage, Verdict, VerdictMessage
from rtdecode.errors import UserError
from rtdecode.journal.messages import read_line, read_lines
from rtdecode.journal.session import PACKAGES
from rtdecode.machine import processor, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.connection import Job
    from rtdecode.contracts import Message, Request
    from rtdecode.decoder import Decoder
    from rtdecode.engine import Engine
    from rtdecode.journal.reader import RecordedSession
    from rtdecode.journal.session import SessionDecoder

LARGEST_DIFFERENCE_SD = 1e-5
"""How far embeddings may lie from the recorded ones on another processor or with other versions, in SD."""

_OF_THE_MOMENT = {Verdict.OVERFLOW, Verdict.LATE, Verdict.SHUTDOWN}
"""What ends a complete window only where threads raced; no data tell of it, so the recorded verdict holds."""

_NAMED = 20
"""Differences that are told one by one."""

_Key = tuple[str, int, str, int, str]


@dataclass(slots=True)
class _Recorded:
    """How a request ended; where in the messages its embedding is, and for which onset."""

    verdict: Verdict | None = None
    reason: str = ""
    at: int | None = None
    onset: tuple[int, int] = (0, 0)
    is_met: bool = False


@dataclass(slots=True)
class Comparison:
    """What a session run again has in common with its recording.

    Parameters
    ----------
    verdicts_same, verdicts_different
        Requests that ended as recorded, and otherwise; a recorded one that never came up again is different.
    onsets_same, onsets_different
        Embeddings whose windows lie around the recorded onset sample, and elsewhere.
    identical, close, far
        Embeddings with the recorded bytes, within :data:`LARGEST_DIFFERENCE_SD` of them, and beyond.
    largest_sd
        Largest difference of a number of an embedding, in standard deviations of its training target.
    triggers_different
        Triggers that were recorded and are not found again in the samples, or the other way round.
    beyond
        Requests of which the recording does not say how they ended.
    differences
        The first few differences, a line each.
    other_decoders
        Those whose file is another than the one recorded: nothing of theirs is compared.
    not_given
        Verdicts of each recorded decoder whose place none takes: they are not compared.
    circumstances
        What is different here from where it was recorded, and may change the bytes.
    lost
        Entries that are missing in the recording.
    is_complete
        Whether the recording was ended in an orderly way.
    """

    verdicts_same: int = 0
    verdicts_different: int = 0
    onsets_same: int = 0
    onsets_different: int = 0
    identical: int = 0
    close: int = 0
    far: int = 0
    largest_sd: float = 0.0
    triggers_different: int = 0
    beyond: int = 0
    differences: list[str] = field(default_factory=list)
    other_decoders: tuple[str, ...] = ()
    not_given: dict[str, int] = field(default_factory=dict)
    circumstances: tuple[str, ...] = ()
    lost: int = 0
    is_complete: bool = False

    @property
    def is_same(self) -> bool:
        """Whether it did again what was recorded, to the byte where nothing excuses another."""
        moved = self.far if self.circumstances else self.far + self.close
        return not (self.verdicts_different or self.onsets_different or self.triggers_different or moved)

    def note(self, difference: str) -> None:
        """Keep one of the first few differences."""
        if len(self.differences) < _NAMED:
            self.differences.append(difference)


class Check:
    """Compares what comes out with the recorded messages.

    Parameters
    ----------
    session
        What was recorded.
    places
        Each decoder, and the recorded ones whose place it takes: one a stream.

    Raises
    ------
    UserError
        If the recorded messages cannot be read.
    """

    def __init__(
        self, session: RecordedSession, places: Sequence[tuple[Decoder, Sequence[SessionDecoder]]]
    ) -> None:
        self.result = Comparison(
            other_decoders=tuple(
                decoder.name
                for decoder, recorded in places
                if any(decoder.sha256 != one.file_sha256 for one in recorded)
            ),
            not_given=dict.fromkeys(
                sorted(
                    {one.name for one in session.about.decoders}
                    - {one.name for _, recorded in places for one in recorded}
                ),
                0,
            ),
            circumstances=_circumstances(session, places),
        )
        self._path = session.messages
        self._sd = {
            decoder.name: [np.array(head.target_sd) for head in decoder.manifest.heads]
            for decoder, _ in places
            if decoder.name not in self.result.other_decoders
        }
        try:
            self._recorded = self._read()
        except OSError as error:
            raise UserError(f"cannot read {self._path}: {error.strerror}") from error

    def _read(self) -> dict[_Key, _Recorded]:
        """How each request of the compared decoders ended."""
        found: dict[_Key, _Recorded] = {}
        for line in read_lines(self._path):
            message = line.received.message
            if not isinstance(message, EmbeddingMessage | VerdictMessage):
                continue
            if message.publisher != "service":
                continue
            name = message.request.decoder
            if name in self.result.not_given and isinstance(message, VerdictMessage):
                self.result.not_given[name] += 1
            if name not in self._sd:
                continue
            recorded = found.setdefault(_key(message.request), _Recorded())
            if isinstance(message, VerdictMessage):
                recorded.verdict, recorded.reason = message.verdict, message.reason
            else:
                recorded.at = line.at
                recorded.onset = message.segment, message.onset_sample
        return found

    def decode(self, engine: Engine, job: Job) -> None:
        """Decode a window, or end it as the moment did when it was recorded."""
        recorded = self._recorded.get(_key(job.cut.request))
        if recorded is not None and recorded.verdict in _OF_THE_MOMENT:
            engine.end(job, recorded.verdict, recorded.reason)
        else:
            engine.decode([job])

    def take(self, message: Message, payload: Sequence[np.ndarray]) -> None:
        """Compare one message."""
        if not isinstance(message, EmbeddingMessage | VerdictMessage):
            return
        if message.request.decoder not in self._sd:
            return
        recorded = self._recorded.get(_key(message.request))
        if isinstance(message, VerdictMessage):
            self._compare_verdict(message, recorded)
        elif recorded is not None and recorded.at is not None:
            self._compare_embedding(message, payload, recorded, recorded.at)

    def finish(self) -> Comparison:
        """Count what was recorded and never came up again."""
        for key, recorded in self._recorded.items():
            if recorded.verdict is not None and not recorded.is_met:
                self.result.verdicts_different += 1
                self.result.note(f"{_name(key)}: recorded {recorded.verdict}, did not come up again")
        return self.result

    def _compare_verdict(self, message: VerdictMessage, recorded: _Recorded | None) -> None:
        if recorded is None or recorded.verdict is None:
            self.result.beyond += 1
            return
        recorded.is_met = True
        if message.verdict is recorded.verdict:
            self.result.verdicts_same += 1
            return
        self.result.verdicts_different += 1
        why = f" ({message.reason})" if message.reason else ""
        self.result.note(
            f"{_name(_key(message.request))}: recorded {recorded.verdict}, now {message.verdict}{why}"
        )

    def _compare_embedding(
        self, message: EmbeddingMessage, payload: Sequence[np.ndarray], recorded: _Recorded, at: int
    ) -> None:
        result, name = self.result, _name(_key(message.request))
        onset = message.segment, message.onset_sample
        if onset != recorded.onset:
            result.onsets_different += 1
            result.note(f"{name}: recorded onset {recorded.onset[1]}, now {onset[1]}")
            return
        result.onsets_same += 1
        try:
            frames = read_line(self._path, at).payload
        except (OSError, WireError) as error:
            raise UserError(f"cannot read {self._path}: {error}") from error
        now = [embedding.astype("<f4") for embedding in payload]
        if [embedding.tobytes() for embedding in now] == list(frames):
            result.identical += 1
            return
        difference = max(
            float(np.max(np.abs(embedding - np.frombuffer(frame, "<f4")) / np.where(sd > 0, sd, 1.0)))
            for embedding, frame, sd in zip(now, frames, self._sd[message.request.decoder], strict=True)
        )
        result.largest_sd = max(result.largest_sd, difference)
        if difference <= LARGEST_DIFFERENCE_SD:
            result.close += 1
        else:
            result.far += 1
            result.note(f"{name}: the embedding differs by {difference:.2g} SD")


def _circumstances(
    session: RecordedSession, places: Sequence[tuple[Decoder, Sequence[SessionDecoder]]]
) -> tuple[str, ...]:
    """What is different here, and may change the bytes of an embedding."""
    about, here = session.about, versions(*PACKAGES)
    different = []
    if processor() != about.processor:
        different.append(f"recorded on {about.processor!r}, this is {processor()!r}")
    for package in sorted(here.keys() | about.versions.keys()):
        then, now = about.versions.get(package), here.get(package)
        if then != now:
            different.append(f"{package} was {then or 'not there'}, is {now or 'not there'}")
    different += [
        f"decoder {decoder.name!r} ran on {recorded[0].provider}, runs on {decoder.provider}"
        for decoder, recorded in places
        if decoder.provider != recorded[0].provider
    ]
    return tuple(different)


def _key(request: Request) -> _Key:
    return request.stream, request.segment, request.origin, request.index, request.decoder


def _name(key: _Key) -> str:
    stream, segment, origin, index, decoder = key
    return f"{origin} {index} of stream {stream} (segment {segment}) for {decoder}"
