"""Whose turn it is to work in an interpreter that lets one thread work at a time."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Turn:
    """A lock that threads get in the order in which they ask, but whoever has an answer to give at once.

    The interpreter would share itself out, too. But NumPy and ZeroMQ let go of it at each call, and to get it
    back where 16 threads want it takes longer than the call: most of the time went into handing it around. A
    thread that takes a chunk or gives an answer holds this meanwhile; the others then do not even ask.
    ``threading.Lock`` would do but for its order: whoever comes at the right moment gets it, and one stream
    in 16 waits for tens of milliseconds.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Lock] = deque()

    @property
    def is_awaited(self) -> bool:
        """Whether anyone waits for it."""
        return bool(self._waiting)

    @contextmanager
    def taken(self, *, first: bool = False) -> Iterator[None]:
        """Wait for one's turn and keep it until the end.

        Parameters
        ----------
        first
            Go before all that wait already.
        """
        with self._guard:
            mine = None
            if self._is_taken:
                mine = threading.Lock()
                mine.acquire()
                if first:
                    self._waiting.appendleft(mine)
                else:
                    self._waiting.append(mine)
            self._is_taken = True
        if mine is not None:
            mine.acquire()  # until the one before hands it over
        try:
            yield
        finally:
            with self._guard:
                if self._waiting:
                    self._waiting.popleft().release()
                else:
                    self._is_taken = False
