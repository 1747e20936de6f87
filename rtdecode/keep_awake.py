"""Keeps the processor awake between two samples, so that it need not wake up for each."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DEVICE = Path("/dev/cpu_dma_latency")
_NO_LATENCY = struct.pack("=i", 0)  # microseconds


@contextmanager
def kept_awake() -> Iterator[None]:
    """Keep all cores out of the states from which they wake late; for Linux.

    A core that sleeps between two chunks takes tens of microseconds to wake, finds its caches cold, and an
    answer wakes one about seven times on its way. It costs power: idle cores run at full speed.

    Raises
    ------
    UserError
        If this system has no such thing, or this user may not.

    References
    ----------
    Linux kernel documentation, PM Quality Of Service Interface: the request holds as long as the device is
    open.
    """
    try:
        device = _DEVICE.open("r+b", buffering=0)  # never makes a file of that name
    except FileNotFoundError:
        raise UserError(
            f"this system has no {_DEVICE}: leave out keep_awake, and choose a power plan for speed"
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot keep the processor awake ({error.strerror}): let this user write {_DEVICE}, or leave "
            "out keep_awake"
        ) from error
    with device:
        device.write(_NO_LATENCY)
        yield
