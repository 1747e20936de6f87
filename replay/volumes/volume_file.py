"""One volume in one file: a 3-D NIfTI image or a Siemens DICOM mosaic.

Files are taken up in one piece and read from memory: a scanner that still writes is then never in the way.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from nibabel.spatialimages import HeaderDataError

from replay.recordings.nifti import repetition_s
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.recordings.nifti import Mask

_NIFTI = (".nii", ".nii.gz")
_DICOM = (".dcm", ".ima")
_LARGEST_BYTES = 2**29
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_NUMBERED = re.compile(r"(.*?)(\d+)")
_BROKEN = (ImageFileError, HeaderDataError, EOFError, zlib.error, OSError, ValueError, OverflowError)


class UnfinishedError(Exception):
    """A file is not whole, or not yet."""


@dataclass(frozen=True, eq=False, slots=True)
class Volume:
    """One volume of a run.

    Parameters
    ----------
    run
        What tells runs apart: the DICOM series, or the folder and the file's name without its number.
    name
        What people call the run.
    number
        Of the volume in its run.
    voxels : array of shape (n_x, n_y, n_z)
        As the file's scaling gives them.
    affine : array of shape (4, 4)
        From indices to millimetres, x to the right, y to the front.
    repetition_s
        Repetition time; NaN where the file tells none.
    """

    run: str
    name: str
    number: int
    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    repetition_s: float

    def inside(self, mask: Mask) -> NDArray[np.float64]:
        """Voxels of a mask, shape ``(n_voxels,)``, in the order of its channels.

        Programs store the same volume along other axes, and in other directions. It is turned to lie as the
        mask does; that moves numbers and interpolates none.

        Raises
        ------
        UserError
            If the mask has another grid, whichever way the volume is turned.
        """
        voxels, affine = self.voxels, self.affine
        if mask.affine is not None:
            if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 0:
                raise UserError(f"{self.name}: does not tell where its voxels lie; export it anew")
            turn = ornt_transform(io_orientation(affine), io_orientation(mask.affine))
            affine = affine @ inv_ornt_aff(turn, voxels.shape)
            voxels = apply_orientation(voxels, turn)
        try:
            mask.check(voxels.shape, affine)
        except UserError as error:
            raise UserError(f"{self.name}: left out, {error}") from error
        values: NDArray[np.float64] = voxels[mask.inside].astype(np.float64)
        return values


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume; those that begin with a dot are not."""
    return path.name.lower().endswith((*_NIFTI, *_DICOM)) and not path.name.startswith(".")


def read_volume(path: Path) -> Volume:
    """Read a volume.

    Parameters
    ----------
    path
        The file; by its name it is NIfTI or DICOM.

    Raises
    ------
    UnfinishedError
        The file is not whole, or cannot be opened: it may be later.
    UserError
        It is whole, and no volume of a run. The line is the same for all files of a series.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(f"{path}: has more than {_LARGEST_BYTES / 2**20:.0f} MiB; give one file a volume")
        data = path.read_bytes()
    except OSError as error:
        raise UnfinishedError(str(error.strerror or error)) from error
    return _nifti(path, data) if path.name.lower().endswith(_NIFTI) else _dicom(data)


def _nifti(path: Path, data: bytes) -> Volume:
    ending = ".nii.gz" if path.name.lower().endswith(".gz") else ".nii"
    match = _NUMBERED.fullmatch(path.name[: -len(ending)])
    if match is None:
        raise UserError(
            f"{path.parent}: files are left out whose name does not end in the number of the volume, as "
            "vol_0012.nii does; rename them"
        )
    stem, number = match.groups()
    name = f"{path.parent.name}/{stem}"
    try:
        if ending == ".nii.gz":
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(_LARGEST_BYTES + 1)
        kinds = (nibabel.Nifti1Image, nibabel.Nifti2Image)
        kind = next((kind for kind in kinds if kind.header_class.may_contain_header(data)), None)
        if kind is None:
            raise UnfinishedError("no header of NIfTI")
        image = kind.from_bytes(data)
        shape = image.shape
        if len(shape) < 3 or math.prod(shape[3:]) != 1 or image.get_data_dtype().kind not in "iuf":
            raise UserError(f"{name}: files of shape {shape} are no volumes; give one file a volume, 3-D")
        voxels = np.asarray(image.dataobj).reshape(shape[:3])
    except _BROKEN as error:
        raise UnfinishedError(_first_line(error)) from error
    return Volume(
        run=str(path.parent / stem),
        name=name,
        number=int(number),
        voxels=voxels,
        affine=np.asarray(image.affine, np.float64),
        repetition_s=repetition_s(image) or math.nan,
    )


def _dicom(data: bytes) -> Volume:
    try:
        import pydicom
    except ImportError as error:
        raise UserError("DICOM needs the extra data; install it: uv sync --extra data") from error
    with warnings.catch_warnings():
        # nibabel warns that its DICOM readers are for Siemens series only, pydicom of all that is unusual
        warnings.simplefilter("ignore")
        from nibabel.nicom.dicomwrappers import MosaicWrapper, wrapper_from_data

        try:
            header = pydicom.dcmread(io.BytesIO(data))
            _check_pixels(header)
            run = str(header.SeriesInstanceUID)
            image = wrapper_from_data(header)
        except Exception as error:  # what is cut off breaks in too many ways to name
            raise UnfinishedError(_first_line(error)) from error
        name = f"series {header.get('SeriesNumber', '')} ({header.get('SeriesDescription', run)})"
        number = header.get("InstanceNumber")
        if not isinstance(image, MosaicWrapper) or number is None:
            raise UserError(f"{name}: left out, its images are no Siemens mosaics with numbers")
        try:
            voxels, affine = image.get_data(), _LPS_TO_RAS @ image.affine
        except Exception as error:
            raise UnfinishedError(_first_line(error)) from error
    return Volume(
        run=run,
        name=name,
        number=int(number),
        voxels=voxels,
        affine=affine,
        repetition_s=float(header.get("RepetitionTime") or math.nan) / 1e3,
    )


def _check_pixels(header: Any) -> None:
    """Refuse an image whose pixels are cut off."""
    promised = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    if len(header.PixelData) < promised and not header.file_meta.TransferSyntaxUID.is_compressed:
        raise UnfinishedError("its pixels are cut off")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0].rstrip(".;") or type(error).__name__
