"""Faults put into the kernels on warpgroups, as test_injected_faults.py does it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from _emulator import Library
from test_conv2d_emulated import DGRAD, FPROP, Conv, operands
from test_injected_faults import Fault, expect_caught
from test_warpgroups_emulated import WARPGROUP, WARPGROUP_DGRAD

pytestmark = pytest.mark.cuda_emulation


def convolve_on_warpgroups(kernels: Library) -> bool:
    """Steps go round the ring more than once, in each of several tiles of a block."""
    conv = Conv((1, 72, 12, 14), 136, stride=(2, 1), padding=(1, 2), kernel=(3, 2))
    tensors = operands(conv, FPROP, "nhwc", torch.float16)
    kernels.multiprocessors = 1
    try:
        conv.check(kernels, FPROP, *tensors, algorithm=WARPGROUP)
    except AssertionError:
        return False
    finally:
        kernels.multiprocessors = 4
    return True


def gradient_on_warpgroups(kernels: Library) -> bool:
    conv = Conv((1, 40, 6, 7), 72, padding=(1, 0), kernel=(3, 2))
    tensors = operands(conv, DGRAD, "nhwc", torch.bfloat16)
    try:
        conv.check(kernels, DGRAD, *tensors, algorithm=WARPGROUP_DGRAD)
    except AssertionError:
        return False
    return True


FAULTS = [
    Fault(
        "wait for the bytes of a stage removed",
        "cuda/conv2d/warpgroup_tile.cuh",
        "barrier_wait(shared.full[ring.stage], ring.parity);",
        "",
        convolve_on_warpgroups,
        "copy in flight",
    ),
    Fault(
        "half the bytes of a stage expected",
        "cuda/conv2d/warpgroup_fprop.cuh",
        "barrier_arrive_expecting(full, Shared::kStageBytes);",
        "barrier_arrive_expecting(full, Shared::kStageBytes / 2);",
        convolve_on_warpgroups,
    ),
    Fault(
        "twice the bytes of a stage expected",
        "cuda/conv2d/warpgroup_fprop.cuh",
        "barrier_arrive_expecting(full, Shared::kStageBytes);",
        "barrier_arrive_expecting(full, Shared::kStageBytes * 2);",
        convolve_on_warpgroups,
        "deadlock",
    ),
    Fault(
        "a stage handed back before its products have ended",
        "cuda/conv2d/warpgroup_tile.cuh",
        "warpgroup_wait<1>(sum);  // the step before has ended",
        "",
        convolve_on_warpgroups,
        "race: copy over an operand",
    ),
    Fault(
        "a stage refilled before it is handed back",
        "cuda/conv2d/warpgroup_fprop.cuh",
        "barrier_wait(shared.empty[ring.stage], ring.parity ^ 1);",
        "",
        convolve_on_warpgroups,
        "race: copy over",
    ),
    Fault(
        "sums read before the products have ended",
        "cuda/conv2d/warpgroup_tile.cuh",
        "warpgroup_wait<0>(sum);",
        "",
        convolve_on_warpgroups,
    ),
    Fault(
        "offsets of an operand swapped",
        "cuda/shared_operand.cuh",
        "kNotRead << 16 | kEightRows << 32",
        "kEightRows << 16 | kNotRead << 32",
        convolve_on_warpgroups,
    ),
    Fault(
        "an operand not permuted",
        "cuda/shared_operand.cuh",
        "kPermuted128 = 1;",
        "kPermuted128 = 0;",
        convolve_on_warpgroups,
    ),
    Fault(
        "columns of a walk taken for rows",
        "cuda/conv2d/warpgroup_fprop.cuh",
        "s * shape.dilation_w, r * shape.dilation_h",
        "r * shape.dilation_h, s * shape.dilation_w",
        convolve_on_warpgroups,
    ),
    Fault(
        "barriers not shown to asynchronous copies",
        "cuda/conv2d/warpgroup_fprop.cuh",
        "fence_async_proxy();",
        "",
        convolve_on_warpgroups,
        "unfenced barrier",
    ),
    Fault(
        "columns overwritten before they are stored",
        "cuda/conv2d/warpgroup_tile.cuh",
        "__syncwarp();  // the columns have been read",
        "",
        convolve_on_warpgroups,
        "race",
    ),
    Fault(
        "a weight's window not turned round",
        "cuda/conv2d/warpgroup_dgrad.cuh",
        "(shape.R - 1 - r) * shape.S + shape.S - 1 - s",
        "r * shape.S + s",
        gradient_on_warpgroups,
    ),
    Fault(
        "barrier before a turned tile is written removed",
        "cuda/conv2d/warpgroup_dgrad.cuh",
        "__syncthreads();  // the tile is there",
        "",
        gradient_on_warpgroups,
        "race",
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_is_caught(libraries: dict[str, Library], fault: Fault, tmp_path: Path) -> None:
    expect_caught(fault, libraries, tmp_path)
