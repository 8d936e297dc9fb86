"""Derivatives of conv2d, of any order and in both modes.

The forward and its two gradients are one trilinear form in (input, weight, grad_output), taken
three ways. Each is linear in each of its tensors, so that the derivative of any of them is one of
the three again, and everything below is that one fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fastconv import _ops
from fastconv._autograd_function import (
    OperatorFunction,
    add_tangents,
    below_autograd,
    calls_in_backward,
    needs_autograd,
    primals,
    tangent_rule,
    wanted_gradients,
)
from fastconv._layout import conv2d_is_channels_last, suggests_channels_last
from fastconv._sizes import check, conv2d_output_size

# What all three operators share after their tensors and sizes: stride, padding, dilation, groups.
Geometry = tuple[Any, Any, Any, int]


def _grad_weight_is_channels_last(input: Tensor, weight: Tensor) -> bool:
    # torch gives the zero gradient of an empty batch in the weight's own layout.
    if input.dim() == 4 and input.shape[0] == 0:
        return suggests_channels_last(weight)
    return conv2d_is_channels_last(input, weight)


_Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    geometry: Geometry,
    needs: Sequence[bool],
    algorithm: str = "",
) -> _Gradients:
    """Those of input, weight and bias that are needed."""
    needs_input, needs_weight, needs_bias = needs
    grad_input = grad_weight = grad_bias = None
    with calls_in_backward():
        if needs_input:
            channels_last = conv2d_is_channels_last(input, weight)
            grad_input = _ops.conv2d_grad_input(
                grad_output, weight, input.shape, *geometry, channels_last, algorithm
            )
        if needs_weight:
            channels_last = _grad_weight_is_channels_last(input, weight)
            grad_weight = _ops.conv2d_grad_weight(
                grad_output, input, weight.shape, *geometry, channels_last, algorithm
            )
        if needs_bias:
            grad_bias = _ops.conv2d_grad_bias(grad_output)
    return grad_input, grad_weight, grad_bias


class Conv2dFunction(OperatorFunction):
    """output = conv2d(input, weight) + bias"""

    @staticmethod
    def forward(
        ctx: Any,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        algorithm: str,
    ) -> Tensor:
        with below_autograd():
            output: Tensor = _ops.conv2d(
                input, weight, bias, stride, padding, dilation, groups, algorithm
            )
        ctx.save_for_backward(input, weight)
        ctx.save_for_forward(input, weight)
        ctx.geometry = (stride, padding, dilation, groups)
        ctx.algorithm = algorithm
        ctx.set_materialize_grads(False)
        return output

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None) -> tuple[Any, ...]:
        if grad_output is None:
            return (None,) * 8
        input, weight = ctx.saved_tensors
        needs = wanted_gradients(ctx, 3)
        gradients = _gradients(grad_output, input, weight, ctx.geometry, needs, ctx.algorithm)
        return *gradients, *(None,) * 5

    @staticmethod
    @tangent_rule
    def jvp(
        ctx: Any,
        input_tangent: Tensor | None,
        weight_tangent: Tensor | None,
        bias_tangent: Tensor | None,
        *_: None,
    ) -> Tensor | None:
        input, weight = primals(ctx)
        tangent = None
        if input_tangent is not None:
            tangent = _ops.conv2d(input_tangent, weight, None, *ctx.geometry, ctx.algorithm)
        if weight_tangent is not None:
            by_weight = _ops.conv2d(input, weight_tangent, None, *ctx.geometry, ctx.algorithm)
            tangent = add_tangents(tangent, by_weight)
        if bias_tangent is not None:
            size = conv2d_output_size(input.shape, weight.shape, *ctx.geometry)
            by_bias = bias_tangent[:, None, None].expand(size)
            tangent = add_tangents(tangent, by_bias)
        return tangent


def _gradient(
    ctx: Any,
    operator: Any,
    grad_output: Tensor,
    other: Tensor,
    size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    channels_last: bool,
    algorithm: str,
) -> Tensor:
    """The forward of both gradients of the convolution: the operator, and what it is linear in."""
    geometry = (stride, padding, dilation, groups)
    with below_autograd():
        gradient: Tensor = operator(grad_output, other, size, *geometry, channels_last, algorithm)
    ctx.save_for_backward(grad_output, other)
    ctx.save_for_forward(grad_output, other)
    ctx.geometry = geometry
    ctx.size = size
    ctx.channels_last = channels_last
    ctx.algorithm = algorithm
    ctx.set_materialize_grads(False)
    return gradient


def _gradient_tangent(
    ctx: Any, operator: Any, grad_output_tangent: Tensor | None, other_tangent: Tensor | None
) -> Tensor | None:
    grad_output, other = primals(ctx)
    rest = (ctx.size, *ctx.geometry, ctx.channels_last, ctx.algorithm)
    tangent = None
    if grad_output_tangent is not None:
        tangent = operator(grad_output_tangent, other, *rest)
    if other_tangent is not None:
        tangent = add_tangents(tangent, operator(grad_output, other_tangent, *rest))
    return tangent


class GradInputFunction(OperatorFunction):
    """grad_input = conv2d_grad_input(grad_output, weight), linear in both"""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        return _gradient(ctx, _ops.conv2d_grad_input, *args)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Any, ...]:
        for_grad_output = for_weight = None
        if cotangent is not None:
            grad_output, weight = ctx.saved_tensors
            needs_grad_output, needs_weight = wanted_gradients(ctx, 2)
            if needs_grad_output:
                for_grad_output = _ops.conv2d(cotangent, weight, None, *ctx.geometry, ctx.algorithm)
            if needs_weight:
                for_weight = _ops.conv2d_grad_weight(
                    grad_output,
                    cotangent,
                    weight.shape,
                    *ctx.geometry,
                    _grad_weight_is_channels_last(cotangent, weight),
                    ctx.algorithm,
                )
        return for_grad_output, for_weight, None, None, None, None, None, None, None

    @staticmethod
    @tangent_rule
    def jvp(ctx: Any, *tangents: Any) -> Tensor | None:
        return _gradient_tangent(ctx, _ops.conv2d_grad_input, *tangents[:2])


class GradWeightFunction(OperatorFunction):
    """grad_weight = conv2d_grad_weight(grad_output, input), linear in both"""

    @staticmethod
    def forward(ctx: Any, *args: Any) -> Tensor:
        return _gradient(ctx, _ops.conv2d_grad_weight, *args)

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> tuple[Any, ...]:
        for_grad_output = for_input = None
        if cotangent is not None:
            grad_output, input = ctx.saved_tensors
            needs_grad_output, needs_input = wanted_gradients(ctx, 2)
            if needs_grad_output:
                for_grad_output = _ops.conv2d(input, cotangent, None, *ctx.geometry, ctx.algorithm)
            if needs_input:
                for_input = _ops.conv2d_grad_input(
                    grad_output,
                    cotangent,
                    input.shape,
                    *ctx.geometry,
                    conv2d_is_channels_last(input, cotangent),
                    ctx.algorithm,
                )
        return for_grad_output, for_input, None, None, None, None, None, None, None

    @staticmethod
    @tangent_rule
    def jvp(ctx: Any, *tangents: Any) -> Tensor | None:
        return _gradient_tangent(ctx, _ops.conv2d_grad_weight, *tangents[:2])


class GradBiasFunction(OperatorFunction):
    """grad_bias = the sum of grad_output over batch and plane"""

    @staticmethod
    def forward(ctx: Any, grad_output: Tensor) -> Tensor:
        with below_autograd():
            grad_bias: Tensor = _ops.conv2d_grad_bias(grad_output)
        ctx.output_size = grad_output.shape
        ctx.set_materialize_grads(False)
        return grad_bias

    @staticmethod
    def backward(ctx: Any, cotangent: Tensor | None) -> Tensor | None:
        return None if cotangent is None else cotangent[:, None, None].expand(ctx.output_size)

    @staticmethod
    @tangent_rule
    def jvp(ctx: Any, grad_output_tangent: Tensor | None) -> Tensor | None:
        if grad_output_tangent is None:
            return None
        tangent: Tensor = _ops.conv2d_grad_bias(grad_output_tangent)
        return tangent


@_ops.register_kernel("conv2d", "Autograd")
def _conv2d_autograd(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    algorithm: str = "",
) -> Any:
    args = (input, weight, bias, stride, padding, dilation, groups, algorithm)
    if needs_autograd(input, weight, bias):
        return Conv2dFunction.record(*args)
    with below_autograd():
        return _ops.conv2d(*args)


@_ops.register_kernel("conv2d_grad_input", "Autograd")
def _grad_input_autograd(
    grad_output: Tensor,
    weight: Tensor,
    input_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Any:
    rest = (input_size, stride, padding, dilation, groups, channels_last, algorithm)
    if needs_autograd(grad_output, weight):
        return GradInputFunction.record(grad_output, weight, *rest)
    with below_autograd():
        return _ops.conv2d_grad_input(grad_output, weight, *rest)


@_ops.register_kernel("conv2d_grad_weight", "Autograd")
def _grad_weight_autograd(
    grad_output: Tensor,
    input: Tensor,
    weight_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Any:
    rest = (weight_size, stride, padding, dilation, groups, channels_last, algorithm)
    if needs_autograd(grad_output, input):
        return GradWeightFunction.record(grad_output, input, *rest)
    with below_autograd():
        return _ops.conv2d_grad_weight(grad_output, input, *rest)


@_ops.register_kernel("conv2d_grad_bias", "Autograd")
def _grad_bias_autograd(grad_output: Tensor) -> Any:
    if needs_autograd(grad_output):
        return GradBiasFunction.record(grad_output)
    with below_autograd():
        return _ops.conv2d_grad_bias(grad_output)


# What torch's own node (csrc/recorded_conv2d.h) asks for where its backward pass is recorded again,
# transformed or watched.


@_ops.register_kernel("_conv2d_gradients", "CompositeImplicitAutograd")
def _recorded_conv2d_gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    *needs: bool,
) -> _Gradients:
    geometry = (stride, padding, dilation, groups)
    # The operator for the gradient of the bias would take a grad_output of any sizes.
    expected = conv2d_output_size(input.shape, weight.shape, *geometry)
    check(
        list(grad_output.shape) == expected,
        lambda: f"Expected grad_output of size {expected}, but got {list(grad_output.shape)}",
    )
    return _gradients(grad_output, input, weight, geometry, needs)


def _batched_conv2d_gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,
    groups: int,
    output_mask: Sequence[bool],
) -> _Gradients:
    return _recorded_conv2d_gradients(
        grad_output, input, weight, stride, padding, dilation, groups, *output_mask
    )


# Of functorch's vmap and of the one before it, by which torch.autograd.grad(is_grads_batched=True)
# still batches.
for _key in ("FuncTorchBatched", "Batched"):
    _ops.register_kernel_of_torchs("convolution_backward_overrideable", _key)(
        _batched_conv2d_gradients
    )
