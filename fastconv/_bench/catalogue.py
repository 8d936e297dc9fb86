"""The layers of the published networks, read off the networks themselves.

A network on the meta device runs without data, and hooks see every convolution and pooling with
its plane: no list that could differ from the network that it claims to be.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastconv._bench.layers import Conv, Layer, Pair, Pool, distinct
from fastconv._bench.networks import NETWORKS, Network


@functools.cache
def every_layer(network: Network) -> tuple[Layer, ...]:
    """All convolutions and max poolings in the order in which they run, repetitions too."""
    layers: list[Layer] = []

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def hook(module: nn.Module, arguments: tuple[Tensor]) -> None:
            layers.append(describe(network.name, name, module, arguments[0]))

        return hook

    with torch.device("meta"):
        model = network.build().eval()
        for name, module in model.named_modules():
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
                module.register_forward_pre_hook(note(_short(name)))
        model(torch.empty(1, network.channels, network.size, network.size))
    return tuple(layers)


def layers_of(network: Network) -> list[Layer]:
    """What is timed of a network: each distinct shape once, with its count."""
    layers = distinct(list(every_layer(network)))
    if network.dilated_only:
        layers = [layer for layer in layers if max(layer.dilation) > 1]
    return layers


def all_layers(network: str = "") -> list[Layer]:
    """Of all networks with `network` in their name; a shape that two share is the first one's."""
    named = [known for known in NETWORKS if network.lower() in known.name.lower()]
    return distinct([layer for known in named for layer in layers_of(known)])


def describe(network: str, name: str, module: nn.Module, input: Tensor) -> Layer:
    channels, height, width = input.shape[-3:]
    if isinstance(module, nn.MaxPool2d):
        kernel, stride = _pair(module.kernel_size), _pair(module.stride)
        padding, dilation = _pair(module.padding), _pair(module.dilation)
        plane = (height, width)
        return Pool(
            network, name, channels, plane, kernel, stride, padding, dilation, module.ceil_mode
        )
    assert isinstance(module, nn.Conv2d)
    return Conv(
        network,
        name,
        channels,
        (height, width),
        module.out_channels,
        _pair(module.kernel_size),
        _pair(module.stride),
        _pair(module.padding),
        _pair(module.dilation),
        module.groups,
        module.bias is not None,
    )


def _pair(value: Any) -> Pair:
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def _short(name: str) -> str:
    return name.removeprefix("features.").removesuffix(".conv")
