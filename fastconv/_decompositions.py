"""Our operators in terms of torch's own, for tools that lower an exported graph.

``torch.onnx.export(dynamo=True)`` looks here, and so writes standard Conv and MaxPool nodes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._decomp import register_decomposition
from torch._subclasses.fake_tensor import FakeTensor

from fastconv import _fakes, _ops

_aten: Any = torch.ops.aten

Function = TypeVar("Function", bound=Callable[..., Any])


def _decomposes(operator: Any, fake: Callable[..., Any]) -> Callable[[Function], Function]:
    """Decorator: what a tracer may write in place of `operator`.

    Fake tensors with symbolic sizes ask torch's table too when nobody traces them, and prefer it to
    the operator's own fake: they get that one, whose strides and errors are ours.
    """

    def register(decomposition: Function) -> Function:
        def choose(*args: Any, **kwargs: Any) -> Any:
            from torch.fx.experimental.proxy_tensor import get_proxy_mode  # imports sympy

            untraced = isinstance(args[0], FakeTensor) and get_proxy_mode() is None
            return (fake if untraced else decomposition)(*args, **kwargs)

        register_decomposition(operator)(choose)
        return decomposition

    return register


@_decomposes(_ops.conv2d, _fakes.conv2d_without_data)
def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: Any = 1,
    algorithm: str = "",
) -> Any:
    if len(padding) == 4:
        top, bottom, left, right = padding
        input = _aten.constant_pad_nd.default(input, [left, right, top, bottom], 0.0)
        padding = (0, 0)
    return _aten.conv2d.default(input, weight, bias, stride, padding, dilation, groups)


@_decomposes(_ops.max_pool2d, _fakes.max_pool2d_without_data)
def _max_pool2d(input: Tensor, *window: Any) -> Any:
    return _max_pool2d_with_indices(input, *window)[0]


@_decomposes(_ops.max_pool2d_with_indices, _fakes.max_pool2d_with_indices_without_data)
def _max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    stride: Any = (),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    ceil_mode: bool = False,
    algorithm: str = "",
) -> Any:
    return _aten.max_pool2d_with_indices.default(
        input, kernel_size, stride, padding, dilation, ceil_mode
    )
