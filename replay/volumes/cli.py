"""``rtdecode volumes``: volumes of a running scan as an LSL stream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import click

from rtdecode.ending import stopped_by_signals
from rtdecode.errors import UserError

_INTERRUPTIBLE_S = 0.2  # on Windows Ctrl-C does not end a wait


@click.command(short_help="Stream a running fMRI scan over LSL, from the folder it is written to.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--mask", required=True, type=click.Path(path_type=Path), help="3-D NIfTI file; voxels above 0 are sent."
)
@click.option("--name", default="volumes", show_default=True, help="Name of the stream.")
@click.option("--source-id", help="Source id of the stream.  [default: rtdecode-volumes-NAME]")
@click.option(
    "--tr",
    "repetition_s",
    type=float,
    help="Repetition time, seconds: the stream then appears at once, else with the first volume.",
)
@click.option(
    "--delay",
    "delay_s",
    type=float,
    help="Seconds from the beginning of a volume's acquisition to the arrival of its file.  [default: TR]",
)
def volumes(
    folder: Path,
    mask: Path,
    name: str,
    source_id: str | None,
    repetition_s: float | None,
    delay_s: float | None,
) -> None:
    """Stream the volumes that a scanner writes into FOLDER, or into folders in it, over LSL. Ctrl-C ends.

    A file holds one volume: a Siemens mosaic (.dcm, .ima), or a 3-D NIfTI image (.nii, .nii.gz) whose name
    ends in the volume's number. What lies there at the beginning is passed over. Volumes go out in order, one
    sample each, the voxels of the mask being the channels, named as in recordings; one that does not come
    leaves a gap. The mask lies on the grid of the volumes.

    The first volume of a run is stamped with the arrival of its file minus --delay, and the others at whole
    repetition times from it. Needs the extra "data".
    """
    from rich.console import Console

    from replay.recordings.nifti import read_mask
    from replay.volumes.stream import VolumeStream  # after the file was found good: loads liblsl

    if folder.is_file():
        raise UserError(f"{folder} is a file; name the folder that volumes are written to")
    voxels = read_mask(mask)
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    stream = VolumeStream(
        folder,
        voxels,
        tell=console.print,
        name=name,
        source_id=source_id,
        repetition_s=repetition_s,
        delay_s=delay_s,
    )
    with stopped_by_signals(stream.stop), ThreadPoolExecutor(1, thread_name_prefix="volumes") as thread:
        missing = "" if folder.is_dir() else ", which does not exist yet: is its name right?"
        console.print(f"Waiting for volumes in {folder}{missing}")
        running = thread.submit(stream.run)
        while not wait([running], timeout=_INTERRUPTIBLE_S).done:
            pass
        running.result()
    console.print(f"Sent {stream.n_sent} volumes.")
