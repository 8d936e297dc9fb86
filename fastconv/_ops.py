"""Loads the compiled library and names its operators.

Importing this module is what makes ``torch.ops.fastconv`` exist.
"""

from __future__ import annotations

import importlib.util
from typing import Any

try:
    from fastconv import _C
except ImportError as error:
    if importlib.util.find_spec("fastconv._C") is None:
        raise ImportError(
            "fastconv is not built: run `pip install --no-build-isolation -e .` in its repository."
        ) from error
    raise ImportError(
        "fastconv's compiled library does not load with this torch (2.10 or newer is needed): "
        "rebuild it with `pip install --no-build-isolation -e .` in its repository."
    ) from error

import torch

__all__ = [
    "_C",
    "conv2d",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "library",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_with_indices",
]

# Overloads, not packets: a packet resolves its overload again at every call, about 1 us.
conv2d: Any = torch.ops.fastconv.conv2d.default
conv2d_grad_input: Any = torch.ops.fastconv.conv2d_grad_input.default
conv2d_grad_weight: Any = torch.ops.fastconv.conv2d_grad_weight.default
conv2d_grad_bias: Any = torch.ops.fastconv.conv2d_grad_bias.default
max_pool2d: Any = torch.ops.fastconv.max_pool2d.default
max_pool2d_with_indices: Any = torch.ops.fastconv.max_pool2d_with_indices.default
max_pool2d_backward: Any = torch.ops.fastconv.max_pool2d_backward.default

# Registrations from Python hang on this object and end with it.
library = torch.library.Library("fastconv", "FRAGMENT")
