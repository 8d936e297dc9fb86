"""conv2d and max_pool2d with the signatures of :mod:`torch.nn.functional`.

What fastconv has no kernel for (integer and complex tensors, devices other than CPUs and CUDA GPUs,
sparse, nested and quantized ones) goes to torch's own function, and so does an argument that is not
what it should be: torch then refuses it in its own words, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.overrides import (
    handle_torch_function,
    has_torch_function_unary,
    has_torch_function_variadic,
)

from fastconv import _eager, _ops
from fastconv._algorithms import requested_algorithms as requested
from fastconv._autograd_function import (
    BelowAutograd,
    nothing_between,
    only_shows_packed_weights,
)
from fastconv._distributed import are_dtensors, conv2d_of_dtensors, max_pool2d_of_dtensors
from fastconv._packed import SMALLEST_KEPT, PackedWeights

__all__ = ["conv2d", "max_pool2d", "max_pool2d_with_indices"]

# A torch for ROCm calls its tensors CUDA's.
_HAS_KERNELS_FOR_GPU = torch.version.hip is None

# Untyped: what a caller passes is for torch itself to judge.
_torch: Any = torch.nn.functional

_INT64 = 2**63

Size2 = int | Sequence[int]


def _is_ours(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.dtype in _eager.DTYPES
        and (tensor.is_cpu or (tensor.is_cuda and _HAS_KERNELS_FOR_GPU) or tensor.is_meta)
        and tensor.layout is torch.strided
        and not tensor.is_nested
    )


# What find() and the operators raise where a weight cannot be kept.
_REFUSED = (RuntimeError, TypeError, OverflowError)


class _NotAnInt(Exception):
    pass


def _as_int(value: Any) -> Any:
    if type(value) is int and -_INT64 <= value < _INT64:
        return value
    if isinstance(value, torch.SymInt):
        return value
    if isinstance(value, (bool, int)):
        raise _NotAnInt
    try:
        return _as_int(index(value))
    except TypeError:
        raise _NotAnInt from None


def _as_pair(value: Any) -> tuple[Any, Any]:
    """(height, width) from an int or one or two of them; anything else is for torch to refuse."""
    if isinstance(value, (tuple, list)):
        if len(value) not in (1, 2):
            raise _NotAnInt
        return _as_int(value[0]), _as_int(value[-1])
    item = _as_int(value)
    return item, item


def _as_padding(padding: Any, weight: Tensor, stride: Any, dilation: Any) -> tuple[Any, ...]:
    """(height, width), or (top, bottom, left, right) where they differ."""
    if not isinstance(padding, str):
        return _as_pair(padding)
    if padding == "valid":
        return 0, 0
    if padding != "same" or weight.dim() != 4 or stride != (1, 1):
        raise _NotAnInt
    rows = dilation[0] * (weight.shape[2] - 1)
    columns = dilation[1] * (weight.shape[3] - 1)
    if rows % 2 == 0 and columns % 2 == 0:
        return rows // 2, columns // 2
    # Where the total is odd, the extra row or column goes to the bottom or right.
    return rows // 2, rows - rows // 2, columns // 2, columns - columns // 2


def _records(input: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return torch.is_grad_enabled() and (
        weight.requires_grad or input.requires_grad or (bias is not None and bias.requires_grad)
    )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size2 = 1,
    padding: Size2 | str = 0,
    dilation: Size2 = 1,
    groups: int = 1,
) -> Tensor:
    """Convolve images with filters; a drop-in for :func:`torch.nn.functional.conv2d`.

    Differentiable any number of times, in both modes, and usable under ``torch.func``,
    ``torch.compile``, ``torch.export`` and autocast.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``, any strides; float32, float64, bfloat16, float16.
        weight: ``[K, C / groups, R, S]`` of the same dtype.
        bias: ``[K]`` of the same dtype, or None.
        stride: step of the window, an int or ``(height, width)``.
        padding: zeros added at each border, an int or ``(height, width)``; or ``"valid"`` (none),
            or ``"same"`` (as many as keep the size; stride 1 only, an odd one goes to the bottom
            and right).
        dilation: distance between the window's elements, an int or ``(height, width)``.
        groups: number of blocked connections from input to output channels.

    Returns:
        ``[N, K, P, Q]`` or ``[K, P, Q]``, in channels_last where input or weight are.

    Raises:
        RuntimeError: where sizes, dtypes or parameters do not fit, as torch.
        TypeError: where an argument has the wrong type, as torch.

    The method is im2col and GEMM in the way of Goto and van de Geijn, "Anatomy of High-Performance
    Matrix Multiplication" (2008), with the im2col done while packing; :func:`fastconv.algorithms`
    lists what else there is.
    """
    output: Tensor | None
    if not is_compiling():
        output = _eager.conv2d(input, weight, bias, stride, padding, dilation, groups, None)
        if output is not None:
            return output
    if has_torch_function_variadic(input, weight, bias):
        result: Tensor = handle_torch_function(
            conv2d,
            (input, weight, bias),
            input,
            weight,
            bias,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        return result
    if are_dtensors(input, weight, bias):
        output = conv2d_of_dtensors(conv2d, input, weight, bias, stride, padding, dilation, groups)
        return output
    if not (_is_ours(input) and _is_ours(weight) and (bias is None or _is_ours(bias))):
        output = _torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        return output
    try:
        args = (
            input,
            weight,
            bias,
            step := _as_pair(stride),
            _as_padding(padding, weight, step, spacing := _as_pair(dilation)),
            spacing,
            _as_int(groups),
            requested(),
        )
    except _NotAnInt:
        output = _torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
        return output
    output = _ops.conv2d(*args)
    return output


def _keeps_weight(input: Any, weight: Tensor, bias: Any) -> bool:
    """May a module convolve with what it keeps of its weight?"""
    return (
        _is_ours(input)
        and _is_ours(weight)
        and weight.is_cpu
        and input.is_cpu
        and input.dtype is weight.dtype
        and (bias is None or (_is_ours(bias) and bias.dtype is weight.dtype))
        and not requested()
        and (nothing_between() or only_shows_packed_weights())
    )


def conv2d_keeping_weight(
    packed: Callable[[], PackedWeights],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    """:func:`conv2d` by a module that may keep its parameter `weight` in `packed()`."""
    output: Tensor
    arguments = (input, weight, bias, stride, padding, dilation, groups)
    if (
        type(weight) is not torch.nn.Parameter
        or weight.numel() < SMALLEST_KEPT
        or not isinstance(input, Tensor)
        or has_torch_function_variadic(input, weight, bias)
        or _records(input, weight, bias)
    ):
        return conv2d(*arguments)
    if not _keeps_weight(input, weight, bias):
        return conv2d(*arguments)
    try:
        step, spacing = _as_pair(stride), _as_pair(dilation)
        window = (step, _as_padding(padding, weight, step, spacing), spacing, _as_int(groups))
    except _NotAnInt:
        return conv2d(*arguments)
    try:
        with BelowAutograd():
            blob = packed().find(input, weight, *window)
            if blob is None:
                output = _ops.conv2d(input, weight, bias, *window)
            else:
                output = _ops.conv2d_packed(input, weight, bias, blob, *window)
            return output
    except _REFUSED:
        return conv2d(*arguments)  # which refuses it in torch's words, or needs no packed weight


def _as_window(
    kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: Any
) -> tuple[Any, ...]:
    if not isinstance(ceil_mode, bool):
        raise _NotAnInt
    no_stride = stride is None or (isinstance(stride, (tuple, list)) and not stride)
    return (
        _as_pair(kernel_size),
        () if no_stride else _as_pair(stride),
        _as_pair(padding),
        _as_pair(dilation),
        ceil_mode,
        requested(),
    )


def max_pool2d(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    dilation: Size2 = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window; a drop-in for :func:`torch.nn.functional.max_pool2d`.

    NaN wins, of equal values the first. Differentiable any number of times, in both modes, and
    usable under ``torch.func``, ``torch.compile`` and ``torch.export``.

    Args:
        input: ``[N, C, H, W]`` or ``[C, H, W]``, any strides; float32, float64, bfloat16, float16.
        kernel_size: the window, an int or ``(height, width)``.
        stride: its step, an int or ``(height, width)``; None is ``kernel_size``.
        padding: minus infinity added at each border, at most half the window.
        dilation: distance between the window's elements.
        ceil_mode: let a last window hang over the end.
        return_indices: return ``(values, indices)``, the indices int64 into the ``H * W`` plane.

    Returns:
        ``[N, C, P, Q]`` or ``[C, P, Q]``; batched ones in channels_last where the input is.

    Raises:
        RuntimeError: where sizes or parameters do not fit, as torch.
        TypeError: where an argument has the wrong type, as torch.
    """
    if return_indices:
        return max_pool2d_with_indices(input, kernel_size, stride, padding, dilation, ceil_mode)
    if not is_compiling():
        output = _eager.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
        if output is not None:
            return output
    if has_torch_function_unary(input):
        return handle_torch_function(
            max_pool2d,
            (input,),
            input,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            return_indices=False,
        )
    if are_dtensors(input):
        window = (kernel_size, stride, padding, dilation, ceil_mode)
        return max_pool2d_of_dtensors(max_pool2d, input, *window)
    refused = not _is_ours(input)
    try:
        args = () if refused else _as_window(kernel_size, stride, padding, dilation, ceil_mode)
    except _NotAnInt:
        refused = True
    if refused:
        return _torch.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode)
    return _ops.max_pool2d(input, *args)


