"""How long each stage of an answer took, counted in buckets."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtdecode.contracts import EmbeddingMessage, Stamps

BOUNDS_S = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the buckets, seconds; one more holds what is longer."""

_MOST_NOTED = 10_000
"""Embeddings that may wait to be counted; then the oldest are forgotten."""


@dataclass(slots=True)
class Durations:
    """How many durations fell into each bucket of :data:`BOUNDS_S`, and their sum in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    sum_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; clocks have a grain, so that it may come out just below zero."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds


class StageTimes:
    """Stages of the embeddings that left, by stage and decoder.

    ======== =============================================================================================
    stage    from … to …
    ======== =============================================================================================
    data     arrival of the marker … of the window's last sample; none in continuous mode
    queue    both had arrived … the decoder starts: filter, cut, and the wait for the decoder
    decode   the decoder's run
    publish  its end … the message was handed to the bus
    compute  both had arrived … the message was handed to the bus
    ======== =============================================================================================

    Embeddings of compressed time are left out.
    """

    def __init__(self) -> None:
        self._noted: deque[tuple[str, Stamps, float]] = deque(maxlen=_MOST_NOTED)
        self._durations: dict[tuple[str, str], Durations] = {}
        self._lock = threading.Lock()

    def note(self, message: EmbeddingMessage, published_at: float) -> None:
        """Take one embedding; on the decoder's thread, so that the counting is left to :meth:`count`.

        Parameters
        ----------
        message
            Its header.
        published_at
            When it was handed to the bus, in the clock of its stamps.
        """
        if message.latency_comparable:
            self._noted.append((message.request.decoder, message.stamps, published_at))

    def count(self) -> None:
        """Count what was noted; more often than thousands of embeddings take to come."""
        with self._lock:
            while self._noted:
                self._add(*self._noted.popleft())

    def so_far(self) -> dict[tuple[str, str], Durations]:
        """A copy of all that was counted, by stage and decoder."""
        self.count()
        with self._lock:
            return {key: Durations(list(one.counts), one.sum_s) for key, one in self._durations.items()}

    def _add(self, decoder: str, stamps: Stamps, published_at: float) -> None:
        begin = stamps.data_arrival
        if stamps.marker_arrival is not None:
            self._of("data", decoder).add(begin - stamps.marker_arrival)
            begin = max(begin, stamps.marker_arrival)
        self._of("queue", decoder).add(stamps.inference_start - begin)
        self._of("decode", decoder).add(stamps.inference_end - stamps.inference_start)
        self._of("publish", decoder).add(published_at - stamps.inference_end)
        self._of("compute", decoder).add(published_at - begin)

    def _of(self, stage: str, decoder: str) -> Durations:
        return self._durations.setdefault((stage, decoder), Durations())
