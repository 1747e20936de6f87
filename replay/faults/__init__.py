"""Faults on demand: what goes wrong in a lab, the same each time for one seed. Pure; no LSL, no clock.

As text a fault is ``KIND`` or ``KIND:key=value,...``, for example ``gap:at=2,for=0.5``. ``at`` and ``for``
are seconds after the first sample was due; without them a fault is there from the beginning, to the end. What
each kind does is told by its class, and what the service makes of it in ``docs/faults.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from replay.faults.connection import (
    ChangedUnit,
    Disconnect,
    MarkerDisconnect,
    Missing,
    NewRate,
    Rename,
    Reorder,
)
from replay.faults.fault import Draws, Fault
from replay.faults.markers import (
    MarkerDuplicate,
    MarkerEarly,
    MarkerEqual,
    MarkerLate,
    MarkerMissing,
    MarkerOrder,
)
from replay.faults.samples import Drop, Flat, Gap, Nan, OutOfRange, Railed
from replay.faults.timing import Bursts, ClockReset, Drift, EqualStamps, Jitter, Jump, Rate, Stall
from rtdecode.errors import UserError, validation_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KINDS", "Draws", "Fault", "burst_size", "parse_fault"]

KINDS: dict[str, type[Fault]] = {
    fault.kind: fault
    for fault in (
        Drop,
        Gap,
        Stall,
        Jitter,
        Bursts,
        Drift,
        ClockReset,
        Jump,
        EqualStamps,
        Rate,
        Disconnect,
        Reorder,
        Missing,
        Rename,
        ChangedUnit,
        NewRate,
        Nan,
        Flat,
        Railed,
        OutOfRange,
        MarkerDuplicate,
        MarkerMissing,
        MarkerLate,
        MarkerEarly,
        MarkerOrder,
        MarkerEqual,
        MarkerDisconnect,
    )
}
"""All kinds of faults by their names in text."""


def burst_size(faults: Sequence[Fault]) -> int | None:
    """Number of samples that leave together, where a fault decides that; the last one that does."""
    sizes = [fault.chunk_size for fault in faults if fault.chunk_size is not None]
    return sizes[-1] if sizes else None


def parse_fault(text: str) -> Fault:
    """Read a fault from its text.

    Raises
    ------
    UserError
        If there is no such kind, or it has no such key, or a value makes no sense; says what there is.
    """
    name, _, rest = text.partition(":")
    kind = KINDS.get(name.strip())
    if kind is None:
        raise UserError(f"fault {text!r}: there is no kind {name.strip()!r}; there are {', '.join(KINDS)}")
    keys = [field.alias or key for key, field in kind.model_fields.items()]
    given: dict[str, str] = {}
    for pair in filter(None, rest.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key in given:
            raise UserError(f"fault {text!r}: write each of its keys once, as key=value: {', '.join(keys)}")
        given[key] = value
    try:
        return kind.model_validate(given, by_name=False)
    except ValidationError as error:
        raise UserError(
            f"fault {text!r}: {validation_line(error)}; {kind.kind} takes {', '.join(keys)}"
        ) from error
