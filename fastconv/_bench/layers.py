"""One convolution or pooling with its plane: what a layer comparison is about."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

Pair: TypeAlias = tuple[int, int]


@dataclass(frozen=True)
class Conv:
    network: str
    name: str
    channels: int
    plane: Pair  # height and width of the input
    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: bool = False
    count: int = 1  # how often the network has this very shape

    def module(self) -> torch.nn.Conv2d:
        return torch.nn.Conv2d(
            self.channels,
            self.out_channels,
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.bias,
        )

    @property
    def output_plane(self) -> Pair:
        height, width = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, padding, dilation, kernel, stride in zip(
                self.plane, self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )
        return height, width

    @property
    def work(self) -> int:
        """Multiply-adds for one image, as the definition of a convolution has them."""
        pixels = self.output_plane[0] * self.output_plane[1]
        taps = self.kernel[0] * self.kernel[1]
        return pixels * self.out_channels * self.channels // self.groups * taps

    @property
    def kind(self) -> str:
        """The group that a summary puts this layer in."""
        window = by(self.kernel)
        if self.groups > 1:
            return f"depthwise {window}" if self.groups == self.channels else "grouped"
        if self.channels <= 4:
            return "first layer"
        if max(self.dilation) > 1:
            return "dilated"
        if min(self.channels, self.out_channels) < 64:
            return f"{window}, few channels"
        return window + (" strided" if max(self.stride) > 1 else "")

    @property
    def shape(self) -> str:
        """As in ``64x56x56 3x3/2 -> 128``."""
        text = f"{self.channels}x{by(self.plane)} {by(self.kernel)}"
        if max(self.stride) > 1:
            text += f"/{per_axis(self.stride)}"
        if max(self.dilation) > 1:
            text += f" dil {per_axis(self.dilation)}"
        if self.groups > 1:
            text += f" g{self.groups}"
        return f"{text} -> {self.out_channels}"


@dataclass(frozen=True)
class Pool:
    network: str
    name: str
    channels: int
    plane: Pair
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    count: int = 1

    kind = "max pool"

    def module(self) -> torch.nn.MaxPool2d:
        return torch.nn.MaxPool2d(
            self.kernel, self.stride, self.padding, self.dilation, ceil_mode=self.ceil_mode
        )

    @property
    def work(self) -> int:
        """Comparisons for one image, roughly: the windows' cells."""
        pixels = self.plane[0] * self.plane[1] // (self.stride[0] * self.stride[1])
        return pixels * self.channels * self.kernel[0] * self.kernel[1]

    @property
    def shape(self) -> str:
        return f"{self.channels}x{by(self.plane)} pool {by(self.kernel)}/{per_axis(self.stride)}"


Layer: TypeAlias = Conv | Pool


def by(sizes: Pair) -> str:
    return f"{sizes[0]}x{sizes[1]}"


def per_axis(values: Pair) -> str:
    """One number where both are the same."""
    return str(values[0]) if values[0] == values[1] else by(values)


def input_of(layer: Layer, batch: int) -> torch.Tensor:
    return torch.randn(batch, layer.channels, *layer.plane)


def distinct(layers: list[Layer]) -> list[Layer]:
    """Each shape once, under the first name that has it, with the count of that network."""
    found: dict[Layer, Layer] = {}
    for layer in layers:
        key = replace(layer, network="", name="", count=1)
        first = found.setdefault(key, layer)
        if first is not layer and first.network == layer.network:
            found[key] = replace(first, count=first.count + layer.count)
    return list(found.values())


def spread(layers: list[Layer], limit: int | None) -> list[Layer]:
    """At most `limit` of them, evenly spread over the list."""
    if limit is None or limit >= len(layers):
        return layers
    return [layers[index * len(layers) // limit] for index in range(limit)]
