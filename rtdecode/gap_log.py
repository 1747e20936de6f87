"""Tells a person of the gaps in a stream, and not so often that the log is full of them."""

from __future__ import annotations

import logging
import math

_log = logging.getLogger(__name__)

_QUIET_S = 10.0
"""Least time between two lines about one stream."""


class GapLog:
    """Logs that a stream's samples broke off and began anew, with a count where it happens often.

    Parameters
    ----------
    stream
        Its identifier.
    segment
        Index of the segment with which it starts.
    """

    def __init__(self, stream: str, segment: int) -> None:
        self._stream = stream
        self._segment = segment
        self._n_gaps = 0
        self._told_at = -math.inf

    def follow(self, segment: int, now: float) -> None:
        """Take the index of the running segment; ``now`` in seconds."""
        self._n_gaps += segment - self._segment
        self._segment = segment
        if self._n_gaps and now - self._told_at >= _QUIET_S:
            _log.info(
                "stream %s: %d gap%s, samples are missing or its clock was set; segment %d begins",
                self._stream,
                self._n_gaps,
                "s" * (self._n_gaps > 1),
                segment,
            )
            self._n_gaps, self._told_at = 0, now
