"""The errors that a user can cause and mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError


class UserError(Exception):
    """Something the user can mend; its text is one line that says what to do.

    The command line prints the text alone and exits with code 2; ``--debug`` shows the traceback.
    """


class CutShortError(UserError):
    """A file ends before what it promises."""


class MismatchError(UserError):
    """Two things that must fit (stream and decoder, decoder and gallery) do not; the text says where."""


def validation_line(error: ValidationError) -> str:
    """One line for a pydantic error: each offending key as a dotted path, with what is wrong there."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in fault["loc"])
        message = "unknown key" if fault["type"] == "extra_forbidden" else fault["msg"]
        message = message.removeprefix("Value error, ")
        message = f"{message[0].lower()}{message[1:]}"
        faults.append(f"{key}: {message}" if key else message)
    return "; ".join(faults)


def shorten(names: Sequence[str], most: int = 8) -> str:
    """Names in a line for people: all, or the first ones and how many more there are."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
