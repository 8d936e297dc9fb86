"""Winograd's convolution where it differs from a direct sum: tails of tiles, vectors and panels,
and values that spread over a tile. (Its packed weights are in test_packed_weight.py.)"""

from __future__ import annotations

import itertools
import math
import random

import pytest
import torch
import torch.nn.functional as F
from _algorithms import fp32_precision, taps_of, usable_algorithms
from _reference import relative_error
from torch import Tensor

import fastconv

WINOGRAD = [a for a in usable_algorithms("conv2d") if "winograd" in a.name]
FPROP = [a for a in WINOGRAD if a.direction == "fprop"]
OF_16_BITS = [a for a in WINOGRAD if torch.bfloat16 in a.dtypes]
WGRAD = [a for a in WINOGRAD if a.direction == "wgrad"]
LAYOUTS = [torch.contiguous_format, torch.channels_last]

pack = torch.ops.fastconv.conv2d_pack_weight
conv2d_packed = torch.ops.fastconv.conv2d_packed
grad_input = torch.ops.fastconv.conv2d_grad_input

pytestmark = pytest.mark.kernels

# N, C, K, H, W. Tiles are 2 or 4 wide, vectors 8 or 16 channels, register tiles 6 or 14 tiles by 16
# or 32 filters, sums 128 and rows of V 256 channels long, runs 32 tiles.
SHAPES = [
    *[(1, 16, 16, size, size) for size in (1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 17)],
    *[(2, c, 20, 6, 7) for c in (1, 3, 7, 8, 9, 15, 17, 33, 127, 128, 129, 255, 257)],
    *[(1, 20, k, 6, 7) for k in (1, 3, 7, 8, 9, 15, 17, 31, 33, 63, 64, 65, 257)],
    (1, 5, 6, 1, 131),
    (1, 5, 6, 131, 1),
    (3, 8, 12, 27, 26),
    (7, 4, 4, 5, 3),
    (1, 24, 24, 60, 61),
]


Pair = tuple[int, int]


def is_exact_on_integers(algorithm: fastconv.Algorithm) -> bool:
    """F(2x2, 3x3) adds fractions of 4 alone; six points want thirds."""
    return algorithm.error < 1e-6


def result_of(
    direction: str,
    x: Tensor,
    weight: Tensor,
    gradient: Tensor | None,
    padding: int | Pair,
    dilation: Pair = (1, 1),
) -> Tensor:
    """fprop of x, the gradient of x or that of the weight."""
    if direction == "fprop":
        return fastconv.conv2d(x, weight, padding=padding, dilation=dilation)
    x, weight = x.detach(), weight.detach()
    leaf = (x if direction == "dgrad" else weight).requires_grad_()
    output = fastconv.conv2d(x, weight, padding=padding, dilation=dilation)
    return torch.autograd.grad(output, leaf, gradient)[0]


def exact_result_of(
    direction: str,
    x: Tensor,
    weight: Tensor,
    gradient: Tensor | None,
    padding: int | Pair,
    dilation: Pair = (1, 1),
) -> Tensor:
    if direction == "fprop":
        return F.conv2d(x.double(), weight.double(), padding=padding, dilation=dilation)
    assert gradient is not None
    if direction == "wgrad":
        leaf = torch.zeros_like(weight, dtype=torch.float64, requires_grad=True)
        output = F.conv2d(x.double(), leaf, padding=padding, dilation=dilation)
        return torch.autograd.grad(output, leaf, gradient.double())[0]
    return F.conv_transpose2d(
        gradient.double(), weight.double(), padding=padding, dilation=dilation
    )


def random_operands(
    shape: tuple[int, ...],
    padding: int | Pair,
    layout: torch.memory_format,
    taps: int,
    dilation: Pair = (1, 1),
) -> tuple[Tensor, Tensor, Tensor]:
    """x, weight and the gradient of the output."""
    n, c, k, h, w = shape
    scale = 1 / math.sqrt(taps * taps * c)
    p, q = outputs_of((h, w), padding, taps, dilation)
    x = torch.randn(n, c, h, w)
    weight = torch.randn(k, c, taps, taps) * scale
    gradient = torch.randn(n, k, p, q)
    x, weight, gradient = (t.to(memory_format=layout) for t in (x, weight, gradient))
    return x, weight, gradient


