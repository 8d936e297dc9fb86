"""What is timed: a layer or a whole network, made ready for a setting."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from fastconv._bench.catalogue import every_layer
from fastconv._bench.layers import Conv, Layer, Pool, input_of
from fastconv._bench.networks import Network, calibrate
from fastconv._bench.passes import LAYER_DIRECTIONS, NETWORK_DIRECTIONS
from fastconv._bench.settings import Setting
from fastconv._bench.tolerance import layer_floor, network_floor

Subject: TypeAlias = Layer | Network

WHOLE_NETWORK = "whole network"

# A step forward and the two backward ones of about as many products each.
_STEPS_OF_TRAINING = 3


def can_have(subject: Subject, setting: Setting) -> bool:
    """Whether the setting means anything for the subject, and is no other one's double."""
    if isinstance(subject, Network):
        return setting.direction in NETWORK_DIRECTIONS
    if setting.direction not in LAYER_DIRECTIONS:
        return False
    if isinstance(subject, Pool):
        has_it = setting.direction != "weight gradient" and setting.precision == "none"
        return has_it and not setting.algorithm.startswith("conv2d")
    return not setting.algorithm.startswith("max_pool2d")


def build(subject: Subject, setting: Setting) -> tuple[nn.Module, Tensor]:
    """The module and its input, the same ones at each call."""
    torch.manual_seed(0)
    dtype = setting.torch_dtype
    if not isinstance(subject, Network):
        return subject.module().to(dtype), input_of(subject, setting.batch).to(dtype)
    network = subject.build()
    images = torch.randn(setting.batch, subject.channels, subject.size, subject.size)
    calibrate(network, images)
    return network.to(dtype), images.to(dtype)


def floor_of(subject: Subject, module: nn.Module, setting: Setting) -> float:
    dtype, precision = setting.torch_dtype, setting.precision
    if isinstance(subject, Network):
        return network_floor(module, dtype, precision, setting.direction)
    return layer_floor(dtype, precision)


def work_of(subject: Subject, setting: Setting) -> int:
    """Multiply-adds (of a pooling: comparisons) in all convolutions and max poolings."""
    if not isinstance(subject, Network):
        return subject.work * setting.batch
    forward = sum(layer.work for layer in every_layer(subject) if isinstance(layer, Conv))
    steps = _STEPS_OF_TRAINING if setting.direction == "training step" else 1
    return forward * setting.batch * steps


def name_of(subject: Subject) -> str:
    return WHOLE_NETWORK if isinstance(subject, Network) else subject.name


def network_of(subject: Subject) -> str:
    return subject.name if isinstance(subject, Network) else subject.network


def kind_of(subject: Subject) -> str:
    return WHOLE_NETWORK if isinstance(subject, Network) else subject.kind


def shape_of(subject: Subject) -> str:
    if isinstance(subject, Network):
        return f"{subject.channels}x{subject.size}x{subject.size}"
    return subject.shape
