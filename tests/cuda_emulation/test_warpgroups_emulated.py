"""The convolution of csrc/cuda on whole warpgroups (wgmma, tensor maps), emulated, against torch on
the CPU."""

from __future__ import annotations

import random
from collections.abc import Iterator

import _specimens_sm90 as sm90
import pytest
import torch
from _emulator import Copies, Library, Order
from _layouts import gaps_untouched, integers, result
from test_conv2d_emulated import DGRAD, FPROP, Conv, operands, simt
from torch import Tensor

pytestmark = pytest.mark.cuda_emulation

WARPGROUP = "conv2d_fprop_cuda_warpgroup"
WARPGROUP_DGRAD = "conv2d_dgrad_cuda_warpgroup"
DTYPES = (torch.bfloat16, torch.float16)


@pytest.mark.parametrize("name", sm90.NAMES)
def test_copies_and_products_are_those_of_the_manuals(kernels: Library, name: str) -> None:
    for seed in range(5):
        kernels.configure(seed)
        c = torch.zeros_like(sm90.expected(name))
        kernels.specimen(name, "none", *sm90.operands(name), c)
        assert torch.equal(c, sm90.expected(name))


PROBLEMS = [
    Conv((2, 40, 9, 8), 24, padding=(1, 1)),  # one step for each tap, not full; two row tiles
    Conv((1, 8, 5, 5), 136, kernel=(1, 1)),  # one step, fewer than stages; two column tiles
    Conv((1, 136, 21, 17), 16, stride=(2, 1), padding=(2, 1), dilation=(2, 3)),  # three for each
    Conv((3, 64, 13, 11), 200, padding=(1, 1)),  # tiles of 256 columns, the last pixels missing
    Conv((1, 72, 12, 10), 5, kernel=(2, 3), stride=(2, 3), padding=(2, 0)),  # filters one by one
    Conv((1, 16, 9, 9), 8, kernel=(2, 2), stride=(4, 8), dilation=(4, 2)),
    Conv((5, 24, 3, 3), 12, kernel=(1, 1), padding=(3, 2)),  # padding wider than the window
    Conv((1, 8, 1, 40), 8, kernel=(1, 5), padding=(0, 127)),
    Conv((2, 8, 6, 130), 8, kernel=(2, 2), dilation=(1, 128)),
    Conv((0, 8, 4, 4), 8),
]


def check(kernels: Library, conv: Conv, dtype: torch.dtype, with_bias: bool, layout: str) -> None:
    input, weight, _ = operands(conv, FPROP, "nhwc", dtype)
    output = result(conv.output, layout, dtype)
    bias = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1) if with_bias else None
    conv.check(kernels, FPROP, input, weight, output, bias, WARPGROUP)


@pytest.fixture(params=[1, 3])
def blocks(request: pytest.FixtureRequest, kernels: Library) -> Iterator[int]:
    """Blocks of many tiles each, and of one or none."""
    before, kernels.multiprocessors = kernels.multiprocessors, request.param
    yield request.param
    kernels.multiprocessors = before


@pytest.mark.parametrize("dtype", DTYPES)
def test_integers_are_exact(kernels: Library, blocks: int, dtype: torch.dtype) -> None:
    for seed, conv in enumerate(PROBLEMS):
        kernels.configure(seed + blocks)
        check(kernels, conv, dtype, seed % 2 == blocks % 2, "nhwc")


@pytest.mark.parametrize("layout", ["nchw", "gaps"])
def test_the_result_may_lie_anyhow(kernels: Library, layout: str) -> None:
    for conv in PROBLEMS[:5]:
        check(kernels, conv, torch.float16, True, layout)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("copies", list(Copies))
def test_whenever_copies_land(libraries: dict[str, Library], order: Order, copies: Copies) -> None:
    kernels = libraries["hooks"]
    for seed in range(3):
        kernels.configure(seed, order, copies)
        check(kernels, Conv((1, 72, 12, 12), 40, kernel=(3, 2)), torch.bfloat16, True, "nhwc")


