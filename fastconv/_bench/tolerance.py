"""How far from float64 a result may be, where twice torch's own error allows less."""

from __future__ import annotations

import math

import torch
from torch import nn

from fastconv._bench.compare import FP32_ERROR
from fastconv._bench.passes import Direction

# What torch's `fp32_precision` switch allows a float32 convolution. Under 'ieee' twice torch's own
# error is the rule; the least step of a float32 is there for results of which torch rounds none.
_PRECISIONS = {"none": FP32_ERROR, "ieee": 2**-23, "tf32": 5e-5, "bf16": 2**-8}
PRECISIONS = tuple(_PRECISIONS)


def layer_floor(dtype: torch.dtype, precision: str) -> float:
    """16-bit results may be one rounding away."""
    if dtype == torch.float32:
        return _PRECISIONS[precision]
    return torch.finfo(dtype).eps / 2


def network_floor(
    network: nn.Module, dtype: torch.dtype, precision: str, direction: Direction
) -> float:
    """Errors of layers are independent, so in a row of them they add like a random walk.

    An error of e turns round the sign of about a share e of the activations, those next to zero,
    and with it their whole gradient, so that the gradients err by its root. That is much: torch's
    own, of ResNet-50 with random weights in float32, are 3e-2 from float64's.
    """
    depth = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    floor = layer_floor(dtype, precision) * math.sqrt(depth)
    return math.sqrt(floor) if direction == "training step" else floor
