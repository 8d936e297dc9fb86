"""design.md section 6 for conv2d: layouts, odd strides, special values, and torch's own faults."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from _algorithms import attempt, taps_of, usable_algorithms
from _problems import DTYPES
from _reference import same_strides
from torch import Tensor

import fastconv

pytestmark = pytest.mark.kernels


def both(x: Tensor, weight: Tensor, bias: Tensor | None = None, **kwargs) -> list[Tensor]:
    return [conv2d(x, weight, bias, **kwargs) for conv2d in (fastconv.conv2d, F.conv2d)]


def layouts_of(shape: tuple[int, ...]) -> dict[str, Tensor]:
    x = torch.randn(shape)
    return {
        "contiguous": x,
        "channels_last": x.to(memory_format=torch.channels_last),
        "transposed": x.mT.contiguous().mT,
        "expanded": x[:1].expand(shape),
        "batch last": x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "every second": torch.randn(*shape, 2)[..., 0].copy_(x),
        "sliced channels": torch.randn(shape[0], shape[1] + 3, *shape[2:])[:, 1:-2].copy_(x),
        "sliced channels_last": torch.randn(shape[0], shape[1] + 3, *shape[2:])
        .to(memory_format=torch.channels_last)[:, 1:-2]
        .copy_(x),
    }


@pytest.mark.parametrize("shape", [(2, 4, 6, 5), (1, 4, 6, 5), (2, 1, 6, 5), (2, 4, 1, 5),
                                   (2, 4, 6, 1), (3, 4, 1, 1), (1, 1, 1, 1), (1, 4, 1, 1)],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("kernel", [1, 3])
def test_output_layout_for_every_pair_of_layouts(shape: tuple[int, ...], kernel: int) -> None:
    for input_layout, x in layouts_of(shape).items():
        for weight_layout, weight in layouts_of((6, shape[1], kernel, kernel)).items():
            if math.prod(weight.shape[1:]) == 1 and "sliced" in weight_layout:
                continue  # one number for each output: torch reads its strides now so, now so
            theirs = F.conv2d(x, weight, padding=1)
            ours = fastconv.conv2d(x, weight, padding=1)
            label = f"{input_layout} {x.stride()}, weight {weight_layout} {weight.stride()}"
            assert same_strides(ours, theirs), f"{label}: {ours.stride()}, torch {theirs.stride()}"
            torch.testing.assert_close(ours, theirs, msg=lambda m, label=label: f"{label}: {m}")


def test_size_one_dimensions_with_odd_strides() -> None:
    """Their strides lead nowhere, so they may be anything, 0 included."""
    x = torch.randn(1, 3, 6, 1)
    odd = x.as_strided(x.shape, (7, 6, 1, 0))
    weight = torch.randn(2, 3, 1, 1)
    odd_weight = weight.as_strided(weight.shape, (3, 1, 0, 99))
    torch.testing.assert_close(fastconv.conv2d(odd, odd_weight), F.conv2d(x, weight))


def test_overlapping_input() -> None:
    """A sliding window over one row: every element is read through many positions."""
    x = torch.arange(20.0).as_strided((2, 3, 4, 5), (1, 2, 3, 1))
    weight = torch.randn(4, 3, 3, 3)
    torch.testing.assert_close(
        fastconv.conv2d(x, weight, padding=1), F.conv2d(x.contiguous(), weight, padding=1)
    )


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_misaligned_storage(offset: int) -> None:
    def misaligned(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(math.prod(shape) + offset)[offset:].view(shape)

    x, weight, bias = (misaligned(s) for s in ((2, 5, 9, 11), (17, 5, 3, 3), (17,)))
    torch.testing.assert_close(*both(x, weight, bias, padding=1))


def test_lazily_conjugated_and_negated_views() -> None:
    z = torch.randn(1, 3, 6, 6, dtype=torch.complex64)
    x = z.conj().imag
    assert x.is_neg()
    torch.testing.assert_close(*both(x, torch.randn(4, 3, 3, 3)))
    torch.testing.assert_close(*both(torch.randn(1, 3, 6, 6), z.conj().imag[:, :, :3, :3]))
    torch.testing.assert_close(fastconv.max_pool2d(x, 2), F.max_pool2d(x, 2))
    zero = torch._efficientzerotensor((1, 3, 6, 6))
    assert torch.equal(fastconv.conv2d(zero, torch.randn(4, 3, 3, 3)), torch.zeros(1, 4, 4, 4))


@pytest.mark.parametrize("unbatched", [False, True])
def test_no_input_channels_leave_the_bias(unbatched: bool) -> None:
    """An empty sum is zero. (torch 2.13 answers with no output channels at all: a fault.)"""
    x = torch.zeros((0, 6, 6) if unbatched else (2, 0, 6, 6), requires_grad=True)
    weight = torch.zeros(8, 0, 3, 3, requires_grad=True)
    bias = torch.arange(8.0, requires_grad=True)
    output = fastconv.conv2d(x, weight, bias)
    assert torch.equal(output, bias[:, None, None].expand((8, 4, 4) if unbatched else (2, 8, 4, 4)))
    output.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert weight.grad is not None
    assert weight.grad.shape == weight.shape
    assert bias.grad is not None
    assert bias.grad.unique().tolist() == [16 if unbatched else 32]


@pytest.mark.parametrize("kernel", [(2, 2), (4, 3), (1, 6), (2, 5)], ids=str)
@pytest.mark.parametrize("dilation", [1, 2, (3, 1)], ids=str)
def test_same_pads_the_extra_at_the_bottom_and_right(kernel, dilation) -> None:
    x, weight = torch.randn(2, 3, 9, 10), torch.randn(4, 3, *kernel)
    ours, theirs = both(x, weight, padding="same", dilation=dilation)
    torch.testing.assert_close(ours, theirs)
    # and by hand: ones in, so that each output counts the taps that fall inside
    ones = torch.ones(1, 1, 4, 4)
    counted = fastconv.conv2d(ones, torch.ones(1, 1, 2, 2), padding="same")
    assert counted[0, 0].tolist() == [[4, 4, 4, 2], [4, 4, 4, 2], [4, 4, 4, 2], [2, 2, 2, 1]]


SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}
FPROP = [a for a in usable_algorithms("conv2d", "fprop") if torch.float32 in a.dtypes]


def conv2d_without_padding_products(
    input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int
) -> torch.Tensor:
    """Planes of the same size, where 0 * inf in the padding adds nothing: some of torch's backends
    do so and some do not (0 * inf is NaN), by dtype and build."""
    plane, taps = input.shape[-2:], weight.shape[-1]

    def columns(x: torch.Tensor) -> torch.Tensor:
        return F.unfold(x, taps, padding=taps // 2).unflatten(
            1, (groups, 1, -1)
        )  # [N, G, 1, C R S, P Q]

    filters = weight.flatten(1).unflatten(0, (groups, -1))[..., None]  # [G, K, C R S, 1]
    products = columns(input) * filters
    products[(columns(torch.ones_like(input)) == 0).expand_as(products)] = 0
    sums = products.sum(-2).flatten(1, 2).unflatten(-1, plane)
    return sums + bias[:, None, None]


@pytest.mark.parametrize("value", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("where", ["input", "weight", "bias"])
@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_infinities_and_nan_spread_as_they_must(
    algorithm: fastconv.Algorithm, where: str, value: float
) -> None:
    """Only to the outputs that read the element, and there as sums of such products give."""
    accepted, taps = 0, taps_of(algorithm)
    layouts = (torch.contiguous_format, torch.channels_last)
    sizes, planes = ((9, 1), (12, 3), (17, 17)), ((10, 19), (1, 2))
    for (channels, groups), plane, layout in itertools.product(sizes, planes, layouts):
        tensors = {
            "input": torch.randn(2, channels, *plane),
            "weight": torch.randn(17 if groups == 17 else 18, channels // groups, taps, taps),
        }
        tensors["bias"] = torch.randn(tensors["weight"].shape[0])
        tensors[where].view(-1)[7] = value
        tensors["weight"][3] = 0  # inf * 0 is NaN
        exact = [t.double() for t in tensors.values()]
        theirs = conv2d_without_padding_products(*exact, groups=groups).float()
        tensors["input"] = tensors["input"].contiguous(memory_format=layout)
        same = taps // 2
        call = functools.partial(fastconv.conv2d, *tensors.values(), padding=same, groups=groups)
        ours = attempt(algorithm, call)
        if ours is None:
            continue
        accepted += 1
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())
        tolerance = max(1e-4, 20 * algorithm.error)
        torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=tolerance, atol=tolerance)
    assert accepted >= 1


@pytest.mark.parametrize("value", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("where", ["input", "weight", "grad_output"])
def test_infinities_and_nan_in_the_gradients(where: str, value: float) -> None:
    tensors = {
        "input": torch.randn(2, 5, 7, 8),
        "weight": torch.randn(6, 5, 3, 3),
        "grad_output": torch.randn(2, 6, 5, 6),
    }
    tensors[where].view(-1)[11] = value
    results = []
    for conv2d, dtype in ((fastconv.conv2d, torch.float32), (F.conv2d, torch.float64)):
        x, weight = (tensors[n].to(dtype).requires_grad_() for n in ("input", "weight"))
        output = conv2d(x, weight)
        grads = torch.autograd.grad(output, (x, weight), tensors["grad_output"].to(dtype))
        results.append([g.float() for g in grads])
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_denormals_are_kept(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).smallest_normal
    x = torch.full((1, 1, 3, 3), smallest / 4, dtype=dtype)
    weight = torch.ones(1, 1, 1, 1, dtype=dtype)
    assert torch.equal(fastconv.conv2d(x, weight), x)
    assert fastconv.conv2d(x, weight).count_nonzero() == 9


def test_overflow_of_16_bits_gives_infinity() -> None:
    x = torch.full((1, 4, 3, 3), 300.0, dtype=torch.float16)
    output = fastconv.conv2d(x, torch.full((1, 4, 3, 3), 300.0, dtype=torch.float16))
    assert output.item() == math.inf
    # In between, sums may pass 65504: they are kept in float32.
    weight = torch.tensor([300.0, 300.0, -300.0, -299.0], dtype=torch.float16).view(1, 4, 1, 1)
    assert fastconv.conv2d(x, weight)[0, 0, 0, 0] == 300


def test_largest_float32_stays_finite() -> None:
    x = torch.full((1, 1, 2, 2), 3.4e38)
    assert torch.equal(fastconv.conv2d(x, torch.ones(1, 1, 1, 1)), x)


def test_dilation_that_torch_gets_wrong() -> None:
    """conv2d(dilation=2**62) overflows in torch 2.13 and answers with a wrong shape."""
    with pytest.raises(RuntimeError):
        fastconv.conv2d(torch.ones(1, 1, 6, 6), torch.ones(1, 1, 3, 3), dilation=2**62)


def test_inputs_are_left_alone() -> None:
    x, weight, bias = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3), torch.randn(4)
    before = [t.clone() for t in (x, weight, bias)]
    leaves = [t.requires_grad_() for t in (x, weight, bias)]
    fastconv.conv2d(*leaves).square().sum().backward()
    assert all(torch.equal(a, b) for a, b in zip(before, leaves, strict=True))


def test_arguments_by_position_and_by_name_as_torch() -> None:
    import inspect

    parameters = inspect.signature(fastconv.conv2d).parameters
    assert list(parameters) == [
        "input",
        "weight",
        "bias",
        "stride",
        "padding",
        "dilation",
        "groups",
    ]
    x, weight, bias = torch.randn(1, 4, 8, 8), torch.randn(4, 2, 3, 3), torch.randn(4)
    torch.testing.assert_close(
        fastconv.conv2d(x, weight, bias, 2, 1, 1, 2),
        F.conv2d(input=x, weight=weight, bias=bias, stride=2, padding=1, dilation=1, groups=2),
    )
