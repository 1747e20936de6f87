"""A ring buffer whose every window is one contiguous slice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


class LeftRingError(LookupError):
    """The rows asked for were overwritten by newer ones."""


class NotYetError(LookupError):
    """The rows asked for have not come yet."""


class Ring:
    """The newest rows of an endless table, addressed by their absolute index.

    Each row is written twice, ``capacity`` rows apart, so that any stretch of up to ``capacity`` rows lies in
    one piece somewhere: a window is a view, never a copy.

    One thread appends. Another may read: ``first`` moves on before rows are overwritten, and ``end`` after
    rows are written, so whoever finds ``first`` still at or before a view's start *after* having read it has
    read what had been there.

    Parameters
    ----------
    capacity
        Number of rows held.
    n_channels
        Number of columns.
    dtype
        Type of the numbers.
    """

    def __init__(self, capacity: int, n_channels: int, dtype: npt.DTypeLike = np.float32) -> None:
        if capacity < 1:
            raise ValueError(f"a ring holds at least one row, not {capacity}")
        self.capacity = capacity
        both: npt.NDArray[Any] = np.empty((2, capacity, n_channels), dtype)
        self._both = both
        self._rows = both.reshape(2 * capacity, n_channels)
        self._first = 0
        self._end = 0

    @property
    def first(self) -> int:
        """Absolute index of the oldest row held."""
        return self._first

    @property
    def end(self) -> int:
        """One past the absolute index of the newest row."""
        return self._end

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows; the oldest ones make room.

        Parameters
        ----------
        rows : array of shape (n, n_channels)
            Any number of rows, also more than the capacity: then only the newest are kept.
        """
        end = self._end + len(rows)
        self._first = max(self._first, end - self.capacity)
        kept = rows[-self.capacity :]
        at = (end - len(kept)) % self.capacity
        until_wrap = self.capacity - at
        self._both[:, at : at + len(kept)] = kept[:until_wrap]
        if len(kept) > until_wrap:
            self._both[:, : len(kept) - until_wrap] = kept[until_wrap:]
        self._end = end

    def view(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Rows ``start`` to ``stop - 1`` without a copy.

        Returns
        -------
        array of shape (stop - start, n_channels)
            Contiguous and read-only; overwritten once ``first`` passes ``start``.

        Raises
        ------
        NotYetError
            Row ``stop - 1`` has not come yet.
        LeftRingError
            Row ``start`` is no longer held.
        """
        if stop > self._end:
            raise NotYetError(f"rows up to {stop} asked for, {self._end} have come")
        if start < self._first:
            raise LeftRingError(f"rows from {start} asked for, the oldest held is {self._first}")
        at = start % self.capacity
        window = self._rows[at : at + (stop - start)]
        window.flags.writeable = False
        return window
