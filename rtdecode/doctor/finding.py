"""What one check found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class State(StrEnum):
    """How bad a finding is; only a problem makes the doctor fail."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Parameters
    ----------
    subject
        What was looked at, in a word or two.
    state
        How it is.
    text
        What was found.
    advice
        What to do about it; empty if nothing.
    data
        The same in numbers, for ``--json``.
    """

    subject: str
    state: State
    text: str
    advice: str = ""
    data: dict[str, Any] = field(default_factory=dict)
