"""Strides and paddings as large as torch takes them, where sizes in between would overflow."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _algorithms import fp32_precision, usable_algorithms

import fastconv

pytestmark = pytest.mark.kernels

ops = torch.ops.fastconv

# stride, padding, image; of each dimension the one output, of how many, that lies in the image
LARGEST = ((2**63 - 1, 2**63 - 1), (0, 0), (8, 8), (0, 1), (0, 1))
BESIDE = ((2**58, 1), (2**58, 0), (64, 64), (1, 3), (None, 64))


def integers(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randint(-3, 4, shape).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("case", [LARGEST, BESIDE], ids=["largest", "beside"])
def test_all_directions(
    case: Any, groups: int, layout: torch.memory_format, dtype: torch.dtype
) -> None:
    stride, padding, size, (row, rows), (column, columns) = case
    x = integers(2, 32, *size, dtype=dtype).contiguous(memory_format=layout)
    weight = integers(64, 32 // groups, 1, 1, dtype=dtype)
    grad = integers(2, 64, rows, columns, dtype=dtype).contiguous(memory_format=layout)
    # Only the first row of the image, and the first column or all, are ever reached.
    reached = x[:, :, :1, : 1 if column is not None else size[1]].double()
    reached.requires_grad_()
    exact_weight = weight.double().requires_grad_()
    part = torch.nn.functional.conv2d(reached, exact_weight, groups=groups)
    grad_x, grad_weight = torch.autograd.grad(
        part, (reached, exact_weight), grad[:, :, row : row + 1].double()
    )
    output = torch.zeros(2, 64, rows, columns, dtype=torch.float64)
    output[:, :, row : row + 1] = part.detach()
    grad_input = torch.zeros(x.shape, dtype=torch.float64)
    grad_input[:, :, :1, : reached.shape[3]] = grad_x

    geometry = (list(stride), list(padding), [1, 1], groups)
    last = layout == torch.channels_last
    calls = {
        "fprop": (lambda name: ops.conv2d(x, weight, None, *geometry, name), output),
        "dgrad": (
            lambda name: ops.conv2d_grad_input(grad, weight, x.shape, *geometry, last, name),
            grad_input,
        ),
        "wgrad": (
            lambda name: ops.conv2d_grad_weight(grad, x, weight.shape, *geometry, last, name),
            grad_weight,
        ),
    }
    for direction, (call, expected) in calls.items():
        ran = 0
        for name in ["", *(a.name for a in usable_algorithms("conv2d", direction))]:
            try:
                with fp32_precision("bf16"):  # which no algorithm is too inexact for
                    result = call(name)
            except RuntimeError as error:
                if not name or name not in str(error):
                    raise
                continue
            ran += 1
            assert torch.equal(result, expected.to(dtype)), name or f"the choice for {direction}"
        assert ran > 2


def test_the_gradient_of_a_module_reaches_no_memory_outside() -> None:
    step = 2**58
    x = torch.ones(1, 32, 64, 64)
    weight = torch.ones(64, 32, 1, 1, requires_grad=True)
    output = fastconv.conv2d(x, weight, None, (step, 1), (step, 0))
    (gradient,) = torch.autograd.grad(output.sum(), weight)
    assert torch.equal(gradient, torch.full_like(gradient, 64.0))
