"""Layers of published networks, by the names their papers and torchvision give them.

Planes, windows, strides and paddings of these networks are square, so one number stands for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch


@dataclass(frozen=True)
class Conv:
    network: str
    name: str
    channels: int
    size: int  # input height and width
    out_channels: int
    kernel: int
    stride: int = 1
    groups: int = 1
    padding: int | None = None  # None: half the kernel, which keeps the plane at stride 1
    count: int = 1  # how often the network has this very shape

    def module(self) -> torch.nn.Module:
        padding = self.kernel // 2 if self.padding is None else self.padding
        return torch.nn.Conv2d(
            self.channels,
            self.out_channels,
            self.kernel,
            self.stride,
            padding,
            groups=self.groups,
            bias=False,
        )

    @property
    def kind(self) -> str:
        """The group that a summary puts this layer in."""
        if self.groups == self.channels:
            return "depthwise"
        if self.channels < 64 or self.out_channels < 64:
            return "conv, few channels"
        return f"conv {self.kernel}x{self.kernel}, C and K >= 64"


@dataclass(frozen=True)
class Pool:
    network: str
    name: str
    channels: int
    size: int
    kernel: int
    stride: int
    padding: int = 0
    count: int = 1

    def module(self) -> torch.nn.Module:
        return torch.nn.MaxPool2d(self.kernel, self.stride, self.padding)

    @property
    def kind(self) -> str:
        return "max pool"


Layer: TypeAlias = Conv | Pool

# "Deep Residual Learning", He et al. 2015
RESNET: list[Layer] = [
    Conv("ResNet", "conv1", 3, 224, 64, 7, 2),
    Pool("ResNet", "maxpool", 64, 112, 3, 2, 1),
    Conv("ResNet-18", "layer1 3x3", 64, 56, 64, 3, count=4),
    Conv("ResNet-18", "layer2 3x3/2", 64, 56, 128, 3, 2),
    Conv("ResNet-18", "layer2 3x3", 128, 28, 128, 3, count=3),
    Conv("ResNet-18", "layer3 3x3", 256, 14, 256, 3, count=3),
    Conv("ResNet-18", "layer4 3x3", 512, 7, 512, 3, count=3),
    Conv("ResNet-18", "layer2 downsample", 64, 56, 128, 1, 2),
    Conv("ResNet-50", "layer1 1x1 expand", 64, 56, 256, 1, count=4),
    Conv("ResNet-50", "layer1 1x1 reduce", 256, 56, 64, 1, count=2),
    Conv("ResNet-50", "layer2 1x1 expand", 128, 28, 512, 1, count=4),
    Conv("ResNet-50", "layer3 1x1 reduce", 1024, 14, 256, 1, count=5),
    Conv("ResNet-50", "layer3 1x1 expand", 256, 14, 1024, 1, count=6),
    Conv("ResNet-50", "layer4 1x1 reduce", 2048, 7, 512, 1, count=2),
]

# "Very Deep Convolutional Networks", Simonyan and Zisserman 2014, configuration D
VGG: list[Layer] = [
    Conv("VGG-16", "conv1_1", 3, 224, 64, 3),
    Conv("VGG-16", "conv1_2", 64, 224, 64, 3),
    Conv("VGG-16", "conv3_2", 256, 56, 256, 3, count=2),
    Pool("VGG-16", "pool1", 64, 224, 2, 2),
    Pool("VGG-16", "pool3", 256, 56, 2, 2),
]

# "One weird trick", Krizhevsky 2014: AlexNet on one device
ALEXNET: list[Layer] = [
    Conv("AlexNet", "conv1", 3, 224, 64, 11, 4, padding=2),
    Conv("AlexNet", "conv2", 64, 27, 192, 5),
    Pool("AlexNet", "pool1", 64, 55, 3, 2),
]

# "Going Deeper with Convolutions", Szegedy et al. 2014
GOOGLENET: list[Layer] = [
    Conv("GoogLeNet", "3a 5x5", 16, 28, 32, 5),
    Conv("GoogLeNet", "4a 3x3", 96, 14, 208, 3),
    Pool("GoogLeNet", "4a pool", 480, 14, 3, 1, 1),
]

# "MobileNetV2", Sandler et al. 2018
MOBILENET: list[Layer] = [
    Conv("MobileNetV2", "stem", 3, 224, 32, 3, 2),
    Conv("MobileNetV2", "depthwise 3x3", 144, 56, 144, 3, groups=144),
    Conv("MobileNetV2", "depthwise 3x3/2", 96, 112, 96, 3, 2, groups=96),
    Conv("MobileNetV2", "expand", 64, 14, 384, 1, count=4),
]

LAYERS: list[Layer] = [*RESNET, *VGG, *ALEXNET, *GOOGLENET, *MOBILENET]
