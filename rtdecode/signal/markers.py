"""Markers, and finding them in a trigger channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Marker:
    """Something happened: what, when, and when we heard of it. All times are seconds.

    Parameters
    ----------
    source
        Name of the marker stream, or of the signal stream for a trigger channel.
    label
        What the marker says, as text.
    stamp
        When, in the clock of its sender.
    time
        When, in our clock, with the configured delays applied.
    arrival
        When it reached us, in our clock.
    sample
        For markers that lie in the data themselves (trigger channel, recording): the sample it belongs to,
        counted from the first one that was ever fed to the :class:`~rtdecode.signal.track.Track`, through all
        segments. Alignment then follows it and ``time`` gives the residual.
    shift
        Samples from that one to the onset: the delays that are applied to ``time``.
    stimulus_id
        The stimulus it was mapped to, once that was done.
    host
        Machine whose clock ``stamp`` is of, if known.
    """

    source: str
    label: str
    stamp: float
    time: float
    arrival: float
    sample: int | None = None
    stimulus_id: str | None = None
    host: str = ""
    shift: int = 0


_LARGEST_CODE = 2.0**53
"""From here on a double does not hold every whole number: such a value is no code."""


@dataclass(frozen=True, slots=True)
class TriggerSettings:
    """How a trigger channel is read.

    Parameters
    ----------
    mask
        Bits that belong to the code; the others are set to zero first.
    edge
        ``"rising"``: each step from zero to a code. ``"change"``: also each step from a code to another one,
        for hardware that holds its lines between triggers. ``"falling"``: each step from a code to zero.
    """

    mask: int = 0xFFFF
    edge: Literal["rising", "change", "falling"] = "rising"


class TriggerDetector:
    """Finds the onsets of codes in a trigger channel, whatever the chunks it comes in.

    The first sample is no onset: nobody knows what came before it. Samples that are no numbers, or too
    large for a code, are passed over.

    Parameters
    ----------
    settings
        How the channel is read.
    """

    def __init__(self, settings: TriggerSettings | None = None) -> None:
        self._settings = settings or TriggerSettings()
        self._n_samples = 0
        self._last: int | None = None

    def process(self, values: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
        """Read the next samples of the channel.

        Parameters
        ----------
        values : array of shape (n,)
            Values of the trigger channel; rounded to whole numbers.

        Returns
        -------
        list of (sample, code)
            The onsets, in order; samples are counted from the first one ever read.
        """
        known = np.flatnonzero(np.abs(values) < _LARGEST_CODE)  # false for what is no number
        samples = known + self._n_samples
        self._n_samples += len(values)
        if not len(known):
            return []
        codes = np.rint(values[known]).astype(np.int64) & self._settings.mask
        before = np.empty_like(codes)
        before[0] = codes[0] if self._last is None else self._last
        before[1:] = codes[:-1]
        self._last = int(codes[-1])
        if self._settings.edge == "falling":
            onsets, said = (codes == 0) & (before != 0), before
        else:
            onsets, said = (codes != before) & (codes != 0), codes
            if self._settings.edge == "rising":
                onsets &= before == 0
        return list(zip(samples[onsets].tolist(), said[onsets].tolist(), strict=True))
