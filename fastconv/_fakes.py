"""Shapes, layouts and errors of the operators without their data: for compile, export and meta.

Sizes and their errors are _sizes.py's, layouts _layout.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv import _ops
from fastconv._autograd_max_pool2d import pool_is_channels_last
from fastconv._inductor import called_as_it_is
from fastconv._layout import conv2d_is_channels_last
from fastconv._sizes import check, conv2d_output_size, max_pool2d_output_size


def _empty(like: Tensor, size: Sequence[int], channels_last: bool, **options: Any) -> Tensor:
    if not channels_last:
        return like.new_empty(size, **options)
    batched = size if len(size) == 4 else [1, *size]
    rows = batched[3] * batched[1]
    strides = (batched[2] * rows, 1, rows, batched[1])
    return like.new_empty_strided(size, strides[-len(size) :], **options)


def _require_same_dtype(a: Tensor, a_name: str, b: Tensor, b_name: str) -> None:
    check(
        a.dtype == b.dtype,
        lambda: f"{a_name} type ({a.dtype}) and {b_name} type ({b.dtype}) should be the same",
    )


def _require_same_device(first: Tensor, *others: Tensor | None) -> None:
    strangers = [t.device for t in others if t is not None and t.device != first.device]
    check(
        not strangers,
        lambda: (
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{first.device} and {strangers[0]}!"
        ),
    )


@_ops.register_fake("conv2d")
@called_as_it_is(_ops.conv2d)
def conv2d_without_data(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    algorithm: str = "",
) -> Tensor:
    _require_same_device(input, weight, bias)
    _require_same_dtype(input, "Input", weight, "weight")
    size = conv2d_output_size(input.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        _require_same_dtype(input, "Input", bias, "bias")
        check(
            bias.dim() == 1 and bias.shape[0] == weight.shape[0],
            lambda: (
                f"Given weight of size {list(weight.shape)}, expected bias to be "
                f"1-dimensional with {weight.shape[0]} elements, but got bias of size "
                f"{list(bias.shape)} instead"
            ),
        )
    empty_batch = input.dim() == 4 and input.shape[0] == 0
    channels_last = not empty_batch and conv2d_is_channels_last(input, weight)
    return _empty(input, size, channels_last)


@_ops.register_fake("conv2d_packed")
def _conv2d_packed(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    packed: Tensor,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Tensor:
    return conv2d_without_data(input, weight, bias, stride, padding, dilation, groups)


def _check_grad_output(grad_output: Tensor, expected: list[int]) -> None:
    check(
        list(grad_output.shape) == expected,
        lambda: (
            f"Expected grad_output of size {expected}, but got grad_output of size "
            f"{list(grad_output.shape)}"
        ),
    )


@_ops.register_fake("conv2d_grad_input")
def _conv2d_grad_input(
    grad_output: Tensor,
    weight: Tensor,
    input_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Tensor:
    _require_same_device(grad_output, weight)
    _require_same_dtype(grad_output, "grad_output", weight, "weight")
    expected = conv2d_output_size(input_size, weight.shape, stride, padding, dilation, groups)
    _check_grad_output(grad_output, expected)
    return _empty(grad_output, input_size, channels_last)


@_ops.register_fake("conv2d_grad_weight")
def _conv2d_grad_weight(
    grad_output: Tensor,
    input: Tensor,
    weight_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Tensor:
    _require_same_device(grad_output, input)
    _require_same_dtype(grad_output, "grad_output", input, "input")
    expected = conv2d_output_size(input.shape, weight_size, stride, padding, dilation, groups)
    _check_grad_output(grad_output, expected)
    return _empty(grad_output, weight_size, channels_last)


@_ops.register_fake("conv2d_grad_bias")
def _conv2d_grad_bias(grad_output: Tensor) -> Tensor:
    check(
        grad_output.dim() in (3, 4),
        lambda: (
            "Expected 3D (unbatched) or 4D (batched) grad_output, but got size "
            f"{list(grad_output.shape)}"
        ),
    )
    return grad_output.new_empty(grad_output.shape[-3])


@_ops.register_fake("max_pool2d")
@called_as_it_is(_ops.max_pool2d)
def max_pool2d_without_data(
    input: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    algorithm: str = "",
) -> Tensor:
    size = max_pool2d_output_size(input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    return _empty(input, size, pool_is_channels_last(input))


@_ops.register_fake("max_pool2d_with_indices")
@called_as_it_is(_ops.max_pool2d_with_indices)
def max_pool2d_with_indices_without_data(
    input: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    algorithm: str = "",
) -> tuple[Tensor, Tensor]:
    size = max_pool2d_output_size(input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    channels_last = pool_is_channels_last(input)
    return (
        _empty(input, size, channels_last),
        _empty(input, size, channels_last, dtype=torch.int64),
    )


@_ops.register_fake("max_pool2d_backward")
def _max_pool2d_backward(
    grad_output: Tensor,
    indices: Tensor,
    input_size: Any,
    channels_last: bool = False,
    algorithm: str = "",
    window: Any = (),
) -> Tensor:
    _require_same_device(grad_output, indices)
    check(
        indices.dtype == torch.int64,
        lambda: f"Expected indices of dtype int64, but got {indices.dtype}",
    )
    check(
        grad_output.shape == indices.shape,
        lambda: (
            "Expected grad_output and indices of the same size, but got "
            f"{list(grad_output.shape)} and {list(indices.shape)}"
        ),
    )
    check(
        list(grad_output.shape[:-2]) == list(input_size[:-2]),
        lambda: (
            f"Expected grad_output with the batch and channels of the input "
            f"{list(input_size)}, but got grad_output of size {list(grad_output.shape)}"
        ),
    )
    return _empty(grad_output, input_size, channels_last and len(input_size) == 4)
