"""Output sizes of the operators, or torch's error where there is none.

The Python twin of the validators in csrc/validate.cpp, on symbolic sizes too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch


def check(condition: Any, message: Callable[..., str]) -> None:
    """torch._check for what only it can decide: its first call imports sympy, 36 MB in 0.4 s."""
    if condition is not True:
        torch._check(condition, message)  # type: ignore[no-untyped-call]


def _pair(values: Sequence[int], refusal: str) -> tuple[int, int]:
    check(len(values) in (1, 2), lambda: refusal)
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
    check(
        len(input) in (3, 4),
        lambda: (
            f"Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: "
            f"{list(input)}"
        ),
    )
    check(
        len(weight) == 4,
        lambda: (
            f"Expected {len(weight)}-dimensional input for {len(weight)}-dimensional weight "
            f"{list(weight)}, but got {len(input)}-dimensional input of size {list(input)} instead"
        ),
    )
    stride_h, stride_w = _conv2d_pair(stride, "stride")
    top, bottom, left, right = _conv2d_padding(padding)
    dilation_h, dilation_w = _conv2d_pair(dilation, "dilation")
    check(groups > 0, lambda: "non-positive groups is not supported")
    check(min(top, bottom, left, right) >= 0, lambda: "negative padding is not supported")
    check(stride_h > 0 and stride_w > 0, lambda: "non-positive stride is not supported")
    check(
        dilation_h > 0 and dilation_w > 0,
        lambda: f"dilation should be greater than zero, but got {list(dilation)}",
    )
    *batch, channels, height, width = input
    out_channels, group_channels, kernel_h, kernel_w = weight
    check(
        out_channels >= groups and out_channels % groups == 0,
        lambda: (
            f"Given groups={groups}, expected weight to be at least {groups} and divisible by "
            f"{groups} at dimension 0, but got weight of size {list(weight)} instead"
        ),
    )
    check(
        channels == group_channels * groups,
        lambda: (
            f"Given groups={groups}, weight of size {list(weight)}, expected input"
            f"{list(input)} to have {group_channels * groups} channels, but got {channels} "
            "channels instead"
        ),
    )
    check(
        kernel_h > 0 and kernel_w > 0,
        lambda: (
            f"kernel size should be greater than zero, but got kernel size [{kernel_h}, {kernel_w}]"
        ),
    )
    padded_h, padded_w = height + top + bottom, width + left + right
    window_h, window_w = dilation_h * (kernel_h - 1) + 1, dilation_w * (kernel_w - 1) + 1
    check(
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
    check(len(input) in (3, 4), lambda: "non-empty 3D or 4D (batch mode) tensor expected for input")
    for name, pair in (("kernel size", kernel), ("stride", step), ("dilation", spacing)):
        check(
            pair[0] > 0 and pair[1] > 0,
            lambda name=name, pair=pair: f"{name} should be greater than zero, but got {pair}",
        )
    for axis in (0, 1):
        check(pad[axis] >= 0, lambda: f"pad must be non-negative, but got pad: {pad[0]}, {pad[1]}")
        check(
            2 * pad[axis] <= kernel[axis],
            lambda: (
                f"pad should be at most half of effective kernel size, but got pad={pad} and "
                f"kernel_size={kernel}"
            ),
        )
    *lead, height, width = input
    check(
        all(extent != 0 for extent in input[-3:]),
        lambda: (
            "Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got:{list(input)}"
        ),
    )
    rows = _pooled_extent(height, kernel[0], step[0], pad[0], spacing[0], ceil_mode)
    columns = _pooled_extent(width, kernel[1], step[1], pad[1], spacing[1], ceil_mode)
    check(
        rows >= 1 and columns >= 1,
        lambda: (
            f"Given input size: ({lead[-1]}x{height}x{width}). Calculated output size: "
            f"({lead[-1]}x{rows}x{columns}). Output size is too small"
        ),
    )
    return [*lead, rows, columns]
