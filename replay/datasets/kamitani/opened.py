"""What is read of one subject, in either form."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replay.datasets.dataset import Stimulus
from replay.datasets.kamitani.images import synset

if TYPE_CHECKING:
    from pathlib import Path

    from replay.datasets.kamitani.about import Experiment
    from replay.recordings import Recording


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """Recordings of one subject, with all that :class:`replay.datasets.dataset.Content` has."""

    recordings: list[Recording] = field(default_factory=list)
    stimuli: list[Stimulus] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def stimulus(image: str, experiment: Experiment) -> Stimulus:
    """Row of the table of stimuli for an image of an experiment."""
    return Stimulus(image, f"{experiment.folder}/{image}.JPEG", synset(image), experiment.split)
