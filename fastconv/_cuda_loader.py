"""Loads the CUDA kernels of ``torch.ops.fastconv`` where they were built and torch has CUDA.

The library asks nothing of a machine without a GPU: it is left alone there, so that a wheel that
carries it works with a CPU-only torch.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch

from fastconv import _ops  # noqa: F401  the schemas that the library adds kernels to

__all__ = ["loaded", "state"]


def _load() -> bool:
    if torch.version.cuda is None or importlib.util.find_spec("fastconv._cuda") is None:
        return False
    importlib.import_module("fastconv._cuda")
    return True


loaded: bool = _load()


def state() -> str:
    """Whether there are CUDA kernels, and if not, what is missing; a phrase."""
    if loaded:
        return f"kernels loaded, torch's CUDA is {torch.version.cuda}"
    if importlib.util.find_spec("fastconv._cuda") is None:
        return "this build has no CUDA kernels"
    return "kernels built, but this torch has no CUDA"
