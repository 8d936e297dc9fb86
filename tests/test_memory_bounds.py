"""Rung 6: guard bytes. Nothing outside a view is ever read, nothing outside a result written.

What surrounds each operand is NaN, which no sum forgets; gaps between its elements too.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from _algorithms import attempt, usable_algorithms
from _problems import CONVS, POOLS, Operands, Pool, operands, small_integers
from _reference import reference
from torch import Tensor

import fastconv

GUARD = 129  # more elements than any vector load, and odd: nothing is aligned


def surrounded(x: Tensor) -> Tensor:
    """The same values and strides, off alignment in a storage of NaN."""
    dense = x.contiguous()
    storage = torch.full((dense.numel() + 2 * GUARD,), math.nan, dtype=x.dtype)
    inside = storage[GUARD : GUARD + dense.numel()].view(dense.shape)
    return inside.copy_(dense)


def gapped(x: Tensor) -> Tensor:
    """Rows and planes with NaN between them, the columns dense: what vector loads step over."""
    n, c, h, w = x.shape
    storage = torch.full((n + 1, c + 1, h + 2, w + 17), math.nan, dtype=x.dtype)
    return storage[:n, :c, 1 : h + 1, 3 : w + 3].copy_(x)


def gapped_channels_last(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    storage = torch.full((n + 1, h + 1, w + 1, c + 17), math.nan, dtype=x.dtype)
    return storage[:n, :h, :w, 3 : c + 3].copy_(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


GUARDS = [surrounded, gapped, gapped_channels_last]
SMALL = [c for c in itertools.chain(*CONVS.values()) if c.multiplications < 100_000]


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [
        (a, dtype)
        for a in usable_algorithms("conv2d")
        for dtype in (torch.float32, torch.bfloat16)
        if dtype in a.dtypes
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_conv2d_reads_only_its_operands(
    algorithm: fastconv.Algorithm, guard, dtype: torch.dtype
) -> None:
    ran = 0
    for conv in SMALL:
        if len(conv.input) == 3 or conv.input[0] == 0:
            continue
        x = operands(conv, small_integers).to(dtype)
        x = Operands(
            guard(x.input),
            guard(x.weight),
            None if x.bias is None else surrounded(x.bias),
            guard(x.grad_output),
            x.kwargs,
        )
        wanted = {"fprop": None, "dgrad": x.input, "wgrad": x.weight}[algorithm.direction]
        if wanted is not None:
            wanted.requires_grad_()

        def call(x: Operands = x, wanted: Tensor | None = wanted) -> Tensor:
            output = fastconv.conv2d(x.input, x.weight, x.bias, **x.kwargs)
            if wanted is None:
                return output
            return torch.autograd.grad(output, wanted, x.grad_output)[0]

        result = attempt(algorithm, call)
        if result is None:
            continue
        ran += 1
        assert not result.isnan().any(), f"{conv}: read outside its operands"
    assert ran >= 8 or "reference" not in algorithm.name


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("algorithm", usable_algorithms("max_pool2d"), ids=lambda a: a.name)
def test_max_pool2d_reads_only_its_operands(algorithm: fastconv.Algorithm, guard) -> None:
    ran = 0
    for pool in POOLS:
        if len(pool.input) == 3 or pool.input[0] == 0:
            continue
        plain = torch.randn(pool.input)
        x = guard(plain).requires_grad_()
        want, want_indices = F.max_pool2d(plain, **pool.kwargs, return_indices=True)

        def call(pool: Pool = pool, x: Tensor = x) -> list[Tensor]:
            values, indices = fastconv.max_pool2d(x, **pool.kwargs, return_indices=True)
            gradient = guard(torch.ones_like(values))
            return [values, indices, *torch.autograd.grad(values, x, gradient)]

        results = attempt(algorithm, call)
        if results is None:
            continue
        values, indices, grad = results
        ran += 1
        assert torch.equal(values, want), f"{pool}: read outside its input"
        assert torch.equal(indices, want_indices)
        assert grad.sum() == values.numel(), f"{pool}: read outside its gradient"
    if ran == 0:
        pytest.skip("takes no input of this layout")


@pytest.mark.kernels
def test_every_element_of_a_result_is_written() -> None:
    """Fresh memory is made to hold NaN first: what a kernel forgets shows."""
    for conv in SMALL:
        x = operands(conv, small_integers).to(torch.float32)
        expected = reference(x)
        for name in ("output", "grad_input", "grad_weight"):
            want = getattr(expected, name)
            # glibc hands a freed block of the same size out again
            torch.full(want.shape, math.nan)
            input = x.input.detach().requires_grad_(name == "grad_input")
            weight = x.weight.detach().requires_grad_(name == "grad_weight")
            output = fastconv.conv2d(input, weight, x.bias, **x.kwargs)
            if name == "output":
                got = output
            else:
                wanted = input if name == "grad_input" else weight
                (got,) = torch.autograd.grad(output, wanted, x.grad_output)
            assert torch.equal(got.double(), want), f"{conv} {name}"


@pytest.mark.parametrize("view", ["last row", "last column", "last image"])
def test_input_at_the_end_of_its_storage(view: str) -> None:
    """Nothing behind the last element: a read past it would leave the allocation."""
    whole = torch.randn(3, 5, 17, 19)
    part = {
        "last row": whole[:, :, -4:],
        "last column": whole[..., -5:],
        "last image": whole[-1:],
    }[view]
    weight = torch.randn(7, 5, 3, 3)
    torch.testing.assert_close(
        fastconv.conv2d(part, weight, padding=1), F.conv2d(part.contiguous(), weight, padding=1)
    )
