"""GoogLeNet (Szegedy et al. 2014) as torchvision has it: BatchNorm, 3x3 in place of 5x5, no aux."""

from __future__ import annotations

import torch
from torch import nn

from fastconv._bench.networks._parts import ConvNorm, GlobalAverage, initialise

# Channels of each module: 1x1; 3x3 and what it is reduced to before; "5x5" likewise; after the pool
_INCEPTIONS = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}


class Inception(nn.Module):
    """Four branches side by side, their channels concatenated."""

    def __init__(
        self, channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pool: int
    ) -> None:
        super().__init__()
        self.branch1 = ConvNorm(channels, one, 1)
        self.branch2 = nn.Sequential(ConvNorm(channels, reduce3, 1), ConvNorm(reduce3, three, 3))
        self.branch3 = nn.Sequential(ConvNorm(channels, reduce5, 1), ConvNorm(reduce5, five, 3))
        self.branch4 = nn.Sequential()
        self.branch4.add_module("pool", nn.MaxPool2d(3, 1, 1))
        self.branch4.add_module("1", ConvNorm(channels, pool, 1))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(input) for branch in branches], 1)


class GoogLeNet(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvNorm(3, 64, 7, 2)
        self.pool1 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = ConvNorm(64, 64, 1)
        self.conv3 = ConvNorm(64, 192, 3)
        self.pool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        for name, channels in _INCEPTIONS.items():
            if name == "4a":
                self.pool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
            if name == "5a":
                self.pool4 = nn.MaxPool2d(2, 2, ceil_mode=True)
            self.add_module(name, Inception(*channels))
        self.average = GlobalAverage()
        self.fc = nn.Linear(1024, 1000)
        initialise(self)
