"""Calls that may take the process down with them, each in a process of its own."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from typing import Any

ADDRESS_SPACE = 32 << 30  # a size that was believed instead of checked fails here, not the machine
SECONDS = 60


def _describe(result: Any) -> str:
    shapes = [tuple(t.shape) for t in (result if isinstance(result, tuple) else (result,))]
    return f"returned {shapes}"


def outcome(call: Callable[[], Any]) -> str:
    """`returned [shapes]`, `SomeError: its message`, or `killed by SIGSEGV`."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(SECONDS)
        try:
            text = _describe(call())
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        os.write(write_end, text.encode()[:4000])
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return text
