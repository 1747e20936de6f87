"""Ends commands that run until someone ends them."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)]


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Have Ctrl-C, and the system's request to end, call ``stop``; a second one ends the process at once.

    ``KeyboardInterrupt`` would not do: where it strikes inside a destructor or a weak reference's callback,
    Python drops it.

    Parameters
    ----------
    stop
        Called once, on a thread of its own.
    """
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's affair
        yield
        return

    def on_signal(*_: object) -> None:
        for number in _SIGNALS:  # should something hang
            signal.signal(number, signal.SIG_DFL)
        # Not here: a handler may interrupt the main thread while it holds the very lock that it needs.
        threading.Thread(target=stop).start()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
