"""The tensor-core convolutions of csrc/cuda, emulated, against torch on the CPU."""

from __future__ import annotations

import pytest
import torch
from _emulator import Library
from _layouts import LAYOUTS, integers, normal, result
from test_conv2d_emulated import (
    DGRAD,
    FPROP,
    PROBLEMS,
    WGRAD,
    Conv,
    operands,
    random_problems,
    simt,
)
from torch import Tensor

pytestmark = pytest.mark.cuda_emulation

DIRECTIONS = (FPROP, DGRAD, WGRAD)

# What multiplies: a suffix of the algorithm's name, a dtype, and the precision that asks for it.
GRADES = {
    "bfloat16": ("", torch.bfloat16, "none"),
    "float16": ("", torch.float16, "none"),
    "tf32": ("_tf32", torch.float32, "tf32"),
    "split": ("_split", torch.float32, "ieee"),
}


def tensor_core(direction: str, grade: str, copied: bool = False) -> str:
    return f"conv2d_{direction}_cuda_tensor_core{GRADES[grade][0]}{'_copied' * copied}"


# Channels and filters of a group in whole pieces of 16 bytes.
IN_PLACE = [
    Conv((2, 40, 9, 8), 24, padding=(1, 1)),  # steps that end in the middle of a tap
    Conv((1, 8, 5, 5), 136, kernel=(1, 1)),  # one step, fewer than stages; two column tiles
    Conv((1, 64, 21, 17), 16, stride=(2, 1), padding=(2, 1), dilation=(2, 3)),  # two row tiles
    Conv((2, 32, 6, 7), 48, kernel=(3, 2), groups=2),
    Conv((1, 16, 12, 10), 24, stride=(2, 3), padding=(2, 0)),
    Conv((1, 8, 9, 9), 8, kernel=(2, 2), stride=(4, 4), dilation=(4, 2)),  # pixels of no tap
    Conv((3, 8, 24, 24), 8, padding=(1, 1)),  # wgrad in two splits
    Conv((0, 8, 4, 4), 8),
]


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_integers_are_exact(kernels: Library, direction: str, grade: str) -> None:
    _, dtype, precision = GRADES[grade]
    for seed, conv in enumerate(IN_PLACE):
        kernels.configure(seed)
        input, weight, output = operands(conv, direction, "nhwc", dtype)
        bias = None
        if direction == FPROP:
            bias = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1)
        name = tensor_core(direction, grade)
        conv.check(kernels, direction, input, weight, output, bias, name, precision)


