"""Derivatives of max_pool2d, of any order and in both modes.

Given the indices, pooling is a gather: linear, its transpose the scatter of max_pool2d_backward.
Every derivative is one of the two.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastconv import _ops
from fastconv._autograd_function import (
    OperatorFunction,
    below_autograd,
    calls_in_backward,
    needs_autograd,
    primals,
    reaches_kernel_in_backward,
    tangent_rule,
)
from fastconv._layout import suggests_channels_last


def gather_planes(planes: Tensor, indices: Tensor) -> Tensor:
    """planes[..., H, W] at indices[..., P, Q] into H * W, plane by plane."""
    flat = planes.reshape(*planes.shape[:-2], planes.shape[-2] * planes.shape[-1])
    flat_indices = indices.reshape(*indices.shape[:-2], indices.shape[-2] * indices.shape[-1])
    return flat.gather(-1, flat_indices).reshape(indices.shape)


def pool_is_channels_last(input: Tensor) -> bool:
    """The layout of the values, the indices and the gradient; unbatched is always contiguous."""
    return input.dim() == 4 and suggests_channels_last(input)


def pair(values: Any) -> tuple[int, int]:
    return values[0], values[-1]


def grad_of_input(
    ctx: Any, grad_values: Tensor, window: tuple[Any, ...], algorithm: str = ""
) -> Tensor:
    """By the operator that takes plain integers, where nothing but the kernel is left to reach."""
    (indices,) = ctx.saved_tensors
    size, channels_last = ctx.input_size, ctx.channels_last
    grad_input: Tensor
    if reaches_kernel_in_backward(grad_values):
        grad_input = _ops.max_pool2d_backward_eager(
            grad_values, indices, size[-2], size[-1], channels_last, *window, algorithm
        )
    else:
        with calls_in_backward():
            grad_input = _ops.max_pool2d_backward(
                grad_values,
                indices,
                size,
                channels_last,
                algorithm,
                [*window[:-1], int(window[-1])],
            )
    return grad_input


class MaxPool2dFunction(OperatorFunction):
    """(values, indices) = max_pool2d_with_indices(input)"""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: bool,
        algorithm: str,
    ) -> tuple[Tensor, Tensor]:
        with below_autograd():
            values, indices = _ops.max_pool2d_with_indices(
                input, kernel_size, stride, padding, dilation, ceil_mode, algorithm
            )
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.input_size = input.shape
        ctx.channels_last = pool_is_channels_last(input)
        ctx.window = (kernel_size, stride, padding, dilation, ceil_mode)
        ctx.algorithm = algorithm
        ctx.set_materialize_grads(False)
        return values, indices

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor | None, _: None) -> tuple[Any, ...]:
        grad_input = None
        if grad_values is not None:
            kernel_size, stride, padding, dilation, ceil_mode = ctx.window
            window = (
                *pair(kernel_size),
                *pair(stride or kernel_size),
                *pair(padding),
                *pair(dilation),
                ceil_mode,
            )
            grad_input = grad_of_input(ctx, grad_values, window, ctx.algorithm)
        return grad_input, None, None, None, None, None, None

    @staticmethod
    @tangent_rule
    def jvp(ctx: Any, input_tangent: Tensor | None, *_: None) -> tuple[Tensor | None, None]:
        (indices,) = primals(ctx)
        return None if input_tangent is None else gather_planes(input_tangent, indices), None


class EagerMaxPool2dFunction(OperatorFunction):
    """MaxPool2dFunction where there is nothing_between(), at half its cost for a tiny problem."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, window: tuple[int, int, int, int, int, int, int, int, bool]
    ) -> tuple[Tensor, Tensor]:
        values, indices = _ops.max_pool2d_with_indices_eager(input, *window)
        ctx.mark_non_differentiable(indices)
        ctx.save_for_backward(indices)
        ctx.input_size = input.shape
        ctx.channels_last = pool_is_channels_last(input)
        ctx.window = window
        ctx.set_materialize_grads(False)
        return values, indices

    @staticmethod
    def backward(ctx: Any, grad_values: Tensor | None, _: None) -> tuple[Any, ...]:
        if grad_values is None:
            return None, None
        return grad_of_input(ctx, grad_values, ctx.window), None


class MaxPool2dBackwardFunction(OperatorFunction):
    """grad_input = max_pool2d_backward(grad_output), linear"""

    @staticmethod
    def forward(
        ctx: Any,
        grad_output: Tensor,
        indices: Tensor,
        input_size: Any,
        channels_last: bool,
        algorithm: str,
        window: Any,
    ) -> Tensor:
        with below_autograd():
            grad_input: Tensor = _ops.max_pool2d_backward(
                grad_output, indices, input_size, channels_last, algorithm, window
            )
        ctx.save_for_backward(indices)
        ctx.save_for_forward(indices)
        ctx.rest = (input_size, channels_last, algorithm, window)
        ctx.set_materialize_grads(False)
        return grad_input

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Any, ...]:
        (indices,) = ctx.saved_tensors
        for_grad_output = None if cotangent is None else gather_planes(cotangent, indices)
        return for_grad_output, None, None, None, None, None

    @staticmethod
    @tangent_rule
    def jvp(ctx: Any, grad_output_tangent: Tensor | None, *_: None) -> Tensor | None:
        if grad_output_tangent is None:
            return None
        (indices,) = primals(ctx)
        tangent: Tensor = _ops.max_pool2d_backward(grad_output_tangent, indices, *ctx.rest)
        return tangent


@_ops.register_kernel("max_pool2d_with_indices", "Autograd")
def _with_indices_autograd(
    input: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    algorithm: str = "",
) -> Any:
    args = (input, kernel_size, stride, padding, dilation, ceil_mode, algorithm)
    if needs_autograd(input):
        return MaxPool2dFunction.record(*args)
    with below_autograd():
        return _ops.max_pool2d_with_indices(*args)


@_ops.register_kernel("max_pool2d", "Autograd")
def _max_pool2d_autograd(
    input: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    algorithm: str = "",
) -> Any:
    args = (input, kernel_size, stride, padding, dilation, ceil_mode, algorithm)
    if needs_autograd(input):
        return MaxPool2dFunction.record(*args)[0]
    with below_autograd():
        return _ops.max_pool2d(*args)


@_ops.register_kernel("max_pool2d_backward", "Autograd")
def _max_pool2d_backward_autograd(
    grad_output: Tensor,
    indices: Tensor,
    input_size: Any,
    channels_last: bool = False,
    algorithm: str = "",
    window: Any = (),
) -> Any:
    args = (grad_output, indices, input_size, channels_last, algorithm, window)
    if needs_autograd(grad_output):
        return MaxPool2dBackwardFunction.record(*args)
    with below_autograd():
        return _ops.max_pool2d_backward(*args)
