"""What the channel labels and units in a file's header mean."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rtdecode.errors import UserError
from rtdecode.sources.metadata import parse_unit

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rtdecode.contracts import Unit


def stated_unit(units: str | None) -> tuple[Unit, float] | None:
    """SI unit and factor that the caller states for channels whose file does not say.

    Raises
    ------
    UserError
        If the text is no unit.
    """
    if units is None:
        return None
    if (parsed := parse_unit(units)) is None:
        raise UserError(f"unit {units!r} is not understood; write one such as 'V', 'uV', 'fT', 'T/m' or '1'")
    return parsed


def unknown_unit(path: Path, channel: str, text: str) -> UserError:
    """Error for a channel whose unit the file does not tell."""
    says = f"has unit {text!r}, which is not understood" if text else "has no unit"
    return UserError(f"{path}: channel {channel!r} {says}; state what it is (units, --units), e.g. uV")


def cannot_open(path: Path, error: OSError) -> UserError:
    """Error for a file that the system does not let us read."""
    return UserError(f"{path}: cannot be read ({error.strerror or error}); check the file's permissions")


def unique_names(names: Iterable[str]) -> list[str]:
    """Channel names, with ``-0``, ``-1`` … at the end of those that appear more than once."""
    names = list(names)
    total, seen = Counter(names), Counter[str]()
    unique = []
    for name in names:
        unique.append(f"{name}-{seen[name]}" if total[name] > 1 else name)
        seen[name] += 1
    return unique
