"""torch.nn's Conv2d, LazyConv2d and MaxPool2d, computed by fastconv.

Each is a subclass of torch's: the same constructor, attributes, repr and state_dict; what torch
does with the parent (hooks, parametrizations, pickling, quantization configs) it does with these.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, is_grad_enabled
from torch.compiler import is_compiling

from fastconv import _eager as eager
from fastconv._packed import SMALLEST_KEPT, PackedWeights
from fastconv.functional import conv2d, conv2d_keeping_weight, max_pool2d

__all__ = ["Conv2d", "LazyConv2d", "MaxPool2d"]


# What a module may have of its own, in place of its class's or its parameters.
_IN_THE_WAY = ("weight", "bias", "_conv_forward")


class Conv2d(torch.nn.Conv2d):
    """:class:`torch.nn.Conv2d` computed by :func:`fastconv.conv2d`, every padding_mode included.

    Where nothing records gradients it keeps its weight packed between calls, if that pays after the
    check that the weight is still the same (:func:`fastconv.freeze` leaves the check out).
    """

    _packed: PackedWeights | None = None

    def forward(self, input: Tensor) -> Tensor:
        # Two frames and two calls of Module.__getattr__ less than torch's own, for what is no
        # subclass: those may have a _conv_forward, or a parametrized weight.
        if type(self) is Conv2d and self.padding_mode == "zeros" and not is_compiling():
            own, parameters = self.__dict__, self._parameters
            if len(parameters) == 2 and own.keys().isdisjoint(_IN_THE_WAY):
                weight, bias = parameters.get("weight"), parameters.get("bias", input)
                if weight is not None and bias is not input:
                    kept = None if self._packed is None else self._packed.recent
                    if kept is not None or is_grad_enabled() or weight.numel() < SMALLEST_KEPT:
                        stride, padding, dilation = self.stride, self.padding, self.dilation
                        output: Tensor | None = eager.conv2d(
                            input, weight, bias, stride, padding, dilation, self.groups, kept
                        )
                        if output is not None:
                            return output
        return super().forward(input)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            reach = self._reversed_padding_repeated_twice
            input = torch.nn.functional.pad(input, reach, mode=self.padding_mode)
            padding = (0, 0)
        arguments = (input, weight, bias, self.stride, padding, self.dilation, self.groups)
        if is_compiling() or self._parameters.get("weight") is not weight:
            return conv2d(*arguments)
        return conv2d_keeping_weight(self._packed_weights, *arguments)

    def _packed_weights(self) -> PackedWeights:
        if self._packed is None:
            self.__dict__["_packed"] = PackedWeights()
        return cast(PackedWeights, self._packed)


class LazyConv2d(torch.nn.LazyConv2d):
    """:class:`torch.nn.LazyConv2d` that becomes a :class:`Conv2d` of this module."""

    cls_to_become = Conv2d


class MaxPool2d(torch.nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` computed by :func:`fastconv.max_pool2d`."""

    def forward(self, input: Tensor) -> Any:
        window = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        if not self.return_indices and not is_compiling():
            output = eager.max_pool2d(input, *window)
            if output is not None:
                return output
        return max_pool2d(input, *window, return_indices=self.return_indices)
