"""Recordings in a CSV file: one row a sample, with columns for stamps, channels and markers.

This is what muse-lsl and many a script write. Such a file says neither rate nor units; the rate follows from
the stamps, and the unit must be stated, except for the Muse headband (columns ``TP9``, ``AF7``, ``AF8``,
``TP10``), whose recorders write microvolts.
"""

from __future__ import annotations

import csv
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.channels import cannot_open, stated_unit, unknown_unit
from replay.recordings.recording import Markers, Recording, array_reader, bids_entities, segment_starts
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.sources.metadata import type_from_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_ENCODING = "utf-8-sig"  # spreadsheets put a mark at the start
_STAMP_COLUMNS = ("timestamps", "timestamp", "time")
_MUSE_COLUMNS = frozenset({"TP9", "AF7", "AF8", "TP10"})
_WHOLE = re.compile(r"^(-?\d+)\.0*$")
_WHOLE_RATE_TOLERANCE = 2e-3  # clocks of devices differ by far less, no two common rates by so little


def read_csv(
    path: Path, *, units: str | None, marker_channel: str | None, rate_hz: float | None
) -> Recording:
    """Read a CSV file whose first row names the columns.

    The column ``timestamps`` (or ``timestamp``, ``time``; seconds) holds the stamps. The marker column is the
    one whose name begins with ``Marker``; 0 or nothing means no marker, and a marker belongs to its row,
    whatever the stamps say. A value that stays for several rows is one marker, at the first of them. All
    other columns are channels: EEG, or what their names say (``Right AUX`` is ``misc``).

    Parameters
    ----------
    path
        The file.
    units
        Unit of the channels; may be left out for the Muse headband.
    marker_channel
        Name of the marker column, if it is another.
    rate_hz
        Sampling rate; by default the mean rate of the stamps, which must then be close to a whole number.

    Raises
    ------
    UserError
        If a column, the unit or the rate is missing, or a value is no number.
    """
    columns = _columns(path)
    stamp_column = next((name for name in columns if name.casefold() in _STAMP_COLUMNS), None)
    marker_column = _marker_column(path, columns, marker_channel)
    names = [name for name in columns if name not in (stamp_column, marker_column)]
    if not names:
        raise UserError(f"{path}: has no column that could be a channel; check that its first row names them")
    stated = stated_unit(units)
    if stated is None and set(names) >= _MUSE_COLUMNS:
        stated = Unit.VOLT, 1e-6
    if stated is None:
        raise unknown_unit(path, names[0], "")
    unit, factor = stated

    samples = _rows(path, columns, names, np.float64) * factor
    stamps = None if stamp_column is None else _rows(path, columns, [stamp_column], np.float64)[:, 0]
    texts = None if marker_column is None else _rows(path, columns, [marker_column], str)[:, 0]
    rate_hz = rate_hz if rate_hz is not None else _rate_hz(path, stamps)
    subject, session, run = bids_entities(path)
    return Recording(
        name=path.stem,
        rate_hz=rate_hz,
        channels=tuple(
            Channel(name=name, type=type_from_text(name) or ChannelType.EEG, unit=unit) for name in names
        ),
        n_samples=len(samples),
        markers=_markers([] if texts is None else texts.tolist()),
        reader=array_reader(samples),
        stamps=stamps,
        segment_starts=(0,) if stamps is None else segment_starts(stamps, rate_hz),
        subject=subject,
        session=session,
        run=run,
    )


def _columns(path: Path) -> list[str]:
    try:
        with path.open(newline="", encoding=_ENCODING) as file:
            columns = [name.strip() for name in next(csv.reader(file), [])]
    except OSError as error:
        raise cannot_open(path, error) from error
    except (ValueError, csv.Error) as error:  # bytes that are no text
        raise _cannot_read(path, error) from error
    if not all(columns) or len(set(columns)) != len(columns):
        raise UserError(f"{path}: its first row does not name the columns, each differently; add such a row")
    return columns


def _rows(path: Path, columns: list[str], chosen: list[str], dtype: type) -> NDArray[Any]:
    """Values of some columns, shape ``(n_rows, n_chosen)``; a row that is incomplete is refused."""
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # that there are no rows
            rows: NDArray[Any] = np.loadtxt(
                path,
                dtype=dtype,
                delimiter=",",
                comments=None,
                quotechar='"',
                skiprows=1,
                usecols=[columns.index(name) for name in chosen],
                ndmin=2,
                encoding=_ENCODING,
            )
    except OSError as error:
        raise cannot_open(path, error) from error
    except ValueError as error:
        raise _cannot_read(path, error) from error
    if not len(rows):
        raise UserError(f"{path}: holds no samples; record it again or restore it from a copy")
    if dtype is np.float64 and not np.all(np.isfinite(rows)):
        row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise UserError(f"{path}: row {row + 2} holds a value that is no number; mend or remove the row")
    return rows


def _cannot_read(path: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0].rstrip(".;")
    return UserError(f"{path}: cannot be read as CSV ({reason}); mend the row, or restore a complete copy")


def _marker_column(path: Path, columns: list[str], stated: str | None) -> str | None:
    if stated is not None:
        if stated not in columns:
            raise UserError(f"{path}: has no column {stated!r}; it has {', '.join(columns)}")
        return stated
    found = [name for name in columns if name.casefold().startswith("marker")]
    if len(found) > 1:
        raise UserError(
            f"{path}: has several marker columns ({', '.join(found)}); "
            "name one of them (marker_channel, --marker-channel)"
        )
    return found[0] if found else None


def _markers(column: list[str]) -> Markers:
    """First rows of the values other than nothing; ``"2.0"`` is code 2, ``"v1.0"`` stays."""
    labels = [_WHOLE.sub(r"\1", text.strip()) for text in column]
    onsets = [
        row
        for row, label in enumerate(labels)
        if label not in ("", "0", "-0") and (row == 0 or label != labels[row - 1])
    ]
    return Markers(np.asarray(onsets, dtype=np.int64), [labels[row] for row in onsets])


def _rate_hz(path: Path, stamps: NDArray[np.float64] | None) -> float:
    """Mean rate of the stamps, if it is close to a whole number of hertz."""
    if stamps is None:
        raise UserError(f"{path}: has no timestamps column; state the sampling rate (rate_hz, --rate)")
    span_s = stamps[-1] - stamps[0]
    measured = (len(stamps) - 1) / span_s if span_s > 0 else 0.0
    whole = round(measured)
    if whole == 0 or abs(measured - whole) > _WHOLE_RATE_TOLERANCE * whole:
        raise UserError(
            f"{path}: its timestamps give {measured:.2f} Hz, no whole rate; state it (rate_hz, --rate)"
        )
    return float(whole)
