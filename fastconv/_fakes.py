"""Shapes, layouts and errors of the operators without their data: for compile, export and meta.

Each mirrors the validator of its family (csrc/validate.cpp) and the layout rules of _layout.py, on
symbolic sizes too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastconv import _ops
from fastconv._autograd_max_pool2d import pool_is_channels_last
from fastconv._layout import conv2d_is_channels_last

# torch._check has no types.
_check: Any = torch._check


def _pair(values: Sequence[int], refusal: str) -> tuple[int, int]:
    _check(len(values) in (1, 2), lambda: refusal)
    return values[0], values[-1]


def _conv2d_pair(values: Sequence[int], name: str) -> tuple[int, int]:
    return _pair(
        values,
        f"expected {name} to be a single integer value or a list of 2 values to match the "
        f"convolution dimensions, but got {name}={list(values)}",
    )


def _conv2d_padding(padding: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)"""
    if len(padding) == 4:
        top, bottom, left, right = padding
        return top, bottom, left, right
    rows, columns = _conv2d_pair(padding, "padding")
    return rows, rows, columns, columns


def conv2d_output_size(
    input: Sequence[int],
    weight: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> list[int]:
    """The output size of conv2d for these sizes, or torch's error against them."""
    _check(
        len(input) in (3, 4),
        lambda: (
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: "
            f"{list(input)}"
        ),
    )
    _check(
        len(weight) == 4,
        lambda: (
            f"Expected {len(weight)}-dimensional input for {len(weight)}-dimensional weight "
            f"{list(weight)}, but got {len(input)}-dimensional input of size {list(input)} instead"
        ),
    )
    stride_h, stride_w = _conv2d_pair(stride, "stride")
    top, bottom, left, right = _conv2d_padding(padding)
    dilation_h, dilation_w = _conv2d_pair(dilation, "dilation")
    _check(groups > 0, lambda: "non-positive groups is not supported")
    _check(min(top, bottom, left, right) >= 0, lambda: "negative padding is not supported")
    _check(stride_h > 0 and stride_w > 0, lambda: "non-positive stride is not supported")
    _check(
        dilation_h > 0 and dilation_w > 0,
        lambda: f"dilation should be greater than zero, but got {list(dilation)}",
    )
    *batch, channels, height, width = input
    out_channels, group_channels, kernel_h, kernel_w = weight
    _check(
        out_channels >= groups and out_channels % groups == 0,
        lambda: (
            f"Given groups={groups}, expected weight to be at least {groups} and divisible by "
            f"{groups} at dimension 0, but got weight of size {list(weight)} instead"
        ),
    )
    _check(
        channels == group_channels * groups,
        lambda: (
            f"Given groups={groups}, weight of size {list(weight)}, expected input"
            f"{list(input)} to have {group_channels * groups} channels, but got {channels} "
            "channels instead"
        ),
    )
    _check(
        kernel_h > 0 and kernel_w > 0,
        lambda: (
            f"kernel size should be greater than zero, but got kernel size [{kernel_h}, {kernel_w}]"
        ),
    )
    padded_h, padded_w = height + top + bottom, width + left + right
    window_h, window_w = dilation_h * (kernel_h - 1) + 1, dilation_w * (kernel_w - 1) + 1
    _check(
        padded_h >= window_h and padded_w >= window_w,
        lambda: (
            f"Calculated padded input size per channel: ({padded_h} x {padded_w}). "
            f"Kernel size: ({window_h} x {window_w}). "
            "Kernel size can't be greater than actual input size"
        ),
    )
    rows = (padded_h - window_h) // stride_h + 1
    columns = (padded_w - window_w) // stride_w + 1
    return [*batch, out_channels, rows, columns]


def _empty(like: Tensor, size: Sequence[int], channels_last: bool, **options: Any) -> Tensor:
    if not channels_last:
        return like.new_empty(size, **options)
    batched = size if len(size) == 4 else [1, *size]
    rows = batched[3] * batched[1]
    strides = (batched[2] * rows, 1, rows, batched[1])
    return like.new_empty_strided(size, strides[-len(size) :], **options)


def _require_same_dtype(a: Tensor, a_name: str, b: Tensor, b_name: str) -> None:
    _check(
        a.dtype == b.dtype,
        lambda: f"{a_name} type ({a.dtype}) and {b_name} type ({b.dtype}) should be the same",
    )


@_ops.register_fake("conv2d")
def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    algorithm: str = "",
) -> Tensor:
    _require_same_dtype(input, "Input", weight, "weight")
    size = conv2d_output_size(input.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None:
        _require_same_dtype(input, "Input", bias, "bias")
        _check(
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


def _check_grad_output(grad_output: Tensor, expected: list[int]) -> None:
    _check(
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
    _require_same_dtype(grad_output, "grad_output", input, "input")
    expected = conv2d_output_size(input.shape, weight_size, stride, padding, dilation, groups)
    _check_grad_output(grad_output, expected)
    return _empty(grad_output, weight_size, channels_last)


@_ops.register_fake("conv2d_grad_bias")
def _conv2d_grad_bias(grad_output: Tensor) -> Tensor:
    _check(
        grad_output.dim() in (3, 4),
        lambda: (
            "Expected 3D (unbatched) or 4D (batched) grad_output, but got size "
            f"{list(grad_output.shape)}"
        ),
    )
    return grad_output.new_empty(grad_output.shape[-3])


def _pooled_extent(
    extent: int, kernel: int, stride: int, pad: int, dilation: int, ceil_mode: bool
) -> int:
    slack = extent + 2 * pad - dilation * (kernel - 1) - 1
    if not ceil_mode:
        return slack // stride + 1
    count = (slack + stride - 1) // stride + 1
    # A last window may hang over the end, but must not start in the padding behind it.
    return count - 1 if (count - 1) * stride >= extent + pad else count


def max_pool2d_output_size(
    input: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> list[int]:
    """The output size of max_pool2d for these sizes, or torch's error against them."""
    either = "must either be a single int, or a tuple of two ints"
    kernel = _pair(kernel_size, f"max_pool2d: kernel_size {either}")
    step = (
        _pair(
            stride,
            "max_pool2d: stride must either be omitted, a single int, or a tuple of two ints",
        )
        if stride
        else kernel
    )
    pad = _pair(padding, f"max_pool2d: padding {either}")
    spacing = _pair(
        dilation, "max_pool2d: dilation must be either a single int, or a tuple of two ints"
    )
    _check(
        len(input) in (3, 4), lambda: "non-empty 3D or 4D (batch mode) tensor expected for input"
    )
    for name, pair in (("kernel size", kernel), ("stride", step), ("dilation", spacing)):
        _check(
            pair[0] > 0 and pair[1] > 0,
            lambda name=name, pair=pair: f"{name} should be greater than zero, but got {pair}",
        )
    for axis in (0, 1):
        _check(pad[axis] >= 0, lambda: f"pad must be non-negative, but got pad: {pad[0]}, {pad[1]}")
        _check(
            2 * pad[axis] <= kernel[axis],
            lambda: (
                f"pad should be at most half of effective kernel size, but got pad={pad} and "
                f"kernel_size={kernel}"
            ),
        )
    *lead, height, width = input
    _check(
        all(extent != 0 for extent in input[-3:]),
        lambda: (
            "Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got:{list(input)}"
        ),
    )
    rows = _pooled_extent(height, kernel[0], step[0], pad[0], spacing[0], ceil_mode)
    columns = _pooled_extent(width, kernel[1], step[1], pad[1], spacing[1], ceil_mode)
    _check(
        rows >= 1 and columns >= 1,
        lambda: (
            f"Given input size: ({lead[-1]}x{height}x{width}). Calculated output size: "
            f"({lead[-1]}x{rows}x{columns}). Output size is too small"
        ),
    )
    return [*lead, rows, columns]


@_ops.register_fake("max_pool2d")
def _max_pool2d(
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
def _max_pool2d_with_indices(
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
) -> Tensor:
    _check(
        indices.dtype == torch.int64,
        lambda: f"Expected indices of dtype int64, but got {indices.dtype}",
    )
    _check(
        grad_output.shape == indices.shape,
        lambda: (
            "Expected grad_output and indices of the same size, but got "
            f"{list(grad_output.shape)} and {list(indices.shape)}"
        ),
    )
    _check(
        list(grad_output.shape[:-2]) == list(input_size[:-2]),
        lambda: (
            f"Expected grad_output with the batch and channels of the input "
            f"{list(input_size)}, but got grad_output of size {list(grad_output.shape)}"
        ),
    )
    return _empty(grad_output, input_size, channels_last and len(input_size) == 4)
