"""A scanner that writes small volumes, as NIfTI images and as Siemens mosaics."""

from __future__ import annotations

import io
import struct
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

nibabel = pytest.importorskip("nibabel", reason="needs the extra 'data'")
pydicom = pytest.importorskip("pydicom", reason="needs the extra 'data'")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SHAPE = (4, 6, 5)
SPACING_MM = (3.0, 2.0, 4.0)
CORNER_MM = (-10.0, 25.0, -30.0)
"""Of the first voxel of the first slice; x to the left, y to the back, as DICOM has it."""

AFFINE = np.array(
    [
        [-SPACING_MM[0], 0, 0, -CORNER_MM[0]],
        [0, SPACING_MM[1], 0, -CORNER_MM[1] - (SHAPE[1] - 1) * SPACING_MM[1]],
        [0, 0, SPACING_MM[2], CORNER_MM[2]],
        [0, 0, 0, 1.0],
    ]
)
"""Of the same volume as dcm2niix stores it: columns first, rows from the last one on."""


def voxels(number: int) -> np.ndarray:
    """Volume ``number``, which holds each voxel's place and the number, of shape :data:`SHAPE`."""
    place = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    return (place + 200 * number).astype(np.uint16)


def write_mask(path: Path, inside: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> Path:
    """Every third voxel, by default."""
    if inside is None:
        inside = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 3 == 1
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), affine), path)
    return path


def nifti(number: int, repetition_s: float = 1.5, **options: Any) -> bytes:
    """Volume ``number`` as a NIfTI file; ``data``, ``affine`` and ``slope`` may be stated."""
    image = nibabel.Nifti1Image(options.get("data", voxels(number)), options.get("affine", AFFINE))
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][4] = repetition_s
    if "slope" in options:
        image.header.set_slope_inter(options["slope"], 0)
    return image.to_bytes()


def mosaic(
    number: int,
    *,
    series: int = 7,
    repetition_s: float = 1.5,
    data: np.ndarray | None = None,
    tiled: bool = True,
) -> bytes:
    """Volume ``number`` as a Siemens mosaic: slices side by side, from the first row and column on."""
    columns, rows, n_slices = SHAPE
    tiles = int(np.ceil(np.sqrt(n_slices)))
    sheet = np.zeros((rows * tiles, columns * tiles), np.uint16)
    volume = voxels(number) if data is None else data
    for index in range(n_slices):
        top, left = rows * (index // tiles), columns * (index % tiles)
        sheet[top : top + rows, left : left + columns] = volume[:, ::-1, index].T
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = f"1.2.3.{series}.{number}"
    header.SeriesInstanceUID, header.SeriesNumber = f"1.2.3.{series}", series
    header.SeriesDescription, header.InstanceNumber = "func", number
    header.RepetitionTime = 1e3 * repetition_s
    header.Rows, header.Columns = sheet.shape
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit, header.PixelRepresentation, header.SamplesPerPixel = 15, 0, 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.PixelSpacing = [SPACING_MM[1], SPACING_MM[0]]
    header.SliceThickness = header.SpacingBetweenSlices = SPACING_MM[2]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    # Siemens gives the corner that the whole sheet would have, were it one slice about the same centre.
    half_sheet = 0.5 * np.array([columns * (tiles - 1), rows * (tiles - 1), 0]) * SPACING_MM
    header.ImagePositionPatient = (np.array(CORNER_MM) - half_sheet).tolist()
    if tiled:
        block = header.private_block(0x29, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", _csa(n_slices))
    header.PixelData = sheet.tobytes()
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _csa(n_slices: int) -> bytes:
    """The Siemens header that says how many slices there are, and which way they follow each other."""
    tags: list[tuple[str, str, Sequence[object]]] = [
        ("AcquisitionMatrixText", "LO", ["4*6"]),
        ("NumberOfImagesInMosaic", "US", [n_slices]),
        ("SliceNormalVector", "FD", [0.0, 0.0, 1.0]),
    ]
    packed = b"SV10\x04\x03\x02\x01" + struct.pack("<2I", len(tags), 77)
    for name, kind, items in tags:
        packed += struct.pack("<64si4s3i", name.encode(), len(items), kind.encode(), 0, len(items), 77)
        for item in items:
            text = f"{item}".encode() + b"\0"
            packed += struct.pack("<4i", len(text), len(text), 77, len(text)) + text
            packed += b"\0" * (-len(text) % 4)
    return packed + b"\0" * (-len(packed) % 2)
