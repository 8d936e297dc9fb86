"""DenseNet-121 (Huang et al. 2016): each layer reads what all before it in its block wrote."""

from __future__ import annotations

import torch
from torch import nn

from fastconv._bench.networks._parts import GlobalAverage, initialise

_GROWTH = 32


class DenseLayer(nn.Sequential):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, 4 * _GROWTH, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(4 * _GROWTH), nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(4 * _GROWTH, _GROWTH, 3, padding=1, bias=False)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.cat([input, super().forward(input)], 1)


class DenseNet121(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.norm0, self.relu0 = nn.BatchNorm2d(64), nn.ReLU(inplace=True)
        self.pool0 = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for block, depth in enumerate((6, 12, 24, 16), 1):
            layers = [DenseLayer(channels + index * _GROWTH) for index in range(depth)]
            self.add_module(f"block{block}", nn.Sequential(*layers))
            channels += depth * _GROWTH
            if block < 4:
                self.add_module(f"transition{block}", _transition(channels))
                channels //= 2
        self.norm5, self.relu5 = nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        self.average = GlobalAverage()
        self.fc = nn.Linear(channels, 1000)
        initialise(self)


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(channels, channels // 2, 1, bias=False),
        nn.AvgPool2d(2),
    )
