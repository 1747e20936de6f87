"""fMRI runs: 4-D NIfTI, the voxels inside a mask as channels, and BIDS events as markers.

Volumes stay on disk until they are asked for. nibabel is imported only here, and only when such a file is
read.
"""

from __future__ import annotations

import csv
import logging
import math
import os
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.channels import cannot_open
from replay.recordings.recording import Markers, Recording, bids_entities
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import CutShortError, UserError
from rtdecode.signal.alignment import nearest_whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.recordings.recording import Read

_log = logging.getLogger(__name__)

_PER_SECOND = {"sec": 1.0, "msec": 1e3, "usec": 1e6}
_MOST_EXPANSION = 1032
"""No deflated byte becomes more than this many: https://zlib.net/zlib_tech.html."""

_SAME_PLACE_MM = 0.01  # programs write the same affine with different rounding
_NOTHING = ("", "n/a")
_LONGEST_S = 1e9


def read_nifti(
    path: Path,
    *,
    mask: Path | None,
    events: Path | None,
    marker_column: str | None,
    every_volume: bool,
    rate_hz: float | None,
) -> Recording:
    """Read a 4-D NIfTI file, one sample a volume.

    The channels are the voxels of the mask, named by their indices (``"12-5-0"``), first index slowest. Their
    numbers are BOLD as the file's scaling gives it, which has no unit; they have no position, for the file
    tells where they are in the scanner, not in the head. Volume ``i`` stands at ``i`` times the repetition
    time, which is where BIDS counts onsets from.

    A file that is not compressed is read volume by volume; a compressed one too, as long as it is read in
    order: a step back unpacks it again from its start.

    Parameters
    ----------
    path
        The file, ``.nii`` or ``.nii.gz``.
    mask
        3-D NIfTI file on the same grid; its voxels above zero are taken.
    events
        BIDS table of events, tab-separated with a column ``onset`` (seconds); None for no markers.
    marker_column
        The column of ``events`` that says what each marker is; ``n/a`` and nothing are no marker. A marker
        stands at the volume nearest to its onset, ties to the earlier, and keeps what lies between the two.
    every_volume
        A marker on each volume from that one to the event's end (column ``duration``), and none at its onset.
    rate_hz
        Volumes a second; by default one over the repetition time of the header.

    Raises
    ------
    UserError
        If a file is missing, damaged, too short for what its header promises or of another kind, the mask
        does not fit, or something must be stated.
    """
    if mask is None:
        raise UserError(f"{path}: which voxels are the channels? State a mask (mask, --mask)")
    recording = read_volumes(path, read_mask(mask), rate_hz)
    if events is None and (marker_column is not None or every_volume):
        raise UserError(f"{path}: markers come from events; state them as well (events, --events)")
    if events is not None and marker_column is None:
        raise UserError(f"{path}: which column of its events? State it (marker_channel, --marker-channel)")
    if events is None or marker_column is None:
        return recording
    markers = _markers(events, marker_column, every_volume, recording.rate_hz, recording.n_samples)
    return replace(recording, markers=markers)


@dataclass(frozen=True, eq=False)
class Mask:
    """Which voxels are channels.

    Parameters
    ----------
    path
        Its file.
    inside : array of shape (n_x, n_y, n_z), bool
        Where it is above zero.
    affine : array of shape (4, 4), optional
        From indices to millimetres; None for volumes that do not tell where they lie.
    """

    path: Path
    inside: NDArray[np.bool_]
    affine: NDArray[np.float64] | None

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """Voxels inside, named by their indices, first index slowest."""
        return voxel_channels(np.argwhere(self.inside))

    def check(self, shape: tuple[int, ...], affine: NDArray[np.float64]) -> None:
        """Refuse volumes of other voxels than the mask's.

        Raises
        ------
        UserError
            If their shape or their affine is another one.
        """
        if self.inside.shape != shape:
            raise UserError(f"{self.path}: has shape {self.inside.shape}, volumes have {shape}; resample it")
        if self.affine is not None and not np.allclose(self.affine, affine, rtol=0, atol=_SAME_PLACE_MM):
            raise UserError(
                f"{self.path}: its voxels lie elsewhere than the volumes' (another affine); resample it"
            )


