"""Pictures that were published in one large file, as one file each."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from rtdecode.output import write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from replay.datasets.dataset import ReadPicture

_QUICK = 1
"""Level of PNG's packing: a tenth larger than usual in a third of the time."""


def write_pictures(
    read: ReadPicture, stimuli: pd.DataFrame, folder: Path, progress: Callable[[int, int], None]
) -> None:
    """Write the pictures of a table of stimuli, one at a time.

    Parameters
    ----------
    read
        Gives a stimulus's picture.
    stimuli
        As :func:`replay.datasets.dataset.stimulus_table` makes it; column ``image`` names the files.
    folder
        That these are relative to.
    progress
        Called with the pictures done and the pictures there are.

    Raises
    ------
    UserError
        If one cannot be read or written.
    """
    for done, (stimulus_id, image) in enumerate(
        zip(stimuli["stimulus_id"], stimuli["image"], strict=True), start=1
    ):
        packed = io.BytesIO()
        Image.fromarray(read(stimulus_id)).save(packed, "PNG", compress_level=_QUICK)
        write_file(folder / image, packed.getvalue())
        progress(done, len(stimuli))
