"""What torch.utils.flop_counter counts: two per multiply-add, alike in all three directions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

Shape = Sequence[int]


def _flops(output: Shape, weight: Shape) -> int:
    batch = output[0] if len(output) == 4 else 1
    return 2 * batch * output[-2] * output[-1] * math.prod(weight)


@register_flop_formula(torch.ops.fastconv.conv2d)
def _conv2d(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _flops(out_shape, weight)


@register_flop_formula(torch.ops.fastconv.conv2d_grad_input)
def _conv2d_grad_input(grad_output: Shape, weight: Shape, *_: Any, **__: Any) -> int:
    return _flops(grad_output, weight)


@register_flop_formula(torch.ops.fastconv.conv2d_grad_weight)
def _conv2d_grad_weight(grad_output: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return _flops(grad_output, out_shape)
