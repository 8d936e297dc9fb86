"""The networks of the demonstration, in plain torch: nothing here knows fastconv.

Weights are random (He et al.'s initialisation) but seeded by the caller: nothing is downloaded.
"""

from __future__ import annotations

import torch
from torch import nn


class LeNet5(nn.Module):
    """LeCun et al. 1998 for 32 x 32 digits, with the max pooling and ReLU of today."""

    def __init__(
        self, conv: type[nn.Conv2d] = nn.Conv2d, pool: type[nn.MaxPool2d] = nn.MaxPool2d
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv(1, 6, 5), nn.ReLU(), pool(2), conv(6, 16, 5), nn.ReLU(), pool(2)
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120),
            nn.ReLU(),
            nn.Linear(120, 84),
            nn.ReLU(),
            nn.Linear(84, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class AlexNet(nn.Module):
    """Krizhevsky 2014, the one-device AlexNet of "One weird trick"."""

    def __init__(self, classes: int = 1000) -> None:
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
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.bn1(self.conv1(input)))
        return self.relu(self.bn2(self.conv2(hidden)) + self.downsample(input))


class ResNet18(nn.Module):
    """He et al. 2015."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512, 1))
        self.fc = nn.Linear(512, classes)
        initialise(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        hidden = self.layer4(self.layer3(self.layer2(self.layer1(hidden))))
        return self.fc(hidden.mean((2, 3)))


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
