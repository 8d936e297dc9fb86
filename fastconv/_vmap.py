"""Batching rules: one call of the same operator for the whole vmapped batch, never a loop.

Letters: V the vmapped dimension, which every helper expects in front; G groups; [N] a batch
dimension that unbatched images lack; the rest as in csrc/problem.h. Where only images are batched,
V joins N. Where only one factor has out_channels or in_channels that stay free, V joins those,
inside each group. Where both factors are batched, every example becomes groups of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastconv import _ops

Batched = tuple[Tensor, int]


def _to_front(tensor: Tensor, dim: int | None) -> Tensor:
    return tensor if dim is None else tensor.movedim(dim, 0)


def _batch_join(images: Tensor) -> Tensor:
    """V[N]CHW -> (V[N])CHW"""
    return images.flatten(0, 1) if images.dim() == 5 else images


def _batch_split(images: Tensor, like: Tensor) -> Tensor:
    """(V[N])KPQ -> V[N]KPQ, as V[N]CHW is"""
    return torch.unflatten(images, 0, like.shape[:2]) if like.dim() == 5 else images


def _batched_size(size: Any, examples: int) -> list[int]:
    """The size that V images or batches of this size have once joined."""
    return [examples * size[0], *size[1:]] if len(size) == 4 else [examples, *size]


def _channels_join(images: Tensor, groups: int = 1) -> Tensor:
    """V[N](GC)HW -> [N](GVC)HW: V lies inside each group."""
    grouped = torch.unflatten(images, -3, (groups, images.shape[-3] // groups))
    return grouped.movedim(0, -4).flatten(-5, -3)


def _channels_split(images: Tensor, examples: int, groups: int = 1) -> Tensor:
    """[N](GVC)HW -> V[N](GC)HW"""
    channels = images.shape[-3] // (groups * examples)
    return torch.unflatten(images, -3, (groups, examples, channels)).movedim(-4, 0).flatten(-4, -3)


def _times_channels(size: Any, factor: int) -> list[int]:
    return [*size[:-3], size[-3] * factor, *size[-2:]]


def _out_channels_join(weight: Tensor, groups: int = 1) -> Tensor:
    """V(GK).. -> (GVK)..: of a weight or a bias."""
    grouped = torch.unflatten(weight, 1, (groups, weight.shape[1] // groups))
    return grouped.movedim(0, 1).flatten(0, 2)


def _out_channels_split(weight: Tensor, examples: int, groups: int = 1) -> Tensor:
    """(GVK).. -> V(GK).."""
    out_channels = weight.shape[0] // (groups * examples)
    return torch.unflatten(weight, 0, (groups, examples, out_channels)).movedim(1, 0).flatten(1, 2)


def _in_channels_join(weight: Tensor) -> Tensor:
    """VKCRS -> K(VC)RS: the channels of one group."""
    return weight.movedim(0, 1).flatten(1, 2)


def _in_channels_split(weight: Tensor, examples: int) -> Tensor:
    """K(VC)RS -> VKCRS"""
    return torch.unflatten(weight, 1, (examples, weight.shape[1] // examples)).movedim(1, 0)


@_ops.register_vmap("conv2d")
def _conv2d(
    info: Any,
    in_dims: tuple[Any, ...],
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    algorithm: str = "",
) -> Batched:
    examples = info.batch_size
    input_dim, weight_dim = in_dims[:2]
    # The dispatcher leaves off trailing arguments that have their default value.
    bias_dim = in_dims[2] if bias is not None else None
    input, weight = _to_front(input, input_dim), _to_front(weight, weight_dim)
    geometry = (stride, padding, dilation)
    if weight_dim is None:
        return _conv2d_with_one_weight(
            input, input_dim, weight, bias, bias_dim, geometry, groups, algorithm
        )
    if bias is not None:
        bias = bias.expand(examples, -1) if bias_dim is None else _to_front(bias, bias_dim)
    if input_dim is None:
        if bias is not None:
            bias = _out_channels_join(bias, groups)
        weight = _out_channels_join(weight, groups)
        output = _ops.conv2d(input, weight, bias, *geometry, groups, algorithm)
        return _channels_split(output, examples, groups), 0
    if bias is not None:
        bias = _out_channels_join(bias)
    output = _ops.conv2d(
        _channels_join(input),
        _out_channels_join(weight),
        bias,
        *geometry,
        groups * examples,
        algorithm,
    )
    return _channels_split(output, examples), 0


def _conv2d_with_one_weight(
    input: Tensor,
    input_dim: int | None,
    weight: Tensor,
    bias: Tensor | None,
    bias_dim: int | None,
    geometry: tuple[Any, Any, Any],
    groups: int,
    algorithm: str,
) -> Batched:
    fused_bias = bias if bias_dim is None else None
    if input_dim is None:
        output = _ops.conv2d(input, weight, fused_bias, *geometry, groups, algorithm)
        image_rank = input.dim()
    else:
        output = _ops.conv2d(_batch_join(input), weight, fused_bias, *geometry, groups, algorithm)
        output = _batch_split(output, input)
        image_rank = input.dim() - 1
    if bias is None or bias_dim is None:
        return output, 0
    # One convolution serves all examples; only this sum differs between them.
    bias = _to_front(bias, bias_dim)[:, :, None, None]
    return output + (bias.unsqueeze(1) if image_rank == 4 else bias), 0


@_ops.register_vmap("conv2d_grad_input")
def _conv2d_grad_input(
    info: Any,
    in_dims: tuple[Any, ...],
    grad_output: Tensor,
    weight: Tensor,
    input_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Batched:
    examples = info.batch_size
    grad_dim, weight_dim = in_dims[:2]
    grad_output, weight = _to_front(grad_output, grad_dim), _to_front(weight, weight_dim)
    geometry = (stride, padding, dilation)
    if weight_dim is None:
        joined_size = _batched_size(input_size, examples)
        grad_input = _ops.conv2d_grad_input(
            _batch_join(grad_output),
            weight,
            joined_size,
            *geometry,
            groups,
            channels_last,
            algorithm,
        )
        return _batch_split(grad_input, grad_output), 0
    joined_size = _times_channels(input_size, examples)
    if grad_dim is None:
        grad_input = _ops.conv2d_grad_input(
            grad_output,
            _in_channels_join(weight),
            joined_size,
            *geometry,
            groups,
            channels_last,
            algorithm,
        )
        return _channels_split(grad_input, examples, groups), 0
    grad_input = _ops.conv2d_grad_input(
        _channels_join(grad_output),
        _out_channels_join(weight),
        joined_size,
        *geometry,
        groups * examples,
        channels_last,
        algorithm,
    )
    return _channels_split(grad_input, examples), 0


@_ops.register_vmap("conv2d_grad_weight")
def _conv2d_grad_weight(
    info: Any,
    in_dims: tuple[Any, ...],
    grad_output: Tensor,
    input: Tensor,
    weight_size: Any,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
    channels_last: bool = False,
    algorithm: str = "",
) -> Batched:
    examples = info.batch_size
    grad_dim, input_dim = in_dims[:2]
    grad_output, input = _to_front(grad_output, grad_dim), _to_front(input, input_dim)
    geometry = (stride, padding, dilation)
    more_out_channels = [examples * weight_size[0], *weight_size[1:]]
    if input_dim is None:
        grad_weight = _ops.conv2d_grad_weight(
            _channels_join(grad_output, groups),
            input,
            more_out_channels,
            *geometry,
            groups,
            channels_last,
            algorithm,
        )
        return _out_channels_split(grad_weight, examples, groups), 0
    if grad_dim is None:
        grad_weight = _ops.conv2d_grad_weight(
            grad_output,
            _channels_join(input, groups),
            _times_channels(weight_size, examples),
            *geometry,
            groups,
            channels_last,
            algorithm,
        )
        return _in_channels_split(grad_weight, examples), 0
    grad_weight = _ops.conv2d_grad_weight(
        _channels_join(grad_output),
        _channels_join(input),
        more_out_channels,
        *geometry,
        groups * examples,
        channels_last,
        algorithm,
    )
    return _out_channels_split(grad_weight, examples), 0


@_ops.register_vmap("conv2d_grad_bias")
def _conv2d_grad_bias(info: Any, in_dims: tuple[Any, ...], grad_output: Tensor) -> Batched:
    grad_bias = _ops.conv2d_grad_bias(_channels_join(_to_front(grad_output, in_dims[0])))
    return _out_channels_split(grad_bias, info.batch_size), 0


@_ops.register_vmap("max_pool2d")
def _max_pool2d(info: Any, in_dims: tuple[Any, ...], input: Tensor, *window: Any) -> Batched:
    input = _to_front(input, in_dims[0])
    return _batch_split(_ops.max_pool2d(_batch_join(input), *window), input), 0


@_ops.register_vmap("max_pool2d_with_indices")
def _max_pool2d_with_indices(
    info: Any, in_dims: tuple[Any, ...], input: Tensor, *window: Any
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    input = _to_front(input, in_dims[0])
    values, indices = _ops.max_pool2d_with_indices(_batch_join(input), *window)
    return (_batch_split(values, input), _batch_split(indices, input)), (0, 0)


@_ops.register_vmap("max_pool2d_backward")
def _max_pool2d_backward(
    info: Any,
    in_dims: tuple[Any, ...],
    grad_output: Tensor,
    indices: Tensor,
    input_size: Any,
    channels_last: bool = False,
    algorithm: str = "",
    window: Any = (),
) -> Batched:
    grad_dim, indices_dim = in_dims[:2]
    examples = info.batch_size
    grad_output, indices = _to_front(grad_output, grad_dim), _to_front(indices, indices_dim)
    if grad_dim is None:
        grad_output = grad_output.expand(examples, *grad_output.shape)
    if indices_dim is None:
        indices = indices.expand(examples, *indices.shape)
    grad_input = _ops.max_pool2d_backward(
        _batch_join(grad_output),
        _batch_join(indices),
        _batched_size(input_size, examples),
        channels_last,
        algorithm,
        window,
    )
    return _batch_split(grad_input, grad_output), 0
