"""The growing end of a file: what is appended gets there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from rtdecode.output import cannot_write

if TYPE_CHECKING:
    from pathlib import Path


class Tail:
    """A file that only grows and whose end is always whole.

    ``pending`` is what :meth:`write` appends, with ``n_pending`` entries in it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise cannot_write(path, error) from error
        self._good = 0
        self.pending = bytearray()
        self.n_pending = 0

    def add(self, entry: bytes) -> None:
        """Let an entry be pending."""
        self.pending += entry
        self.n_pending += 1

    def clear(self) -> None:
        """Let nothing be pending."""
        self.pending = bytearray()  # an error in hand may still hold a view of the old one
        self.n_pending = 0

    def write(self) -> None:
        """Append what is pending, all of it or nothing.

        Raises
        ------
        OSError
            If the disk does not take it; it stays pending.
        """
        written = 0
        try:
            self._file.seek(self._good)
            with memoryview(self.pending) as pending:
                while written < len(pending):
                    written += self._file.write(pending[written:]) or 0
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self._good)
            raise
        self._good += written
        self.clear()

    def sync(self) -> None:
        """Wait until what was written is on the disk itself."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
