"""Chunks of an XDF file (https://github.com/sccn/xdf/wiki/Specifications), as bytes.

A file is :data:`MAGIC` and chunks after it: a file header, for each stream a header before its first samples,
samples and clock offsets in any order, boundaries now and then so that a reader of a damaged file finds its
way again, and footers where the recording ended in an orderly way.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from xml.sax.saxutils import escape

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from rtdecode.sources.metadata import Element

MAGIC = b"XDF:"

OWN_TYPE = "rtdecode"
"""Content type of the streams that only rtdecode reads: events, and arrivals of chunks."""

SIGNATURE = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
"""What a boundary chunk holds."""

FILE_HEADER, STREAM_HEADER, SAMPLES, CLOCK_OFFSET, BOUNDARY, STREAM_FOOTER = 1, 2, 3, 4, 5, 6
"""Tags of the chunks."""

Format = Literal["int8", "int16", "int32", "int64", "float32", "double64"]
"""Number formats of XDF; text is ``"string"``."""

DTYPES: dict[str, np.dtype[Any]] = {
    "int8": np.dtype("i1"),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float32": np.dtype("<f4"),
    "double64": np.dtype("<f8"),
}

_BLOCK = 1 << 20
"""Bytes that are searched at once."""

_WIDTHS = (1, 4, 8)
"""Bytes that a length may have."""

_NOT_OF_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def file_header(started: str) -> bytes:
    """First chunk of a file; ``started`` is when, in ISO 8601."""
    return _chunk(FILE_HEADER, _xml("info", [("version", "1.0"), ("datetime", started)]))


def boundary() -> bytes:
    """What a reader looks for where a chunk is damaged."""
    return _chunk(BOUNDARY, SIGNATURE)


def stream_header(
    stream: int,
    *,
    name: str,
    kind: str,
    n_channels: int,
    rate_hz: float,
    value_format: str,
    source_id: str = "",
    host: str = "",
    description: Sequence[Element] = (),
) -> bytes:
    """Announce a stream.

    Parameters
    ----------
    stream
        Its number in the file.
    name, kind, source_id, host
        Its identity; ``kind`` is LSL's content type.
    n_channels, rate_hz, value_format
        What its samples are; a rate of 0 is irregular.
    description
        Elements of ``<desc>``.
    """
    elements: list[Element] = [
        ("name", name.strip() or "unnamed"),  # readers stumble over an empty one
        ("type", kind),
        ("channel_count", str(n_channels)),
        ("nominal_srate", f"{rate_hz:.17g}"),
        ("channel_format", value_format),
        ("source_id", source_id),
        ("hostname", host),
        ("desc", description),
    ]
    return _chunk(STREAM_HEADER, _number(stream) + _xml("info", elements))


def samples(
    stream: int, stamps: npt.NDArray[np.float64], values: npt.NDArray[Any], value_format: str
) -> bytes:
    """Samples of a stream of numbers, each with its stamp.

    Parameters
    ----------
    stream
        Its number in the file.
    stamps : array of shape (n,)
        Seconds, in the clock of the sender.
    values : array of shape (n, n_channels)
        What ``value_format`` cannot hold must not be in it.
    value_format
        As announced.
    """
    rows = np.empty(len(stamps), sample_dtype(value_format, values.shape[1]))
    rows["n_stamp_bytes"] = 8
    rows["stamp"] = stamps
    rows["values"] = values
    return _chunk(SAMPLES, _number(stream), _length(len(stamps)), rows.tobytes())


def sample(stream: int, stamp: float, *values: float) -> bytes:
    """One sample of a stream of ``"double64"``."""
    row = struct.pack(f"<B{1 + len(values)}d", 8, stamp, *values)
    return _chunk(SAMPLES, _number(stream), _length(1), row)


@cache
def sample_dtype(value_format: str, n_channels: int) -> np.dtype[Any]:
    """How one stamped sample of numbers lies in the file."""
    return np.dtype(
        [("n_stamp_bytes", "u1"), ("stamp", "<f8"), ("values", DTYPES[value_format], (n_channels,))]
    )


def text(stream: int, stamp: float, said: str) -> bytes:
    """One sample of a stream of text with one channel."""
    encoded = said.encode("utf-8", "replace")
    return _chunk(
        SAMPLES, _number(stream), _length(1), struct.pack("<Bd", 8, stamp), _length(len(encoded)), encoded
    )


def clock_offset(stream: int, at: float, offset_s: float) -> bytes:
    """Measurement at ``at``, in the recorder's clock, of what leads from the sender's clock to it."""
    return _chunk(CLOCK_OFFSET, _number(stream), struct.pack("<dd", at, offset_s))


def stream_footer(stream: int, *, first: float, last: float, n_samples: int) -> bytes:
    """Close a stream: stamps of its first and last sample, and how many it has."""
    elements: list[Element] = [
        ("first_timestamp", repr(first)),
        ("last_timestamp", repr(last)),
        ("sample_count", str(n_samples)),
    ]
    return _chunk(STREAM_FOOTER, _number(stream), _xml("info", elements))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A complete chunk; ``end`` is the byte of the file at which the next one begins."""

    tag: int
    content: bytes
    end: int


def chunks(file: BinaryIO) -> Iterator[Chunk]:
    """Yield the complete chunks from where the file stands, in order.

    A file that ends in the middle of a chunk, as a crash leaves it, is read up to there.

    Raises
    ------
    ValueError
        If the length of the chunk after the last one is wrong.
    """
    begin = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(begin)
    while width := file.read(1):
        if width[0] not in _WIDTHS:
            raise ValueError("wrong length")
        length_bytes = file.read(width[0])
        length = int.from_bytes(length_bytes, "little")
        if len(length_bytes) < width[0] or file.tell() + length > end:
            file.seek(begin)
            if _holds_boundary(file):  # more follows: not the end is missing
                raise ValueError("wrong length")
            return
        if length < 2:
            raise ValueError("a chunk without a tag")
        tag = int.from_bytes(file.read(2), "little")
        content = file.read(length - 2)
        begin = file.tell()
        yield Chunk(tag, content, begin)


def read_length(content: bytes, at: int) -> tuple[int, int]:
    """Read a number of variable width, and tell where what follows it begins.

    Raises
    ------
    ValueError
        If there is none.
    """
    after = at + 1 + content[at] if at < len(content) and content[at] in _WIDTHS else len(content) + 1
    if after > len(content):
        raise ValueError("wrong count")
    return int.from_bytes(content[at + 1 : after], "little"), after


def _holds_boundary(file: BinaryIO) -> bool:
    """Whether a boundary follows anywhere."""
    end = b""
    while block := file.read(_BLOCK):
        if SIGNATURE in end + block:
            return True
        end = block[-len(SIGNATURE) :]
    return False


def _chunk(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _length(2 + len(content)) + struct.pack("<H", tag) + content


def _number(stream: int) -> bytes:
    return struct.pack("<I", stream)


def _length(n: int) -> bytes:
    """A length in as few bytes as XDF knows, after how many these are."""
    if n < 1 << 8:
        return struct.pack("<BB", 1, n)
    if n < 1 << 32:
        return struct.pack("<BI", 4, n)
    return struct.pack("<BQ", 8, n)


def _xml(name: str, content: Sequence[Element]) -> bytes:
    return f'<?xml version="1.0"?>{_element(name, content)}'.encode()


def _element(name: str, content: str | Sequence[Element]) -> str:
    if isinstance(content, str):
        inner = escape(_NOT_OF_XML.sub("\ufffd", content))
    else:
        inner = "".join(_element(*element) for element in content)
    return f"<{name}>{inner}</{name}>"
