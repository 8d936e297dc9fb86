"""Faults put into the kernels of csrc/cuda themselves: each must make a test of this folder fail.

A fault is a change of the source text. A text that is no longer there fails the test, so that none
of these can go stale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from _emulator import ROOT, KernelError, Library, build
from _layouts import integers
from test_conv2d_emulated import FPROP, TENSOR_CORE, WGRAD, Conv, operands
from test_max_pool2d_emulated import GATHER, SCATTER, Pool, gradient_by_index

pytestmark = pytest.mark.cuda_emulation

SEEDS = range(1, 6)


def convolve(direction: str) -> Callable[[Library], bool]:
    """Is a convolution right? 300 deep: two chunks, and tiles with a rest in every direction."""

    def run(kernels: Library) -> bool:
        conv = Conv((2, 34, 7, 6), 66, padding=(1, 1))
        tensors = operands(conv, direction, "nchw", torch.float32)
        bias = integers((1, 1, 1, conv.filters), "nchw", torch.float32).view(-1)
        try:
            conv.check(kernels, direction, *tensors, bias if direction == FPROP else None)
        except AssertionError:
            return False
        return True

    return run


def convolve_on_tensor_cores(kernels: Library) -> bool:
    conv = Conv((2, 40, 9, 9), 36, padding=(1, 1))
    tensors = operands(conv, FPROP, "nhwc", torch.float16)
    try:
        conv.check(kernels, FPROP, *tensors, algorithm=TENSOR_CORE)
    except AssertionError:
        return False
    return True


def sum_bias(kernels: Library) -> bool:
    grad_output, grad_bias = integers((2, 3, 20, 11), "nchw", torch.float32), torch.zeros(3)
    empty = torch.empty(0, 0, 0, 0)
    kernels.conv2d("bias", empty, empty, grad_output, grad_bias)
    return torch.equal(grad_bias, grad_output.sum((0, 2, 3)))


def pool_backward(algorithm: str) -> Callable[[Library], bool]:
    def run(kernels: Library) -> bool:
        pool = Pool((1, 2, 17, 19), (3, 3), (1, 1), (1, 1))
        values, indices = pool.reference(integers(pool.input, "nchw", torch.float32))
        grad_output = integers(values.shape, "nchw", torch.float32)
        grad_input = torch.zeros(pool.input)
        pool.run(kernels, "backward", grad_input, grad_output, indices, algorithm)
        return torch.equal(grad_input, gradient_by_index(grad_output, indices, pool.input).float())

    return run


@dataclass(frozen=True)
class Fault:
    name: str
    file: str
    before: str
    after: str
    right: Callable[[Library], bool]
    finding: str = ""  # what the memory hooks must say; "": the values alone tell


FAULTS = [
    Fault(
        "barrier before the stage is read removed",
        "cuda/conv2d/implicit_gemm.cuh",
        "__syncthreads();  // the stage is there, and nobody reads the other one",
        "",
        convolve(FPROP),
        "race",
    ),
    Fault(
        "one row too many",
        "cuda/conv2d/implicit_gemm.cuh",
        "slot.position < position_count &&",
        "slot.position <= position_count &&",
        convolve(FPROP),
        "uninitialised",
    ),
    Fault(
        "tap rows and columns swapped",
        "cuda/conv2d/fprop.cuh",
        "tap.r * shape.weight.h + tap.s * shape.weight.w",
        "tap.s * shape.weight.h + tap.r * shape.weight.w",
        convolve(FPROP),
    ),
    Fault(
        "wait for a stage removed",
        "cuda/conv2d/fprop_tensor_core.cuh",
        "copy_async_wait<Tile::kStages - 2>();",
        "",
        convolve_on_tensor_cores,
        "copy in flight",
    ),
    Fault(
        "one stage too few waited for",
        "cuda/conv2d/fprop_tensor_core.cuh",
        "copy_async_wait<Tile::kStages - 2>();",
        "copy_async_wait<Tile::kStages - 1>();",
        convolve_on_tensor_cores,
        "copy in flight",
    ),
    Fault(
        "barrier before a stage is refilled removed",
        "cuda/conv2d/fprop_tensor_core.cuh",
        "__syncthreads();  // the step is there, and nobody reads the stage refilled now",
        "",
        convolve_on_tensor_cores,
        "race",
    ),
    Fault(
        "halves of a fragment swapped",
        "cuda/conv2d/fprop_tensor_core.cuh",
        "swizzled(column, k + lane / 8 % 2)",
        "swizzled(column, k + 1 - lane / 8 % 2)",
        convolve_on_tensor_cores,
    ),
    Fault(
        "last split left out",
        "cuda/conv2d/wgrad.cuh",
        "for (Index split = 0; split < splits; ++split)",
        "for (Index split = 0; split < splits - 1; ++split)",
        convolve(WGRAD),
    ),
    Fault(
        "barrier between the levels of a sum removed",
        "cuda/conv2d/bias_gradient.cuh",
        "__syncthreads();  // this level of the tree is done",
        "",
        sum_bias,
        "race",
    ),
    Fault(
        "last window left out",
        "cuda/max_pool2d/backward_gather.cuh",
        "const Index end = padded / axis.stride + 1;",
        "const Index end = padded / axis.stride;",
        pool_backward(GATHER),
    ),
    Fault(
        "every thread adds for itself: updates are lost",
        "cuda/max_pool2d/backward_scatter.cuh",
        "if (first) {",
        "if (true) {",
        pool_backward(SCATTER),
        "race",
    ),
    Fault(
        "barrier after the indices are read removed",
        "cuda/max_pool2d/backward_scatter.cuh",
        "__syncthreads();  // the indices have been read",
        "",
        pool_backward(SCATTER),
        "race",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_is_caught(libraries: dict[str, Library], fault: Fault, tmp_path: Path) -> None:
    libraries["hooks"].configure()
    assert fault.right(libraries["hooks"]), "the kernel is right before the fault is put in"

    text = (ROOT / "csrc" / fault.file).read_text()
    assert text.count(fault.before) == 1
    changed = tmp_path / fault.file
    changed.parent.mkdir(parents=True)
    changed.write_text(text.replace(fault.before, fault.after))
    library = build(memory_hooks=True, overlay=tmp_path)
    for seed in SEEDS:
        library.configure(seed)
        try:
            right, findings = fault.right(library), ""
        except KernelError as error:
            right, findings = False, str(error)
        assert not right
        assert fault.finding in findings