def voxel_channels(indices: NDArray[np.int64]) -> tuple[Channel, ...]:
    """Channels of voxels, named by their indices (``"12-5-0"``); ``indices`` has shape ``(n, 3)``."""
    return tuple(
        Channel(name="-".join(map(str, index)), type=ChannelType.VOXEL, unit=Unit.NONE)
        for index in indices.tolist()
    )


def read_mask(path: Path) -> Mask:
    """Read a 3-D NIfTI file whose voxels above zero are taken.

    Raises
    ------
    UserError
        If it cannot be read, or no voxel is above zero.
    """
    image = _open(path, 3)
    inside: NDArray[np.bool_] = _voxels(path, image, ...) > 0
    if not inside.any():
        raise UserError(f"{path}: no voxel is above zero; give another mask")
    return Mask(path, inside, np.asarray(image.affine, dtype=np.float64))


def read_volumes(path: Path, mask: Mask, rate_hz: float | None = None) -> Recording:
    """Read a 4-D NIfTI file without markers, see :func:`read_nifti`; its channels are those of the mask.

    Raises
    ------
    UserError
        As for :func:`read_nifti`.
    """
    image = _open(path, 4)
    mask.check(image.shape[:3], image.affine)
    subject, session, run = bids_entities(path)
    return Recording(
        name=path.name.removesuffix(".gz").removesuffix(".nii"),
        rate_hz=rate_hz if rate_hz is not None else _rate_hz(path, image),
        channels=mask.channels,
        n_samples=int(image.shape[3]),
        markers=Markers(np.empty(0, dtype=np.int64), []),
        reader=_reader(path, image, mask.inside),
        subject=subject,
        session=session,
        run=run,
    )


def check_nifti(path: Path, n_dims: int) -> tuple[tuple[int, ...], float]:
    """Look at the header of a file, and at whether the file ends where that says; no voxel is read.

    Parameters
    ----------
    path
        The file.
    n_dims
        Dimensions that it must have.

    Returns
    -------
    shape
        Voxels, and volumes as the last of four.
    step_s
        Repetition time; NaN where the header tells none.

    Raises
    ------
    UserError
        If it cannot be read as such a file; :class:`rtdecode.errors.CutShortError` if it was cut off.
    """
    image = _open(path, n_dims)
    if path.suffix.lower() == ".gz":
        # gzip's last four bytes tell what was packed, modulo 2 ** 32
        with path.open("rb") as file:
            file.seek(-4, os.SEEK_END)
            packed = int.from_bytes(file.read(4), "little")
        if packed != _promised(image) % 2**32:
            raise CutShortError(
                f"{path}: does not end as its header's {_promised(image):,} bytes do; restore a complete copy"
            )
    return tuple(map(int, image.shape)), repetition_s(image) if n_dims == 4 else math.nan


def _open(path: Path, n_dims: int) -> Any:
    """Open a NIfTI file of so many dimensions that is large enough for what its header promises."""
    image = _load(path)
    dtype, shape = image.get_data_dtype(), image.shape
    if len(shape) != n_dims or min(shape) < 1:
        raise UserError(f"{path}: has shape {shape}, but {n_dims} dimensions are needed; give another file")
    if dtype.kind not in "iuf":
        raise UserError(f"{path}: its voxels are {dtype}, no real numbers; give another file")
    size, promised = path.stat().st_size, _promised(image)
    if size * (_MOST_EXPANSION if path.suffix.lower() == ".gz" else 1) < promised:
        raise CutShortError(
            f"{path}: its header promises {promised} bytes, and its {size} cannot hold them; "
            "restore a complete copy"
        )
    return image


def _promised(image: Any) -> int:
    """Bytes of the unpacked file, by its header."""
    n_voxels = math.prod(map(int, image.shape))
    return int(image.dataobj.offset) + n_voxels * int(image.get_data_dtype().itemsize)


