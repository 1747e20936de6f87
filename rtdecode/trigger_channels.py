"""Markers from the trigger channels inside one connected signal stream."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from rtdecode.errors import MismatchError
from rtdecode.signal.markers import Marker, TriggerDetector, TriggerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from rtdecode.config import TriggerChannel
    from rtdecode.connection import StreamFacts

log = logging.getLogger(__name__)


class TriggerChannels:
    """Finds markers in a stream's trigger channels, from when it was connected until it is lost.

    Parameters
    ----------
    stream_id
        Identifier in the configuration.
    facts
        What the stream turned out to be.
    channels
        Which of its channels to look at, and how; those of other streams are passed over.

    Raises
    ------
    MismatchError
        If it lacks one of them.
    """

    def __init__(self, stream_id: str, facts: StreamFacts, channels: Sequence[TriggerChannel]) -> None:
        self._host = facts.host
        self._delay_s = facts.stamp_delay_s
        self._n_samples = 0
        self._detectors: list[tuple[str, int, TriggerDetector]] = []
        names = [channel.name for channel in facts.channels]
        for trigger in channels:
            if trigger.stream != stream_id:
                continue
            if trigger.channel not in names:
                raise MismatchError(
                    f"stream {stream_id!r} has no trigger channel {trigger.channel!r}; "
                    f"it has {', '.join(names)}"
                )
            detector = TriggerDetector(TriggerSettings(mask=trigger.mask, edge=trigger.edge))
            self._detectors.append((f"{stream_id}/{trigger.channel}", names.index(trigger.channel), detector))

    def process(
        self, samples: np.ndarray, stamps: np.ndarray, times: np.ndarray, arrival: float
    ) -> list[Marker]:
        """Markers in the next chunk; arguments as for :meth:`rtdecode.connection.Connection.feed`."""
        first = self._n_samples
        self._n_samples += len(samples)
        markers = []
        for source, column, detector in self._detectors:
            for sample, code in detector.process(samples[:, column]):
                stamp = float(stamps[sample - first])
                if not math.isfinite(stamp):
                    log.warning("trigger %d of %s is dropped: its sample has no stamp", code, source)
                    continue
                markers.append(
                    Marker(
                        source=source,
                        host=self._host,
                        label=str(code),
                        stamp=stamp,
                        time=float(times[sample - first]) - self._delay_s,
                        arrival=arrival,
                        sample=sample,
                    )
                )
        return markers
