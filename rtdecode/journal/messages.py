"""The messages of a session: one JSON object a line, the header as it was sent and the payload in base64."""

from __future__ import annotations

import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtdecode.bus.wire import WireError, decode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from rtdecode.bus.wire import Received


@dataclass(frozen=True, slots=True)
class Line:
    """A message of the file, and the byte at which its line begins."""

    at: int
    received: Received


def write_line(frames: Sequence[bytes]) -> bytes:
    """Line of a message, from its frames as they left the bus."""
    topic, header, *payload = frames
    name = json.dumps(topic.decode("utf-8", "surrogatepass")).encode()
    parts = b",".join(b'"' + binascii.b2a_base64(part, newline=False) + b'"' for part in payload)
    # In JSON a raw line break is white space.
    one_line = header.replace(b"\n", b" ").replace(b"\r", b" ")
    return b'{"topic":' + name + b',"header":' + one_line + b',"payload":[' + parts + b"]}\n"


def read_lines(path: Path) -> Iterator[Line]:
    """Messages of a file, in order; a last line that was cut off is left out, and so is what is no message.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        at = 0
        for line in file:
            if line.endswith(b"\n") and (received := _received(line)) is not None:
                yield Line(at, received)
            at += len(line)


def read_line(path: Path, at: int) -> Received:
    """Message whose line begins at a byte, as :func:`read_lines` told it.

    Raises
    ------
    OSError
        If it cannot be read.
    WireError
        If no message begins there.
    """
    with path.open("rb") as file:
        file.seek(at)
        received = _received(file.readline())
    if received is None:
        raise WireError(f"no message begins at byte {at} of {path}")
    return received


def _received(line: bytes) -> Received | None:
    try:
        entry = json.loads(line)
        frames = [
            entry["topic"].encode("utf-8", "surrogatepass"),
            json.dumps(entry["header"]).encode(),
            *(binascii.a2b_base64(part) for part in entry["payload"]),
        ]
        return decode(frames)
    except (ValueError, KeyError, TypeError, AttributeError):  # WireError is a ValueError
        return None
