"""Which channels a replayed stream sends, in which order and in which units. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from rtdecode.contracts import Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from replay.recordings.recording import Recording
    from rtdecode.contracts import Channel


@dataclass(frozen=True, slots=True)
class Layout:
    """Channels of a stream, as it announces and sends them.

    Parameters
    ----------
    columns
        For each channel sent, its column in the recording.
    channels
        What they are; samples are in their SI units until they are sent.
    units
        Each channel's unit as the stream writes it.
    factors
        From the numbers sent to SI, one a channel.
    rate_hz
        Announced rate at real-time speed.
    """

    columns: tuple[int, ...]
    channels: tuple[Channel, ...]
    units: tuple[str, ...]
    factors: tuple[float, ...]
    rate_hz: float

    @classmethod
    def of(cls, recording: Recording) -> Self:
        """All channels of a recording, in its order and in SI units."""
        return cls.of_channels(recording.channels, recording.rate_hz)

    @classmethod
    def of_channels(cls, channels: tuple[Channel, ...], rate_hz: float) -> Self:
        """These channels, in SI units."""
        return cls(
            columns=tuple(range(len(channels))),
            channels=channels,
            # "1" would be read as a power of ten by mne-lsl, which takes unit numbers for such
            units=tuple("none" if c.unit is Unit.NONE else c.unit.value for c in channels),
            factors=(1.0,) * len(channels),
            rate_hz=rate_hz,
        )

    def pick(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Samples of the channels sent, SI units, shape ``(n, n_channels)``; a view where nothing changes."""
        return samples if self._is_whole(samples.shape[1]) else samples[:, list(self.columns)]

    def numbers(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers to be sent, shape ``(n, n_channels)``, for samples as :meth:`pick` gives them."""
        if all(factor == 1 for factor in self.factors):
            return samples
        numbers: NDArray[np.float64] = samples / np.array(self.factors)
        return numbers

    def _is_whole(self, n_columns: int) -> bool:
        return self.columns == tuple(range(n_columns))
