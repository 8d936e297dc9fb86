"""MobileNetV2 (Sandler et al. 2018)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from fastconv._bench.networks._parts import ConvNorm, GlobalAverage, initialise


class InvertedResidual(nn.Sequential):
    """1x1 to more channels, depthwise 3x3 there, 1x1 back, and a shortcut where shapes allow."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        wide = channels * expansion
        parts = OrderedDict[str, nn.Module]()
        if expansion > 1:
            parts["expand"] = ConvNorm(channels, wide, 1, activation=nn.ReLU6)
        parts["depthwise"] = ConvNorm(wide, wide, 3, stride, groups=wide, activation=nn.ReLU6)
        parts["project"] = ConvNorm(wide, out_channels, 1, activation=None)
        super().__init__(parts)
        self.shortcut = stride == 1 and channels == out_channels

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        output = super().forward(input)
        return input + output if self.shortcut else output


class MobileNetV2(nn.Sequential):
    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, 2, activation=nn.ReLU6)
        channels, index = 32, 0
        for expansion, width, depth, stride in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for turn in range(depth):
                index += 1
                block = InvertedResidual(channels, width, stride if turn == 0 else 1, expansion)
                self.add_module(f"block{index}", block)
                channels = width
        self.last = ConvNorm(channels, 1280, 1, activation=nn.ReLU6)
        self.average = GlobalAverage()
        self.fc = nn.Linear(1280, 1000)
        initialise(self)