def max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Size2,
    stride: Size2 | None = None,
    padding: Size2 = 0,
    dilation: Size2 = 1,
    ceil_mode: bool = False,
    return_indices: bool = True,
) -> tuple[Tensor, Tensor]:
    """:func:`max_pool2d` with its indices, whatever ``return_indices`` says (as torch)."""
    pooled: tuple[Tensor, Tensor]
    if not is_compiling():
        pooled = _eager.max_pool2d_with_indices(
            input, kernel_size, stride, padding, dilation, ceil_mode
        )
        if pooled is not None:
            return pooled
    if has_torch_function_unary(input):
        result: tuple[Tensor, Tensor] = handle_torch_function(
            max_pool2d_with_indices,
            (input,),
            input,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            return_indices=return_indices,
        )
        return result
    if are_dtensors(input):
        window = (kernel_size, stride, padding, dilation, ceil_mode)
        pooled = max_pool2d_of_dtensors(max_pool2d_with_indices, input, *window)
        return pooled
    refused = not _is_ours(input)
    try:
        args = () if refused else _as_window(kernel_size, stride, padding, dilation, ceil_mode)
    except _NotAnInt:
        refused = True
    if refused:
        pooled = _torch.max_pool2d_with_indices(
            input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
        )
    else:
        pooled = _ops.max_pool2d_with_indices(input, *args)
    return pooled
