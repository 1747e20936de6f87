"""Decides what becomes of each marker: accepted, the same one again, or ignored by rule."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Self

from rtdecode.contracts import Fate
from rtdecode.sources.marker_text import json_text
from rtdecode.stimuli import StimulusMapper, StimulusTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtdecode.config import MarkerSettings
    from rtdecode.signal.markers import Marker
    from rtdecode.stimuli import MappingReport

_REMEMBERED = 1024
"""Markers that a duplicate is compared with: far more than arrive while a sender repeats itself."""


_LONGEST = 1000
"""Characters of a label: a longer text is no name of anything, and every message would carry it."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What one marker says, and what became of it; ``index`` counts the accepted ones from 0, else None."""

    label: str
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
    json_key
        Markers are JSON objects, and the value of this key is the label; None: their text is. What has no
        such value is ignored.
    """

    def __init__(
        self,
        ignore: Sequence[str] = (),
        mapper: StimulusMapper | None = None,
        json_key: str | None = None,
    ) -> None:
        self._ignore = tuple(ignore)
        self._json_key = json_key
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
            return cls(settings.ignore, json_key=settings.json_key)
        mapper = StimulusMapper(StimulusTable.load(settings.table, settings.key))
        return cls(settings.ignore, mapper, settings.json_key)

    def mapping(self) -> MappingReport | None:
        """How well the markers kept step with the table; None without one."""
        return None if self._mapper is None else self._mapper.report()

    def admit(self, marker: Marker, *, is_code: bool = False) -> Admission:
        """Decide about one marker; a duplicate has source, label and stamp of an earlier one.

        Parameters
        ----------
        marker
            Its label being its text as it came.
        is_code
            The text is the code of a trigger channel, which is no JSON.
        """
        label = marker.label
        if self._json_key is not None and not is_code:
            try:
                label = json_text(label, self._json_key)
            except ValueError as fault:
                return Admission(label[:_LONGEST], Fate.IGNORED, None, None, str(fault))
        if len(label) > _LONGEST:
            reason = f"has {len(label)} characters, a marker has at most {_LONGEST}"
            return Admission(label[:_LONGEST], Fate.IGNORED, None, None, reason)
        if any(fnmatchcase(label, pattern) for pattern in self._ignore):
            return Admission(label, Fate.IGNORED, None, None, "ignored by rule")
        key = (marker.source, label, marker.stamp)
        if key in self._recent:
            reason = "same source, label and stamp as an earlier marker"
            return Admission(label, Fate.DUPLICATE, None, None, reason)
        self._recent.append(key)
        stimulus_id: str | None = label
        reason = ""
        if self._mapper is not None:
            mapping = self._mapper.map(label)
            if mapping.fate is not Fate.ACCEPTED:
                return Admission(label, mapping.fate, None, None, mapping.reason)
            stimulus_id, reason = mapping.stimulus_id, mapping.reason
        index = self._accepted
        self._accepted += 1
        return Admission(label, Fate.ACCEPTED, index, stimulus_id, reason)
