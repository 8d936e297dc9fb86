"""The direct weight gradient: every way of reading its operands, on integers, exactly."""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from _algorithms import attempt, usable_algorithms

import fastconv

pytestmark = pytest.mark.kernels

ALGORITHMS = [a for a in usable_algorithms("conv2d", "wgrad") if "_direct_" in a.name]
LAYOUTS = {"planes": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Conv:
    channels: int
    filters: int
    groups: int
    height: int
    width: int
    batch: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def options(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


def convs(count: int) -> list[Conv]:
    """Whole vectors and tails, few channels and many, windows that hang far into the padding, rows
    longer than a sum, images smaller than one."""
    draw = random.Random(7)
    found: list[Conv] = []
    while len(found) < count:
        groups = draw.choice([1, 1, 1, 2, 3])
        kernel, dilation = (
            (draw.choice([1, 1, 2, 3, 3, 5]), draw.choice([1, 1, 3, 4, 7])),
            (draw.choice([1, 1, 2]), draw.choice([1, 1, 3])),
        )
        conv = Conv(
            draw.choice([1, 2, 3, 4, 16, 17, 32, 48, 64]) * groups,
            draw.choice([1, 5, 14, 16, 29, 32, 64]) * groups,
            groups,
            draw.choice([1, 2, 5, 7, 13, 20]),
            draw.choice([1, 3, 7, 8, 15, 16, 31, 45, 150, 270]),
            draw.choice([1, 2, 5]),
            kernel,
            draw.choice([(1, 1), (1, 1), (2, 2), (1, 3), (3, 1)]),
            draw.choice([(0, 0), (1, 1), (2, 0), (3, 4)]),
            dilation,
        )
        reach = [
            size + 2 * pad - d * (k - 1)
            for size, pad, d, k in zip(
                (conv.height, conv.width), conv.padding, dilation, kernel, strict=True
            )
        ]
        if min(reach) > 0:
            found.append(conv)
    return found


def integers(shape: Any, layout: torch.memory_format, dtype: torch.dtype) -> torch.Tensor:
    return torch.randint(-4, 5, shape).to(dtype).contiguous(memory_format=layout)


def gradient(
    algorithm: str, conv: Conv, input: torch.Tensor, grad: torch.Tensor, last: bool
) -> Any:
    o = conv.options
    return torch.ops.fastconv.conv2d_grad_weight(
        grad,
        input,
        [conv.filters, conv.channels // conv.groups, *conv.kernel],
        *([*o[name]] for name in ("stride", "padding", "dilation")),
        conv.groups,
        last,
        algorithm,
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("grad_layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("input_layout", LAYOUTS.values(), ids=LAYOUTS)
def test_is_exact_on_integers(
    algorithm: fastconv.Algorithm,
    input_layout: torch.memory_format,
    grad_layout: torch.memory_format,
) -> None:
    torch.manual_seed(1)
    before = torch.get_num_threads()
    ran = 0
    try:
        for conv in convs(150):
            shape = (conv.batch, conv.channels, conv.height, conv.width)
            input = integers(shape, input_layout, torch.float32)
            weight = torch.zeros(
                conv.filters,
                conv.channels // conv.groups,
                *conv.kernel,
                dtype=torch.float64,
                requires_grad=True,
            )
            output = torch.nn.functional.conv2d(input.double(), weight, **conv.options)
            grad = integers(output.shape, grad_layout, torch.float32)
            (expected,) = torch.autograd.grad(output, weight, grad.double())
            for threads, last in ((1, False), (3, True)):
                torch.set_num_threads(threads)
                call = functools.partial(gradient, algorithm.name, conv, input, grad, last)
                result = attempt(algorithm, call)
                if result is None:
                    continue
                ran += 1
                assert torch.equal(result.double(), expected), (conv, threads)
    finally:
        torch.set_num_threads(before)
    assert ran > 200


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_threads_change_no_bit(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    """Sums in parts, in totals and in neither; filters as rows and channels as rows."""
    torch.manual_seed(0)
    before = torch.get_num_threads()
    for channels, filters, size, batch in [(3, 40, 90, 2), (32, 20, 75, 1), (256, 96, 9, 3)]:
        conv = Conv(channels, filters, 1, size, size, batch, (3, 3), (1, 1), (1, 1), (1, 1))
        input = torch.randn(batch, channels, size, size).contiguous(memory_format=layout)
        grad = torch.randn(batch, filters, size, size).contiguous(memory_format=layout)
        results = []
        try:
            for threads in (1, 2, 3, 5):
                torch.set_num_threads(threads)
                results.append(gradient(algorithm.name, conv, input, grad, False))
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_takes_any_strides(algorithm: fastconv.Algorithm) -> None:
    """Gradients of a sum have stride 0; columns of a transposed image are a row apart."""
    torch.manual_seed(2)
    for channels, filters, kernel in [(3, 32, 3), (32, 5, 3), (48, 64, 1)]:
        conv = Conv(channels, filters, 1, 9, 18, 2, (kernel, kernel), (1, 1), (1, 1), (1, 1))
        input = integers((2, channels, 18, 9), torch.contiguous_format, torch.float32).mT
        weight = torch.zeros(filters, channels, kernel, kernel, dtype=torch.float64)
        output = torch.nn.functional.conv2d(input.double(), weight.requires_grad_(), **conv.options)
        shape = output.shape
        for grad in (
            torch.full((1, 1, 1, 1), 3.0).expand(shape),
            torch.randint(-4, 5, (*shape[:2], 1, 1)).float().expand(shape),
            integers((2, filters, shape[3], shape[2]), torch.channels_last, torch.float32).mT,
        ):
            (expected,) = torch.autograd.grad(output, weight, grad.double(), retain_graph=True)
            result = gradient(algorithm.name, conv, input, grad, False)
            assert torch.equal(result.double(), expected)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_copies_leave_out_the_padding_of_wide_dilation(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    """DeepLab's: its rows of taps reach over 69 columns, of which the image has 33."""
    conv = Conv(256, 40, 1, 33, 33, 1, (3, 3), (1, 1), (18, 18), (18, 18))
    input = integers((1, 256, 33, 33), layout, torch.float32)
    grad = integers((1, 40, 33, 33), layout, torch.float32)
    weight = torch.zeros(40, 256, 3, 3, dtype=torch.float64, requires_grad=True)
    output = torch.nn.functional.conv2d(input.double(), weight, **conv.options)
    (expected,) = torch.autograd.grad(output, weight, grad.double())
    assert torch.equal(gradient(algorithm.name, conv, input, grad, False).double(), expected)