def outputs_of(plane: Pair, padding: int | Pair, taps: int, dilation: Pair = (1, 1)) -> Pair:
    rows, columns = (padding, padding) if isinstance(padding, int) else padding
    reach = taps - 1
    return (
        plane[0] + 2 * rows - reach * dilation[0],
        plane[1] + 2 * columns - reach * dilation[1],
    )


def is_served(
    shape: tuple[int, ...], padding: int | Pair, taps: int, dilation: Pair = (1, 1)
) -> bool:
    """Are there outputs, and for windows of 5x5 channels, filters and pixels enough?"""
    _, c, k, h, w = shape
    outputs = outputs_of((h, w), padding, taps, dilation)
    if min(outputs) < 1:
        return False
    if taps == 3:
        return True
    sides = [
        [extent / step for extent in extents]
        for extents, step in zip(zip((h, w), outputs, strict=True), dilation, strict=True)
    ]
    return min(c, k) >= 4 and all(max(side) > 3 and min(side) > 2 for side in sides)


def random_dilated_problems(count: int, taps: int) -> list[tuple[tuple[int, ...], Pair, Pair]]:
    """Shape, padding and dilation: any padding, spans that are cut anywhere, runs of every kind."""
    rng = random.Random(7)
    reach, half = taps - 1, taps // 2
    problems = [
        ((1, 17, 18, 33, 33), (2 * half, 2 * half), (2, 2)),
        ((2, 5, 6, 33, 33), (4 * half, 4 * half), (4, 4)),
        ((1, 16, 16, 33, 33), (18 * half, 18 * half), (18, 18)),
        ((1, 4, 33, 3, 150), (half, 0), (1, 2)),
        ((1, 16, 16, 3, 70), (half, 33 * half), (1, 33)),
        ((1, 3, 4, 1, 1), (5 * half, 40 * half), (5, 40)),
        ((1, 3, 4, 2, 131), (10 * half, 3 * half), (10, 3)),
    ]
    while len(problems) < count:
        dilation = (rng.choice((1, 2, 3, 4, 5, 7, 12, 23)), rng.choice((1, 2, 3, 4, 6, 8, 17, 25)))
        shape = (
            rng.randint(1, 3),
            rng.choice((1, 3, 16, 17, 40)),
            rng.choice((1, 5, 16, 20, 33)),
            rng.randint(1, 40),
            rng.randint(1, 40),
        )
        padding = (
            rng.randint(0, min(reach * dilation[0] + 2, shape[3] + reach * dilation[0])),
            rng.randint(0, min(reach * dilation[1] + 2, shape[4] + reach * dilation[1])),
        )
        if min(outputs_of((shape[3], shape[4]), padding, taps, dilation)) > 0:
            problems.append((shape, padding, dilation))
    return [problem for problem in problems if is_served(*problem[:2], taps, problem[2])]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_tails_and_padding(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    accepted, taps = 0, taps_of(algorithm)
    for shape, padding in itertools.product(SHAPES, range(taps + 1)):
        if not is_served(shape, padding, taps) or padding > min(shape[3:]) + taps - 1:
            continue
        operands = random_operands(shape, padding, layout, taps)
        with fastconv.use_algorithm(algorithm.name):
            result = result_of(algorithm.direction, *operands, padding)
        expected = exact_result_of(algorithm.direction, *operands, padding)
        error = relative_error(result, expected)
        assert error <= algorithm.error, f"{shape}, padding {padding}: {error}"
        accepted += 1
    assert accepted >= 120


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("algorithm", OF_16_BITS, ids=lambda a: a.name)
def test_16_bits_are_widened_and_rounded_once(
    algorithm: fastconv.Algorithm, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    """The very bits of float32 on the same numbers, whatever is read in place and what is not."""
    taps = taps_of(algorithm)
    same = taps // 2, taps // 2
    problems = [(shape, same, (1, 1)) for shape in SHAPES if is_served(shape, same, taps)]
    problems += random_dilated_problems(60, taps)
    with fastconv.use_algorithm(algorithm.name):
        for shape, padding, dilation in problems:
            operands = random_operands(shape, padding, layout, taps, dilation)
            halves = [t.to(dtype) for t in operands]
            result = result_of(algorithm.direction, *halves, padding, dilation)
            of_floats = [t.float() for t in halves]
            expected = result_of(algorithm.direction, *of_floats, padding, dilation)
            assert torch.equal(result, expected.to(dtype)), (shape, padding, dilation)


@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_long_sums_keep_the_stated_error(algorithm: fastconv.Algorithm) -> None:
    taps = taps_of(algorithm)
    for channels, seed in itertools.product((513, 1024, 1100), range(3)):
        torch.manual_seed(seed)
        x, weight = torch.randn(1, channels, 4, 4), torch.randn(16, channels, taps, taps)
        with fastconv.use_algorithm(algorithm.name):
            result = fastconv.conv2d(x, weight, padding=taps // 2)
        expected = F.conv2d(x.double(), weight.double(), padding=taps // 2)
        assert relative_error(result, expected) <= algorithm.error


@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_no_channels_are_not_for_winograd(algorithm: fastconv.Algorithm) -> None:
    taps = taps_of(algorithm)
    x, weight = torch.randn(2, 0, 9, 9), torch.randn(4, 0, taps, taps)
    with (
        fastconv.use_algorithm(algorithm.name),
        pytest.raises(RuntimeError, match="not empty"),
    ):
        fastconv.conv2d(x, weight)
    assert torch.equal(fastconv.conv2d(x, weight), torch.zeros(2, 4, 10 - taps, 10 - taps))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_dilation(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    """In small integers too."""
    taps = taps_of(algorithm)
    for shape, padding, dilation in random_dilated_problems(120, taps):
        operands = random_operands(shape, padding, layout, taps, dilation)
        whole = [torch.randint_like(t, -4, 5) for t in operands]
        with fastconv.use_algorithm(algorithm.name):
            result = result_of(algorithm.direction, *operands, padding, dilation)
            of_integers = result_of(algorithm.direction, *whole, padding, dilation)
        problem = f"{shape}, padding {padding}, dilation {dilation}"
        expected = exact_result_of(algorithm.direction, *operands, padding, dilation)
        assert relative_error(result, expected) <= algorithm.error, problem
        expected = exact_result_of(algorithm.direction, *whole, padding, dilation)
        if is_exact_on_integers(algorithm):
            assert torch.equal(of_integers.double(), expected), problem
        else:
            assert relative_error(of_integers, expected) <= algorithm.error, problem


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_a_packed_weight_serves_every_dilation(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    cl = layout == torch.channels_last
    taps = taps_of(algorithm)
    for shape, padding, dilation in random_dilated_problems(20, taps):
        x, weight, _ = random_operands(shape, padding, layout, taps, dilation)
        packed = pack(weight, (1, shape[1], 8, 8), (1, 1), (1, 1), (1, 1), 1, cl, algorithm.name)
        assert packed.numel() > 0
        with fastconv.use_algorithm(algorithm.name):
            plain = fastconv.conv2d(x, weight, padding=padding, dilation=dilation)
        assert torch.equal(conv2d_packed(x, weight, None, packed, (1, 1), padding, dilation), plain)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_bits_do_not_depend_on_threads(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    """Many tiles, several blocks of channels, and fewer tiles than threads."""
    taps = taps_of(algorithm)
    for shape, dilation in (
        ((1, 40, 70, 31, 33), 1),
        ((3, 300, 96, 7, 7), 1),
        ((1, 64, 128, 4, 4), 1),
        ((2, 40, 70, 33, 31), 3),
        ((1, 300, 48, 9, 70), 24),
        ((8, 16, 150, 56, 55), 1),
    ):
        if not is_served(shape, dilation * (taps // 2), taps, (dilation, dilation)):
            continue
        padding = dilation * (taps // 2)
        operands = random_operands(shape, padding, layout, taps, (dilation, dilation))
        results = []
        for threads in (1, 2, 3, 16):
            torch.set_num_threads(threads)
            try:
                with fastconv.use_algorithm(algorithm.name):
                    results.append(
                        result_of(algorithm.direction, *operands, padding, (dilation, dilation))
                    )
            finally:
                torch.set_num_threads(1)
        assert all(torch.equal(results[0], result) for result in results)


# N, groups, channels and filters of a group, H, W.
GROUPS = [
    (1, 2, 16, 16, 13, 14),
    (2, 3, 24, 40, 9, 7),
    (1, 5, 17, 33, 28, 27),
    (1, 32, 16, 16, 7, 7),
    (3, 2, 129, 20, 5, 6),
]


@pytest.mark.parametrize("problem", GROUPS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", OF_16_BITS, ids=lambda a: a.name)
def test_16_bit_groups(
    algorithm: fastconv.Algorithm, layout: torch.memory_format, problem: tuple[int, ...]
) -> None:
    """With a bias, and packed beforehand."""
    n, groups, c, k, h, w = problem
    taps = taps_of(algorithm)
    padding = taps // 2
    channels_last = layout == torch.channels_last
    geometry = (1, 1), (padding, padding), (1, 1), groups
    weight = torch.randn(groups * k, c, taps, taps).bfloat16().to(memory_format=layout)
    x = torch.randn(n, groups * c, h, w).bfloat16().to(memory_format=layout)
    gradient = torch.randn(n, groups * k, h, w).bfloat16().to(memory_format=layout)
    bias = torch.randn(groups * k).bfloat16()
    with fastconv.use_algorithm(algorithm.name):
        if algorithm.direction == "dgrad":
            operands = gradient, weight
            results = [
                grad_input(*pair, x.shape, *geometry, channels_last, algorithm.name)
                for pair in (operands, [t.float() for t in operands])
            ]
        else:
            packed = pack(weight, x.shape, *geometry, channels_last, algorithm.name)
            results = [conv2d_packed(x, weight, bias, packed, *geometry)] + [
                fastconv.conv2d(*three, padding=padding, groups=groups)
                for three in ((x, weight, bias), [t.float() for t in (x, weight, bias)])
            ]
    assert all(torch.equal(result, results[-1].bfloat16()) for result in results[:-1])


@pytest.mark.parametrize("problem", GROUPS, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", [a for a in WINOGRAD if a not in WGRAD], ids=lambda a: a.name)
def test_groups(
    algorithm: fastconv.Algorithm, layout: torch.memory_format, problem: tuple[int, ...]
) -> None:
    """Fewer groups than threads and more; the same bits packed beforehand. A NaN stays in the group
    that it belongs to."""
    n, groups, c, k, h, w = problem
    taps = taps_of(algorithm)
    padding = taps // 2
    channels_last = layout == torch.channels_last
    geometry = (1, 1), (padding, padding), (1, 1), groups
    weight = (torch.randn(groups * k, c, taps, taps) / (taps * c**0.5)).to(memory_format=layout)
    x = torch.randn(n, groups * c, h, w).to(memory_format=layout)
    gradient = torch.randn(n, groups * k, h, w).to(memory_format=layout)
    bias = torch.randn(groups * k)

    def run(operand: Tensor) -> Tensor:
        if algorithm.direction == "dgrad":
            return grad_input(operand, weight, x.shape, *geometry, channels_last, algorithm.name)
        with fastconv.use_algorithm(algorithm.name):
            return fastconv.conv2d(operand, weight, bias, padding=padding, groups=groups)

    if algorithm.direction == "dgrad":
        operand = gradient
        exact = operand.double(), weight.double()
        expected = F.conv_transpose2d(*exact, None, 1, padding, 0, groups)
    else:
        operand = x
        exact = operand.double(), weight.double()
        expected = F.conv2d(*exact, bias.double(), 1, padding, 1, groups)
        packed = pack(weight, x.shape, *geometry, channels_last, algorithm.name)
        assert torch.equal(conv2d_packed(x, weight, bias, packed, *geometry), run(x))

    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        try:
            results.append(run(operand))
        finally:
            torch.set_num_threads(1)
    assert relative_error(results[0], expected) <= algorithm.error
    assert all(torch.equal(results[0], result) for result in results)

    operand[0, -1, 2, 3] = math.nan
    poisoned, of_group = run(operand).isnan(), results[0].shape[1] // groups
    reached = poisoned[0, -of_group:, 2 - padding : 3 + padding, 3 - padding : 4 + padding]
    assert reached.all()
    assert poisoned.sum() == reached.numel() == of_group * taps * taps


def test_groups_of_few_channels_are_not_for_winograd() -> None:
    x = torch.randn(1, 30, 9, 9)
    for algorithm in FPROP:
        if algorithm.isa == "amx":  # some are not exact enough either
            continue
        weight = torch.randn(32, 15, taps_of(algorithm), taps_of(algorithm))
        with (
            fastconv.use_algorithm(algorithm.name),
            pytest.raises(RuntimeError, match="groups of 16 channels"),
        ):
            fastconv.conv2d(x, weight, groups=2)


# Corners of the plane, corners and middles of tiles of either size.
PLACES = [(0, 0), (0, 10), (3, 4), (4, 3), (5, 6), (7, 7), (8, 0), (10, 10)]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan], ids=str)
@pytest.mark.parametrize("where", ["image", "weight"])
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_special_values_reach_what_reads_them_and_no_more(
    algorithm: fastconv.Algorithm, where: str, value: float, layout: torch.memory_format
) -> None:
    generator = torch.Generator().manual_seed(1)
    # So many that no kernel for the gradient of the weight multiplies with padding.
    channels = 32 if algorithm.direction == "wgrad" else 9
    taps = taps_of(algorithm)
    for (row, column), (padding, dilation) in itertools.product(PLACES, ((0, 1), (1, 1), (4, 3))):
        image = torch.randn(2, channels, 11, 11, generator=generator)
        weight = torch.randn(18, channels, taps, taps, generator=generator)
        weight[3] = 0  # inf * 0 is NaN
        weight[:, 4] = weight[:, 4] * (torch.arange(18) != 5)[:, None, None]
        around = 2 * padding - (taps - 1) * dilation
        gradient = torch.randn(2, 18, 11 + around, 11 + around, generator=generator)
        if where == "weight" and algorithm.direction != "wgrad":
            weight[7, 2, row % taps, column % taps] = value
        elif where == "image" and algorithm.direction != "dgrad":
            image[1, 4, row, column] = value
        else:
            gradient[1, 4, row % gradient.shape[2], column % gradient.shape[3]] = value
        operands = [t.to(memory_format=layout) for t in (image, weight, gradient)]
        results = []
        for name in (algorithm.name, f"conv2d_{algorithm.direction}_reference"):
            with fastconv.use_algorithm(name):
                results.append(
                    result_of(algorithm.direction, *operands, padding, (dilation, dilation))
                )
        ours, theirs = results
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())
        tolerance = max(1e-4, 20 * algorithm.error)
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=tolerance, atol=tolerance)
        assert ours.isfinite().any()
        assert not ours.isfinite().all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_overflow_of_the_transforms_alone_is_no_overflow(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    taps = taps_of(algorithm)
    x = torch.full((1, 4, 9, 9), 3e38).to(memory_format=layout)
    weight = torch.zeros(5, 4, taps, taps)
    weight[:, 1, 1, 1] = 1
    weight[4, 2, 0, 0] = -1
    with fastconv.use_algorithm(algorithm.name):
        output = fastconv.conv2d(x, weight)
        overflowing = fastconv.conv2d(x, weight.abs())
    assert torch.equal(output[:, :4], torch.full((1, 4, 10 - taps, 10 - taps), 3e38))
    assert torch.equal(output[:, 4], torch.zeros(1, 10 - taps, 10 - taps))
    assert overflowing[:, 4].eq(math.inf).all()


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("algorithm", WGRAD, ids=lambda a: a.name)
def test_overflow_of_the_sums_alone_is_no_overflow(
    algorithm: fastconv.Algorithm, layout: torch.memory_format
) -> None:
    taps = taps_of(algorithm)
    x = torch.full((1, 4, 9, 9), 3e38).to(memory_format=layout)
    gradient = torch.zeros(1, 5, 10 - taps, 10 - taps)
    gradient[:, :, 3, 3] = 1
    gradient[:, 4, 4, 1] = -1
    weight = torch.zeros(5, 4, taps, taps)
    with fastconv.use_algorithm(algorithm.name):
        grad_weight = result_of("wgrad", x, weight, gradient, 0)
        overflowing = result_of("wgrad", x, weight, gradient.abs(), 0)
    assert torch.equal(grad_weight[:4], torch.full((4, 4, taps, taps), 3e38))
    assert torch.equal(grad_weight[4], torch.zeros(4, taps, taps))
    assert overflowing[4].eq(math.inf).all()


@pytest.mark.parametrize("algorithm", WGRAD, ids=lambda a: a.name)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_sums_of_many_sums(algorithm: fastconv.Algorithm, layout: torch.memory_format) -> None:
    """More than 64 running sums of 128 tiles, which reach the weight in several rounds."""
    taps = taps_of(algorithm)
    size = 4 * 92 if "f4" in algorithm.name else 2 * 92
    weight = torch.zeros(5, 4, taps, taps)
    whole = torch.randint(-2, 3, (1, 4, size, size)).float().to(memory_format=layout)
    gradient = torch.randint(-2, 3, (1, 5, size, size)).float().to(memory_format=layout)
    with fastconv.use_algorithm(algorithm.name):
        result = result_of("wgrad", whole, weight, gradient, taps // 2)
    expected = exact_result_of("wgrad", whole, weight, gradient, taps // 2)
    if is_exact_on_integers(algorithm):
        assert torch.equal(result.double(), expected)
    assert relative_error(result, expected) <= algorithm.error


@pytest.mark.parametrize("algorithm", WGRAD, ids=lambda a: a.name)
def test_a_weight_of_any_strides(algorithm: fastconv.Algorithm) -> None:
    """The operator's own layouts, and a gradient of the weight asked for in the other one."""
    x, grad_output, taps = torch.randn(2, 20, 9, 10), torch.randn(2, 33, 9, 10), taps_of(algorithm)
    args = ((33, 20, taps, taps), (1, 1), (taps // 2, taps // 2), (1, 1), 1)
    grad_weight = torch.ops.fastconv.conv2d_grad_weight
    planes = grad_weight(grad_output, x, *args, False, algorithm.name)
    channels = grad_weight(grad_output, x, *args, True, algorithm.name)
    assert channels.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(planes, channels)


@pytest.mark.parametrize("algorithm", WGRAD, ids=lambda a: a.name)
def test_overflow_between_rounds_of_sums_is_noticed(algorithm: fastconv.Algorithm) -> None:
    """The sums of F(2x2) reach the weight every 90 rows, the second time to make it infinite.

    The direct kernels, which add up 16 parts of 22 rows, do without.
    """
    rows, columns, taps = 364, 364, taps_of(algorithm)
    gradient = torch.zeros(1, 4, rows, columns)
    for first, last, total in ((0, 90, 2.6e38), (176, 178, 1.5e38), (180, 182, -1.5e38)):
        gradient[:, :, first:last] = total / (last - first) / columns
    x = torch.ones(1, 4, rows + taps - 1, columns + taps - 1)
    weight = torch.zeros(4, 4, taps, taps)
    with fastconv.use_algorithm(algorithm.name):
        result = result_of("wgrad", x, weight, gradient, 0)
    torch.testing.assert_close(result, torch.full((4, 4, taps, taps), 2.6e38), rtol=1e-4, atol=0)


@pytest.mark.parametrize("algorithm", WGRAD, ids=lambda a: a.name)
def test_ieee_refuses_the_gradient_of_the_weight(algorithm: fastconv.Algorithm) -> None:
    """Where few elements of both operands are not zero F(2x2) has 2.8 times torch's error."""
    layout, taps = torch.contiguous_format, taps_of(algorithm)
    x, weight, gradient = random_operands((1, 16, 16, 12, 12), 1, layout, taps)
    with (
        fp32_precision("ieee"),
        fastconv.use_algorithm(algorithm.name),
        pytest.raises(RuntimeError, match="'ieee'"),
    ):
        result_of("wgrad", x, weight, gradient, 1)
