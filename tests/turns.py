"""Threads that wait for their turn, in tests that need them to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtdecode.turn import Turn


def await_waiting(turn: Turn, n: int) -> None:
    """Until so many threads wait: nothing tells that one does."""
    pause = threading.Event()
    while len(turn._waiting) < n:
        pause.wait(0.001)
