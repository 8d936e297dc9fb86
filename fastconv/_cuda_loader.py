"""Loads the CUDA kernels of ``torch.ops.fastconv`` where they were built and torch has CUDA.

The library asks nothing of a machine without a GPU: it is left alone there, so that a wheel that
carries it works with a CPU-only torch. One that does not load is left out with a warning: the CPU
needs nothing of it. Where it is not loaded, the operators say so of CUDA tensors.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from typing import Any, NoReturn

import torch

from fastconv import _ops

__all__ = ["UNAVAILABLE", "library", "loaded", "state"]

_OPERATORS = (
    "conv2d",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_grad_bias",
    "max_pool2d",
    "max_pool2d_with_indices",
    "max_pool2d_backward",
    "_conv2d",
    "_conv2d_backward",
    "_max_pool2d",
    "_max_pool2d_with_indices",
    "_max_pool2d_backward",
)

_REBUILD = (
    "rebuild it where nvcc is, with `FORCE_CUDA=1 pip install --no-build-isolation .` in its "
    "repository"
)


def _load() -> tuple[Any, str]:
    """The library, or None and why it is missing, in a sentence that says what to do."""
    if torch.version.cuda is None or importlib.util.find_spec("fastconv._cuda") is None:
        return None, f"fastconv was built without its CUDA kernels: {_REBUILD}."
    try:
        return importlib.import_module("fastconv._cuda"), ""
    except ImportError as error:
        sentence = (
            "fastconv runs without its CUDA kernels, which do not load with this torch or were "
            f"built for another system: {_REBUILD} ({error})."
        )
        warnings.warn(sentence, RuntimeWarning, stacklevel=2)
        return None, sentence


def _unavailable(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(UNAVAILABLE)


library: Any
"""What the library says of its algorithms, or None."""
UNAVAILABLE: str
"""What the operators say of CUDA tensors where there is no library."""
library, UNAVAILABLE = _load()

loaded: bool = library is not None

if not loaded:
    for _name in _OPERATORS:
        _ops.register_kernel(_name, "CUDA")(_unavailable)


def state() -> str:
    """Whether there are CUDA kernels, and if not, what is missing; a phrase."""
    if loaded:
        return f"kernels loaded, torch's CUDA is {torch.version.cuda}"
    if importlib.util.find_spec("fastconv._cuda") is None:
        return "this build has no CUDA kernels"
    if torch.version.cuda is None:
        return "kernels built, but this torch has no CUDA"
    return "kernels built, but they do not load"
