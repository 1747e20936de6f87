"""What is read of one subject, in any form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from replay.datasets.bold5000.images import Image
    from replay.recordings.recording import Recording


@dataclass(frozen=True, eq=False, slots=True)
class Opened:
    """What is read of one subject.

    Parameters
    ----------
    recordings
        In their order.
    shown
        All that it saw, whether it is in a recording or not.
    files, remarks
        See :class:`replay.datasets.dataset.Content`.
    """

    recordings: list[Recording]
    shown: list[Image]
    files: list[Path]
    remarks: list[str]
