"""Markers from a trigger channel of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.recordings.recording import Markers
from rtdecode.signal.markers import TriggerDetector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def trigger_markers(blocks: Iterable[NDArray[np.float64]]) -> Markers:
    """Find the codes in a trigger channel, with the detector that also reads it live.

    A marker is each step from zero to a code, at the first sample that holds it; its label is the code.

    Parameters
    ----------
    blocks : iterable of arrays of shape (n,)
        The whole channel, in order.
    """
    detector = TriggerDetector()
    onsets = [onset for block in blocks for onset in detector.process(block)]
    samples = np.array([sample for sample, _ in onsets], dtype=np.int64)
    return Markers(samples, [str(code) for _, code in onsets])
