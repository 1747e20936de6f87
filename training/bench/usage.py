"""What a process uses, as the system counts it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Self

from rtdecode.errors import UserError
from rtdecode.machine import processor


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor time and memory of a process and those that it started, so far.

    Parameters
    ----------
    cpu_s
        Seconds of one core.
    rss_mb
        Resident memory, MiB.
    """

    cpu_s: float
    rss_mb: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Ask the system.

        Raises
        ------
        UserError
            If psutil is not installed.
        """
        try:
            import psutil
        except ImportError:
            raise UserError("the benchmarks need psutil: install rtdecode with the extra `bench`") from None
        process = psutil.Process(pid)
        # A virtual environment of Windows starts Python through a process that does nothing itself.
        cpu_s, rss = 0.0, 0
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            cpu_s += times.user + times.system
            rss += one.memory_info().rss
        return cls(cpu_s, rss / 2**20)


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system of this machine."""
    import psutil

    return {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
    }
