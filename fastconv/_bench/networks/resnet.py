"""ResNets (He et al. 2015), ResNeXt (Xie et al. 2016), and DeepLabv3 (Chen et al. 2017) on one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from fastconv._bench.networks._parts import ConvNorm, initialise


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    expansion = 1

    def __init__(
        self, channels: int, width: int, stride: int, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.bn1(self.conv1(input)))
        return self.relu(self.bn2(self.conv2(hidden)) + self.downsample(input))


class Bottleneck(nn.Module):
    """1x1 to fewer channels, 3x3 there (where the stride is, as everyone has it now), 1x1 back."""

    expansion = 4

    def __init__(
        self, channels: int, width: int, stride: int, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        # ResNeXt's 32x4d: 32 groups of 4 channels where ResNet-50 has 64
        inner = width if groups == 1 else width * groups * 4 // 64
        out_channels = width * self.expansion
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, dilation, dilation, groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, out_channels, stride)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.bn1(self.conv1(input)))
        hidden = self.relu(self.bn2(self.conv2(hidden)))
        return self.relu(self.bn3(self.conv3(hidden)) + self.downsample(input))


def _shortcut(channels: int, out_channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and channels == out_channels:
        return nn.Sequential()
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class ResNet(nn.Module):
    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        groups: int = 1,
        last_dilations: Sequence[int] = (),
    ) -> None:
        """`last_dilations`: one for each block of the last stage, which then keeps its plane."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for stage, depth in enumerate(depths):
            width = 64 << stage
            dilations = last_dilations if stage == 3 and last_dilations else [1] * depth
            blocks = []
            for index, dilation in enumerate(dilations):
                stride = 2 if index == 0 and stage > 0 and dilations is not last_dilations else 1
                blocks.append(block(channels, width, stride, groups, dilation))
                channels = width * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(channels, 1000)
        initialise(self)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        for stage in range(1, 5):
            hidden = self.get_submodule(f"layer{stage}")(hidden)
        return hidden

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(images).mean((2, 3)))


def resnet18() -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2))


def resnet50() -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3))


def resnext50() -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), groups=32)


class CifarBlock(BasicBlock):
    """Its shortcut has no weights: every second pixel, and zeros for the new channels."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__(channels, width, stride)
        self.downsample = nn.Sequential()
        self.stride, self.new_channels = stride, width - channels

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(input)))))
        kept = input[:, :, :: self.stride, :: self.stride]
        return self.relu(hidden + functional.pad(kept, (0, 0, 0, 0, 0, self.new_channels)))


class ResNet20(nn.Module):
    """He et al. 2015, section 4.2: the ResNet for CIFAR-10."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 16, 3)
        channels, blocks = 16, []
        for width in (16, 32, 64):
            for _ in range(3):
                blocks.append(CifarBlock(channels, width, 1 if width == channels else 2))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(64, 10)
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.blocks(self.stem(images)).mean((2, 3)))


class DeepLabv3(nn.Module):
    """Output stride 16: multi-grid (1, 2, 4) in the last stage, then rates 6, 12 and 18."""

    def __init__(self, classes: int = 21) -> None:
        super().__init__()
        self.backbone = ResNet(Bottleneck, (3, 4, 6, 3), last_dilations=(2, 4, 8))
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        self.aspp = nn.ModuleDict({"1x1": ConvNorm(2048, 256, 1)})
        for rate in (6, 12, 18):
            self.aspp[f"rate{rate}"] = ConvNorm(2048, 256, 3, dilation=rate)
        self.image = ConvNorm(2048, 256, 1)
        self.project = ConvNorm(5 * 256, 256, 1)
        self.head = nn.Sequential(ConvNorm(256, 256, 3), nn.Conv2d(256, classes, 1))
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone.features(images)
        branches = [branch(features) for branch in self.aspp.values()]
        whole = self.image(features.mean((2, 3), keepdim=True)).expand_as(branches[0])
        scores = self.head(self.project(torch.cat([*branches, whole], 1)))
        return functional.interpolate(scores, images.shape[-2:], mode="bilinear")
