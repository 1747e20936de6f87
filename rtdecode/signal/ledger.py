"""The books: what became of each marker, and how each request ended."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rtdecode.contracts import Accounts, Fate, Request, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping


class LedgerError(ValueError):
    """A request was opened twice, or answered without being open: a fault of the program, not of data."""


class Ledger:
    """Counts markers by fate and requests by verdict, and sees to it that each request ends exactly once.

    Only open requests are remembered, so a session may last as long as it likes.
    """

    def __init__(self) -> None:
        self._markers: Counter[Fate] = Counter()
        self._verdicts: Counter[Verdict] = Counter()
        self._open: set[Request] = set()

    @property
    def open_requests(self) -> frozenset[Request]:
        """Requests without a verdict so far."""
        return frozenset(self._open)

    def admit(self, fate: Fate) -> None:
        """Note what became of one marker."""
        self._markers[fate] += 1

    def open(self, request: Request) -> None:
        """Note a new request.

        Raises
        ------
        LedgerError
            It is open already.
        """
        if request in self._open:
            raise LedgerError(f"opened twice: {request!r}")
        self._open.add(request)

    def close(self, request: Request, verdict: Verdict) -> None:
        """Note how a request ended.

        Raises
        ------
        LedgerError
            It is not open: never opened, or answered before.
        """
        if request not in self._open:
            raise LedgerError(f"{verdict.value}, but never opened, or answered before: {request!r}")
        self._open.remove(request)
        self._verdicts[verdict] += 1

    def accounts(self) -> Accounts:
        """Both ledgers as they stand, with a zero for what has not occurred."""
        return Accounts(
            markers={fate: self._markers[fate] for fate in Fate},
            requests={verdict: self._verdicts[verdict] for verdict in Verdict},
            n_open=len(self._open),
        )


def counts_text(counts: Mapping[Fate, int] | Mapping[Verdict, int] | Mapping[str, int]) -> str:
    """Say what is not zero, for people, e.g. ``"2 emitted, 1 late"``."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none"
