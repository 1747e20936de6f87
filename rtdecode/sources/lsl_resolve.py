"""Which LSL stream is meant, and finding it."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING, Self

import pylsl
from pydantic import Field, model_validator

from rtdecode.contracts import Contract
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK_S = 0.02
"""Time between two looks at what liblsl's own resolver thread has collected."""
_SETTLE_S = 0.75
"""liblsl asks the network each 0.5 s, and some streams answer only to its second question."""


class StreamQuery(Contract):
    """Which LSL stream is meant, by at least one of name, type and source_id, each matched exactly."""

    name: str | None = Field(default=None, min_length=1)
    type: str | None = Field(default=None, min_length=1)
    source_id: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if not self._wanted():
            raise ValueError("say at least one of name, type and source_id")
        return self

    @classmethod
    def parse(cls, text: str) -> StreamQuery:
        """Read ``name=Amp,type=EEG``, or a bare name, as given on a command line.

        Raises
        ------
        UserError
            If a key is unknown or appears twice, or a value is missing.
        """
        parts = (
            re.split(r",(?=\w+=)", text) if re.match(r"(name|type|source_id)=", text) else [f"name={text}"]
        )
        pairs = [part.split("=", 1) for part in parts]
        wanted = dict(pair for pair in pairs if len(pair) == 2 and pair[1])
        if len(wanted) != len(parts) or not wanted.keys() <= cls.model_fields.keys():
            raise UserError(f"{text!r} names no stream; write a name, or e.g. name=Amp,type=EEG,source_id=x")
        return cls(**wanted)

    def _wanted(self) -> dict[str, str]:
        return self.model_dump(exclude_none=True)

    def fits(self, info: pylsl.StreamInfo) -> bool:
        """Whether this is a stream that is meant."""
        return all(getattr(info, key)() == text for key, text in self._wanted().items())

    def __str__(self) -> str:
        return ", ".join(f"{key} {text!r}" for key, text in self._wanted().items())


def resolve(
    query: StreamQuery, timeout_s: float, stop: threading.Event | None = None
) -> pylsl.StreamInfo | None:
    """Find the one stream that fits.

    Once a stream fits, three quarters of a second are spent on looking for a second one, because taking
    whichever answers first would make a lab's result depend on the network.

    Parameters
    ----------
    query
        What to look for.
    timeout_s
        How long to look; may be ``math.inf``.
    stop
        Ends the search at once when set.

    Returns
    -------
    pylsl.StreamInfo or None
        Short description of the stream, to open an inlet with; None if ``stop`` was set.

    Raises
    ------
    UserError
        If nothing fits within the time (the message lists what was seen), or if several streams do.
    """
    # One resolver of all streams in the background: pylsl's one-shot calls cannot be interrupted, and with a
    # time-out of 0.5 s they were seen to take 5.5 s.
    resolver = pylsl.ContinuousResolver(forget_after=2.0)
    stop = stop or threading.Event()
    deadline = time.monotonic() + timeout_s
    settled_at: float | None = None
    while not stop.wait(_LOOK_S):
        seen = resolver.results()
        found = [info for info in seen if query.fits(info)]
        now = time.monotonic()
        if not found:
            settled_at = None
        elif settled_at is None:
            settled_at = now + _SETTLE_S
        if settled_at is None:
            if now < deadline:
                continue
            saw = f"seen: {_listing(seen)}" if seen else "no stream at all was seen"
            raise UserError(
                f"no LSL stream fits {query} within {timeout_s:g} s; {saw}; start the device's LSL stream or "
                "correct the configuration (`rtdecode doctor` checks the network)"
            )
        if now < settled_at:
            continue
        if len(found) == 1:
            return found[0]
        raise UserError(
            f"{len(found)} LSL streams fit {query}: {_listing(found)}; say more of name, type and "
            "source_id to tell them apart"
        )
    return None


def _listing(infos: Sequence[pylsl.StreamInfo]) -> str:
    def rate(info: pylsl.StreamInfo) -> str:
        return f"{info.nominal_srate():g} Hz" if info.nominal_srate() else "irregular"

    return "; ".join(
        f"{info.name()!r} (type {info.type()!r}, {info.channel_count()} channels, {rate(info)}, "
        f"source_id {info.source_id()!r}, host {info.hostname()})"
        for info in sorted(infos, key=lambda info: (info.name(), info.type(), info.source_id()))
    )
