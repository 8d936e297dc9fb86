"""What the networks share: convolution + norm + activation, and weights that keep the scale."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn


class ConvNorm(nn.Sequential):
    """A convolution without bias, BatchNorm and an activation (None: no activation)."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
    ) -> None:
        padding = kernel // 2 * dilation
        conv = nn.Conv2d(
            channels, out_channels, kernel, stride, padding, dilation, groups, bias=False
        )
        parts = OrderedDict[str, nn.Module](conv=conv, norm=nn.BatchNorm2d(out_channels))
        if activation is not None:
            parts["activation"] = activation(inplace=True)
        super().__init__(parts)


class GlobalAverage(nn.Module):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input.mean((2, 3))


def initialise(network: nn.Module) -> None:
    """Weights that keep the scale of the activations through ReLUs, biases at zero."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def calibrate(network: nn.Module, images: torch.Tensor) -> None:
    """Give every BatchNorm the statistics of `images`, as training on them would."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # a plain average over the batches seen
    network.train()
    with torch.no_grad():
        network(images)
    network.eval()
