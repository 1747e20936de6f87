"""What travels on the bus: ``[topic, header, *payload]``, a JSON header and raw little-endian float32."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from rtdecode.contracts import (
    AlarmMessage,
    AnyMessage,
    EmbeddingMessage,
    MarkerMessage,
    Message,
    RetrievalMessage,
    StatusMessage,
    VerdictMessage,
)
from rtdecode.errors import validation_line

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HEADER_BYTES = 1 << 20
"""A longer header is refused unread."""

MAX_MESSAGE_BYTES = 64 << 20
"""Largest frame that any socket of the bus takes (``MAXMSGSIZE``); ZeroMQ drops the peer that sends more."""

_FLOAT32 = np.dtype("<f4")

_ANY_MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


class Fault(StrEnum):
    """What is wrong with frames: too few or too short, too long, no valid header, or another's topic."""

    TRUNCATED = "truncated"
    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    TOPIC = "topic"


class WireError(ValueError):
    """These frames are no message of this bus, or this message cannot be sent; the text says why."""

    def __init__(self, text: str, fault: Fault = Fault.MALFORMED) -> None:
        super().__init__(text)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came off the bus.

    Parameters
    ----------
    topic
        Its first frame.
    message
        Its header.
    payload
        Its other frames; of an embedding, float32 for each head in the order of ``message.heads``: read them
        with :func:`floats`.
    """

    topic: bytes
    message: AnyMessage
    payload: tuple[bytes, ...]


def topic(message: Message) -> bytes:
    """First frame: ``kind/stream/decoder``, ``marker/source``, ``alarm/subject`` or ``status/``."""
    match message:
        case EmbeddingMessage() | VerdictMessage() | RetrievalMessage():
            text = f"{message.kind}/{message.request.stream}/{message.request.decoder}"
        case MarkerMessage():
            text = f"{message.kind}/{message.source}"
        case AlarmMessage():
            text = f"{message.kind}/{message.subject}"
        case StatusMessage():
            text = "status/"
        case _:
            raise WireError(f"{type(message).__name__} does not travel on the bus")
    return text.encode("utf-8", "surrogatepass")


def encode(message: Message, payload: Sequence[np.ndarray | bytes] = ()) -> list[bytes]:
    """Turn a message into frames.

    Parameters
    ----------
    message
        The header, its envelope filled.
    payload
        Of an embedding, one array ``(dim,)`` or its bytes for each head; of the others, nothing.

    Raises
    ------
    WireError
        If the payload does not fit the header or is not finite, or the message is too long.
    """
    try:
        header = message.model_dump_json().encode()
    except PydanticSerializationError as error:  # text that is not Unicode, such as a lone surrogate
        raise WireError(f"header: {error}") from error
    frames = [part if isinstance(part, bytes) else _little_float32(part) for part in payload]
    _check_size("header", header, MAX_HEADER_BYTES)
    _check_payload(message, frames)
    return [topic(message), header, *frames]


def decode(frames: Sequence[bytes]) -> Received:
    """Turn frames into a message, trusting nothing.

    Raises
    ------
    WireError
        If they are anything but ``[topic, header, *payload]`` with a valid header, the topic that belongs to
        it, and the payload that it announces.
    """
    if len(frames) < 2:
        raise WireError(f"{len(frames)} frames where at least topic and header are needed", Fault.TRUNCATED)
    name, header, *payload = frames
    _check_size("header", header, MAX_HEADER_BYTES)
    try:
        message = _ANY_MESSAGE.validate_json(header, strict=True)
    except ValidationError as error:
        raise WireError(f"header: {validation_line(error)}") from error
    if name != topic(message):
        raise WireError(
            f"topic {name[:80]!r} does not belong to the header, {topic(message)[:80]!r} does", Fault.TOPIC
        )
    _check_payload(message, payload)
    return Received(name, message, tuple(payload))


def floats(frame: bytes, dim: int) -> np.ndarray:
    """Read one payload frame as ``(dim,)`` float32, read-only.

    Raises
    ------
    WireError
        If it does not hold ``dim`` finite numbers.
    """
    if len(frame) != 4 * dim:
        fault = Fault.TRUNCATED if len(frame) < 4 * dim else Fault.OVERSIZED
        raise WireError(f"payload frame of {len(frame)} bytes where {dim} float32 need {4 * dim}", fault)
    values = np.frombuffer(frame, _FLOAT32)
    if not np.isfinite(values).all():
        raise WireError("payload frame holds numbers that are not finite")
    return values


def _little_float32(values: np.ndarray) -> bytes:
    if values.dtype == _FLOAT32:
        return values.tobytes()
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is refused later
        return values.astype(_FLOAT32).tobytes()


def _check_size(what: str, frame: bytes, allowed: int) -> None:
    if len(frame) > allowed:
        raise WireError(f"{what} of {len(frame)} bytes, allowed are {allowed}", Fault.OVERSIZED)


def _check_payload(message: Message, payload: Sequence[bytes]) -> None:
    dims = [head.dim for head in message.heads] if isinstance(message, EmbeddingMessage) else []
    if len(payload) != len(dims):
        fault = Fault.TRUNCATED if len(payload) < len(dims) else Fault.OVERSIZED
        raise WireError(f"{len(payload)} payload frames where the header announces {len(dims)}", fault)
    for frame, dim in zip(payload, dims, strict=True):
        _check_size("payload frame", frame, MAX_MESSAGE_BYTES)
        floats(frame, dim)
