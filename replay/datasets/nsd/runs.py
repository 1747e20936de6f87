"""Volumes of func1pt8mm, and the tables that say at which of them an image came up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.nsd.about import REST
from replay.datasets.nsd.design import VOLUMES_A_TRIAL
from replay.datasets.nsd.subject import Found, SubjectFiles
from replay.datasets.report import Count, Kind
from replay.datasets.volume_files import VolumeFiles
from replay.recordings import Markers
from replay.recordings.nifti import check_nifti

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from replay.recordings import Recording
    from replay.recordings.nifti import Mask

RATE_HZ = 0.75
"""A volume each 4/3 s; headers have that rounded."""

_SAME_STEP_S = 1e-3


@dataclass(frozen=True, slots=True)
class _Run:
    """Session and place among its runs with images, both from 0; its name; its files."""

    session: int
    place: int
    name: str
    table: Path
    volumes: Path


class Runs(SubjectFiles):
    """Runs of one subject; those at rest are passed over."""

    parts = "runs"

    @property
    def n_parts(self) -> int:
        """Runs with images."""
        return self.n_sessions * self.design.n_runs

    @property
    def tables(self) -> Path:
        """Folder of the tables."""
        return self.folder("nsddata_timeseries") / "design"

    @property
    def volumes(self) -> Path:
        """Folder of the volumes."""
        return self.folder("nsddata_timeseries") / "timeseries"

    def look(self, grid: tuple[int, ...] | None) -> Found:  # noqa: ARG002 - shapes are compared on opening
        """Look at each table, and at the header of each file of volumes."""
        tables, volumes = self.survey.names(self.tables), self.survey.names(self.volumes)
        shown: list[NDArray[np.int64]] = []
        lengths: list[int] = []
        for session in range(self.n_sessions):
            runs = self._session(session, volumes)
            if self._any_there([run.table for run in runs], tables):
                right = [run for run in runs if self._onsets(run) is not None]
                shown += [self.design.run(self.subject, session, run.place) for run in right]
            if self._any_there([run.volumes for run in runs], volumes):
                lengths += [n for run in runs if (n := self._n_volumes(run.volumes)) is not None]
        if self.subject in REST.subjects:
            self.survey.tell(self.volumes, Kind.KNOWN, REST.text, REST.rule)
        return Found(
            shown=shown,
            counts={"runs": Count(found=len(lengths), expected=self.n_parts)},
            signal_s=sum(lengths) / RATE_HZ if lengths else None,
        )

    def recordings(self, mask: Mask) -> Iterator[tuple[Recording, tuple[Path, ...]]]:
        """Open the runs whose volumes are there; their tables must be too."""
        files = VolumeFiles(mask, RATE_HZ)
        names = self.survey.names(self.volumes)
        for session in range(self.n_sessions):
            for run in self._session(session, names):
                if run.volumes.name not in names:
                    continue
                samples = self._onsets(run)
                if samples is None:
                    self.survey.refuse()
                recording = files.recording(run.volumes)
                n = int(np.searchsorted(samples, recording.n_samples))
                images = self.design.run(self.subject, session, run.place)[:n]
                named = replace(
                    recording,
                    markers=Markers(samples[:n], [str(image) for image in images.tolist()]),
                    subject=self.subject,
                    session=f"{session + 1:02d}",
                    run=run.name,
                )
                yield named, (run.table, run.volumes)

    def _session(self, session: int, names: frozenset[str]) -> list[_Run]:
        """Runs of a session with images; ``names`` are in the folder of volumes."""
        stem = f"session{session + 1:02d}_run"
        first, last = self.expected.rest_sessions.get(self.subject, (1, 0))
        n_runs = self.design.n_runs
        rests = first <= session + 1 <= last or any(
            f"timeseries_{stem}{run:02d}.nii.gz" in names for run in (n_runs + 1, n_runs + 2)
        )
        return [
            _Run(
                session,
                place,
                name,
                self.tables / f"design_{stem}{name}.tsv",
                self.volumes / f"timeseries_{stem}{name}.nii.gz",
            )
            for place, name in enumerate(f"{place + 1 + rests:02d}" for place in range(n_runs))
        ]

    def _any_there(self, paths: Sequence[Path], names: frozenset[str]) -> bool:
        """Whether one of a session's files is there; told in one line where none is."""
        if any(path.name in names for path in paths):
            return True
        if names:  # else the folder is missing, which was told
            pattern = paths[0].with_name(f"{paths[0].name.rpartition('_run')[0]}_run*")
            self.survey.tell(pattern, Kind.MISSING, f"none of {len(paths)} runs is there")
        return False

    def _onsets(self, run: _Run) -> NDArray[np.int64] | None:
        """Volumes at which images came up; None, and told, where the table is not this run's.

        A table has a number a volume, the last volume excepted: 0, or an image that counts from 1.
        """
        text = self.survey.text(run.table)
        if text is None:
            return None
        try:
            cells = np.array([float(line.split("\t")[0]) for line in text.splitlines()])
        except ValueError:
            self.survey.tell(run.table, Kind.ODD, "holds other than numbers")
            return None
        samples = np.flatnonzero(cells)
        shown, due = cells[samples] - 1, self.design.run(self.subject, run.session, run.place)
        n_rows = self.design.n_volumes - 1
        if len(cells) not in (n_rows, n_rows + 1):
            kind = Kind.TRUNCATED if len(cells) < n_rows else Kind.ODD
            self.survey.tell(run.table, kind, f"{len(cells)} rows, not {n_rows}")
        elif len(shown) != len(due):
            self.survey.tell(run.table, Kind.ODD, f"{len(shown)} images, not {len(due)}")
        elif not np.array_equal(shown, due):
            base = ", which count from 0 here" if np.array_equal(shown + 1, due) else ""
            row = int(samples[np.argmax(shown != due)]) + 1
            self.survey.tell(
                run.table, Kind.ODD, f"other images than in nsd_expdesign.mat, from row {row} on{base}"
            )
        elif np.any(np.diff(samples) < VOLUMES_A_TRIAL):
            self.survey.tell(run.table, Kind.ODD, f"images less than {VOLUMES_A_TRIAL} volumes apart")
        else:
            return samples
        return None

    def _n_volumes(self, path: Path) -> int | None:
        """Volumes of a file, by its header; None, and told, where it is missing or damaged."""
        found = self.survey.attempt(path, lambda: check_nifti(path, 4))
        if found is None:
            return None
        n_volumes, step_s = found[0][3], found[1]
        if n_volumes != self.design.n_volumes:
            kind = Kind.TRUNCATED if n_volumes < self.design.n_volumes else Kind.ODD
            self.survey.tell(path, kind, f"{n_volumes} volumes, not {self.design.n_volumes}")
        if abs(step_s - 1 / RATE_HZ) > _SAME_STEP_S:  # NaN, where the header tells none, is not
            self.survey.tell(path, Kind.ODD, f"a volume each {step_s:g} s, not {1 / RATE_HZ:.3f} s")
        return n_volumes
