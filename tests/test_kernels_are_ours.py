"""Rung 7: the profiler sees fastconv's operators and none of torch's kernels."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from _networks import NETWORKS
from _problems import DTYPES
from torch import nn
from torch.profiler import ProfilerActivity, profile

import fastconv

# Every name under which torch computes a convolution or a max pooling on the CPU: not the two that
# it leaves to others (test_recorded_node.py).
TORCHS = re.compile(
    r"^(aten|mkldnn|mkldnn_prepacked|quantized|xnnpack|nnpack)::_?(?!convolution\w*_overrideable)\w*"
    r"(conv(?!ert)|max_pool|thnn|im2col|unfold|mkldnn|addmm|bmm|matmul|gemm)\w*",
)


def operators_called(work: Callable[[], object]) -> set[str]:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        work()
    return {event.key for event in recorded.key_averages()}


def torchs_kernels(names: set[str]) -> set[str]:
    return {name for name in names if TORCHS.match(name)}


def test_the_net_catches_torchs_own() -> None:
    """Else an empty catch would prove nothing."""
    x = torch.randn(1, 4, 9, 9, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, requires_grad=True)
    caught = torchs_kernels(
        operators_called(lambda: F.max_pool2d(F.conv2d(x, weight), 2).sum().backward())
    )
    assert {"aten::conv2d", "aten::convolution", "aten::convolution_backward"} <= caught
    assert {"aten::max_pool2d_with_indices", "aten::max_pool2d_with_indices_backward"} <= caught


# What a convolution with this padding calls: "same" does not go straight to the kernel.
ROUTES: dict[int | str, set[str]] = {
    1: {"fastconv::conv2d", "fastconv::_conv2d_backward"},
    "same": {
        "fastconv::conv2d",
        "fastconv::conv2d_grad_input",
        "fastconv::conv2d_grad_weight",
        "fastconv::conv2d_grad_bias",
    },
}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("padding", ROUTES, ids=["plain integers", "public operators"])
def test_forward_and_backward_run_our_operators(
    padding: int | str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    x = torch.randn(2, 4, 9, 9, dtype=dtype).to(memory_format=layout).requires_grad_()
    weight = torch.randn(8, 2, 3, 3, dtype=dtype).to(memory_format=layout).requires_grad_()
    bias = torch.randn(8, dtype=dtype, requires_grad=True)

    def work() -> None:
        output = fastconv.conv2d(x, weight, bias, stride=1, padding=padding, groups=2)
        fastconv.max_pool2d(output, 3, 2, 1).sum().backward()

    names = operators_called(work)
    assert not torchs_kernels(names)
    pooling = {"fastconv::_max_pool2d_with_indices", "fastconv::_max_pool2d_backward"}
    assert ROUTES[padding] | pooling <= names


def test_inference_runs_our_operators() -> None:
    x, weight = torch.randn(2, 4, 9, 9), torch.randn(8, 4, 3, 3)
    with torch.inference_mode():
        names = operators_called(lambda: fastconv.max_pool2d(fastconv.conv2d(x, weight), 2))
    assert not torchs_kernels(names)
    assert {"fastconv::_conv2d", "fastconv::_max_pool2d"} <= names


def test_double_backward_runs_our_operators() -> None:
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(fastconv.conv2d(x, weight).square().sum(), x, create_graph=True)
    assert not torchs_kernels(operators_called(lambda: grad.square().sum().backward()))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_converted_network_runs_our_operators(name: str) -> None:
    model = NETWORKS[name]()
    converted = fastconv.convert(model)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    x = torch.randn(1, 3, 32, 32)
    names = torchs_kernels(operators_called(lambda: converted(x).sum().backward()))
    # the classifier at the end is torch's business
    allowed = {"aten::addmm", "aten::linear", "aten::matmul", "aten::mm"} if linear else set()
    assert names <= allowed


def test_patched_functions_run_our_operators() -> None:
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(8, 4, 3, 3)
    module = nn.Conv2d(4, 8, 3)

    def work() -> None:
        with fastconv.patch():
            F.max_pool2d(F.conv2d(x, weight), 2)
            torch.max_pool2d(torch.conv2d(x, weight), 2)
            module(x)

    assert not torchs_kernels(operators_called(work))
