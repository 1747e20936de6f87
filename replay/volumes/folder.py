"""Files that appear in a folder, once they are whole. No threads, no clock of its own."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replay.volumes.volume_file import UnfinishedError, is_volume, read_volume
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replay.volumes.volume_file import Volume

PATIENCE_S = 10.0
"""How long a file may stay as it is without being whole."""


@dataclass(frozen=True, eq=False, slots=True)
class Arrival:
    """A volume, and when its file was first seen, seconds of the clock of :meth:`Folder.look`."""

    volume: Volume
    seen: float


@dataclass(slots=True)
class _File:
    """``state`` is what tells whether it has changed: its size and time of modification."""

    state: tuple[int, int]
    seen: float
    changed: float
    is_done: bool = False


class Folder:
    """Looks for new volumes in a folder and the folders in it.

    A file is read once it has not changed from one look to the next, and again after each change until it is
    whole. One that does not become whole is told of and passed over, until it changes. What lies there at the
    beginning is passed over, too: nobody knows when it came.

    Parameters
    ----------
    path
        The folder; it may appear later.
    tell
        Takes a line on each file that is passed over; of what is the same for a whole series, one line.
    patience_s
        How long a file may stay as it is without being whole.
    """

    def __init__(self, path: Path, tell: Callable[[str], None], *, patience_s: float = PATIENCE_S) -> None:
        self._path = path
        self._tell = tell
        self._patience_s = patience_s
        self._told: set[str] = set()
        self._files = {file: _File(state, 0.0, 0.0, is_done=True) for file, state in self._list().items()}

    def look(self, now: float) -> Iterator[Arrival]:
        """Volumes that have become whole since the last look, by their paths."""
        listed = self._list()
        for gone in self._files.keys() - listed.keys():
            del self._files[gone]
        for path, state in sorted(listed.items()):
            file = self._files.get(path)
            if file is None or (file.is_done and file.state != state):
                self._files[path] = _File(state, now, now)
            elif file.state != state:
                file.state, file.changed = state, now
            elif not file.is_done and (volume := self._read(path, file, now)) is not None:
                yield Arrival(volume, file.seen)

    def _read(self, path: Path, file: _File, now: float) -> Volume | None:
        try:
            volume = read_volume(path)
            if _state(path) != file.state:  # written to meanwhile: the next look sees it
                return None
        except (UnfinishedError, OSError) as error:
            if now - file.changed >= self._patience_s:
                file.is_done = True
                self._tell(f"{path} did not become whole in {self._patience_s:g} s ({error}): left out")
            return None
        except UserError as error:
            file.is_done = True
            self.tell_once(str(error))
            return None
        file.is_done = True
        return volume

    def tell_once(self, line: str) -> None:
        """Tell a line that was not told before."""
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def _list(self) -> dict[Path, tuple[int, int]]:
        found = {}
        for folder, _, names in os.walk(self._path):
            for path in map(Path(folder).joinpath, names):
                if is_volume(path):
                    with suppress(OSError):  # gone again
                        found[path] = _state(path)
        return found


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns
