"""What a measurement's sender sends, and when; without LSL, so that its consumer may bring its own."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.contracts import Channel

if TYPE_CHECKING:
    from rtdecode.contracts import SignalContract

_LEAD_IN_S = 4.0
"""Of the stream before the first window: a consumer that keeps little may take so long to set up."""

_TAIL_S = 0.5
"""Of the stream after the last window."""


class Sending(BaseModel):
    """What is sent, and when.

    Parameters
    ----------
    source_id
        Of the marker stream; the signal streams' end in ``-0``, ``-1``, …
    channels, rate_hz
        Of each signal stream.
    chunk
        Samples pushed at once.
    streams
        Number of signal streams. They share the sample clock; their chunks end at different samples.
    n_samples
        How much each sends.
    onsets
        Samples at which the markers ``"0"``, ``"1"``, … lie, in order.
    outages
        Samples ``(start, stop)`` between which the signal streams do not exist.
    codes
        Send numbers from 1 to this instead, over and over; for a consumer that takes no text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_id: str
    channels: tuple[Channel, ...]
    rate_hz: float = Field(gt=0)
    chunk: int = Field(gt=0)
    streams: int = Field(gt=0)
    n_samples: int = Field(gt=0)
    onsets: tuple[int, ...]
    outages: tuple[tuple[int, int], ...] = ()
    codes: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if list(self.onsets) != sorted(self.onsets) or (self.onsets and self.onsets[-1] >= self.n_samples):
            raise ValueError("the onsets must come in order, and before the end")
        return self

    @classmethod
    def planned(
        cls,
        signal: SignalContract,
        n_trials: int,
        markers_per_second: float,
        *,
        chunk: int = 10,
        streams: int = 1,
    ) -> Self:
        """Plan trials for a decoder: from when its front end is warm on, not in step with the chunks.

        Parameters
        ----------
        signal
            The decoder's.
        n_trials, markers_per_second
            How many markers, and how soon one after the other.
        chunk, streams
            As above.
        """
        rate_hz, window = signal.rate_hz, signal.window
        lead_in = max(signal.warmup_samples, math.ceil(_LEAD_IN_S * rate_hz))
        first = lead_in + max(-window.first_sample, 0) + 1
        regular = first + np.arange(n_trials) * rate_hz / markers_per_second
        onsets = np.sort(regular.astype(int) + np.random.default_rng(0).integers(0, chunk, n_trials))
        return cls(
            source_id=f"rtdecode-bench-{time.time_ns():x}",
            channels=signal.channels,
            rate_hz=rate_hz,
            chunk=chunk,
            streams=streams,
            n_samples=int(onsets[-1]) + max(window.last_sample, 0) + math.ceil(_TAIL_S * rate_hz),
            onsets=tuple(onsets.tolist()),
        )

    def signal_id(self, stream: int) -> str:
        """Source id of one signal stream."""
        return f"{self.source_id}-{stream}"

    def marker(self, number: int, stamp: float) -> tuple[list[str] | list[int], float]:
        """What is pushed for a marker, and with which stamp, given that of its sample.

        A consumer of codes looks for the first sample that is not before the marker; so that rounding cannot
        move it to the next, the code comes half a sample early.
        """
        if self.codes is None:
            return [str(number)], stamp
        return [number % self.codes + 1], stamp - 0.5 / self.rate_hz

    def edges(self, stream: int) -> np.ndarray:
        """First sample of each chunk of one stream, and the end, ``(n_chunks + 1,)``."""
        first = self.chunk - stream * self.chunk // self.streams
        return np.array([0, *range(first, self.n_samples, self.chunk), self.n_samples])

    def chunk_of(self, stream: int, sample: int) -> int:
        """Index of the chunk that holds a sample."""
        return (sample + stream * self.chunk // self.streams) // self.chunk