def _load(path: Path) -> Any:
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
        from nibabel.spatialimages import HeaderDataError
    except ImportError as error:
        raise UserError(f"{path}: NIfTI needs the extra data; install it: uv sync --extra data") from error
    try:
        # Kept open, so that a compressed file is not unpacked from its start for each block; not mapped, so
        # that a file that shrinks meanwhile is an error and not the end of the process.
        image = nibabel.load(path, mmap=False, keep_file_open=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except (ImageFileError, HeaderDataError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise _cannot_read(path, error) from error
    except OSError as error:
        # gzip says in this way, without a number, that a file is none of its own
        raise (cannot_open(path, error) if error.errno else _cannot_read(path, error)) from error
    if not (isinstance(image, nibabel.Nifti1Image) and path.name.lower().endswith((".nii", ".nii.gz"))):
        raise UserError(f"{path}: is no NIfTI file; convert it, to .nii or .nii.gz")
    return image


def _cannot_read(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0].rstrip(".;")
    return UserError(f"{path}: cannot be read as NIfTI ({reason}); restore a complete copy")


def _voxels(path: Path, image: Any, at: Any) -> NDArray[Any]:
    try:
        voxels: NDArray[Any] = np.asarray(image.dataobj[at])
    except (OSError, EOFError, zlib.error, ValueError) as error:  # cut short, or another file by now
        raise _cannot_read(path, error) from error
    return voxels


def _reader(path: Path, image: Any, inside: NDArray[np.bool_]) -> Read:
    def read(start: int, stop: int) -> NDArray[np.float64]:
        volumes = _voxels(path, image, np.s_[..., start:stop])
        return volumes[inside].T.astype(np.float64)

    return read


def _rate_hz(path: Path, image: Any) -> float:
    """One over the repetition time."""
    step_s = repetition_s(image)
    if not (math.isfinite(step_s) and step_s > 0):
        raise UserError(f"{path}: its header tells no repetition time; state 1 / TR (rate_hz, --rate)")
    return 1 / step_s


def repetition_s(image: Any) -> float:
    """Repetition time in an image's header; NaN without a unit of time."""
    unit = image.header.get_xyzt_units()[1]
    # single precision in the header: 0.8 s must not become 0.800000012
    return round(float(image.header["pixdim"][4]) / _PER_SECOND.get(unit, math.nan), 6)


def _markers(path: Path, column: str, every_volume: bool, rate_hz: float, n_volumes: int) -> Markers:
    samples: list[int] = []
    labels: list[str] = []
    residuals_us: list[float] = []
    outside = 0
    for number, row in _rows(path, ["onset", column, *(["duration"] if every_volume else [])]):
        if (label := row[column].strip()) in _NOTHING:
            continue
        onset_s = _seconds(path, number, "onset", row["onset"])
        first = nearest_whole(onset_s * rate_hz)
        last = first
        if every_volume:
            duration_s = _seconds(path, number, "duration", row["duration"])
            last = max(first, nearest_whole((onset_s + duration_s) * rate_hz) - 1)
        inside = range(max(first, 0), min(last, n_volumes - 1) + 1)
        samples.extend(inside)
        labels.extend([label] * len(inside))
        residuals_us.extend([1e6 * (onset_s - first / rate_hz)] * len(inside))
        outside += not inside
    if outside:
        _log.warning("%s: %d events lie outside the volumes and are left out", path, outside)
    return Markers.in_order(samples, labels, None if every_volume else residuals_us)


def _rows(path: Path, needed: list[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a tab-separated table that have all needed columns, with their numbers in the file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t")
            columns = reader.fieldnames or []
            if missing := [name for name in needed if name not in columns]:
                raise UserError(
                    f"{path}: has no column {missing[0]!r}; it has {', '.join(columns) or 'none'}"
                )
            for row in reader:
                if any(row[name] is None for name in needed):
                    raise UserError(f"{path}: row {reader.line_num} is cut short; mend or remove it")
                yield reader.line_num, row
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise cannot_open(path, error) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no table of text ({error}); give a BIDS events.tsv") from error


def _seconds(path: Path, number: int, column: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not abs(seconds) < _LONGEST_S:
        raise UserError(f"{path}: row {number} has {column} {text!r}, no time in seconds; mend or remove it")
    return seconds
