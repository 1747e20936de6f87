"""What a person should look at now: each alarm is raised once, told on the bus and in the log, and ends."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from rtdecode.contracts import AlarmCode, AlarmMessage

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


class _Publish(Protocol):
    def __call__(self, message: AlarmMessage) -> None: ...


class Alarms:
    """The alarms of a service; any thread may raise and clear them.

    Parameters
    ----------
    publish
        Takes each message.
    simulated
        Whether what it is about is simulated.
    """

    def __init__(self, publish: _Publish, simulated: Callable[[], bool]) -> None:
        self._publish = publish
        self._simulated = simulated
        self._active: dict[tuple[AlarmCode, str], str] = {}
        self._lock = threading.Lock()

    def active(self) -> tuple[str, ...]:
        """Texts of the alarms that have been raised and not cleared."""
        with self._lock:
            return tuple(self._active.values())

    def counts(self) -> Counter[AlarmCode]:
        """How many alarms of each code are active."""
        with self._lock:
            return Counter(code for code, _ in self._active)

    def begin(self, code: AlarmCode, subject: str, text: str) -> None:
        """Raise an alarm; one that is active already keeps quiet, its text is brought up to date."""
        with self._lock:
            is_new = (code, subject) not in self._active
            self._active[code, subject] = text
        if is_new:
            _log.warning("%s", text)
            self._tell(code, subject, text, active=True)

    def end(self, code: AlarmCode, subject: str, text: str) -> None:
        """Clear an alarm, if it is active; ``text`` says what is right again."""
        with self._lock:
            was_active = self._active.pop((code, subject), None) is not None
        if was_active:
            _log.info("%s", text)
            self._tell(code, subject, text, active=False)

    def once(self, code: AlarmCode, subject: str, text: str) -> None:
        """Tell of something that happened at one moment."""
        _log.warning("%s", text)
        self._tell(code, subject, text, active=True)

    def _tell(self, code: AlarmCode, subject: str, text: str, *, active: bool) -> None:
        self._publish(
            AlarmMessage(simulated=self._simulated(), code=code, subject=subject, active=active, text=text)
        )
