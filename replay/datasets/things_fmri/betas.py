"""The released table of betas: voxels by trials in HDF5, and what trials and voxels are in CSV."""

from __future__ import annotations

import csv
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from replay.datasets.betas import TrialBlocks, betas_recording
from replay.datasets.hdf5 import open_hdf5
from replay.datasets.pandas_hdf5 import frame_blocks
from replay.datasets.report import Count, Kind
from replay.datasets.survey import separator
from replay.datasets.things_fmri.about import CATCH, session_name, stimulus
from replay.datasets.things_fmri.trials import count_trials, tell_both, tell_odd_images
from replay.recordings.nifti import read_mask, voxel_channels
from rtdecode.errors import CutShortError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.datasets.dataset import About, Stimulus
    from replay.datasets.hdf5 import Hdf5
    from replay.datasets.survey import Survey
    from replay.datasets.things_fmri.about import Expected
    from replay.recordings import Recording

_OPENNEURO = "derivatives/ICA-betas/sub-{subject}/voxel-metadata/sub-{subject}_task-things"
FILES = (
    (
        "betas_csv/sub-{subject}_ResponseData.h5",
        "betas_csv/sub-{subject}_StimulusMetadata.csv",
        "betas_csv/sub-{subject}_VoxelMetadata.csv",
    ),
    (
        f"{_OPENNEURO}_voxel-wise-responses.h5",
        f"{_OPENNEURO}_stimulus-metadata.tsv",
        f"{_OPENNEURO}_voxel-metadata.tsv",
    ),
)
"""Betas, trials and voxels, as figshare and as OpenNeuro name the same files."""

_NEEDED = ("trial_type", "session", "run", "trial_id", "stimulus", "concept")
_PLACE = ("voxel_x", "voxel_y", "voxel_z")
VISUAL = (
    *("V1", "V2", "V3", "hV4", "VO1", "VO2", "LO1 (prf)", "LO2 (prf)", "TO1", "TO2", "V3b", "V3a"),
    *("lEBA", "rEBA", "lFFA", "rFFA", "lOFA", "rOFA", "lSTS", "rSTS", "lPPA", "rPPA", "lRSC", "rRSC"),
    *("lTOS", "rTOS", "lLOC", "rLOC", "IT"),
)
"""Columns of regions that were found with runs of their own: retinotopy and localizers."""

_LARGEST_TABLE = 1 << 30
_ROWS_AT_ONCE = 4096


