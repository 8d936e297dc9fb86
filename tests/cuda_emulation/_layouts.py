"""Tensors of small integers, in the memory layouts that a kernel may meet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LAYOUTS = ("nchw", "nhwc", "gaps")


def memory(shape: Sequence[int], layout: str, dtype: torch.dtype, fill: float = 0.0) -> Tensor:
    """A 4-D tensor of that layout, gaps included, filled with one value."""
    n, c, h, w = shape
    if layout == "nchw":
        return torch.full((n, c, h, w), fill, dtype=dtype)
    if layout == "nhwc":
        return torch.full((n, h, w, c), fill, dtype=dtype).permute(0, 3, 1, 2)
    # Columns outermost, every second row and all but the first two channels of a larger tensor.
    wide = torch.full((w, n, c + 2, 2 * h), fill, dtype=dtype)
    return wide[:, :, 2:, ::2].permute(1, 2, 3, 0)


def integers(shape: Sequence[int], layout: str, dtype: torch.dtype, most: int = 3) -> Tensor:
    tensor = memory(shape, layout, dtype)
    return tensor.copy_(torch.randint(-most, most + 1, tuple(shape)))


def normal(shape: Sequence[int], layout: str, dtype: torch.dtype) -> Tensor:
    return memory(shape, layout, dtype).copy_(torch.randn(tuple(shape)))


SENTINEL = 77.0


def result(shape: Sequence[int], layout: str, dtype: torch.dtype) -> Tensor:
    return memory(shape, layout, dtype, SENTINEL)


def gaps_untouched(tensor: Tensor) -> bool:
    """Is everything in the tensor's storage that is no element of it still SENTINEL?"""
    storage = tensor.untyped_storage()
    flat = torch.empty(0, dtype=tensor.dtype).set_(storage)
    owned = torch.zeros(len(flat), dtype=torch.bool)
    owned.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).fill_(True)
    return math.prod(tensor.shape) == int(owned.sum()) and bool((flat[~owned] == SENTINEL).all())
