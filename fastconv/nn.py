"""torch.nn's Conv2d, LazyConv2d and MaxPool2d, computed by fastconv.

Each is a subclass of torch's: the same constructor, attributes, repr and state_dict; what torch
does with the parent (hooks, parametrizations, pickling, quantization configs) it does with these.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastconv.functional import conv2d, max_pool2d

__all__ = ["Conv2d", "LazyConv2d", "MaxPool2d"]


class Conv2d(torch.nn.Conv2d):
    """:class:`torch.nn.Conv2d` computed by :func:`fastconv.conv2d`, every padding_mode included."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            reach = self._reversed_padding_repeated_twice
            input = torch.nn.functional.pad(input, reach, mode=self.padding_mode)
            padding = (0, 0)
        return conv2d(input, weight, bias, self.stride, padding, self.dilation, self.groups)


class LazyConv2d(torch.nn.LazyConv2d):
    """:class:`torch.nn.LazyConv2d` that becomes a :class:`Conv2d` of this module."""

    cls_to_become = Conv2d


class MaxPool2d(torch.nn.MaxPool2d):
    """:class:`torch.nn.MaxPool2d` computed by :func:`fastconv.max_pool2d`."""

    def forward(self, input: Tensor) -> Any:
        return max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )
