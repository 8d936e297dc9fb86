"""Small float64 problems for the tests of derivatives, which evaluate them hundreds of times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from _problems import Conv, normal, operands
from torch import Tensor

CONVS = {
    "plain": Conv("plain", (2, 3, 4, 5), 2, kernel=2),
    "stride": Conv("stride", (1, 2, 6, 5), 2, kernel=(3, 2), stride=(2, 3)),
    "padding": Conv("padding", (2, 2, 3, 4), 3, padding=(1, 2)),
    "dilation": Conv("dilation", (1, 2, 6, 7), 2, kernel=2, dilation=(2, 3)),
    "everything": Conv("everything", (2, 4, 6, 5), 4, 3, (2, 1), (1, 2), (1, 2), groups=2),
    "groups": Conv("groups", (2, 4, 4, 3), 6, kernel=2, groups=2),
    "depthwise": Conv("depthwise", (2, 3, 4, 5), 3, padding=1, groups=3),
    "same": Conv("same", (1, 2, 4, 5), 2, kernel=(2, 4), padding="same"),
    "same dilated": Conv("same dilated", (1, 2, 5, 4), 2, kernel=2, padding="same", dilation=3),
    "valid": Conv("valid", (1, 2, 4, 4), 2, padding="valid"),
    "unbatched": Conv("unbatched", (2, 4, 5), 3, padding=1),
    "without bias": Conv("without bias", (2, 2, 4, 4), 3, kernel=2, bias=False),
    "pointwise": Conv("pointwise", (2, 3, 2, 3), 4, kernel=1),
    "skipped row": Conv("skipped row", (1, 2, 6, 5), 2, kernel=2, stride=3),
}

POOLS: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "ceil": {"kernel_size": 2, "stride": 3, "ceil_mode": True},
    "dilated": {"kernel_size": 2, "stride": 1, "dilation": (2, 3)},
}


def leaves(conv: Conv) -> tuple[Tensor, ...]:
    """Input, weight and, where there is one, bias."""
    x = operands(conv, normal)
    tensors = [x.input, x.weight] + ([] if x.bias is None else [x.bias])
    return tuple(t.requires_grad_() for t in tensors)


def function_of_leaves(conv2d: Callable[..., Tensor], conv: Conv) -> Callable[..., Tensor]:
    def call(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return conv2d(input, weight, bias, **conv.kwargs)

    return call


def distinct_values(*shape: int) -> Tensor:
    """A maximum must not change hands while a derivative is taken by finite differences."""
    count = torch.Size(shape).numel()
    return torch.randperm(count).reshape(shape).double() / 10
