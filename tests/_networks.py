"""Small networks in the style of the large ones: every way in which they use these layers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def _conv(channels: int, out_channels: int, kernel: int, **kwargs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, bias=False, **kwargs),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class BasicBlock(nn.Module):
    """Two 3x3 and a shortcut, which is a strided 1x1 where the shape changes."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, out_channels, 3, stride=stride, padding=1),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out_channels:
            self.shortcut = nn.Conv2d(channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class Inception(nn.Module):
    """Four branches side by side, one of them behind a pooling of stride 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [
                _conv(channels, 5, 1),
                nn.Sequential(_conv(channels, 4, 1), _conv(4, 7, 3, padding=1)),
                nn.Sequential(_conv(channels, 3, 1), _conv(3, 6, 5, padding=2)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), _conv(channels, 6, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _inverted(channels: int, out_channels: int, stride: int) -> nn.Sequential:
    wide = 4 * channels
    return nn.Sequential(
        _conv(channels, wide, 1),
        _conv(wide, wide, 3, stride=stride, padding=1, groups=wide),
        nn.Conv2d(wide, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def resnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        BasicBlock(8, 8, 1),
        BasicBlock(8, 16, 2),
        BasicBlock(16, 16, 1),
        BasicBlock(16, 24, 2),
        _head(24),
    )


def googlenet() -> nn.Sequential:
    return nn.Sequential(
        _conv(3, 8, 7, stride=2, padding=3),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(8),
        Inception(24),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        Inception(24),
        nn.MaxPool2d(2, 2, ceil_mode=True),
        _head(24),
    )


def mobilenet() -> nn.Sequential:
    return nn.Sequential(
        _conv(3, 8, 3, stride=2, padding=1),
        _inverted(8, 8, 1),
        _inverted(8, 12, 2),
        _inverted(12, 12, 1),
        _conv(12, 20, 1),
        _head(20),
    )


def lenet() -> nn.Sequential:
    """Biases, an odd pooling, other padding modes, dilation and grouping: the rest of the menu."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2, padding_mode="reflect"),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding="same"),
        nn.ReLU(),
        nn.MaxPool2d((3, 2), (2, 2), (1, 0), dilation=1),
        nn.Conv2d(16, 8, 3, padding=2, dilation=2, groups=4, padding_mode="circular"),
        nn.Flatten(),
        nn.Linear(8 * 8 * 8, 10),
    )


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    f.__name__: f for f in (resnet, googlenet, mobilenet, lenet)
}
