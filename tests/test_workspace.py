"""Scratch memory: a forward holds no im2col buffer, whatever the size of the image."""

from __future__ import annotations

import pytest
from _subprocess import output_of

MEASURE = """
import resource, sys, threading
import torch
import torch.nn.functional as F
{setup}

MIB = 2**20

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

torch.set_num_threads(2)
channels, size = {channels}, {size}
x = torch.ones(1, channels, size, size)
weight = torch.ones(channels, channels, 3, 3)
# Thread pools, code pages and allocator arenas come with the first calls; they are small ones.
for _ in range(3):
    conv2d(torch.ones(1, channels, 24, 24), weight, None, 1, 1)
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # starts the peak anew
before = status("VmRSS")
output = conv2d(x, weight, None, 1, 1)
peak = status("VmHWM")
extra = peak - before - output.numel() * output.element_size()
print(extra / MIB)
"""


def extra_mebibytes(setup: str, channels: int = 64, size: int = 224) -> float:
    code = MEASURE.format(setup=setup, channels=channels, size=size)
    return float(output_of(code))


OURS = "import fastconv; conv2d = fastconv.conv2d"
TORCHS = "conv2d = F.conv2d"
IM2COL = """
def conv2d(x, weight, bias, stride, padding):
    columns = F.unfold(x, 3, padding=padding)
    return (weight.flatten(1) @ columns).view(1, -1, *x.shape[-2:])
"""


def test_forward_stays_under_16_mebibytes(record_property: pytest.RecordProperty) -> None:
    ours, torchs = extra_mebibytes(OURS), extra_mebibytes(TORCHS)
    record_property("extra_mebibytes", ours)
    record_property("torch_extra_mebibytes", torchs)
    print(f"3x3 on 64 x 224 x 224 takes {ours:.1f} MiB beside its operands, torch {torchs:.1f} MiB")
    assert ours < 16


def test_the_measurement_sees_an_im2col_buffer() -> None:
    """64 * 9 * 224 * 224 floats are 110 MiB: a method that has them must show."""
    assert extra_mebibytes(IM2COL) > 100


def test_reference_needs_nothing() -> None:
    setup = """
import fastconv
def conv2d(*args):
    with fastconv.use_algorithm("conv2d_fprop_reference"):
        return fastconv.conv2d(*args)
"""
    assert extra_mebibytes(setup, channels=8, size=112) < 1
