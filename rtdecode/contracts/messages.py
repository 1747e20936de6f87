"""Markers, requests, verdicts, and the messages that tell of them on the bus."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field

from rtdecode.contracts.base import Contract
from rtdecode.contracts.manifest import DecoderManifest, HeadRole


class Fate(StrEnum):
    """What became of a marker: accepted (it makes requests), the same one again, or ignored by rule."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"


class Verdict(StrEnum):
    """How a request ended; each request gets exactly one."""

    EMITTED = "emitted"
    ARTEFACT = "artefact"
    LATE = "late"
    GAP = "gap"
    WARMING_UP = "warming_up"
    FAILED = "failed"
    OVERFLOW = "overflow"
    TIMEOUT = "timeout"
    SHUTDOWN = "shutdown"


class Request(Contract):
    """The unit of account: one window asked for, by a marker or by the stride of continuous mode.

    Parameters
    ----------
    stream
        Identifier of the signal stream in the configuration.
    segment
        Segment of that stream that was running when the request was opened, counted from 0.
    origin, index
        What asked for it: the n-th accepted marker of the session, or the n-th stride of the segment.
    decoder
        Name of the decoder.
    """

    stream: str
    segment: int = Field(ge=0)
    origin: Literal["marker", "stride"]
    index: int = Field(ge=0)
    decoder: str


class Stamps(Contract):
    """When each stage was passed, in seconds of the service host's LSL clock unless said otherwise.

    Parameters
    ----------
    marker_host, data_host
        Machines that stamped the marker and the data; what they wrote is in their clocks, never to be
        subtracted from ours. Empty for strides, and where the sender did not say.
    marker_source
        The marker's stamp as its sender wrote it, in the sender's clock; None for strides.
    marker_corrected
        The same in our clock, with the configured delays applied.
    marker_arrival
        When it reached us.
    data_source, data_corrected
        Stamp of the window's last sample: as sent, and in our clock with the configured delay applied.
    data_arrival
        When the chunk with that sample was taken over: where many streams come at once, after waiting for
        its turn.
    inference_start, inference_end
        Around the decoder's run.
    """

    marker_host: str
    data_host: str
    marker_source: float | None
    marker_corrected: float | None
    marker_arrival: float | None
    data_source: float
    data_corrected: float
    data_arrival: float
    inference_start: float
    inference_end: float


MOST_NAMED = 512
"""Channels that a list of :class:`Quality` names: more than M/EEG has, and few enough for any message."""


