"""Rung 4: torch's own samples and error inputs for both operators, as shipped in its wheel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import DTYPES, Operands, channels_last
from _reference import Results, assert_within_rounding, same_strides
from torch import Tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo, SampleInput

import fastconv


def op_info(name: str) -> OpInfo:
    return next(op for op in op_db if op.name == name)


CONV2D = op_info("nn.functional.conv2d")
MAX_POOL2D = op_info("nn.functional.max_pool2d")


def as_channels_last(sample: SampleInput) -> SampleInput:
    def convert(x: Tensor) -> Tensor:
        if x.dim() != 4:
            return x
        return channels_last(x.detach()).requires_grad_(x.requires_grad)

    return sample.transform(lambda x: convert(x) if isinstance(x, Tensor) else x)


LAYOUTS: dict[str, Callable[[SampleInput], SampleInput]] = {
    "contiguous": lambda sample: sample,
    "noncontiguous": lambda sample: sample.noncontiguous(),
    "channels_last": as_channels_last,
}


def samples(op: OpInfo, dtype: torch.dtype, layout: str) -> Iterator[SampleInput]:
    # op.sample_inputs() seeds every generator of every device anew for each sample: half the time
    for sample in op.sample_inputs_func(op, "cpu", dtype, requires_grad=True):
        yield LAYOUTS[layout](sample)


def describe(i: int, sample: SampleInput) -> str:
    return f"sample {i}: {tuple(sample.input.shape)} {sample.kwargs}"


def conv2d_results(conv2d: Callable[..., Tensor], x: Operands) -> Results:
    operands = [x.input, x.weight] + ([] if x.bias is None else [x.bias])
    output = conv2d(x.input, x.weight, x.bias, **x.kwargs)
    grads = torch.autograd.grad(output, operands, x.grad_output)
    return Results(output.detach(), grads[0], grads[1], grads[2] if len(grads) == 3 else None)


def conv2d_operands(sample: SampleInput) -> Operands:
    weight, *bias = sample.args
    output = F.conv2d(sample.input, weight, *bias, **sample.kwargs)
    grad_output = torch.randn_like(output)
    return Operands(sample.input, weight, bias[0] if bias else None, grad_output, sample.kwargs)


def test_all_samples_are_there() -> None:
    """The counts that the project was accepted by: fewer would mean that a filter crept in."""
    assert len(list(CONV2D.sample_inputs_func(CONV2D, "cpu", torch.float32, False))) == 30
    assert len(list(MAX_POOL2D.sample_inputs_func(MAX_POOL2D, "cpu", torch.float32, False))) == 1440


@pytest.mark.kernels
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_conv2d_samples(dtype: torch.dtype, layout: str) -> None:
    for i, sample in enumerate(samples(CONV2D, dtype, layout)):
        x = conv2d_operands(sample)
        ours = conv2d_results(fastconv.conv2d, x)
        theirs = conv2d_results(F.conv2d, x)
        label = describe(i, sample)
        assert_within_rounding(ours, x, label)
        for name, result in ours.items():
            want = getattr(theirs, name)
            assert result.dtype == want.dtype, label
            assert result.requires_grad == want.requires_grad, label
            assert same_strides(result, want), (
                f"{label} {name}: {result.stride()}, torch: {want.stride()}"
            )


def pool_results(
    max_pool2d: Callable[..., Any], sample: SampleInput, dtype: torch.dtype
) -> dict[str, Tensor]:
    x = sample.input.detach().to(dtype).requires_grad_()
    out = max_pool2d(x, *sample.args, **sample.kwargs)
    results = {}
    if isinstance(out, tuple):
        out, results["indices"] = out
    generator = torch.Generator().manual_seed(1)
    gradient = torch.randint(-3, 4, out.shape, generator=generator).to(dtype)
    (results["gradient"],) = torch.autograd.grad(out, x, gradient)
    return {"values": out.detach(), **results}


@pytest.mark.kernels
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_max_pool2d_samples(dtype: torch.dtype, layout: str) -> None:
    for i, sample in enumerate(samples(MAX_POOL2D, dtype, layout)):
        ours = pool_results(fastconv.max_pool2d, sample, dtype)
        theirs = pool_results(F.max_pool2d, sample, dtype)
        # torch rounds a 16-bit gradient after each addition; ours is the exact sum rounded once
        exact = pool_results(F.max_pool2d, sample, torch.float64)
        label = describe(i, sample)
        assert ours.keys() == theirs.keys(), label
        for name, result in ours.items():
            want = theirs[name]
            values = exact["gradient"].to(dtype) if name == "gradient" else want
            assert result.dtype == want.dtype, f"{label} {name}"
            assert torch.equal(result, values), f"{label} {name}"
            assert same_strides(result, want), (
                f"{label} {name}: {result.stride()}, torch: {want.stride()}"
            )


@pytest.mark.parametrize(
    ("function", "error_input"),
    [
        pytest.param(function, error_input, id=f"{op.name}-{i}")
        for op, function in ((CONV2D, fastconv.conv2d), (MAX_POOL2D, fastconv.max_pool2d))
        for i, error_input in enumerate(op.error_inputs("cpu"))
    ],
)
def test_error_inputs(function: Callable[..., Any], error_input: Any) -> None:
    sample = error_input.sample_input
    with pytest.raises(error_input.error_type, match=error_input.error_regex):
        function(sample.input, *sample.args, **sample.kwargs)
