"""Decides what becomes of each marker: accepted, the same one again, or ignored by rule."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from rtdecode.contracts import Fate
from rtdecode.stimuli import StimulusMapper, StimulusTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.config import MarkerSettings
    from rtdecode.signal.markers import Marker
    from rtdecode.stimuli import MappingReport

_REMEMBERED = 1024
"""Markers that a duplicate is compared with: far more than arrive while a sender repeats itself."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What became of one marker; ``index`` counts the accepted ones from 0, None for the others."""

    fate: Fate
    index: int | None
    stimulus_id: str | None
    reason: str = ""


class MarkerGate:
    """Gives each marker its fate, in order of arrival.

    Parameters
    ----------
    ignore
        Patterns (``*`` and ``?``) of labels that are no stimuli.
    mapper
        Maps labels to stimuli; None: a label is its stimulus.
    """

    def __init__(self, ignore: Sequence[str] = (), mapper: StimulusMapper | None = None) -> None:
        self._ignore = tuple(ignore)
        self._mapper = mapper
        self._recent: deque[tuple[str, str, float]] = deque(maxlen=_REMEMBERED)
        self._accepted = 0

    @classmethod
    def from_settings(cls, settings: MarkerSettings) -> Self:
        """Gate of the service's configuration.

        Raises
        ------
        UserError
            If the table of stimuli cannot be used.
        """
        if settings.table is None:
            return cls(settings.ignore)
        return cls(settings.ignore, StimulusMapper(StimulusTable.load(settings.table, settings.key)))

    def mapping(self) -> MappingReport | None:
        """How well the markers kept step with the table; None without one."""
        return None if self._mapper is None else self._mapper.report()

    def admit(self, marker: Marker) -> Admission:
        """Decide about one marker; a duplicate has source, label and stamp of an earlier one."""
        if any(fnmatchcase(marker.label, pattern) for pattern in self._ignore):
            return Admission(Fate.IGNORED, None, None, "ignored by rule")
        key = (marker.source, marker.label, marker.stamp)
        if key in self._recent:
            return Admission(Fate.DUPLICATE, None, None, "same source, label and stamp as an earlier marker")
        self._recent.append(key)
        stimulus_id: str | None = marker.label
        reason = ""
        if self._mapper is not None:
            mapping = self._mapper.map(marker.label)
            if mapping.fate is not Fate.ACCEPTED:
                return Admission(mapping.fate, None, None, mapping.reason)
            stimulus_id, reason = mapping.stimulus_id, mapping.reason
        index = self._accepted
        self._accepted += 1
        return Admission(Fate.ACCEPTED, index, stimulus_id, reason)
