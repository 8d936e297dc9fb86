"""design.md section 6 for max_pool2d: NaN, ties, -inf, ceil_mode, and torch's own faults."""

from __future__ import annotations

import inspect
import math
import re

import pytest
import torch
import torch.nn.functional as F
from _isolated import outcome
from _problems import DTYPES, channels_last, contiguous
from torch import Tensor

import fastconv

pytestmark = pytest.mark.kernels

NAN, INF = math.nan, math.inf


def pooled(rows: list[list[float]], dtype: torch.dtype, *args, **kwargs) -> tuple[list, list]:
    values, indices = fastconv.max_pool2d(
        torch.tensor([[rows]], dtype=dtype), *args, **kwargs, return_indices=True
    )
    return values[0, 0].tolist(), indices[0, 0].tolist()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ties_keep_the_first(dtype: torch.dtype) -> None:
    assert pooled([[5, 5], [5, 5]], dtype, 2) == ([[5]], [[0]])
    assert pooled([[1, 5], [5, 5]], dtype, 2) == ([[5]], [[1]])
    assert pooled([[1, 2], [5, 5]], dtype, 2) == ([[5]], [[2]])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_zeros_of_both_signs_tie(dtype: torch.dtype) -> None:
    values, indices = pooled([[-0.0, 0.0], [0.0, -0.0]], dtype, 2)
    assert indices == [[0]]
    assert math.copysign(1, values[0][0]) == -1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nan_wins_and_the_last_nan_gives_the_index(dtype: torch.dtype) -> None:
    for rows, index in (
        ([[NAN, 9], [9, 9]], 0),
        ([[9, 9], [9, NAN]], 3),
        ([[NAN, 9], [NAN, 9]], 2),
        ([[INF, NAN], [INF, INF]], 1),
        ([[NAN, NAN], [NAN, NAN]], 3),
    ):
        values, indices = pooled(rows, dtype, 2)
        assert math.isnan(values[0][0])
        assert indices == [[index]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_minus_infinity_gives_the_first_valid_cell(dtype: torch.dtype) -> None:
    assert pooled([[-INF, -INF], [-INF, -INF]], dtype, 2) == ([[-INF]], [[0]])
    values, indices = pooled([[-INF] * 3] * 3, dtype, 3, 1, 1)
    assert values == [[-INF] * 3] * 3
    assert indices == [[0, 0, 1], [0, 0, 1], [3, 3, 4]]


def test_nan_of_a_sign_or_payload_is_still_a_nan() -> None:
    odd = torch.tensor([0xFFC01234 - 2**32, 0x7F800001, 0x7FC00000], dtype=torch.int32)
    x = torch.zeros(1, 1, 3, 4)
    x[0, 0, :, 1] = odd.view(torch.float32)
    assert fastconv.max_pool2d(x, (1, 4)).isnan().all()


def test_the_index_counts_in_the_plane_not_in_the_padded_one() -> None:
    x = torch.arange(20.0).reshape(1, 1, 4, 5)
    _, indices = fastconv.max_pool2d(x, 3, 2, 1, return_indices=True)
    assert indices.dtype == torch.int64
    assert indices[0, 0].tolist() == [[6, 8, 9], [16, 18, 19]]


@pytest.mark.parametrize("size", range(1, 10))
@pytest.mark.parametrize("layout", [contiguous, channels_last])
def test_every_small_geometry(size: int, layout) -> None:
    """All kernels up to 4 with all their strides, paddings, dilations and both roundings."""
    x = layout(torch.randn(2, 3, size, size + 1))
    for kernel in range(1, 5):
        for stride in range(1, 5):
            for padding in range(kernel // 2 + 1):
                for dilation in (1, 2, 3):
                    for ceil in (False, True):
                        args = (kernel, stride, padding, dilation, ceil, True)
                        try:
                            want = F.max_pool2d(x, *args)
                        except RuntimeError as error:
                            # torch counts below zero in "Calculated output size: (3x-2x-1)"
                            words = re.sub(r"\(.*\)", ".*", str(error))
                            with pytest.raises(RuntimeError, match=words):
                                fastconv.max_pool2d(x, *args)
                            continue
                        ours = fastconv.max_pool2d(x, *args)
                        if want[0].isinf().any():
                            continue  # a window wholly in padding: torch's index leaves the plane
                        assert torch.equal(ours[0], want[0]), args
                        assert torch.equal(ours[1], want[1]), args


def test_window_wholly_in_padding() -> None:
    """torch 2.13 answers with an index outside the plane, and its backward writes there."""
    x = torch.ones(1, 4, 1, 1, requires_grad=True)
    values, indices = fastconv.max_pool2d(
        x, 2, None, padding=1, dilation=2, ceil_mode=True, return_indices=True
    )
    assert values.shape == (1, 4, 1, 1)
    assert torch.equal(values, torch.full_like(values, -INF))
    assert torch.equal(indices, torch.zeros_like(indices))

    def backward() -> Tensor:
        return torch.autograd.grad(values.sum(), x)[0]

    assert outcome(backward) == "returned [(1, 4, 1, 1)]"


def test_ceil_mode_drops_a_window_that_starts_in_the_padding() -> None:
    x = torch.randn(1, 1, 3, 3)
    assert fastconv.max_pool2d(x, 2, 2, 1, ceil_mode=True).shape == (1, 1, 2, 2)
    assert F.max_pool2d(x, 2, 2, 1, ceil_mode=True).shape == (1, 1, 2, 2)
    assert fastconv.max_pool2d(x, 1, 2, ceil_mode=True).shape == (1, 1, 2, 2)


def test_gradients_of_one_cell_are_added_up() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    x.requires_grad_()
    fastconv.max_pool2d(x, 3, 1).sum().backward()
    assert x.grad is not None
    assert x.grad[0, 0, 2, 2] == 9
    assert x.grad.sum() == 9


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_gradients_are_rounded_once(dtype: torch.dtype) -> None:
    """256 + 1 + 1 + ...: rounding after every addition, as torch does, would lose the ones."""
    x = torch.zeros(1, 1, 33, 33, dtype=dtype)
    x[0, 0, 16, 16] = 1
    x.requires_grad_()
    output = fastconv.max_pool2d(x, 17, 1)
    fractions = torch.full_like(output, 1 / 256)
    fractions[0, 0, 0, 0] = 256
    (grad,) = torch.autograd.grad(output, x, fractions)
    exact = 256 + (output.numel() - 1) / 256
    assert grad[0, 0, 16, 16] == torch.tensor(exact).to(dtype)


def test_indices_are_stable_across_layouts() -> None:
    x = torch.randint(0, 3, (2, 19, 13, 14)).float()
    args = (3, 2, 1, 1, False, True)
    a = fastconv.max_pool2d(x, *args)
    b = fastconv.max_pool2d(channels_last(x), *args)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_argument_order_of_function_and_module() -> None:
    """The function takes ceil_mode before return_indices, the module after it."""
    x = torch.randn(1, 2, 6, 7)
    function = list(inspect.signature(fastconv.max_pool2d).parameters)
    assert function[-2:] == ["ceil_mode", "return_indices"]
    module = fastconv.nn.MaxPool2d(2, 2, 0, 1, True, False)
    values, indices = module(x)
    assert values.shape == (1, 2, 3, 3)
    assert indices.dtype == torch.int64
    ceiling = fastconv.max_pool2d(x, 2, 2, 0, 1, True, False)
    assert isinstance(ceiling, Tensor)
    assert ceiling.shape == (1, 2, 3, 4)


def test_expanded_and_overlapping_inputs() -> None:
    x = torch.randn(1, 1, 6, 1).expand(2, 3, 6, 8)
    assert torch.equal(fastconv.max_pool2d(x, 2), F.max_pool2d(x.contiguous(), 2))
    overlapping = torch.randn(40).as_strided((2, 3, 5, 6), (3, 4, 2, 1))
    assert torch.equal(
        fastconv.max_pool2d(overlapping, 3, 1, 1), F.max_pool2d(overlapping.contiguous(), 3, 1, 1)
    )
