"""Which onnxruntime execution providers this machine can really use."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import onnxruntime


@cache
def cuda_device_count() -> int:
    """Number of CUDA devices that the driver sees; 0 without a driver.

    Asked of the driver itself: onnxruntime lists the CUDA provider wherever its wheel holds it, and asking
    for it on a machine without a device prints a loud error.
    """
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def usable_providers() -> list[str]:
    """Execution providers to ask for, best first: CUDA if a device is there, always the CPU."""
    providers = ["CPUExecutionProvider"]
    if cuda_device_count() and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        # Finds the CUDA and cuDNN libraries that torch's packages bring, where they are installed.
        onnxruntime.preload_dlls()
        providers.insert(0, "CUDAExecutionProvider")
    return providers
