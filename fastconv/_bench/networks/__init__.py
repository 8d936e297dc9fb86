"""Published networks in plain torch, by name: nothing in here knows fastconv.

Weights are random (He et al.'s initialisation): nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from fastconv._bench.networks._parts import calibrate
from fastconv._bench.networks.densenet import DenseNet121
from fastconv._bench.networks.googlenet import GoogLeNet
from fastconv._bench.networks.mobilenet import MobileNetV2
from fastconv._bench.networks.plain import VGG16, AlexNet, CifarQuick, LeNet5
from fastconv._bench.networks.resnet import DeepLabv3, ResNet20, resnet18, resnet50, resnext50

__all__ = ["NETWORKS", "AlexNet", "LeNet5", "Network", "calibrate", "resnet18"]


@dataclass(frozen=True)
class Network:
    name: str
    build: Callable[[], nn.Module]
    size: int  # height and width of its images
    channels: int = 3
    dilated_only: bool = False  # the layers without dilation are another network's
    whole: bool = False  # compared as a whole too


NETWORKS: tuple[Network, ...] = (
    Network("LeNet-5", LeNet5, 32, channels=1),
    Network("CIFAR-10 quick", CifarQuick, 32),
    Network("ResNet-20", ResNet20, 32),
    Network("AlexNet", AlexNet, 224),
    Network("VGG-16", VGG16, 224, whole=True),
    Network("GoogLeNet", GoogLeNet, 224, whole=True),
    Network("ResNet-18", resnet18, 224),
    Network("ResNet-50", resnet50, 224, whole=True),
    Network("ResNeXt-50", resnext50, 224, whole=True),
    Network("DenseNet-121", DenseNet121, 224, whole=True),
    Network("MobileNetV2", MobileNetV2, 224, whole=True),
    Network("DeepLabv3", DeepLabv3, 513, dilated_only=True),
)
