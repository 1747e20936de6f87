"""Recordings in the formats of the field, all read into one type."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from replay.recordings.recording import Markers, Recording, array_reader
from rtdecode.errors import UserError
from rtdecode.signal.markers import TriggerSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Markers", "Recording", "TriggerEdge", "array_reader", "read_recording"]

TriggerEdge = Literal["rising", "change", "falling"]

_MNE_KINDS = {
    ".fif": "FIF",
    ".fif.gz": "FIF",
    ".vhdr": "BrainVision",
    ".edf": "EDF",
    ".bdf": "BDF",
    ".set": "EEGLAB",
    ".ds": "CTF",
}
_FOLDERS = (".ds",)
"""Recordings that are a folder."""

_BESIDE = {".res4": ".ds", ".meg4": ".ds", ".vmrk": ".vhdr", ".eeg": ".vhdr", ".fdt": ".set"}
"""Files that belong to a recording, and the ending of the one to open."""


def read_recording(
    path: str | Path,
    *,
    units: str | None = None,
    marker_channel: str | None = None,
    signal_stream: str | None = None,
    marker_streams: Sequence[str] | None = None,
    rate_hz: float | None = None,
    trigger_mask: int | None = None,
    trigger_edge: TriggerEdge | None = None,
    mask: str | Path | None = None,
    events: str | Path | None = None,
    every_volume: bool = False,
) -> Recording:
    """Open a recording; its ending tells the format.

    FIF (``.fif``), BrainVision (``.vhdr``), EDF, BDF, EEGLAB (``.set``), CTF (the folder ``.ds``), XDF, CSV
    with a marker column, and 4-D NIfTI (``.nii``, ``.nii.gz``) with a mask and BIDS events.

    Parameters
    ----------
    path
        The file; the folder of CTF.
    units
        Unit of the channels whose file does not say theirs, e.g. ``"uV"``. What the file says is kept.
    marker_channel
        Where the markers are: a trigger channel, a column of a CSV file or of the events, or
        ``"annotations"`` for the annotations of a file that has a trigger channel too.
    signal_stream, marker_streams
        Names of the streams to take from an XDF file.
    rate_hz
        Sampling rate of a CSV file whose stamps do not tell it, or of a NIfTI file whose header does not.
    trigger_mask, trigger_edge
        How a trigger channel is read: the bits that belong to the code, and ``"rising"`` (each step from zero
        to a code), ``"change"`` (also each step from a code to another) or ``"falling"`` (each step from a
        code to zero); by default as the service reads it. CSV and NIfTI files have no trigger channel.
    mask, events, every_volume
        Of a NIfTI file, see :func:`replay.recordings.nifti.read_nifti`.

    Returns
    -------
    Recording
        Samples in SI units, read when they are asked for; markers at sample indices.

    Raises
    ------
    UserError
        If the file is missing, damaged or of an unknown format, or something must be stated.
    """
    path = Path(path)
    ending = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if not (path.is_dir() if ending in _FOLDERS else path.is_file()):
        raise UserError(f"{path}: no such {'folder' if ending in _FOLDERS else 'file'}; check the path")
    kind = {".xdf": "XDF", ".csv": "CSV", ".nii": "NIfTI", ".nii.gz": "NIfTI", **_MNE_KINDS}.get(ending)
    if kind is None:
        if ending in _BESIDE:
            what = "folder around it" if _BESIDE[ending] in _FOLDERS else "file beside it"
            raise UserError(f"{path}: is one part of a recording; open the {_BESIDE[ending]} {what}")
        raise UserError(
            f"{path}: unknown format {ending!r}; "
            "known are .fif, .vhdr, .edf, .bdf, .set, .ds, .xdf, .csv or .nii"
        )
    _refuse(path, kind, ("XDF",), signal_stream=signal_stream, marker_streams=marker_streams)
    _refuse(path, kind, ("CSV", "NIfTI"), rate_hz=rate_hz)
    _refuse(path, kind, ("NIfTI",), mask=mask, events=events, every_volume=every_volume or None)
    if kind in ("CSV", "NIfTI") and (trigger_mask is not None or trigger_edge is not None):
        raise UserError(f"{path}: a {kind} file has no trigger channel; leave out how to read one")
    triggers = _trigger_settings(trigger_mask, trigger_edge)
    if kind == "XDF":
        from replay.recordings.xdf import read_xdf

        return read_xdf(
            path,
            units=units,
            marker_channel=marker_channel,
            signal_stream=signal_stream,
            marker_streams=marker_streams,
            triggers=triggers,
        )
    if kind == "CSV":
        from replay.recordings.csv_table import read_csv

        return read_csv(path, units=units, marker_channel=marker_channel, rate_hz=rate_hz)
    if kind == "NIfTI":
        from replay.recordings.nifti import read_nifti

        if units is not None:
            raise UserError(f"{path}: the numbers of a NIfTI file are taken as they are; leave units out")
        return read_nifti(
            path,
            mask=None if mask is None else Path(mask),
            events=None if events is None else Path(events),
            marker_column=marker_channel,
            every_volume=every_volume,
            rate_hz=rate_hz,
        )
    from replay.recordings.mne_raw import read_mne

    return read_mne(path, kind, units=units, marker_channel=marker_channel, triggers=triggers)


def _trigger_settings(mask: int | None, edge: TriggerEdge | None) -> TriggerSettings:
    if mask is not None and mask <= 0:
        raise UserError(f"trigger mask {mask} leaves no code; give the bits to keep, e.g. 255")
    usual = TriggerSettings()
    return TriggerSettings(usual.mask if mask is None else mask, edge or usual.edge)


def _refuse(path: Path, kind: str, only: Sequence[str], **options: object) -> None:
    """Refuse options that mean nothing for this format."""
    if kind not in only and (given := [name for name, value in options.items() if value is not None]):
        raise UserError(
            f"{path}: {', '.join(given)} applies to {' and '.join(only)} files; leave it out for {kind}"
        )
