"""Peak memory of one call, in a process of its own.

A process that has convolved before keeps freed memory, primitives and packed weights, so the same
call needs less there. Each measurement therefore has a fresh process, forked from one that has only
imported the libraries, and is the first call of its module: resident memory at its peak less
resident memory before it, output included, as the kernel counts them (VmHWM and VmRSS).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import re
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from fastconv._bench.compare import MEMORY_FORMATS, Layout, Side, twin
from fastconv._bench.passes import prepare
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import Subject, build

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_FORGET_PEAK = "5"


class ProcessDiedError(Exception):
    """A process ended without a figure."""


def can_measure() -> bool:
    return _STATUS.exists() and _CLEAR.exists()


def peak_memory(subject: Subject, setting: Setting, side: Side, layout: Layout) -> int:
    """Bytes that the first call adds to a process at its peak.

    Raises ProcessDiedError where there is not enough memory, mostly.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, subject, setting, side, layout))
    process.start()
    sender.close()
    try:
        return int(receiver.recv())
    except EOFError:
        raise ProcessDiedError(f"the process that measured {side}'s memory died") from None
    finally:
        process.join()
        receiver.close()


def _measure(
    sender: Connection, subject: Subject, setting: Setting, side: Side, layout: Layout
) -> None:
    with setting.in_force():
        module, input = build(subject, setting)
        own = input.clone(memory_format=MEMORY_FORMATS[layout])
        call = prepare(twin(module, side, layout, setting.frozen), own, setting.direction)
        _load_libraries(side, layout)
        _give_back_freed_memory()
        _CLEAR.write_text(_FORGET_PEAK, encoding="ascii")
        before = _resident("VmRSS")
        call()
        sender.send(_resident("VmHWM") - before)


def _load_libraries(side: Side, layout: Layout) -> None:
    """What a process pays once for all convolutions: modules imported, threads, code paged in."""
    module = twin(torch.nn.Conv2d(64, 64, 3, padding=1), side, layout, frozen=False)
    input = torch.randn(2, 64, 14, 14, requires_grad=True)
    module(input).sum().backward()
    with torch.no_grad():
        module(input)


def _give_back_freed_memory() -> None:
    """What the C library keeps of it would serve the call without showing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
    if trim is not None:
        trim(0)


def _resident(entry: str) -> int:
    found = re.search(rf"^{entry}:\s*(\d+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
