"""Any lab's own EEG or MEG dataset in BIDS: which column of its events holds the stimulus, which the split.

mne-bids finds the files and reads the sidecars (channel types, electrode positions); samples and units are
read as of any recording.
"""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replay.datasets.dataset import Content, Form, Part, Stimulus, Variant
from replay.datasets.onsets import onset_markers
from replay.datasets.survey import Survey
from replay.recordings import read_recording
from replay.recordings.ctf import ctf_file
from replay.recordings.mne_raw import ANNOTATIONS, channels_as_said
from rtdecode.contracts import Contract
from rtdecode.errors import UserError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


_ENDINGS = (".vhdr", ".edf", ".bdf", ".set", ".fif", ".ds")
_NOTHING = ("", "n/a")
_SIDES = {"train": "train", "0": "train", "false": "train", "test": "test", "1": "test", "true": "test"}
"""What a cell of the split's column may say; anything else is on neither side."""

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")
_RAW = Variant(name="raw", form=Form.CONTINUOUS, layout=(), signs=())


class EventColumns(Contract):
    """Columns of ``events.tsv``.

    Parameters
    ----------
    stimulus
        What was shown. A path of a picture stands for that picture's name without folder and ending; a row
        that says nothing, or ``n/a``, is no stimulus.
    image
        Its picture's file, relative to a folder of images; by default what ``stimulus`` says where that is a
        picture.
    concept
        What it shows; by default nothing is known of that.
    split
        ``train`` or ``test``, or whether it is a test stimulus (0 or 1, false or true); by default nothing.
    """

    stimulus: str
    image: str | None = None
    concept: str | None = None
    split: str | None = None

    @property
    def all(self) -> tuple[str, ...]:
        """Those that are needed."""
        return tuple(name for name in (self.stimulus, self.image, self.concept, self.split) if name)


def open_bids(
    root: Path,
    columns: EventColumns,
    *,
    subjects: Sequence[str] = (),
    task: str | None = None,
    datatype: str | None = None,
    units: str | None = None,
) -> Content:
    """Open the EEG or MEG recordings of a BIDS dataset, their markers taken from ``events.tsv``.

    A marker stands at the sample nearest to the event's ``onset`` (seconds from the recording's first
    sample), ties to the earlier.

    Parameters
    ----------
    root
        Folder of the dataset.
    columns
        What its events are called.
    subjects
        Labels; all where none is named.
    task, datatype
        Only these; needed where a recording has several.
    units
        Unit of the channels whose file does not say theirs, e.g. ``"uV"``.

    Raises
    ------
    UserError
        If there is no such recording, an events table or one of its columns is missing, or a file is damaged.
    """
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; name the one that holds dataset_description.json")
    if not any(root.glob("sub-*")):
        raise UserError(f"{root} is no BIDS dataset: name the folder that holds those of the subjects, sub-*")
    survey = Survey(root, "restore it, or name the dataset's folder")
    parts = [_read(survey, path, columns, units) for path in _find(root, subjects, task, datatype)]
    return Content.of(_RAW, parts)


def _mne_bids() -> Any:
    try:
        import mne_bids
    except ImportError as error:
        raise UserError("BIDS needs the extra data; install it: uv sync --extra data") from error
    return mne_bids


def _find(root: Path, subjects: Sequence[str], task: str | None, datatype: str | None) -> list[Any]:
    """Paths of the recordings, in the order of subject, session and run."""
    kinds = ("eeg", "meg") if datatype is None else (datatype,)
    with _quiet():
        paths = _mne_bids().find_matching_paths(
            root,
            subjects=[name.removeprefix("sub-") for name in subjects] or None,
            tasks=task,
            suffixes=list(kinds),
            datatypes=list(kinds),
            extensions=list(_ENDINGS),
        )
    # a recording in parts is opened by its first one
    found = [path for path in paths if (path.split or "1").lstrip("0") == "1"]
    if not found:
        what = " ".join(filter(None, [", ".join(subjects), task, " or ".join(kinds)]))
        raise UserError(
            f"{root}: no recording of {what} in it ({', '.join(_ENDINGS)}); check --subject and --task"
        )
    tasks = sorted({str(path.task) for path in found})
    if len(tasks) > 1:
        raise UserError(f"{root}: has the tasks {shorten(tasks)}; name one (--task)")
    return sorted(
        found, key=lambda path: [_numbered(text or "") for text in (path.subject, path.session, path.run)]
    )


def _numbered(label: str) -> list[tuple[int, str]]:
    """Key that puts labels in the order of the numbers in them: run 10 comes after run 2."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", label) if part]


def _read(survey: Survey, path: Any, columns: EventColumns, units: str | None) -> Part:
    mne_bids = _mne_bids()
    with _quiet():
        events = path.find_matching_sidecar(suffix="events", extension=".tsv", on_error="ignore")
    if events is None:
        raise UserError(f"{path.fpath}: has no events.tsv beside it; which stimuli were shown is not known")
    table = survey.table(events, ["onset", *columns.all])
    if table is None:
        survey.refuse()
    # not from trigger channels, of which there may be several: the table says what was shown
    recording = read_recording(path.fpath, units=units, marker_channel=ANNOTATIONS)
    try:
        with _quiet():
            said = mne_bids.read_raw_bids(path, verbose="error").info
    except Exception as error:  # whatever its sidecars lead mne-bids to
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(f"{path.fpath}: its sidecars cannot be read ({reason}); mend them") from error

    rows = table.rows[~table.rows[columns.stimulus].str.strip().isin(_NOTHING)]
    onsets_s = pd.to_numeric(rows["onset"], errors="coerce").to_numpy(np.float64)
    stimuli = [_stimulus(row, columns) for _, row in rows.iterrows()]
    markers = onset_markers(recording, onsets_s, [one.stimulus_id for one in stimuli])
    n_lost = table.n_broken + table.ends_within_row + len(rows) - len(markers)
    recording = replace(
        recording,
        channels=channels_as_said(recording.channels, said),
        markers=markers,
        subject=path.subject,
        session=path.session or "",
        run=path.run or "",
    )
    part = Part([recording], stimuli, [*_signal_files(path.fpath), events])
    if n_lost:
        part.remarks.append(f"{events.name}: {n_lost} damaged rows or events outside the signal are left out")
    return part


def _signal_files(path: Path) -> tuple[Path, ...]:
    """Files that tell whether a recording has changed."""
    return tuple(ctf_file(path, ending) for ending in ("res4", "meg4")) if path.suffix == ".ds" else (path,)


def _stimulus(row: pd.Series[str], columns: EventColumns) -> Stimulus:
    said = row[columns.stimulus].strip().replace("\\", "/")
    is_picture = PurePosixPath(said).suffix.lower() in _PICTURES
    image = row[columns.image].strip().replace("\\", "/") if columns.image else said if is_picture else ""
    return Stimulus(
        stimulus_id=PurePosixPath(said).stem if is_picture else said,
        image="" if image in _NOTHING else image,
        concept_id=_cell(row, columns.concept),
        split=_SIDES.get(_cell(row, columns.split).casefold(), ""),
    )


def _cell(row: pd.Series[str], column: str | None) -> str:
    text = row[column].strip() if column else ""
    return "" if text in _NOTHING else text


@contextmanager
def _quiet() -> Iterator[None]:
    """Let mne-bids warn nobody: what matters of it is an error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
