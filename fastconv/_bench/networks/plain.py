"""Networks that are one row of layers: LeNet-5, CIFAR-10 quick, AlexNet, VGG-16."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from fastconv._bench.networks._parts import initialise


class LeNet5(nn.Module):
    """LeCun et al. 1998 for 32 x 32 digits, with the max pooling and ReLU of today."""

    def __init__(
        self, conv: type[nn.Conv2d] = nn.Conv2d, pool: type[nn.MaxPool2d] = nn.MaxPool2d
    ) -> None:
        super().__init__()
        self.features = nn.Sequential()
        for index, (channels, out_channels) in enumerate(((1, 6), (6, 16)), 1):
            self.features.add_module(f"conv{index}", conv(channels, out_channels, 5))
            self.features.add_module(f"relu{index}", nn.ReLU())
            self.features.add_module(f"pool{index}", pool(2))
        self.classifier = _classifier(16 * 5 * 5, 120, 84, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class CifarQuick(nn.Module):
    """Krizhevsky's cuda-convnet for CIFAR-10 in Caffe's quick form, all poolings maxima."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for index, out_channels in enumerate((32, 32, 64), 1):
            conv = nn.Conv2d(channels, out_channels, 5, padding=2)
            self.features.add_module(f"conv{index}", conv)
            self.features.add_module(f"pool{index}", nn.MaxPool2d(3, 2, ceil_mode=True))
            self.features.add_module(f"relu{index}", nn.ReLU(inplace=True))
            channels = out_channels
        self.classifier = _classifier(64 * 4 * 4, 64, 10)
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class AlexNet(nn.Module):
    """Krizhevsky 2014, the one-device AlexNet of "One weird trick"."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        layers: dict[str, nn.Module] = {
            "conv1": nn.Conv2d(3, 64, 11, stride=4, padding=2),
            "pool1": nn.MaxPool2d(3, 2),
            "conv2": nn.Conv2d(64, 192, 5, padding=2),
            "pool2": nn.MaxPool2d(3, 2),
            "conv3": nn.Conv2d(192, 384, 3, padding=1),
            "conv4": nn.Conv2d(384, 256, 3, padding=1),
            "conv5": nn.Conv2d(256, 256, 3, padding=1),
            "pool5": nn.MaxPool2d(3, 2),
        }
        for name, layer in layers.items():
            self.features.add_module(name, layer)
            if name.startswith("conv"):
                self.features.add_module(f"relu{name[-1]}", nn.ReLU(inplace=True))
        self.classifier = _classifier(256 * 6 * 6, 4096, 4096, 1000)
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class VGG16(nn.Module):
    """Simonyan and Zisserman 2014, configuration D, without the dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for stage, (out_channels, depth) in enumerate(
            ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), 1
        ):
            for index in range(1, depth + 1):
                conv = nn.Conv2d(channels, out_channels, 3, padding=1)
                self.features.add_module(f"conv{stage}_{index}", conv)
                self.features.add_module(f"relu{stage}_{index}", nn.ReLU(inplace=True))
                channels = out_channels
            self.features.add_module(f"pool{stage}", nn.MaxPool2d(2))
        self.classifier = _classifier(512 * 7 * 7, 4096, 4096, 1000)
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


def _classifier(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, next_width in itertools.pairwise(widths):
        layers += [nn.Linear(width, next_width), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
