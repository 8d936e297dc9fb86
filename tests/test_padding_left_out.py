"""im2col + GEMM where products with padding are left out: large paddings, many channels."""

from __future__ import annotations

import math
import random

import pytest
import torch
import torch.nn.functional as F
from _algorithms import usable_algorithms
from torch import Tensor

import fastconv

GEMM = [
    a
    for direction in ("fprop", "dgrad")
    for a in usable_algorithms("conv2d", direction)
    if "im2col" in a.name
]
LAYOUTS = [torch.contiguous_format, torch.channels_last]

pytestmark = pytest.mark.kernels

Pair = tuple[int, int]
# N, C, K, H, W; window, stride, padding, dilation, groups
Problem = tuple[tuple[int, ...], Pair, Pair, Pair, Pair, int]


def random_problems(count: int) -> list[Problem]:
    rng = random.Random(3)
    problems: list[Problem] = [
        ((1, 64, 64, 33, 33), (3, 3), (1, 1), (12, 12), (12, 12), 1),
        ((1, 64, 64, 33, 33), (3, 3), (1, 1), (18, 18), (18, 18), 1),
        ((3, 130, 20, 9, 9), (3, 3), (1, 1), (3, 3), (3, 3), 1),
        ((2, 64, 64, 20, 1), (3, 1), (1, 1), (15, 9), (15, 1), 1),
        ((1, 64, 64, 12, 12), (1, 1), (1, 1), (6, 6), (1, 1), 1),
        ((30, 64, 40, 3, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
        ((1, 300, 33, 17, 15), (3, 3), (2, 2), (9, 8), (9, 9), 1),
    ]
    while len(problems) < count:
        groups = rng.choice((1, 1, 1, 2, 3))
        shape = (
            rng.randint(1, 3),
            groups * rng.choice((64, 65, 128, 200)),
            groups * rng.choice((1, 5, 32, 40, 65)),
            rng.randint(1, 24),
            rng.randint(4, 24),
        )
        window = (rng.randint(1, 4), rng.randint(1, 4))
        dilation = (rng.randint(1, 14), rng.randint(1, 14))
        stride = (rng.choice((1, 1, 2, 3)), rng.choice((1, 1, 2, 3)))
        padding = (
            rng.randint(dilation[0], 2 * dilation[0] + 2),
            rng.randint(dilation[1], 2 * dilation[1] + 2),
        )
        reach = [dilation[i] * (window[i] - 1) + 1 - 2 * padding[i] for i in range(2)]
        if shape[3] >= reach[0] and shape[4] >= reach[1]:
            problems.append((shape, window, stride, padding, dilation, groups))
    return problems


class Case:
    """One problem in one direction; the weight may lie in another layout than the image."""

    def __init__(
        self, problem: Problem, layout: torch.memory_format, dtype: torch.dtype, whole: bool
    ) -> None:
        (n, c, k, h, w), window, stride, padding, dilation, groups = problem
        self.size = (n, c, h, w)
        self.geometry = stride, padding, dilation, groups

        def numbers(*sizes: int) -> Tensor:
            return torch.randint(-3, 4, sizes).to(dtype) if whole else torch.randn(sizes).to(dtype)

        self.x = numbers(n, c, h, w).to(memory_format=layout)
        self.weight = numbers(k, c // groups, *window).to(memory_format=layout)
        self.bias = numbers(k)
        output = F.conv2d(self.x.float()[:, :, :, :], self.weight.float(), None, *self.geometry)
        self.gradient = numbers(*output.shape).to(memory_format=layout)

    def run(self, algorithm: fastconv.Algorithm, name: str = "") -> Tensor:
        stride, padding, dilation, groups = self.geometry
        with fastconv.use_algorithm(name or algorithm.name):
            if algorithm.direction == "fprop":
                return fastconv.conv2d(self.x, self.weight, self.bias, *self.geometry)
            gradient: Tensor = torch.ops.fastconv.conv2d_grad_input(
                self.gradient, self.weight, self.size, stride, padding, dilation, groups, False,
                name or algorithm.name,
            )  # fmt: skip
            return gradient

    def exact(self, algorithm: fastconv.Algorithm) -> Tensor:
        weight = self.weight.double()
        if algorithm.direction == "fprop":
            return F.conv2d(self.x.double(), weight, self.bias.double(), *self.geometry)
        return torch.nn.grad.conv2d_input(self.size, weight, self.gradient.double(), *self.geometry)


def same_bits(a: Tensor, b: Tensor) -> bool:
    # Zeros of either sign, and NaN, too.
    integers = {8: torch.int64, 4: torch.int32, 2: torch.int16}[a.element_size()]
    return torch.equal(a.contiguous().view(integers), b.contiguous().view(integers))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", GEMM, ids=lambda a: a.name)
def test_integers(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    for i, problem in enumerate(random_problems(40)):
        dtype = torch.float64 if i % 4 == 0 else torch.float32
        case = Case(problem, layout, dtype, whole=True)
        if i % 3 == 0:
            other = LAYOUTS[1] if layout == LAYOUTS[0] else LAYOUTS[0]
            case.weight = case.weight.contiguous(memory_format=other)
        assert torch.equal(case.run(algorithm).double(), case.exact(algorithm)), problem


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", GEMM, ids=lambda a: a.name)
def test_sixteen_bits_are_rounded_once(
    algorithm: fastconv.Algorithm, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    for problem in random_problems(10):
        case = Case(problem, layout, dtype, whole=True)
        assert torch.equal(case.run(algorithm), case.exact(algorithm).to(dtype)), problem


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", GEMM, ids=lambda a: a.name)
def test_bits_depend_neither_on_threads_nor_on_packing(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    for problem in random_problems(14):
        case = Case(problem, layout, torch.float32, whole=False)
        case.bias[::2] = -0.0
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            try:
                results.append(case.run(algorithm))
            finally:
                torch.set_num_threads(1)
        assert same_bits(results[0], results[1]), problem
        assert same_bits(results[0], results[2]), problem
        if algorithm.direction == "fprop":
            cl = layout == torch.channels_last
            packed = torch.ops.fastconv.conv2d_pack_weight(
                case.weight, case.x.shape, *case.geometry, cl, algorithm.name
            )
            if packed.numel() > 0:
                output = torch.ops.fastconv.conv2d_packed(
                    case.x, case.weight, case.bias, packed, *case.geometry
                )
                assert same_bits(output, results[0]), problem


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize("where", ["image", "weight"])
@pytest.mark.parametrize("algorithm", GEMM, ids=lambda a: a.name)
def test_special_values(
    algorithm: fastconv.Algorithm, where: str, value: float, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    for problem in random_problems(9):
        case = Case(problem, layout, torch.float32, whole=True)
        if where == "weight":
            case.weight[-1, 3, 0, -1] = value
        else:
            case.x[0, 3, -1, 0] = value
            case.gradient[0, -1, 0, -1] = value
        ours = case.run(algorithm)
        theirs = case.run(algorithm, f"conv2d_{algorithm.direction}_reference")
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", GEMM, ids=lambda a: a.name)
def test_error(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    for problem in random_problems(12):
        case = Case(problem, layout, torch.float32, whole=False)
        expected = case.exact(algorithm)
        error = (case.run(algorithm).double() - expected).norm() / expected.norm()
        assert error <= algorithm.error, problem
