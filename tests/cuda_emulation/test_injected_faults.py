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
from _layouts import integers, memory
from test_conv2d_emulated import DGRAD, FPROP, WGRAD, Conv, operands, simt
from test_depthwise_emulated import depthwise
from test_max_pool2d_emulated import (
    BACKWARD_CHANNELS,
    GATHER,
    SCATTER,
    Pool,
    gradient_by_index,
)
from test_tensor_cores_emulated import GRADES, relative_error, tensor_core

pytestmark = pytest.mark.cuda_emulation

SEEDS = range(1, 6)


def convolve(direction: str) -> Callable[[Library], bool]:
    """Is a convolution right? 300 deep: two chunks, and tiles with a rest in every direction."""

    def run(kernels: Library) -> bool:
        conv = Conv((2, 34, 7, 6), 66, padding=(1, 1))
        tensors = operands(conv, direction, "nchw", torch.float32)
        bias = integers((1, 1, 1, conv.filters), "nchw", torch.float32).view(-1)
        try:
            added = bias if direction == FPROP else None
            conv.check(kernels, direction, *tensors, added, simt(direction))
        except AssertionError:
            return False
        return True

    return run


def convolve_on_tensor_cores(
    direction: str, grade: str = "float16", copied: bool = False
) -> Callable[[Library], bool]:
    def run(kernels: Library) -> bool:
        conv = Conv((2, 40, 10, 9), 40, stride=(2, 1), padding=(1, 1))
        _, dtype, precision = GRADES[grade]
        layout = "nchw" if copied else "nhwc"
        tensors = operands(conv, direction, layout, dtype)
        name = tensor_core(direction, grade, copied)
        try:
            conv.check(kernels, direction, *tensors, algorithm=name, precision=precision)
        except AssertionError:
            return False
        return True

    return run


def convolve_depthwise(direction: str) -> Callable[[Library], bool]:
    def run(kernels: Library) -> bool:
        conv = Conv((2, 3, 36, 34), 3, padding=(1, 1), groups=3)
        tensors = operands(conv, direction, "nchw", torch.float32)
        try:
            conv.check(kernels, direction, *tensors, algorithm=depthwise(direction))
        except AssertionError:
            return False
        return True

    return run


def strided_columns(kernels: Library) -> bool:
    conv = Conv((1, 8, 9, 13), 8, stride=(1, 2), padding=(1, 1))
    tensors = operands(conv, DGRAD, "nhwc", torch.bfloat16)
    try:
        conv.check(kernels, DGRAD, *tensors, algorithm=tensor_core(DGRAD, "bfloat16"))
    except AssertionError:
        return False
    return True


def split_floats_keep_their_digits(kernels: Library) -> bool:
    return relative_error(kernels, Conv((1, 32, 5, 5), 8), FPROP, "split") < 5e-7


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


