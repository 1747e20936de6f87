"""Whether a stream sends as many samples a second as it announces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rtdecode.signal.stamp_line import RATE_LIMIT

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_BLOCK_S = 1.0
_FEWEST_SAMPLES = 100
_FEWEST_ALIKE = 5


class SentRate:
    """The rate by a stream's own stamps, where it is not the announced one for some seconds running.

    Each second is looked at by itself, so that a gap or a clock that was set spoils one of them only.

    Parameters
    ----------
    rate_hz
        Announced rate.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._block = max(_FEWEST_SAMPLES, round(_BLOCK_S * rate_hz))
        self._start: float | None = None
        self._n = 0
        self._side = 0
        self._n_alike = 0
        self.wrong_hz: float | None = None
        """What it sends while that is off by more than :data:`~.stamp_line.RATE_LIMIT`; else None."""

    def add(self, stamps: npt.NDArray[np.float64]) -> None:
        """Take the stamps of the next samples, an array of shape ``(n,)`` with n > 0, seconds."""
        newest = float(stamps[-1])
        if self._start is None:
            self._start = newest
            return
        self._n += len(stamps)
        if self._n < self._block:
            return
        span_s = newest - self._start
        sent_hz = self._n / span_s if span_s > 0 else self._rate_hz
        off = sent_hz / self._rate_hz - 1.0
        side = (off > RATE_LIMIT) - (off < -RATE_LIMIT)
        self._n_alike = self._n_alike + 1 if side == self._side else 1
        self._side, self._start, self._n = side, newest, 0
        if self._n_alike >= _FEWEST_ALIKE:
            self.wrong_hz = sent_hz if side else None
