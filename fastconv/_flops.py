"""What torch.utils.flop_counter counts for torch's convolutions, by torch's own formula.

That formula has its quirks: the weight gradient of a grouped convolution counts `groups` times what
it costs. A model counts the same before and after ``convert``, forward and backward; so does a
backward of the backward, but for groups, which torch then takes one by one, and skipped rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.flop_counter import conv_flop_count, register_flop_formula

Shape = Sequence[int]


def _batched(shape: Shape) -> list[int]:
    return [1, *shape] if len(shape) == 3 else list(shape)


def _transposed(shape: Shape) -> list[int]:
    batch, channels, *plane = _batched(shape)
    return [channels, batch, *plane]


@register_flop_formula([torch.ops.fastconv.conv2d, torch.ops.fastconv.conv2d_packed])
def _conv2d(input: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any) -> int:
    return conv_flop_count(_batched(input), list(weight), _batched(out_shape))


@register_flop_formula(torch.ops.fastconv.conv2d_grad_input)
def _conv2d_grad_input(
    grad_output: Shape, weight: Shape, *_: Any, out_shape: Shape, **__: Any
) -> int:
    return conv_flop_count(
        _batched(grad_output), list(weight), _batched(out_shape), transposed=True
    )


@register_flop_formula(torch.ops.fastconv.conv2d_grad_weight)
def _conv2d_grad_weight(
    grad_output: Shape, input: Shape, *_: Any, out_shape: Shape, **__: Any
) -> int:
    return conv_flop_count(_transposed(input), _transposed(grad_output), _transposed(out_shape))
