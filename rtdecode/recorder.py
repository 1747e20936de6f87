"""Who is told of all that decides what the engine does: the journal, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from rtdecode.connection import StreamFacts
    from rtdecode.contracts import Verdict
    from rtdecode.signal.markers import Marker


class Recorder(Protocol):
    """Told of all that decides what the engine does, in the order in which it took effect.

    Called under the engine's lock, from any thread: it must be quick and never wait. Arrays are handed over
    by reference and not written to afterwards. Telling an engine the same things in the same order makes it
    do the same again.
    """

    def connected(self, stream_id: str, facts: StreamFacts) -> None:
        """A stream was connected."""

    def fed(
        self, stream_id: str, samples: np.ndarray, stamps: np.ndarray, offset_s: float, arrival: float
    ) -> None:
        """A chunk is about to be taken, after all markers that were admitted before."""

    def admitted(self, marker: Marker, stream_id: str | None) -> None:
        """A marker was put before the gate and, if accepted, handed to every stream."""

    def advanced(self, stream_id: str, now: float) -> None:
        """A stream was advanced at ``now``, and that had an effect."""

    def declared_bad(self, stream_id: str, channels: tuple[str, ...]) -> None:
        """Channels of a stream were declared bad, from its next chunk on."""

    def disconnected(self, stream_id: str, verdict: Verdict, reason: str) -> None:
        """A stream was disconnected."""
