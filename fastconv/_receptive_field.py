"""How much of the image one element of a tensor sees, followed through a model's operators.

Windows widen what is seen and a stride moves them further apart; a mean over the plane or an
attention sees all of it. Every other operator counts as pointwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils.weak import WeakIdKeyDictionary

from fastconv import _ops

__all__ = ["ReceptiveFields"]

aten: Any = torch.ops.aten

Pair = tuple[float, float]


@dataclass(frozen=True)
class _Sight:
    size: Pair = (1, 1)
    """Rows and columns of the image that one element sees."""
    step: Pair = (1, 1)
    """Rows and columns of the image from one element to the next."""

    def through(self, window: _Window) -> _Sight:
        def along(axis: int) -> tuple[float, float]:
            reach = window.dilation[axis] * (window.kernel[axis] - 1)
            if window.transposed:
                step = self.step[axis] / window.stride[axis]
                return self.size[axis] + reach * step, step
            size = self.size[axis] + reach * self.step[axis]
            return size, self.step[axis] * window.stride[axis]

        (height, step_h), (width, step_w) = along(0), along(1)
        return _Sight((height, width), (step_h, step_w))


@dataclass(frozen=True)
class _Window:
    kernel: Any
    stride: Any
    dilation: Any = (1, 1)
    transposed: bool = False


def _twice(values: Any) -> tuple[int, int]:
    return values[0], values[-1]


def _of_convolution(args: Any) -> _Window | None:
    weight, stride, dilation = args[1], args[3], args[5]
    if weight.dim() != 4:
        return None
    return _Window(weight.shape[2:], _twice(stride), _twice(dilation), args[6])


def _of_conv2d(args: Any) -> _Window:
    return _Window(args[1].shape[2:], _twice(args[3]), _twice(args[5]))


def _of_conv2d_packed(args: Any) -> _Window:
    return _Window(args[1].shape[2:], _twice(args[4]), _twice(args[6]))


def _of_max_pool2d(args: Any) -> _Window:
    kernel, stride, dilation = args[1], args[2], args[4]
    return _Window(_twice(kernel), _twice(stride or kernel), _twice(dilation))


def _of_avg_pool2d(args: Any) -> _Window:
    kernel, stride = args[1], args[2]
    return _Window(_twice(kernel), _twice(stride or kernel))


_WINDOWS: dict[Any, Callable[[Any], _Window | None]] = {
    aten.convolution.default: _of_convolution,
    aten.max_pool2d_with_indices.default: _of_max_pool2d,
    aten.avg_pool2d.default: _of_avg_pool2d,
    _ops.conv2d: _of_conv2d,
    _ops.conv2d_packed: _of_conv2d_packed,
    _ops.max_pool2d: _of_max_pool2d,
    _ops.max_pool2d_with_indices: _of_max_pool2d,
}
_WHOLE_PLANE = {
    aten.mean.dim,
    aten.amax.default,
    aten._adaptive_avg_pool2d.default,
    aten.adaptive_max_pool2d.default,
    aten.bmm.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
}


def _with_defaults(operator: Any, args: Any) -> list[Any]:
    defaults = [argument.default_value for argument in operator._schema.arguments]
    return [*args, *defaults[len(args) :]]


def _largest(pairs: Iterable[Pair]) -> Pair:
    heights, widths = zip((1, 1), *pairs, strict=True)
    return max(heights), max(widths)


class ReceptiveFields:
    """Of every tensor that came out of an operator since this began."""

    def __init__(self) -> None:
        self._of: Any = WeakIdKeyDictionary()

    def seen_by(self, result: Any) -> Pair:
        first = result[0] if isinstance(result, (tuple, list)) else result
        sight: _Sight = self._of.get(first, _Sight())
        return sight.size

    def follow(self, operator: Any, args: Any, result: Any) -> None:
        """Note what `result`, which `operator` has just made of `args`, sees."""
        tensors = [t for t in _pytree.tree_leaves(args) if isinstance(t, Tensor)]
        sights = [self._of[t] for t in tensors if t in self._of]
        sight = _Sight(_largest(s.size for s in sights), _largest(s.step for s in sights))
        if operator in _WINDOWS:
            window = _WINDOWS[operator](_with_defaults(operator, args))
            sight = sight if window is None else sight.through(window)
        elif operator in _WHOLE_PLANE and tensors and tensors[0].dim() >= 3:
            sight = _Sight((math.inf, math.inf), sight.step)
        elif operator._schema.name.startswith("aten::upsample"):
            before, after = tensors[0].shape[-2:], result.shape[-2:]
            steps = [sight.step[axis] * before[axis] / after[axis] for axis in (0, 1)]
            sight = _Sight(sight.size, (steps[0], steps[1]))
        for tensor in _pytree.tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._of[tensor] = sight
