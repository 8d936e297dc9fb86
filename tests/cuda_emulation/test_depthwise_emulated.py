"""The depthwise convolutions of csrc/cuda, emulated, against torch on the CPU."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from _emulator import DTYPES, Library
from _layouts import LAYOUTS, integers, normal
from test_conv2d_emulated import DGRAD, FPROP, WGRAD, Conv, operands

pytestmark = pytest.mark.cuda_emulation

DIRECTIONS = (FPROP, DGRAD, WGRAD)


def depthwise(direction: str) -> str:
    return f"conv2d_{direction}_cuda_depthwise"


PROBLEMS = [
    Conv((2, 5, 9, 11), 5, padding=(1, 1), groups=5),
    Conv((1, 40, 35, 34), 40, padding=(1, 1), groups=40),  # several tiles in every direction
    Conv((1, 33, 19, 17), 66, kernel=(3, 2), stride=(2, 3), padding=(2, 1), groups=33),
    Conv((2, 3, 12, 13), 9, stride=(1, 2), padding=(3, 1), dilation=(3, 2), groups=3),
    Conv((1, 2, 40, 70), 2, kernel=(5, 5), padding=(2, 2), groups=2),
    Conv((1, 2, 7, 7), 2, kernel=(1, 1), stride=(5, 4), groups=2),
    Conv((1, 2, 70, 3), 2, kernel=(2, 1), dilation=(60, 1), groups=2),
    Conv((0, 2, 5, 5), 2, groups=2),
]


def random_depthwise(count: int) -> Iterator[Conv]:
    numbers = random.Random(2)
    while count > 0:
        channels = numbers.choice([2, 3, 8, 33])
        pair = [(numbers.randint(1, most), numbers.randint(1, most)) for most in (4, 4, 3)]
        conv = Conv(
            (numbers.randint(1, 3), channels, numbers.randint(1, 14), numbers.randint(1, 14)),
            channels * numbers.choice([1, 1, 2]),
            kernel=pair[0],
            stride=pair[1],
            dilation=pair[2],
            padding=(numbers.randint(0, 4), numbers.randint(0, 4)),
            groups=channels,
        )
        if min(conv.output[2:]) > 0:
            count -= 1
            yield conv


def check(kernels: Library, conv: Conv, direction: str, layout: str, dtype: torch.dtype) -> None:
    bias = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1)
    tensors = operands(conv, direction, layout, dtype)
    added = bias if direction == FPROP else None
    conv.check(kernels, direction, *tensors, added, depthwise(direction))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_integers_are_exact(kernels: Library, direction: str, layout: str) -> None:
    for seed, conv in enumerate(PROBLEMS):
        kernels.configure(seed)
        check(kernels, conv, direction, layout, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_dtype(kernels: Library, direction: str, dtype: torch.dtype) -> None:
    for layout in ("nchw", "nhwc"):
        check(kernels, PROBLEMS[0], direction, layout, dtype)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_random_problems_are_exact(kernels: Library, direction: str) -> None:
    for seed, conv in enumerate(random_depthwise(20)):
        kernels.configure(seed)
        check(kernels, conv, direction, LAYOUTS[seed % len(LAYOUTS)], torch.float32)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_error_in_float32(libraries: dict[str, Library], direction: str) -> None:
    kernels = libraries["plain"]
    conv = Conv((2, 8, 40, 40), 8, padding=(1, 1), groups=8)
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    made = {name: normal(shape, "nchw", torch.float32) for name, shape in shapes.items()}
    tensors = made[DGRAD], made[WGRAD], made[FPROP]
    expected = conv.reference(direction, *tensors)
    conv.run(kernels, direction, *tensors, algorithm=depthwise(direction))
    assert float((made[direction].double() - expected).norm() / expected.norm()) < 5e-7


def test_it_says_what_it_needs(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    for reason, conv in {
        "one input channel in a group": Conv((1, 4, 5, 5), 4, groups=2),
        "at most 256 products": Conv((1, 2, 20, 20), 2, kernel=(17, 17), groups=2),
    }.items():
        tensors = operands(conv, FPROP, "nchw", torch.float32)
        with pytest.raises(RuntimeError, match=reason):
            conv.run(kernels, FPROP, *tensors, algorithm=depthwise(FPROP))
    conv = Conv((1, 2, 20, 20), 2, kernel=(9, 9), groups=2)
    tensors = operands(conv, WGRAD, "nchw", torch.float32)
    with pytest.raises(RuntimeError, match="fits shared memory"):
        conv.run(kernels, WGRAD, *tensors, algorithm=depthwise(WGRAD))