def random_problems(count: int, strides: int = 8, filters: int = 1) -> Iterator[Conv]:
    """Of filters in multiples of so many."""
    numbers = random.Random(1)
    while count > 0:
        kernel, dilation, stride = (
            (numbers.randint(1, most), numbers.randint(1, most)) for most in (4, 3, strides)
        )
        conv = Conv(
            (
                numbers.randint(1, 3),
                8 * numbers.randint(1, 12),
                numbers.randint(1, 20),
                numbers.randint(1, 20),
            ),
            filters * numbers.randint(1, 150 // filters),
            kernel=kernel,
            stride=stride,
            dilation=dilation,
            padding=(numbers.randint(0, 5), numbers.randint(0, 5)),
        )
        if min(conv.output[2:]) > 0:
            count -= 1
            yield conv


def test_random_problems_are_exact(kernels: Library) -> None:
    for seed, conv in enumerate(random_problems(40)):
        kernels.configure(seed)
        check(kernels, conv, DTYPES[seed % 2], seed % 3 > 0, "nhwc")


# Dgrad of unit stride: filters in whole pieces too.
GRADIENTS = [
    Conv((2, 40, 9, 8), 24, padding=(1, 1)),
    Conv((1, 136, 7, 6), 8, kernel=(1, 1), padding=(2, 1)),  # pixels of padding alone
    Conv((1, 16, 21, 17), 136, kernel=(2, 3), padding=(2, 1), dilation=(2, 3)),
    Conv((3, 200, 13, 11), 64, padding=(1, 1)),  # tiles of 256 columns
    Conv((0, 8, 4, 4), 8),
]


def check_gradient(kernels: Library, conv: Conv, dtype: torch.dtype, layout: str) -> None:
    _, weight, output = operands(conv, DGRAD, "nhwc", dtype)
    input = result(conv.input, layout, dtype)
    conv.check(kernels, DGRAD, input, weight, output, algorithm=WARPGROUP_DGRAD)


@pytest.mark.parametrize("layout", ["nhwc", "gaps"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_exact(
    kernels: Library, blocks: int, dtype: torch.dtype, layout: str
) -> None:
    for seed, conv in enumerate(GRADIENTS):
        kernels.configure(seed + blocks)
        check_gradient(kernels, conv, dtype, layout)


def test_random_gradients_are_exact(kernels: Library) -> None:
    for seed, conv in enumerate(random_problems(30, strides=1, filters=8)):
        kernels.configure(seed)
        check_gradient(kernels, conv, DTYPES[seed % 2], "nhwc")


def views(conv: Conv, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels, rows and images that do not follow one another in memory."""
    n, c, h, w = conv.input
    k, _, r, s = conv.weight
    input = integers((n, c + 8, h + 2, w + 1), "nhwc", dtype)[:, 8:, 1:-1, 1:]
    weight = integers((k, c + 16, r, s + 1), "nhwc", dtype)[:, 8:-8, :, 1:]
    _, _, p, q = conv.output
    output = result((n, k + 8, p + 1, q), "nhwc", dtype)[:, 8:, 1:]
    return input, weight, output


def test_views_of_larger_tensors(kernels: Library) -> None:
    for conv in (PROBLEMS[0], PROBLEMS[3], PROBLEMS[4]):
        input, weight, output = views(conv, torch.bfloat16)
        expected = conv.reference(FPROP, input, weight, output)
        conv.run(kernels, FPROP, input, weight, output, algorithm=WARPGROUP)
        assert torch.equal(output, expected.to(output.dtype))
        assert gaps_untouched(output)


def test_a_tap_does_not_see_the_next(libraries: dict[str, Library]) -> None:
    """A step past the last channels of a tap brings zeros of both operands: no infinity of the
    channels that follow in memory, and no channel that does not exist."""
    kernels = libraries["plain"]
    conv = Conv((1, 40, 6, 6), 16)
    input, weight, output = operands(conv, FPROP, "nhwc", torch.float16)
    weight[3, 2, 1, 1] = float("inf")
    input[input == 0] = 1
    expected = result(conv.output, "nhwc", torch.float16)
    conv.run(kernels, FPROP, input, weight, expected, algorithm=simt(FPROP))
    conv.run(kernels, FPROP, input, weight, output, algorithm=WARPGROUP)
    assert torch.equal(output, expected)
    assert output.isinf().any()


def test_they_say_what_they_need(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    refusals = {
        "whole 16-byte pieces of channels": (Conv((1, 12, 5, 5), 4), "nhwc"),
        "channels of what it reads side by side": (Conv((1, 8, 5, 5), 4), "nchw"),
        "one group": (Conv((1, 16, 5, 5), 4, groups=2), "nhwc"),
        "strides of at most 8": (Conv((1, 8, 12, 12), 4, stride=(1, 9)), "nhwc"),
        "window of at most 256": (
            Conv((1, 8, 3, 150), 4, kernel=(1, 3), dilation=(1, 128), padding=(0, 128)),
            "nhwc",
        ),
        "start at most 128 pixels": (Conv((1, 8, 5, 5), 4, padding=(129, 0)), "nhwc"),
    }
    for reason, (conv, layout) in refusals.items():
        tensors = operands(conv, FPROP, layout, torch.bfloat16)
        with pytest.raises(RuntimeError, match=reason):
            conv.run(kernels, FPROP, *tensors, algorithm=WARPGROUP)
    conv = Conv((2, 8, 5, 5), 4)
    _, weight, output = operands(conv, FPROP, "nhwc", torch.bfloat16)
    expanded = integers((1, 8, 5, 5), "nhwc", torch.bfloat16).expand(2, 8, 5, 5)
    with pytest.raises(RuntimeError, match="pixels within rows within images"):
        conv.run(kernels, FPROP, expanded, weight, output, algorithm=WARPGROUP)


def test_gradients_say_what_they_need(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    refusals = {
        "unit strides": Conv((1, 8, 12, 12), 8, stride=(1, 2)),
        "whole 16-byte pieces of channels": Conv((1, 8, 5, 5), 4),
        "one group": Conv((1, 16, 5, 5), 16, groups=2),
        "start at most 128 pixels": Conv((1, 8, 3, 3), 8, kernel=(1, 1), padding=(130, 0)),
    }
    for reason, conv in refusals.items():
        tensors = operands(conv, DGRAD, "nhwc", torch.bfloat16)
        with pytest.raises(RuntimeError, match=reason):
            conv.run(kernels, DGRAD, *tensors, algorithm=WARPGROUP_DGRAD)


def test_is_taken_by_name_alone(libraries: dict[str, Library]) -> None:
    """Until it has run on a GPU. With four multiprocessors its rule would have it for these."""
    kernels = libraries["plain"]
    for conv in (Conv((1, 64, 32, 32), 64, kernel=(1, 1)), Conv((1, 64, 16, 32), 136)):
        tensors = operands(conv, FPROP, "nhwc", torch.bfloat16)
        conv.check(kernels, FPROP, *tensors)
        assert kernels.last_algorithm == "conv2d_fprop_cuda_tensor_core"
        tensors = operands(conv, DGRAD, "nhwc", torch.float16)
        conv.check(kernels, DGRAD, *tensors)
        assert kernels.last_algorithm == "conv2d_dgrad_cuda_tensor_core"