class Quality(Contract):
    """What one should know before trusting a trial.

    Each list names the first :data:`MOST_NAMED` channels at most.

    Parameters
    ----------
    missing_channels
        Channels that the stream lacks, rebuilt from their neighbours.
    bad_channels
        Channels that a person declared bad, rebuilt likewise.
    nan_channels
        Channels with samples that were no numbers; the value before was held.
    flat_channels
        Channels that did not move at all.
    railed_channels
        Channels that stood at their largest or smallest value for a good part of the window.
    out_of_range_channels
        Channels whose peak-to-peak amplitude no such channel can have.
    unnamed
        How many more channels there are than a list names, by the list's field; of other lists, nothing.
    bridged_samples
        Samples of the window that were lost on the way and put in, as the gap policy says.
    """

    missing_channels: tuple[str, ...] = ()
    bad_channels: tuple[str, ...] = ()
    nan_channels: tuple[str, ...] = ()
    flat_channels: tuple[str, ...] = ()
    railed_channels: tuple[str, ...] = ()
    out_of_range_channels: tuple[str, ...] = ()
    unnamed: dict[str, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    bridged_samples: int = Field(default=0, ge=0)

    def shortened(self) -> Self:
        """The same with no more names in a list than a message takes."""
        long = {
            field: names for field, names in self if field.endswith("_channels") and len(names) > MOST_NAMED
        }
        cut = {field: names[:MOST_NAMED] for field, names in long.items()}
        unnamed = {field: len(names) - MOST_NAMED for field, names in long.items()}
        return self.model_copy(update={**cut, "unnamed": unnamed})


class Message(Contract):
    """Header of every message; the publisher fills the envelope.

    Parameters
    ----------
    host, boot_id
        The publishing machine, and the start of the publishing process: stamps of another host are never
        subtracted from ours, and a new boot restarts the sequence.
    publisher
        Name of the publishing process's role, e.g. ``"service"``.
    sequence
        Counts this publisher's messages of this topic, from 0: a jump is a loss.
    sent_at
        Seconds of the publisher's LSL clock.
    simulated
        True if anything behind this message was simulated.
    """

    schema_version: Literal[1] = 1
    host: str = ""
    boot_id: str = ""
    publisher: str = ""
    sequence: int = Field(default=0, ge=0, lt=2**63)
    sent_at: float = 0.0
    simulated: bool


class HeadOutput(Contract):
    """Which head a payload frame belongs to: float32, little-endian, ``dim`` numbers in raw units."""

    name: str
    role: HeadRole
    dim: int = Field(gt=0)


class EmbeddingMessage(Message):
    """One decoded request; one payload frame a head, in the order of ``heads``.

    Parameters
    ----------
    label
        The marker as it came, as text; empty for strides.
    stimulus_id
        The stimulus it was mapped to, if any.
    decoder_sha256
        Hash of the ONNX file.
    segment, onset_sample
        Segment that the window was cut from, a later one than the request's where the stream broke off
        between marker and onset; and the sample of it, from 0, nearest to the onset.
    residual_us
        Onset minus that sample's time, microseconds.
    uncertainty_us
        Standard error of that sample's time, microseconds; 0 where the sample itself carries the marker.
    stream_delay_s, marker_delay_s
        Configured delays that were applied: subtracted from the data's stamps, added to the marker's.
    latency_comparable
        False when time was compressed (replay faster than real time) or virtual.
    """

    kind: Literal["embedding"] = "embedding"
    request: Request
    label: str
    stimulus_id: str | None
    decoder_sha256: str
    segment: int = Field(ge=0)
    onset_sample: int
    residual_us: float
    uncertainty_us: float = Field(default=0.0, ge=0)
    stamps: Stamps
    quality: Quality
    heads: tuple[HeadOutput, ...]
    stream_delay_s: float
    marker_delay_s: float
    latency_comparable: bool = True


class VerdictMessage(Message):
    """How one request ended; every request, emitted ones too, has one. No payload."""

    kind: Literal["verdict"] = "verdict"
    request: Request
    label: str
    stimulus_id: str | None
    verdict: Verdict
    reason: str = ""


class MarkerMessage(Message):
    """What became of one marker. No payload.

    ``index`` counts the accepted markers of the session and is None for the others.
    """

    kind: Literal["marker"] = "marker"
    source: str
    label: str
    stimulus_id: str | None
    fate: Fate
    index: int | None
    stamp: float
    reason: str = ""


class Hit(Contract):
    """One retrieved image and its cosine similarity in the decoder's standardised space."""

    stimulus_id: str
    score: float


class Ranking(Contract):
    """Best gallery images for one embedding.

    ``truth_rank`` counts from 1 and is None where the truth is unknown or not in the gallery; ``averaged``
    is the number of repetitions of the stimulus that were averaged.
    """

    hits: tuple[Hit, ...]
    truth_rank: int | None
    averaged: int = Field(ge=1)


class RetrievalMessage(Message):
    """Answer of a retrieval worker to one embedding. No payload.

    ``single`` ranks the trial alone; ``running`` the mean over the repetitions of its stimulus so far, None
    where the stimulus is unknown.
    """

    kind: Literal["retrieval"] = "retrieval"
    request: Request
    label: str
    stimulus_id: str | None
    head: str
    gallery: str
    n_gallery: int = Field(gt=0)
    single: Ranking
    running: Ranking | None
    received_at: float


class Accounts(Contract):
    """Both ledgers: markers by fate, requests by verdict, and requests still open."""

    markers: dict[Fate, int]
    requests: dict[Verdict, int]
    n_open: int = Field(ge=0)


class Delay(Contract):
    """A delay that is corrected for, seconds, and the day on which it was measured (ISO 8601), if told."""

    delay_s: float
    measured: str | None


class ServiceState(StrEnum):
    """How the service stands."""

    CONNECTING = "connecting"
    LIVE = "live"
    STOPPING = "stopping"
    STOPPED = "stopped"


class StreamState(StrEnum):
    """How a stream stands: looked for, opened, warming up, decoded, silent, gone, or not fitting any more."""

    SEARCHING = "searching"
    CONNECTING = "connecting"
    WARM = "warm"
    LIVE = "live"
    STALE = "stale"
    LOST = "lost"
    REFUSED = "refused"


class StreamStatus(Contract):
    """One source at the time of a heartbeat.

    Parameters
    ----------
    state
        How it stands.
    reason
        Why, where that is not plain.
    age_s
        How old its newest sample is, by its corrected stamp; None before the first.
    reconnects
        How often it came back.
    flushed_samples
        Samples that were thrown away to catch up, over the session.
    bridged_samples
        Samples that were put in for lost ones.
    clock_offset_s, clock_uncertainty_s
        From the sender's clock to ours, and how far it may be off; None while unknown.
    """

    state: StreamState
    reason: str = ""
    age_s: float | None = None
    reconnects: int = Field(default=0, ge=0)
    flushed_samples: int = Field(default=0, ge=0)
    bridged_samples: int = Field(default=0, ge=0)
    clock_offset_s: float | None = None
    clock_uncertainty_s: float | None = None


class AlarmCode(StrEnum):
    """What a person should look at."""

    STALE = "stale"
    LOST = "lost"
    REFUSED = "refused"
    FLUSHED = "flushed"
    CLOCK = "clock"
    RATE = "rate"
    OVERFLOW = "overflow"
    JOURNAL = "journal"


class AlarmMessage(Message):
    """Something went wrong, or is right again. No payload.

    Parameters
    ----------
    code, subject
        What it is, and about what: a stream's identifier, or another part of the service.
    active
        True when it begins, False when it is over; what happens at one moment is never over.
    text
        One line for people, with what to do.
    """

    kind: Literal["alarm"] = "alarm"
    code: AlarmCode
    subject: str
    active: bool
    text: str


class StatusMessage(Message):
    """Heartbeat of the service. No payload.

    Parameters
    ----------
    accounts
        Both ledgers.
    streams
        Every source, by name.
    decoders
        Names of the decoders of each signal stream, by its identifier.
    providers
        onnxruntime's execution provider of each decoder, by name.
    delays
        Configured delays, by stream identifier, and of the markers under ``"markers"``.
    alarms
        Texts of the alarms that are active.
    queues
        How many entries wait in each queue of the service, by name.
    dropped
        What was thrown away so far, by what and why: malformed messages, journal entries.
    sequences
        The next sequence number of each topic of this publisher, so that a loss at the end shows too.
    """

    kind: Literal["status"] = "status"
    state: ServiceState
    accounts: Accounts
    streams: dict[str, StreamStatus]
    providers: dict[str, str]
    delays: dict[str, Delay]
    decoders: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    alarms: tuple[str, ...] = ()
    queues: dict[str, int] = Field(default_factory=dict)
    dropped: dict[str, int] = Field(default_factory=dict)
    sequences: dict[str, int] = Field(default_factory=dict)


AnyMessage = Annotated[
    EmbeddingMessage | VerdictMessage | MarkerMessage | RetrievalMessage | AlarmMessage | StatusMessage,
    Field(discriminator="kind"),
]
"""Any message of the bus, told apart by ``kind``."""


class BadChannels(Contract):
    """Channels of a stream that a person declares bad, all of them: an empty list takes it back."""

    stream: str
    channels: tuple[str, ...]


class Missed(Contract):
    """Messages that did not come: of one start of a publisher and one topic, first to last, both included."""

    boot_id: str
    publisher: str
    topic: str
    first: int = Field(ge=0, lt=2**63)
    last: int = Field(ge=0, lt=2**63)


class ControlRequest(Contract):
    """Asked of the service on its control socket.

    ``bad_channels`` belongs to the operation of that name, ``missed`` to ``replay``.
    """

    schema_version: Literal[1] = 1
    op: Literal["status", "decoders", "stop", "bad_channels", "replay"]
    bad_channels: BadChannels | None = None
    missed: Missed | None = None


class ControlReply(Contract):
    """Answer on the control socket; ``decoders`` maps file hash to manifest.

    ``replayed`` counts the frames of each message that follows this one, verbatim as it was on the bus.
    """

    schema_version: Literal[1] = 1
    ok: bool
    error: str = ""
    status: StatusMessage | None = None
    decoders: dict[str, DecoderManifest] | None = None
    replayed: tuple[int, ...] | None = None
