"""conv2d and max_pool2d for PyTorch, computed by hand-written kernels.

``fastconv.convert(model)`` swaps every Conv2d and MaxPool2d of a model, parameters kept;
``with fastconv.patch():`` also catches what a forward calls by itself. ``fastconv.functional`` and
``fastconv.nn`` mirror torch's modules of these names.
"""

from __future__ import annotations

from fastconv import (  # noqa: F401
    _autocast,
    _autograd_conv2d,
    _autograd_max_pool2d,
    _cuda_loader,
    _decompositions,
    _fakes,
    _flops,
    _vmap,
    functional,
    nn,
)
from fastconv._algorithms import Algorithm, algorithms, use_algorithm
from fastconv._convert import convert, report, revert
from fastconv._explain import explain
from fastconv._freeze import freeze, unfreeze
from fastconv._patch import patch
from fastconv._version import __version__
from fastconv.functional import conv2d, max_pool2d

__all__ = [
    "Algorithm",
    "__version__",
    "algorithms",
    "conv2d",
    "convert",
    "explain",
    "freeze",
    "functional",
    "max_pool2d",
    "nn",
    "patch",
    "report",
    "revert",
    "unfreeze",
    "use_algorithm",
]
