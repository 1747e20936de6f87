"""Markers from a trigger channel of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.recordings.recording import Markers
from rtdecode.signal.markers import TriggerDetector, TriggerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def trigger_markers(blocks: Iterable[NDArray[np.float64]]) -> Markers:
    """Find the codes in a trigger channel, with the detector that also reads it live.

    A marker is each step from zero to a code, at the first sample that holds it; its label is the code. A
    channel that has no such step, because its hardware holds some lines high all the time, gives one marker
    each time its code changes.

    Parameters
    ----------
    blocks : iterable of arrays of shape (n,)
        The whole channel, in order.
    """
    rising, change = TriggerDetector(), TriggerDetector(TriggerSettings(edge="change"))
    rises: list[tuple[int, int]] = []
    changes: list[tuple[int, int]] = []
    for block in blocks:
        rises += rising.process(block)
        changes += change.process(block)
    onsets = rises or changes
    return Markers(
        np.array([sample for sample, _ in onsets], dtype=np.int64), [str(code) for _, code in onsets]
    )
