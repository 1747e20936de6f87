"""Recordings in a CSV file: one row a sample, with columns for stamps, channels and markers.

This is what muse-lsl and many a script write. Such a file says neither rate nor units; the rate follows from
the stamps, and the unit must be stated, except for the Muse headband (columns ``TP9``, ``AF7``, ``AF8``,
``TP10``), whose recorders write microvolts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.recordings.channels import stated_unit, type_from_text, unknown_unit
from replay.recordings.recording import Markers, Recording, array_reader, bids_entities, segment_starts
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

_STAMP_COLUMNS = ("timestamps", "timestamp", "time")
_MUSE_COLUMNS = frozenset({"TP9", "AF7", "AF8", "TP10"})
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

    table = _table(path, columns, marker_column)
    stamps = None if stamp_column is None else table[stamp_column].to_numpy()
    samples = table[names].to_numpy() * factor
    rate_hz = rate_hz if rate_hz is not None else _rate_hz(path, stamps)
    subject, session, run = bids_entities(path)
    return Recording(
        name=path.stem,
        rate_hz=rate_hz,
        channels=tuple(
            Channel(name=name, type=type_from_text(name) or ChannelType.EEG, unit=unit) for name in names
        ),
        n_samples=len(samples),
        markers=_markers([] if marker_column is None else table[marker_column].tolist()),
        reader=array_reader(samples),
        stamps=stamps,
        segment_starts=(0,) if stamps is None else segment_starts(stamps, rate_hz),
        subject=subject,
        session=session,
        run=run,
    )


def _columns(path: Path) -> list[str]:
    import pandas as pd

    try:
        return [str(name) for name in pd.read_csv(path, nrows=0).columns]
    except ValueError as error:  # pandas' own errors, and bytes that are no text
        raise _cannot_read(path, error) from error


def _table(path: Path, columns: list[str], marker_column: str | None) -> pd.DataFrame:
    """All rows: numbers, but for the marker column; a row that is incomplete is refused."""
    import pandas as pd

    types = {name: str if name == marker_column else np.float64 for name in columns}
    try:
        table = pd.read_csv(path, dtype=types, float_precision="round_trip")
    except ValueError as error:
        raise _cannot_read(path, error) from error
    if table.empty:
        raise UserError(f"{path}: holds no samples; record it again or restore it from a copy")
    numbers = table.drop(columns=[] if marker_column is None else marker_column)
    incomplete = np.flatnonzero(numbers.isna().any(axis=1).to_numpy())
    if len(incomplete):
        raise UserError(f"{path}: row {incomplete[0] + 2} is incomplete; mend it, or restore a complete copy")
    return table if marker_column is None else table.fillna({marker_column: ""})


def _cannot_read(path: Path, error: ValueError) -> UserError:
    reason = str(error).splitlines()[0].rstrip(".")
    return UserError(f"{path}: cannot be read as CSV ({reason}); all rows but the first must be numbers")


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
    """First rows of the values other than nothing; ``"2.0"`` is code 2."""
    labels = [text.strip().removesuffix(".0") for text in column]
    onsets = [
        row
        for row, label in enumerate(labels)
        if label not in ("", "0") and (row == 0 or label != labels[row - 1])
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