def pool_backward_of_channels(kernels: Library) -> bool:
    pool = Pool((1, 8, 9, 9), (3, 3), (2, 2), (1, 1))
    input = integers(pool.input, "nhwc", torch.float16)
    values, found = pool.reference(input)
    indices = memory(tuple(values.shape), "nhwc", torch.int64).copy_(found)
    grad_output = integers(values.shape, "nhwc", torch.float16)
    grad_input = memory(pool.input, "nhwc", torch.float16)
    pool.run(kernels, "backward", grad_input, grad_output, indices, BACKWARD_CHANNELS)
    return torch.equal(grad_input, gradient_by_index(grad_output, found, pool.input).half())


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
        "cuda/conv2d/tensor_core_gemm.cuh",
        "copy_async_wait<Tile::kStages - 2>();",
        "",
        convolve_on_tensor_cores(FPROP),
        "copy in flight",
    ),
    Fault(
        "one stage too few waited for",
        "cuda/conv2d/tensor_core_gemm.cuh",
        "copy_async_wait<Tile::kStages - 2>();",
        "copy_async_wait<Tile::kStages - 1>();",
        convolve_on_tensor_cores(FPROP),
        "copy in flight",
    ),
    Fault(
        "barrier before a stage is refilled removed",
        "cuda/conv2d/tensor_core_gemm.cuh",
        "__syncthreads();  // the step is there, and nobody reads the stage refilled now",
        "",
        convolve_on_tensor_cores(FPROP),
        "race",
    ),
    Fault(
        "halves of a fragment swapped",
        "cuda/conv2d/tensor_core_tile.cuh",
        "depth + lane / 8 % 2 * kPiece<T>));",
        "depth + (1 - lane / 8 % 2) * kPiece<T>));",
        convolve_on_tensor_cores(FPROP),
    ),
    Fault(
        "halves of a transposed fragment swapped",
        "cuda/conv2d/tensor_core_tile.cuh",
        "row + lane / 8 % 2 * 8, depth + lane / 16 * 8 + lane % 8",
        "row + lane / 16 * 8, depth + lane / 8 % 2 * 8 + lane % 8",
        convolve_on_tensor_cores(WGRAD),
    ),
    Fault(
        "words of a fragment of floats swapped",
        "cuda/conv2d/tensor_core_tile.cuh",
        "word(row + i % 2 * 8, depth + i / 2 * 4)",
        "word(row + i / 2 * 8, depth + i % 2 * 4)",
        convolve_on_tensor_cores(WGRAD, "tf32"),
    ),
    Fault(
        "second term of split floats left out",
        "cuda/conv2d/tensor_core_tile.cuh",
        "to_tf32(float_bits(x - bits_float(large)))",
        "to_tf32(float_bits(x - x))",
        split_floats_keep_their_digits,
    ),
    Fault(
        "steps of the taps of a class left out",
        "cuda/conv2d/tensor_core_dgrad.cuh",
        "s = at.s * axis_w.tap_step;",
        "s = at.s;",
        lambda kernels: convolve_on_tensor_cores(DGRAD)(kernels) and strided_columns(kernels),
    ),
    Fault(
        "last pixels of a step not left out",
        "cuda/conv2d/tensor_core_wgrad.cuh",
        "depth - begin < split_depth ? depth : begin + split_depth",
        "depth - begin < 0 ? depth : begin + split_depth",
        convolve_on_tensor_cores(WGRAD),
    ),
    Fault(
        "barrier before a copied tile is written removed",
        "cuda/conv2d/channels_last_copy.cuh",
        "__syncthreads();  // the tile is there",
        "",
        convolve_on_tensor_cores(FPROP, copied=True),
        "race",
    ),
    Fault(
        "barrier before a depthwise tile is read removed",
        "cuda/conv2d/depthwise_gather.cuh",
        "__syncthreads();  // the source and the weights are there",
        "",
        convolve_depthwise(DGRAD),
        "race",
    ),
    Fault(
        "barrier before a depthwise tile is overwritten removed",
        "cuda/conv2d/depthwise_wgrad.cuh",
        "__syncthreads();  // the tile before is done",
        "",
        convolve_depthwise(WGRAD),
        "race",
    ),
    Fault(
        "barrier between the levels of depthwise sums removed",
        "cuda/conv2d/depthwise_wgrad.cuh",
        "__syncthreads();  // the sums of the level before are there",
        "",
        convolve_depthwise(WGRAD),
        "race",
    ),
    Fault(
        "last split left out",
        "cuda/conv2d/wgrad_splits.cuh",
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
        "the second channel of a pair takes the index of the first",
        "cuda/max_pool2d/channels.cuh",
        "if (index.second == own)",
        "if (index.first == own)",
        pool_backward_of_channels,
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


def expect_caught(fault: Fault, libraries: dict[str, Library], tmp_path: Path) -> None:
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


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_is_caught(libraries: dict[str, Library], fault: Fault, tmp_path: Path) -> None:
    expect_caught(fault, libraries, tmp_path)
