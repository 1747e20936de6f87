"""Markers from a trigger channel of a recording."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from replay.recordings.recording import Markers
from rtdecode.signal.markers import TriggerDetector, TriggerSettings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

_log = logging.getLogger(__name__)


def trigger_markers(
    path: Path, channel: str, blocks: Iterable[NDArray[np.float64]], settings: TriggerSettings
) -> Markers:
    """Find the codes in a trigger channel, with the detector and by the rule that also read it live.

    A marker lies at the first sample that holds its code; its label is the code. Where no code rises from
    zero, yet codes change, because the hardware holds some lines high, that is logged with what to set.

    Parameters
    ----------
    path, channel
        Whose channel it is, for the log.
    blocks : iterable of arrays of shape (n,)
        The whole channel, in order.
    settings
        How it is read.
    """
    detector, other = TriggerDetector(settings), TriggerDetector(TriggerSettings(settings.mask, "change"))
    onsets: list[tuple[int, int]] = []
    n_changes = 0
    for block in blocks:
        onsets += detector.process(block)
        n_changes += len(other.process(block))
    if n_changes and not onsets:
        _log.warning(
            "%s: no code of channel %r rises from zero, but %d times it changes from one code to another; to "
            "read those as markers set the edge to 'change' (trigger_edge, --trigger-edge change), here and "
            "in the service's configuration, or mask the lines that are held (trigger_mask, --trigger-mask)",
            path,
            channel,
            n_changes,
        )
    return Markers(
        np.array([sample for sample, _ in onsets], dtype=np.int64), [str(code) for _, code in onsets]
    )
