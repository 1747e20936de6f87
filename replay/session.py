"""A session of the journal run again through its decoders, and compared with what was recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from replay.comparison import Check
from replay.virtual import VirtualClock
from rtdecode.config import MarkerSettings, QualitySettings, ServiceSettings
from rtdecode.contracts import Verdict
from rtdecode.engine import Engine
from rtdecode.errors import UserError, validation_line
from rtdecode.gate import MarkerGate
from rtdecode.journal.events import Admitted, Advanced, Connected, DeclaredBad, Disconnected, Lost
from rtdecode.journal.reader import Fed
from rtdecode.trigger_channels import TriggerChannels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from replay.comparison import Comparison
    from rtdecode.answers import Emit
    from rtdecode.config import TriggerChannel
    from rtdecode.connection import Job
    from rtdecode.contracts import Message
    from rtdecode.decoder import Decoder
    from rtdecode.journal.reader import Entry, RecordedSession
    from rtdecode.journal.session import SessionDecoder


def replay_session(
    session: RecordedSession,
    decoders: Sequence[Decoder],
    *,
    emit: Emit,
    progress: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Tell an engine all that the recorded one was told, in the same order, and compare what it says.

    Parameters
    ----------
    session
        What was recorded.
    decoders
        Each takes the place of the recorded one of its name, or of the only one.
    emit
        Takes every message.
    progress
        Called with the number of bytes of the recording that are done.

    Raises
    ------
    UserError
        If the session is damaged, or a decoder fits neither it nor its streams.
    """
    configuration = _Configuration.of(session)
    places = [(decoder, _places(session, decoder)) for decoder in decoders]
    check = Check(session, places)

    def say(message: Message, payload: Sequence[np.ndarray] = ()) -> None:
        check.take(message, payload)
        emit(message, payload)

    clock = VirtualClock()
    engine = _engine(configuration, places, clock, say)
    triggers = _Triggers(configuration.markers.triggers)
    for entry, n_bytes in session.entries():
        try:
            for job in _tell(engine, clock, entry):
                check.decode(engine, job)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"{session.folder}: the recording contradicts itself ({error}); restore it from a complete "
                "copy"
            ) from error
        if isinstance(entry, Lost):
            check.result.lost += entry.n
        for difference in triggers.follow(entry):
            check.result.triggers_different += 1
            check.result.note(difference)
        progress(n_bytes)
    engine.close(Verdict.SHUTDOWN, "the recording ends here")
    check.result.is_complete = session.is_complete
    return check.finish()


def _tell(engine: Engine, clock: VirtualClock, entry: Entry) -> list[Job]:
    """Tell the engine one thing, and return the windows that became complete by it."""
    match entry:
        case Connected():
            engine.connect(entry.stream, entry.facts())
        case Fed():
            clock.time = entry.arrival
            engine.feed(entry.stream, entry.samples, entry.stamps, entry.offset_s, entry.arrival)
        case Admitted():
            clock.time = entry.arrival
            engine.admit(entry.marker(), entry.stream)
        case Advanced():
            clock.time = entry.now
            return engine.advance(entry.stream)
        case DeclaredBad():
            engine.declare_bad(entry.stream, entry.channels)
        case Disconnected():
            engine.disconnect(entry.stream, entry.verdict, entry.reason)
    return []


@dataclass(frozen=True, slots=True)
class _Configuration:
    """What of the recorded configuration the engine needs."""

    streams: tuple[str, ...]
    markers: MarkerSettings
    service: ServiceSettings
    quality: QualitySettings

    @classmethod
    def of(cls, session: RecordedSession) -> Self:
        recorded = session.about.configuration
        try:
            return cls(
                streams=tuple(stream["id"] for stream in recorded["streams"]),
                markers=MarkerSettings.model_validate({**recorded["markers"], "table": session.table}),
                service=ServiceSettings.model_validate(recorded["service"]),
                quality=QualitySettings.model_validate(recorded["quality"]),
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{session.folder}: its session.json lacks a configuration ({error})") from error
        except ValidationError as error:
            raise UserError(
                f"{session.folder}: its configuration cannot be read: {validation_line(error)}"
            ) from error


def _engine(
    configuration: _Configuration,
    places: Sequence[tuple[Decoder, Sequence[SessionDecoder]]],
    clock: VirtualClock,
    emit: Emit,
) -> Engine:
    """Engine with the recorded settings.

    It looks for no triggers: those that were found are recorded like all markers, at the very point at which
    they were admitted.
    """
    by_stream: dict[str, list[Decoder]] = {stream: [] for stream in configuration.streams}
    strides_ms = {}
    for decoder, recorded in places:
        for one in recorded:
            by_stream[one.stream].append(decoder)
            if one.stride_ms is not None:
                strides_ms[one.stream, decoder.name] = one.stride_ms
    return Engine(
        by_stream,
        MarkerGate.from_settings(configuration.markers),
        clock,
        emit,
        configuration.service,
        quality=configuration.quality,
        strides_ms=strides_ms,
        marker_delay_s=configuration.markers.delay_s,
    )


def _places(session: RecordedSession, decoder: Decoder) -> list[SessionDecoder]:
    """Recorded decoders, one a stream, whose place this one takes."""
    names = {one.name for one in session.about.decoders}
    if decoder.name not in names and len(names) > 1:
        raise UserError(
            f"decoder {decoder.name!r} is none of this session's ({', '.join(sorted(names))}): export it "
            "under the name of the one whose place it shall take"
        )
    return [one for one in session.about.decoders if one.name == decoder.name or len(names) == 1]


class _Triggers:
    """Looks for the triggers in the recorded samples again."""

    def __init__(self, channels: Sequence[TriggerChannel]) -> None:
        self._channels = channels
        self._streams: dict[str, TriggerChannels] = {}
        self._recorded: dict[str, list[tuple[str, str, int | None]]] = {}

    def follow(self, entry: Entry) -> list[str]:
        """What was found otherwise than recorded; the triggers of a chunk are recorded before it."""
        match entry:
            case Connected():
                self._streams[entry.stream] = TriggerChannels(entry.stream, entry.facts(), self._channels)
            case Admitted(stream=str(stream)):
                self._recorded.setdefault(stream, []).append((entry.source, entry.label, entry.sample))
            case Fed():
                times = entry.stamps + entry.offset_s
                found = [
                    (marker.source, marker.label, marker.sample)
                    for marker in self._streams[entry.stream].process(
                        entry.samples, entry.stamps, times, entry.arrival
                    )
                ]
                recorded = self._recorded.pop(entry.stream, [])
                return [
                    f"trigger {label!r} of {source} at sample {sample}: {where}"
                    for these, others, where in (
                        (recorded, found, "recorded, but not found again"),
                        (found, recorded, "found, but not recorded"),
                    )
                    for source, label, sample in these
                    if (source, label, sample) not in others
                ]
        return []