class BetasSubject:
    """Betas of one subject.

    Parameters
    ----------
    survey
        Reads the copy, and keeps what is wrong.
    about, expected
        What was published.
    subject
        Label.
    """

    def __init__(self, survey: Survey, about: About, expected: Expected, subject: str) -> None:
        self.survey = survey
        self.about = about
        self.expected = expected
        self.subject = subject
        places = [[survey.root / name.format(subject=subject) for name in names] for names in FILES]
        there = [paths for paths in places if any(path.exists() for path in paths)]
        self.responses, self.trials, self.voxels = (there or places)[0]

    @property
    def files(self) -> tuple[Path, ...]:
        """All three."""
        return self.responses, self.trials, self.voxels

    def look(self) -> tuple[dict[str, Count], Count]:
        """Count what the tables say, and the betas that are there."""
        rows = self._trials()
        n_missing = self._n_missing(0 if rows is None else len(rows))
        due = self.about.n_train + self.about.n_test
        counts: dict[str, Count] = {}
        if rows is not None:
            is_test = rows["trial_type"] == "test"
            counts = count_trials(self.about, self.expected, rows["image"], is_test, n_missing)
            tell_both(self.survey, self.trials, rows["image"], is_test)
            if wrong := [
                f"{one.found:,} {name} for {one.expected:,}" for name, one in counts.items() if not one.fits
            ]:
                kind = Kind.TRUNCATED if len(rows) < due else Kind.ODD
                self.survey.tell(self.trials, kind, "; ".join(wrong))
            due = counts["train trials"].expected + counts["test trials"].expected
            self.survey.tell(self.trials, Kind.KNOWN, CATCH.text, CATCH.rule)
        wanted = [] if rows is None else rows["trial_id"].tolist()
        there = self.survey.attempt(self.responses, lambda: _shape(self.responses, wanted))
        n_voxels = self.survey.attempt(self.voxels, lambda: _count_voxels(self.voxels))
        if there is not None and n_voxels not in (None, there[0]):
            text = f"{n_voxels:,} voxels, where the betas have {there[0]:,}"
            self.survey.tell(self.voxels, Kind.ODD, text)
        if self.subject in self.expected.voxels:
            published = self.expected.voxels[self.subject]
            counts["voxels"] = Count(found=None if there is None else there[0], expected=published)
            if not counts["voxels"].fits and there is not None:
                self.survey.tell(self.responses, Kind.ODD, f"{there[0]:,} voxels, not {published:,}")
        return counts, Count(found=0 if there is None else there[1], expected=due)

    def recordings(self, mask: Path | None) -> Iterator[tuple[Recording, list[Stimulus]]]:
        """Open the sessions, with their stimuli.

        Parameters
        ----------
        mask
            Image on the grid of the table's indices whose voxels above zero are taken; None: the regions of
            :data:`VISUAL`.

        Raises
        ------
        UserError
            If a file is missing or damaged, or no voxel is left.
        """
        rows = self._trials()
        if rows is None:
            self.survey.refuse()
        voxels = _read_voxels(self.voxels)
        n_voxels, _ = _shape(self.responses, rows["trial_id"].tolist())
        if n_voxels != len(voxels):
            raise UserError(
                f"{self.voxels}: {len(voxels):,} voxels, where the betas have {n_voxels:,}; "
                f"{self.survey.again}"
            )
        stored = _voxel_ids(self.responses)
        if stored is not None and not np.array_equal(stored, voxels["voxel_id"]):
            raise UserError(f"{self.responses}: its voxels are others than in its table; get both again")
        chosen = np.flatnonzero(_in_mask(voxels, mask) if mask is not None else voxels["visual"])
        if not len(chosen):
            raise UserError(f"{mask or self.voxels}: no voxel is left; name another mask (--mask)")
        channels = voxel_channels(voxels[list(_PLACE)].to_numpy(np.int64)[chosen])
        blocks = TrialBlocks()
        for session, of_session in rows.groupby("session", sort=True):
            stimuli = [
                stimulus(image, kind)
                for image, kind in zip(of_session["image"], of_session["trial_type"], strict=True)
            ]
            read = _reader(self.responses, of_session["trial_id"].tolist(), chosen)
            recording = betas_recording(
                f"sub-{self.subject}_ses-{session_name(session)}_betas",
                channels=channels,
                labels=[one.stimulus_id for one in stimuli],
                interval_s=self.about.onset_step_s,
                reader=blocks.reader(read, len(stimuli), len(channels)),
                subject=self.subject,
                session=session_name(session),
            )
            yield recording, stimuli

    def _trials(self) -> pd.DataFrame | None:
        """Trials in the order in which they were shown; None, and told, where they cannot be read."""
        table = self.survey.table(self.trials, _NEEDED)
        if table is None:
            return None
        if table.ends_within_row:
            self.survey.tell(self.trials, Kind.TRUNCATED, f"{len(table.rows):,} rows, and one in part")
        rows = table.rows
        rows = rows.assign(image=rows["concept"] + "/" + rows["stimulus"])
        numbers = rows[["session", "run", "trial_id"]].apply(pd.to_numeric, errors="coerce")
        is_right = (
            tell_odd_images(self.survey, self.trials, rows["image"])
            & rows["trial_type"].isin(["train", "test"])
            & numbers.notna().all(axis=1)
        )
        if strange := int((~is_right).sum()):
            self.survey.tell(
                self.trials, Kind.ODD, f"no trial in {strange:,} of {len(rows):,} rows", "they are not read"
            )
        rows = rows[is_right].assign(
            session=numbers["session"], run=numbers["run"], number=numbers["trial_id"]
        )
        return rows.sort_values(["session", "run", "number"], kind="stable").astype({"session": int})

    def _n_missing(self, n_trials: int) -> int:
        """Runs that were published missing: whether of these the betas have trials is told by how many."""
        mine = sum(subject == self.subject for subject, *_ in self.expected.missing_runs)
        n_runs = self.about.n_sessions[0] * self.expected.n_runs
        n_all = self.about.n_train + self.about.n_test
        return mine if n_trials == n_all - mine * (n_all // n_runs) else 0


def _find(file: Hdf5, columns: list[str]) -> tuple[Any, NDArray[np.int64]]:
    """Dataset that holds all of these columns, and their places in it."""
    for block in frame_blocks(file, columns):
        places = {name: place for place, name in enumerate(block.columns)}
        if columns and all(name in places for name in columns):
            return block.numbers, np.array([places[name] for name in columns])
    raise UserError(
        f"{file.path}: has no numbers of trials {', '.join(columns[:3])} …; get it again, with the tables "
        "beside it"
    )


def _shape(path: Path, trials: list[str]) -> tuple[int, int]:
    """Voxels and trials of a file of betas, of which nothing is read.

    Raises
    ------
    UserError
        If one of these trials is missing from it.
    """
    with open_hdf5(path) as file:
        numbers, places = _find(file, trials)
        return int(numbers.shape[0]), len(places)


def _voxel_ids(path: Path) -> NDArray[np.int64] | None:
    """Numbers of the voxels of a file of betas; None where it does not tell them."""
    with open_hdf5(path) as file:
        for block in frame_blocks(file, ["voxel_id"]):
            return np.asarray(block.numbers[:, block.columns.index("voxel_id")], dtype=np.int64)
    return None


def _reader(
    path: Path, trials: list[str], rows: NDArray[np.int64]
) -> Callable[[int, int], NDArray[np.float32]]:
    """Reader of trials; the file is open only meanwhile. ``rows`` are the voxels, in order."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    stretches = [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, breaks)]

    def read(start: int, stop: int) -> NDArray[np.float32]:
        out = np.empty((stop - start, len(rows)), dtype=np.float32)
        with open_hdf5(path) as file:
            values, places = _find(file, trials[start:stop])
            first, last = int(places.min()), int(places.max()) + 1
            at = 0
            for begin, end in stretches:
                for row in range(begin, end, _ROWS_AT_ONCE):
                    part = values[row : min(row + _ROWS_AT_ONCE, end), first:last]
                    out[:, at : at + len(part)] = part[:, places - first].T
                    at += len(part)
        return out

    return read


def _header(path: Path) -> tuple[list[str], str]:
    """Columns of the table of voxels, and what separates them."""
    with path.open(encoding="utf-8", newline="") as file:
        line = file.readline(1 << 16)
    header = next(csv.reader([line], delimiter=separator(line)), [])
    if missing := [name for name in ("voxel_id", *_PLACE) if name not in header]:
        raise UserError(f"{path}: has no column {', '.join(missing)}; get it again")
    return header, separator(line)


def _count_voxels(path: Path) -> int:
    """Rows of the table of voxels, by its line ends."""
    try:
        _header(path)
        with path.open("rb") as file:
            n_lines, last = 0, b""
            for part in iter(partial(file.read, 1 << 20), b""):
                n_lines += part.count(b"\n")
                last = part[-1:]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no table of text ({error}); get it again") from error
    if last != b"\n":
        raise CutShortError(f"{path}: ends within row {n_lines:,}; get it again")
    return n_lines - 1


def _read_voxels(path: Path) -> pd.DataFrame:
    """Table of voxels: their numbers, indices, and whether they are in a visual region."""
    try:
        if path.stat().st_size > _LARGEST_TABLE:
            raise UserError(f"{path}: is too large for such a table; get it again")
        _count_voxels(path)  # refuses one that was cut off, which pandas reads
        header, between = _header(path)
        regions = [name for name in VISUAL if name in header]
        table = pd.read_csv(path, sep=between, usecols=["voxel_id", *_PLACE, *regions])
        numbers = table[["voxel_id", *_PLACE]].astype(np.int64)
        visual = (table[regions].astype(np.float64) > 0).any(axis=1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: is not there; it says which voxel is which") from error
    except (OSError, ValueError, TypeError, OverflowError, csv.Error) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".;")
        raise UserError(f"{path}: cannot be read as a table of voxels ({reason}); get it again") from error
    return numbers.assign(visual=visual)


def _in_mask(voxels: pd.DataFrame, path: Path) -> NDArray[np.bool_]:
    inside = read_mask(path).inside
    places = voxels[list(_PLACE)].to_numpy()
    if (places < 0).any() or (places >= inside.shape).any():
        raise UserError(f"{path}: has shape {inside.shape}, and voxels lie outside it; resample it")
    found: NDArray[np.bool_] = inside[tuple(places.T)]
    return found
