"""What the figures were measured on: names, versions, caches, and the speed of a matrix product."""

from __future__ import annotations

import datetime
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from fastconv._bench.timing import clock
from fastconv._ops import _C

# Of a few shapes tried the one in which oneDNN's and MKL's float32 products were fastest.
_PEAK_SHAPE = (2304, 384, 1024)
_PEAK_SECONDS = 0.5
_L3 = Path("/sys/devices/system/cpu/cpu0/cache/index3/size")
_USUAL_L3 = 64 << 20


def cpu_name() -> str:
    """The processor's marketing name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def fastconv_version() -> str:
    try:
        return version("fastconv")
    except PackageNotFoundError:  # a source tree that is on the path, but not installed
        return "of a source tree"


def machine() -> str:
    """One line that says what the figures below it were measured on."""
    return (
        f"{cpu_name()}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}, fastconv {fastconv_version()}"
    )


def facts() -> dict[str, str]:
    """The same for a file, with what else a reader of it may ask."""
    isa = _C.isa()
    return {
        "cpu": cpu_name(),
        "cores": str(os.cpu_count()),
        "instruction set": f"{isa['used']} (this CPU has {isa['detected']})",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "fastconv": fastconv_version(),
        "compiler": str(_C.build_info()["compiler"]),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def measured_peak(dtype: torch.dtype) -> float:
    """Operations a second of torch.mm's best run, with the present number of threads.

    An addition and a multiplication count as two. A large matrix product is what keeps the vector
    units busiest.
    """
    rows, depth, columns = _PEAK_SHAPE
    left, right = torch.randn(rows, depth).to(dtype), torch.randn(depth, columns).to(dtype)
    now = clock()
    torch.mm(left, right)
    best, end = float("inf"), time.perf_counter() + _PEAK_SECONDS
    while best == float("inf") or time.perf_counter() < end:
        start = now()
        torch.mm(left, right)
        best = min(best, now() - start)
    return 2 * rows * depth * columns / best


def last_level_cache() -> int:
    """Bytes of the largest cache of the CPU."""
    try:
        text = _L3.read_text(encoding="ascii").strip()
        return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]
    except (OSError, ValueError, KeyError, IndexError):
        return _USUAL_L3


class CacheEviction:
    """Called before a sample, leaves none of its data in the caches: twice the last level is read
    and written, by all of torch's threads."""

    def __init__(self) -> None:
        self._buffer = torch.zeros(2 * last_level_cache() // 4)

    def __call__(self) -> None:
        self._buffer.add_(1.0)
