"""Rung 6: the same bits at every run and for every number of threads, algorithm by algorithm."""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
from _algorithms import attempt, usable_algorithms
from _problems import LAYOUTS, Conv, normal, operands
from _reference import run
from torch import Tensor

import fastconv

# Large enough that the work is really split (2^17 multiply-adds), by rows, by images, by channels
# and, for a weight gradient, along the sum itself.
CONVS = [
    Conv("many pixels", (2, 7, 33, 35), 19, padding=1),
    Conv("many channels", (1, 130, 9, 7), 67, kernel=1),
    Conv("many images", (17, 5, 9, 8), 12, padding=1, stride=2),
    Conv("long gradient sum", (3, 3, 64, 61), 5, padding=1),
    Conv("groups", (2, 24, 19, 18), 24, padding=1, groups=3),
    Conv("depthwise", (3, 21, 25, 27), 21, padding=1, groups=21),
    Conv("one pixel", (1, 520, 3, 3), 70),
    Conv("5x5", (2, 24, 19, 18), 20, kernel=5, padding=2),
    Conv("one image of one channel", (1, 1, 90, 91), 33, kernel=5),
]
DTYPES = [torch.float32, torch.bfloat16]
RESULT_OF = {"fprop": "output", "dgrad": "grad_input", "wgrad": "grad_weight"}


def results(conv: Conv, dtype: torch.dtype, direction: str, layout: str) -> list[Tensor]:
    """Of that direction alone: which algorithm computes the others may depend on the threads."""
    x = operands(conv, normal).to(dtype).laid_out(LAYOUTS[layout])
    if direction == "fprop":
        return [fastconv.conv2d(x.input, x.weight, x.bias, **x.kwargs)]
    return [dict(run(fastconv.conv2d, x).items())[RESULT_OF[direction]]]


def with_threads(threads: int, call) -> list[Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return call()
    finally:
        torch.set_num_threads(before)


def same_bits(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(s, t) for s, t in zip(a, b, strict=True))


@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [(a, dtype) for a in usable_algorithms("conv2d") for dtype in DTYPES if dtype in a.dtypes],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_conv2d_bits_do_not_depend_on_threads(
    algorithm: fastconv.Algorithm, dtype: torch.dtype
) -> None:
    ran = 0
    for conv, layout in itertools.product(CONVS, ("contiguous", "channels_last")):

        def call(conv: Conv = conv, layout: str = layout) -> list[Tensor] | None:
            return attempt(algorithm, lambda: results(conv, dtype, algorithm.direction, layout))

        alone = with_threads(1, call)
        if alone is None:
            continue
        ran += 1
        assert same_bits(alone, with_threads(1, call)), f"{conv}: two runs differ"
        for threads in (2, 3, 5):
            assert same_bits(alone, with_threads(threads, call)), f"{conv}: {threads} threads"
    assert ran >= 1


@pytest.mark.parametrize("algorithm", usable_algorithms("max_pool2d"), ids=lambda a: a.name)
def test_max_pool2d_bits_do_not_depend_on_threads(algorithm: fastconv.Algorithm) -> None:
    ran = 0
    for shape in ((3, 17, 40, 41), (1, 1, 200, 201), (1, 70, 40, 39)):
        for layout, window in itertools.product(
            (torch.contiguous_format, torch.channels_last), ((3, 1, 1), (2, 2, 0))
        ):
            x = torch.randn(shape).to(memory_format=layout).requires_grad_()

            def pool(x: Tensor = x, window: tuple[int, int, int] = window) -> list[Tensor]:
                values, indices = fastconv.max_pool2d(x, *window, return_indices=True)
                gradient = torch.linspace(-1, 1, values.numel()).view_as(values)
                return [values.detach(), indices, *torch.autograd.grad(values, x, gradient)]

            call = functools.partial(attempt, algorithm, pool)
            alone = with_threads(1, call)
            if alone is None:
                continue
            ran += 1
            assert same_bits(alone, with_threads(1, call)), f"{shape}: two runs differ"
            for threads in (2, 3, 5):
                assert same_bits(alone, with_threads(threads, call)), f"{shape}: {threads} threads"
    assert ran >= 1


def test_deterministic_mode_is_accepted() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        x = torch.randn(1, 3, 8, 8, requires_grad=True)
        weight = torch.randn(4, 3, 3, 3, requires_grad=True)
        fastconv.max_pool2d(fastconv.conv2d(x, weight), 2).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_calls_from_several_python_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    x, weight = torch.randn(2, 9, 30, 31), torch.randn(11, 9, 3, 3)
    want = fastconv.max_pool2d(fastconv.conv2d(x, weight, padding=1), 2)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(lambda: fastconv.max_pool2d(fastconv.conv2d(x, weight, padding=1), 2))
            for _ in range(24)
        ]
        assert all(torch.equal(job.result(), want) for job in jobs)
