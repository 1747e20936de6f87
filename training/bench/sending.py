"""What a measurement's sender sends, and when; without LSL, so that its consumer may bring its own."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rtdecode.contracts import Channel


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
    codes: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _inside(self) -> Self:
        if list(self.onsets) != sorted(self.onsets) or (self.onsets and self.onsets[-1] >= self.n_samples):
            raise ValueError("the onsets must come in order, and before the end")
        return self

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
