"""What a process uses, as the system counts it."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path
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
        process = _psutil().Process(pid)
        # A virtual environment of Windows starts Python through a process that does nothing itself.
        cpu_s, rss = 0.0, 0
        for one in (process, *process.children(recursive=True)):
            times = one.cpu_times()
            cpu_s += times.user + times.system
            rss += one.memory_info().rss
        return cls(cpu_s, rss / 2**20)


def peak_rss_mb() -> float:
    """Most memory of this process that has been resident at a time so far, MiB.

    Raises
    ------
    UserError
        If the system can only be asked through psutil, and it is not installed.
    """
    if sys.platform == "win32":
        return float(_psutil().Process().memory_info().peak_wset) / 2**20
    elif sys.platform == "linux":  # noqa: RET505 (each branch is checked on its own system only)
        # What getrusage tells is at least what the process had that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    else:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def free_memory_mb() -> float:
    """Memory that may be used before others lose theirs, MiB.

    Raises
    ------
    UserError
        If psutil is not installed.
    """
    return float(_psutil().virtual_memory().available) / 2**20


def machine() -> dict[str, Any]:
    """Processor, cores, memory and system of this machine."""
    psutil = _psutil()
    return {
        "processor": processor(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(),
    }


def _psutil() -> Any:
    try:
        import psutil
    except ImportError:
        raise UserError("the benchmarks need psutil: install rtdecode with the extra `bench`") from None
    return psutil
