"""What the bus forwarded lately, for subscribers that missed some of it."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtdecode.contracts import Missed

HISTORY_MESSAGES = 20_000
HISTORY_BYTES = 64 << 20
HISTORY_S = 180.0
"""The history forgets the oldest beyond any of the three; what is older is in the journal."""

_REPLY_MESSAGES = 64
_REPLY_BYTES = 1 << 18
"""An answer ends at either, so that a long one does not hold up what is published meanwhile."""

_STEPS = 4096
"""Sequence numbers that are looked up for one answer, whatever range was asked for."""


class History:
    """The latest messages, by publisher's start, topic and sequence number; one thread at a time.

    Parameters
    ----------
    clock
        Seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._bytes = 0
        self._order: deque[tuple[float, int, tuple[str, str, bytes], int]] = deque()
        self._kept: dict[tuple[str, str, bytes], dict[int, list[bytes]]] = {}

    def add(self, boot_id: str, publisher: str, sequence: int, frames: list[bytes]) -> None:
        """Keep a message, and forget the oldest ones for it."""
        now, size, key = self._clock(), sum(map(len, frames)), (boot_id, publisher, frames[0])
        kept = self._kept.setdefault(key, {})
        if sequence in kept:  # sent twice: the first one counts
            return
        kept[sequence] = frames
        self._order.append((now, size, key, sequence))
        self._bytes += size
        while self._order and (
            len(self._order) > HISTORY_MESSAGES
            or self._bytes > HISTORY_BYTES
            or self._order[0][0] < now - HISTORY_S
        ):
            self._forget_oldest()

    def find(self, missed: Missed) -> list[list[bytes]]:
        """Messages of a range, verbatim and in order: its first ones, if they are too many for one answer."""
        kept = self._kept.get((missed.boot_id, missed.publisher, missed.topic.encode("utf-8", "replace")))
        found: list[list[bytes]] = []
        if not kept:
            return found
        oldest, newest = next(iter(kept)), next(reversed(kept))
        first, size = max(missed.first, oldest), 0
        for sequence in range(first, min(missed.last, newest, first + _STEPS) + 1):
            frames = kept.get(sequence)
            if frames is None:
                continue
            found.append(frames)
            size += sum(map(len, frames))
            if len(found) == _REPLY_MESSAGES or size >= _REPLY_BYTES:
                break
        return found

    def _forget_oldest(self) -> None:
        _, size, key, sequence = self._order.popleft()
        kept = self._kept[key]
        del kept[sequence]
        if not kept:
            del self._kept[key]
        self._bytes -= size
