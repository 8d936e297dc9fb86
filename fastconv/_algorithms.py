"""The algorithms that the library has, and the choice of one by name."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from types import TracebackType

import torch

from fastconv import _cuda_loader
from fastconv._ops import _C

__all__ = ["Algorithm", "algorithms", "use_algorithm"]


@dataclass(frozen=True)
class Algorithm:
    """One way to compute one direction of one operator."""

    name: str
    """What :class:`use_algorithm` takes, unique among all algorithms."""
    op: str
    """``conv2d`` or ``max_pool2d``."""
    direction: str
    """``fprop``, ``dgrad``, ``wgrad`` of conv2d; ``forward``, ``backward`` of max_pool2d."""
    isa: str
    """The least instruction set it needs, ``scalar``, ``avx2``, ``avx512``, ``avx512_bf16`` or
    ``amx``; on a GPU its compute capability, as ``sm_80``."""
    dtypes: tuple[torch.dtype, ...]
    error: float
    """Stated bound of ||out - ref|| / ||ref|| in float32; 0 where the result is exact."""
    note: str
    """The method and its workspace, in a sentence."""
    device: str = "cpu"
    """Where it runs, ``cpu`` or ``cuda``."""


_ALGORITHMS = tuple(
    Algorithm(
        name=fact["name"],
        op=fact["op"],
        direction=fact["direction"],
        isa=fact["isa"],
        dtypes=tuple(getattr(torch, dtype) for dtype in fact["dtypes"]),
        error=fact["error"],
        note=fact["note"],
        device=device,
    )
    for device, library in (("cpu", _C), ("cuda", _cuda_loader.library))
    if library is not None
    for fact in library.algorithms()
)
_JOBS = {a.name: (a.device, a.op, a.direction) for a in _ALGORITHMS}


def algorithms() -> tuple[Algorithm, ...]:
    """Every algorithm, in the order in which the dispatcher asks them (best first).

    Those of CUDA come after the CPU's, where their library is loaded.
    """
    return _ALGORITHMS


def of_the_same_job(name: str) -> list[Algorithm]:
    """The algorithms for that one's device, operator and direction, itself among them."""
    return [a for a in _ALGORITHMS if _JOBS[a.name] == _JOBS[name]]


class _Requested(threading.local):
    # Set on the instance, not on the class: torch.compile guards on it only there.
    def __init__(self) -> None:
        self.names = ""


_requested = _Requested()


def requested_algorithms() -> str:
    """The names in force on this thread, comma-joined as the operators take them."""
    return _requested.names


def _with_name(names: str, name: str) -> str:
    """`names` and `name`, without those that `name` takes the place of."""
    if name not in _JOBS:
        raise ValueError(f"fastconv has no algorithm {name!r}. It has: {', '.join(_JOBS)}")
    others = [other for other in names.split(",") if other and _JOBS[other] != _JOBS[name]]
    return ",".join([*others, name])


class use_algorithm:
    """Context manager: within it, this thread computes one operator direction by that algorithm.

    It governs only the device, operator and direction that the algorithm implements, so that
    several can be in force at once; of two for the same direction the inner one wins. A forward
    pass hands what is in force to its backward pass, wherever that runs.

    Args:
        name: the :attr:`Algorithm.name` of one of :func:`algorithms`.

    Raises:
        ValueError: on entry, if there is no algorithm of that name.
        RuntimeError: at the call of an operator, if the algorithm cannot do that problem; the
            message says why.

    Example::

        with fastconv.use_algorithm("conv2d_fprop_reference"):
            y = fastconv.conv2d(x, weight)
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._outer: list[str] = []

    def __enter__(self) -> None:
        names = _with_name(_requested.names, self.name)
        self._outer.append(_requested.names)
        _requested.names = names

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _requested.names = self._outer.pop()
