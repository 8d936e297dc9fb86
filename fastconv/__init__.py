"""conv2d and max_pool2d for PyTorch, computed by hand-written kernels.

model = fastconv.convert(model)  # every Conv2d and MaxPool2d, parameters kept
with fastconv.patch(): ...  # the functions that a forward calls by itself
"""

from __future__ import annotations

from fastconv import (  # noqa: F401
    _autocast,
    _autograd_conv2d,
    _autograd_max_pool2d,
    _fakes,
    _vmap,
    functional,
    nn,
)
from fastconv._algorithms import Algorithm, algorithms, use_algorithm
from fastconv._convert import convert, report, revert
from fastconv._patch import patch
from fastconv.functional import conv2d, max_pool2d

__all__ = [
    "Algorithm",
    "algorithms",
    "conv2d",
    "convert",
    "functional",
    "max_pool2d",
    "nn",
    "patch",
    "report",
    "revert",
    "use_algorithm",
]
