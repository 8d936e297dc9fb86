"""What a convolution should give: torch in float64, and how far a result may lie from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from _problems import Operands
from torch import Tensor

Conv2d = Callable[..., Tensor]


@dataclass
class Results:
    """A forward and its three gradients (grad_bias is None where there is no bias)."""

    output: Tensor
    grad_input: Tensor
    grad_weight: Tensor
    grad_bias: Tensor | None

    def items(self) -> list[tuple[str, Tensor]]:
        return [(name, t) for name, t in vars(self).items() if t is not None]


def run(conv2d: Conv2d, x: Operands) -> Results:
    """The forward and every gradient, by autograd."""
    leaves = [t.detach().requires_grad_() for t in (x.input, x.weight)]
    bias = None if x.bias is None else x.bias.detach().requires_grad_()
    output = conv2d(*leaves, bias, **x.kwargs)
    grads = torch.autograd.grad(
        output, leaves if bias is None else [*leaves, bias], x.grad_output.expand_as(output)
    )
    return Results(output.detach(), grads[0], grads[1], grads[2] if bias is not None else None)


def reference(x: Operands) -> Results:
    return run(F.conv2d, x.to(torch.float64))


def _magnitudes(x: Operands) -> Results:
    """The same sums over absolute values: what rounding errors are proportional to."""
    x = x.to(torch.float64)
    bias = None if x.bias is None else x.bias.abs()
    return run(
        F.conv2d, Operands(x.input.abs(), x.weight.abs(), bias, x.grad_output.abs(), x.kwargs)
    )


def _terms(x: Operands, results: Results) -> dict[str, int]:
    """How many products are added up for one element of each result, at most."""
    out_channels, in_channels, rows, columns = x.weight.shape
    groups = x.kwargs.get("groups", 1)
    pixels = results.output.numel() // out_channels
    return {
        "output": in_channels * rows * columns + 1,
        "grad_input": out_channels // groups * rows * columns,
        "grad_weight": pixels,
        "grad_bias": pixels,
    }


def assert_within_rounding(ours: Results, x: Operands, label: str = "") -> None:
    """Every element within the error that a sum of that many products can have, in any order."""
    expected, magnitudes = reference(x), _magnitudes(x)
    storage = torch.finfo(x.input.dtype)
    # 16-bit results are added up in float32 and rounded once at the end.
    sums = torch.finfo(torch.float64 if x.input.dtype == torch.float64 else torch.float32)
    terms = _terms(x, expected)
    for name, result in ours.items():
        want = getattr(expected, name)
        assert result.shape == want.shape, f"{label} {name}: {result.shape}, not {want.shape}"
        # twice, since the reference rounds too (which matters in float64)
        bound = 2 * (terms[name] + 1) * sums.eps / 2 * getattr(magnitudes, name)
        bound = bound + storage.eps / 2 * want.abs() + storage.smallest_normal * storage.eps
        error = (result.double() - want).abs()
        worst = (error - bound).max().item() if error.numel() else -1.0
        assert worst <= 0, f"{label} {name}: an element is {worst} beyond the rounding bound"


def relative_error(result: Tensor, expected: Tensor) -> float:
    """||result - expected|| / ||expected||, as design.md section 5 defines the tiers."""
    scale = expected.double().norm().item()
    return (result.double() - expected.double()).norm().item() / scale if scale else 0.0


def same_strides(a: Tensor, b: Tensor) -> bool:
    """Where strides lead anywhere: not in a dimension of size 1, nor in an empty tensor."""
    if a.numel() == 0:
        return a.shape == b.shape
    return [s for s, n in zip(a.stride(), a.shape, strict=True) if n != 1] == [
        s for s, n in zip(b.stride(), b.shape, strict=True) if n != 1
    ]
