"""What the CUDA driver offers, asked without torch, whose import takes seconds."""

import ctypes
import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class CudaDriver:
    """The installed driver.

    Attributes:
        cuda: the latest major version of CUDA that it supports.
        devices: names of the devices, as `CUDA_VISIBLE_DEVICES` leaves them.
    """

    cuda: int
    devices: tuple[str, ...]


def cuda_driver() -> CudaDriver | None:
    """The driver, or None if there is none or it finds no device."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return None
    version, count = ctypes.c_int(), ctypes.c_int()
    failed = (
        driver.cuInit(0)
        or driver.cuDriverGetVersion(ctypes.byref(version))
        or driver.cuDeviceGetCount(ctypes.byref(count))
    )
    if failed or count.value == 0:
        return None
    return CudaDriver(version.value // 1000, tuple(_name(driver, i) for i in range(count.value)))


def _name(driver: ctypes.CDLL, index: int) -> str:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(device), index)
    driver.cuDeviceGetName(name, len(name), device)
    return name.value.decode(errors="replace")
