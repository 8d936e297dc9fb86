"""Which algorithms this process may run, for tests that are repeated for each."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

import fastconv

Result = TypeVar("Result")


def _run_something(algorithm: fastconv.Algorithm) -> None:
    dtype = algorithm.dtypes[0]
    x = torch.ones(1, 1, 3, 3, dtype=dtype, requires_grad=True)
    if algorithm.op == "conv2d":
        fastconv.conv2d(x, torch.ones(1, 1, 1, 1, dtype=dtype, requires_grad=True)).sum().backward()
    else:
        fastconv.max_pool2d(x, 1).sum().backward()


@functools.cache
def is_usable(algorithm: fastconv.Algorithm) -> bool:
    """False where the processor, or FASTCONV_MAX_ISA, does not allow its instruction set."""
    try:
        with fastconv.use_algorithm(algorithm.name):
            _run_something(algorithm)
    except RuntimeError as error:
        return "this process may use" not in str(error)
    return True


def attempt(algorithm: fastconv.Algorithm, call: Callable[[], Result]) -> Result | None:
    """What `call` gives by this algorithm; None where it answers that this is not its problem."""
    try:
        with fastconv.use_algorithm(algorithm.name):
            return call()
    except RuntimeError as error:
        if f"the requested algorithm {algorithm.name} cannot do this problem" not in str(error):
            raise
        return None


def admitting_precision(algorithm: fastconv.Algorithm) -> str:
    """The strictest fp32_precision under which the algorithm takes float32 at all."""
    products = {"bf16x1": "bf16", "bf16x3": "tf32"}
    return products.get(algorithm.name.rpartition("_")[2], "none")


def taps_of(algorithm: fastconv.Algorithm) -> int:
    """Of a side of a window that it takes; not all take other sizes."""
    return 5 if "5x5" in algorithm.name else 3


def usable_algorithms(op: str, direction: str | None = None) -> list[fastconv.Algorithm]:
    return [
        a
        for a in fastconv.algorithms()
        if a.device == "cpu" and a.op == op and direction in (None, a.direction) and is_usable(a)
    ]


@contextlib.contextmanager
def fp32_precision(setting: str) -> Iterator[None]:
    """torch's switch for float32 convolutions on the CPU, and back."""
    switch: Any = torch.backends.mkldnn.conv
    before = switch.fp32_precision
    switch.fp32_precision = setting
    try:
        yield
    finally:
        switch.fp32_precision = before