@pytest.mark.parametrize("layout", ["nchw", "gaps"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_result_may_lie_anyhow(kernels: Library, direction: str, layout: str) -> None:
    for grade in ("bfloat16", "split"):
        _, dtype, precision = GRADES[grade]
        for conv in IN_PLACE[:4]:
            made = dict(
                zip((DGRAD, WGRAD, FPROP), operands(conv, direction, "nhwc", dtype), strict=True)
            )
            made[direction] = result(tuple(made[direction].shape), layout, dtype)
            tensors = made[DGRAD], made[WGRAD], made[FPROP]
            name = tensor_core(direction, grade)
            conv.check(kernels, direction, *tensors, algorithm=name, precision=precision)


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_copies_take_every_layout(kernels: Library, direction: str, grade: str) -> None:
    _, dtype, precision = GRADES[grade]
    problems = [conv for conv in (*PROBLEMS, *random_problems(12)) if conv.groups == 1]
    for seed, conv in enumerate([*problems, IN_PLACE[3]]):
        kernels.configure(seed)
        layout = LAYOUTS[seed % len(LAYOUTS)]
        input, weight, output = operands(conv, direction, layout, dtype)
        bias = None
        if direction == FPROP:
            bias = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1)
        name = tensor_core(direction, grade, copied=True)
        conv.check(kernels, direction, input, weight, output, bias, name, precision)


def chosen(kernels: Library, conv: Conv, direction: str, precision: str, layout: str) -> str:
    """The first of the list that takes float32 tensors of this layout."""
    tensors = operands(conv, direction, layout, torch.float32)
    for suffix in ("tensor_core_tf32", "tensor_core_split"):
        for copied in ("", "_copied"):
            name = f"conv2d_{direction}_cuda_{suffix}{copied}"
            try:
                conv.run(kernels, direction, *tensors, algorithm=name, precision=precision)
            except RuntimeError:
                continue
            return suffix + copied
    return "simt"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_ieee_is_never_tf32(libraries: dict[str, Library], direction: str) -> None:
    kernels = libraries["plain"]
    conv = IN_PLACE[0]
    for precision in ("ieee", "none"):
        assert chosen(kernels, conv, direction, precision, "nhwc") == "tensor_core_split"
        assert chosen(kernels, conv, direction, precision, "nchw") == "tensor_core_split_copied"
    assert chosen(kernels, conv, direction, "tf32", "nhwc") == "tensor_core_tf32"
    assert chosen(kernels, conv, direction, "tf32", "nchw") == "tensor_core_tf32_copied"


def test_they_say_what_they_need(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    refusals = {
        "whole 16-byte pieces of channels": (Conv((1, 12, 5, 5), 4), "nhwc"),
        "channels of what it reads side by side": (Conv((1, 8, 5, 5), 4), "nchw"),
    }
    for reason, (conv, layout) in refusals.items():
        tensors = operands(conv, FPROP, layout, torch.bfloat16)
        with pytest.raises(RuntimeError, match=reason):
            conv.run(kernels, FPROP, *tensors, algorithm=tensor_core(FPROP, "bfloat16"))
    conv = Conv((1, 8, 5, 5), 4)
    tensors = operands(conv, FPROP, "nhwc", torch.float32)
    with pytest.raises(RuntimeError, match="no kernel for float32"):
        conv.run(kernels, FPROP, *tensors, algorithm=tensor_core(FPROP, "bfloat16"))
    with pytest.raises(RuntimeError, match="fp32_precision to be 'tf32'"):
        conv.run(kernels, FPROP, *tensors, algorithm=tensor_core(FPROP, "tf32"))


def relative_error(
    kernels: Library, conv: Conv, direction: str, grade: str, scale: float = 1.0
) -> float:
    _, dtype, precision = GRADES[grade]
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    made = {name: normal(shape, "nhwc", dtype) * scale for name, shape in shapes.items()}
    tensors = made[DGRAD], made[WGRAD], made[FPROP]
    expected = conv.reference(direction, *tensors)
    name = tensor_core(direction, grade)
    conv.run(kernels, direction, *tensors, algorithm=name, precision=precision)
    return float((made[direction].double() - expected).norm() / expected.norm())


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_error_in_float32(libraries: dict[str, Library], direction: str) -> None:
    """Split floats have float32's grade; rounded ones have TF32's, which shows that they ran."""
    kernels = libraries["plain"]
    conv = Conv((1, 64, 10, 10), 64, padding=(1, 1))
    for scale in (1.0, 2.0**-40):
        assert relative_error(kernels, conv, direction, "split", scale) < 5e-7
    assert 1e-4 < relative_error(kernels, conv, direction, "tf32") < 5e-4


@pytest.mark.parametrize("grade", ["bfloat16", "float16"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_one_rounding_at_the_end(libraries: dict[str, Library], direction: str, grade: str) -> None:
    """The sums of 16-bit elements are those of floats, rounded once."""
    kernels = libraries["plain"]
    kernels.configure()
    conv = Conv((1, 64, 6, 6), 8, padding=(1, 1))
    error = relative_error(kernels, conv, direction, grade)
    assert error < {"bfloat16": 2.0**-9, "float16": 2.0**-12}[grade]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_infinities_and_nans_of_split_floats(libraries: dict[str, Library], direction: str) -> None:
    """As without the split: an infinity has no second term, and the largest floats have a first."""
    kernels = libraries["plain"]
    conv = Conv((1, 8, 6, 6), 8, padding=(1, 1))
    for special in (float("inf"), float("-inf"), float("nan"), 3.4e38):
        tensors = operands(conv, direction, "nhwc", torch.float32)
        read = [
            t for name, t in zip((DGRAD, WGRAD, FPROP), tensors, strict=True) if name != direction
        ]
        for tensor in read:
            tensor[tensor == 0] = 1.0
        read[0][0, 3, 1, 1] = special
        written = {DGRAD: 0, WGRAD: 1, FPROP: 2}[direction]
        expected = [t.clone() for t in tensors]
        conv.run(kernels, direction, *expected, algorithm=simt(direction))
        name = tensor_core(direction, "split")
        conv.run(kernels, direction, *tensors, algorithm=name, precision="ieee")
        ours, theirs = tensors[written], expected[written]
        assert torch.equal(ours.isnan(), theirs.isnan())
        assert torch.equal(ours.isinf(), theirs.isinf())
        finite = theirs.isfinite()
        torch.testing.assert_close(ours[finite], theirs[finite])


def test_runs_repeat_bit_by_bit(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    conv = Conv((2, 24, 32, 33), 24, padding=(1, 1), stride=(2, 1))
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    for direction in DIRECTIONS:
        made: dict[str, Tensor] = {
            name: normal(shape, "nhwc", torch.bfloat16) for name, shape in shapes.items()
        }
        bits = []
        for seed in range(2):
            kernels.configure(seed)
            tensors = made[DGRAD], made[WGRAD], made[FPROP]
            conv.run(kernels, direction, *tensors, algorithm=tensor_core(direction, "bfloat16"))
            bits.append(made[direction].clone())
        assert torch.equal(bits[0], bits[1])
