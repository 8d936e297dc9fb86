"""Rung 1 for pooling: values and indices are torch's to the last bit, for every algorithm.

A maximum rounds nothing. Gradients are sums of small integers here, and so exact too.
"""

from __future__ import annotations

import functools
import itertools
import math
import zlib
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from _algorithms import attempt, usable_algorithms
from _problems import DTYPES, LAYOUTS, POOLS, Pool
from _reference import same_strides
from torch import Tensor

import fastconv

FORWARD = usable_algorithms("max_pool2d", "forward")
BACKWARD = usable_algorithms("max_pool2d", "backward")


def few_values(pool: Pool, dtype: torch.dtype) -> Tensor:
    """Few distinct values, so that ties are everywhere, with NaN and -inf strewn in."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr(pool).encode()))
    x = torch.randint(-4, 5, pool.input, generator=generator).to(dtype)
    odd = torch.rand(pool.input, generator=generator)
    x[odd < 0.03] = math.nan
    x[odd > 0.9] = -math.inf
    return x


def all_distinct(pool: Pool, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(repr(pool).encode()))
    return torch.randn(pool.input, generator=generator, dtype=torch.float64).to(dtype)


def same_values(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def integer_gradient(output: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(output.numel())
    return torch.randint(-3, 4, output.shape, generator=generator).to(output.dtype)


def forward_failures(pool: Pool, dtype: torch.dtype, layout: str) -> list[str]:
    failures = []
    for fill in (few_values, all_distinct):
        x = LAYOUTS[layout](fill(pool, dtype))
        values, indices = fastconv.max_pool2d(x, **pool.kwargs, return_indices=True)
        want_values, want_indices = F.max_pool2d(x, **pool.kwargs, return_indices=True)
        label = f"{pool}, {layout}, {fill.__name__}"
        if not same_values(values, want_values):
            failures.append(f"{label}: values")
        if not torch.equal(indices, want_indices):
            failures.append(f"{label}: indices")
        if not same_values(fastconv.max_pool2d(x, **pool.kwargs), want_values):
            failures.append(f"{label}: values without indices")
    return failures


def backward_failures(pool: Pool, dtype: torch.dtype, layout: str) -> list[str]:
    x = LAYOUTS[layout](few_values(pool, dtype)).requires_grad_()
    output = fastconv.max_pool2d(x, **pool.kwargs)
    gradient = LAYOUTS[layout](integer_gradient(output))
    (grad,) = torch.autograd.grad(output, x, gradient)
    # In float64: torch rounds 16-bit gradients after each addition, which is not the rule here.
    exact = x.detach().double().requires_grad_()
    (want,) = torch.autograd.grad(F.max_pool2d(exact, **pool.kwargs), exact, gradient.double())
    return [] if torch.equal(grad, want.to(dtype)) else [f"{pool}, {layout}: gradient"]


def fail_with(failures: list[str]) -> None:
    if failures:
        pytest.fail(f"{len(failures)} failures:\n" + "\n".join(failures[:20]), pytrace=False)


def run_all(
    algorithm: fastconv.Algorithm,
    failures_of: Callable[[Pool, torch.dtype, str], list[str]],
    dtype: torch.dtype,
) -> int:
    """How many of the problems the algorithm took; a wrong result fails the test."""
    failures: list[str] = []
    accepted = 0
    for pool, layout in itertools.product(POOLS, LAYOUTS):
        found = attempt(algorithm, functools.partial(failures_of, pool, dtype, layout))
        if found is not None:
            failures += found
            accepted += 1
    fail_with(failures)
    return accepted


def each_dtype(algorithms: list[fastconv.Algorithm]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("algorithm", "dtype"),
        [(a, dtype) for a in algorithms for dtype in a.dtypes],
        ids=lambda x: getattr(x, "name", str(x)),
    )


@each_dtype(FORWARD)
def test_forward_is_torchs(algorithm: fastconv.Algorithm, dtype: torch.dtype) -> None:
    assert run_all(algorithm, forward_failures, dtype) >= 4


@each_dtype(BACKWARD)
def test_backward_is_exact(algorithm: fastconv.Algorithm, dtype: torch.dtype) -> None:
    assert run_all(algorithm, backward_failures, dtype) >= 4


@pytest.mark.kernels
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_default_choice_is_exact(dtype: torch.dtype) -> None:
    failures: list[str] = []
    for pool, layout in itertools.product(POOLS, LAYOUTS):
        failures += forward_failures(pool, dtype, layout)
        failures += backward_failures(pool, dtype, layout)
    fail_with(failures)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced"])
def test_strides_are_torchs(layout: str) -> None:
    failures = []
    for pool in POOLS:
        x = LAYOUTS[layout](all_distinct(pool, torch.float32)).requires_grad_()
        ours = fastconv.max_pool2d(x, **pool.kwargs, return_indices=True)
        theirs = F.max_pool2d(x, **pool.kwargs, return_indices=True)
        ours = (*ours, *torch.autograd.grad(ours[0].sum(), x))
        theirs = (*theirs, *torch.autograd.grad(theirs[0].sum(), x))
        for what, a, b in zip(("values", "indices", "gradient"), ours, theirs, strict=True):
            if not same_strides(a, b):
                failures.append(f"{pool}, {what}: {a.stride()}, torch: {b.stride()}")
    fail_with(failures)
