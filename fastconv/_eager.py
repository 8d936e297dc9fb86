"""The usual call, by way of C++: as fast as Python lets anything be called.

Tensors of torch's own class, plain integers, and nothing that wants to see the call. Everything
else is answered with None, and is functional.py's. What Dynamo traces may not come here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.overrides import has_torch_function_variadic

from fastconv import _cuda_loader, _ops
from fastconv._algorithms import requested_algorithms
from fastconv._autograd_function import OBSTACLES, WATCHERS
from fastconv._autograd_max_pool2d import EagerMaxPool2dFunction
from fastconv._ops import _C

__all__ = ["DTYPES", "conv2d", "max_pool2d", "max_pool2d_with_indices"]

DTYPES = frozenset({torch.float32, torch.float64, torch.bfloat16, torch.float16})

_surroundings: _C.Surroundings = {
    "tensor": torch.Tensor,
    "parameter": torch.nn.Parameter,
    "dtypes": DTYPES,
    "forward_ad": forward_ad,
    "has_torch_function": has_torch_function_variadic,
    "profiler": torch.autograd.profiler,
    "watchers": WATCHERS,
    "obstacles": (*OBSTACLES, requested_algorithms),
}

for _library in (_C, _cuda_loader.library):
    if _library is not None:
        _library.watch_backward(_surroundings)

conv2d: Callable[..., Any] = _C.eager_conv2d(
    _surroundings, _ops.conv2d_eager, _ops.conv2d_kept_eager, _ops.conv2d_recorded_eager
)
"""(input, weight, bias, stride, padding, dilation, groups, kept) -> output or None. ``kept`` is
None or what :attr:`PackedWeights.recent` has for the module's own calls."""

max_pool2d: Callable[..., Any] = _C.eager_max_pool2d(
    _surroundings, _ops.max_pool2d_eager, EagerMaxPool2dFunction.apply, False
)
"""(input, kernel_size, stride, padding, dilation, ceil_mode) -> output or None."""

max_pool2d_with_indices: Callable[..., Any] = _C.eager_max_pool2d(
    _surroundings, _ops.max_pool2d_with_indices_eager, EagerMaxPool2dFunction.apply, True
)
"""The same -> (output, indices) or None."""
