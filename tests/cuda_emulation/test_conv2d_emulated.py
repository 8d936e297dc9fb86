"""The convolution kernels of csrc/cuda, emulated, against torch on the CPU."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from _emulator import DTYPES, Library, Pair
from _layouts import LAYOUTS, gaps_untouched, integers, normal, result
from torch import Tensor

pytestmark = pytest.mark.cuda_emulation

FPROP, DGRAD, WGRAD = "fprop", "dgrad", "wgrad"


@dataclass(frozen=True)
class Conv:
    input: tuple[int, int, int, int]
    filters: int
    kernel: Pair = (3, 3)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def weight(self) -> tuple[int, int, int, int]:
        return (self.filters, self.input[1] // self.groups, *self.kernel)

    @property
    def output(self) -> tuple[int, int, int, int]:
        sizes = [
            (extent + 2 * pad - dilation * (taps - 1) - 1) // stride + 1
            for extent, pad, dilation, taps, stride in zip(
                self.input[2:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        ]
        return (self.input[0], self.filters, sizes[0], sizes[1])

    def run(
        self,
        kernels: Library,
        direction: str,
        input: Tensor,
        weight: Tensor,
        output: Tensor,
        bias: Tensor | None = None,
        algorithm: str = "",
        precision: str = "none",
    ) -> None:
        kernels.conv2d(
            direction,
            input,
            weight,
            output,
            bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            algorithm=algorithm,
            precision=precision,
        )

    def reference(
        self,
        direction: str,
        input: Tensor,
        weight: Tensor,
        output: Tensor,
        bias: Tensor | None = None,
    ) -> Tensor:
        """In float64; whichever tensor the direction writes gives only its shape."""
        x, w, y = (t.double().contiguous() for t in (input, weight, output))
        if direction == FPROP:
            return torch.conv2d(
                x,
                w,
                None if bias is None else bias.double(),
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
            )
        wanted = (direction == DGRAD, direction == WGRAD, False)
        gradients = torch.ops.aten.convolution_backward(
            y,
            x,
            w,
            None,
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            wanted,
        )
        gradient = gradients[0 if direction == DGRAD else 1]
        assert isinstance(gradient, Tensor)
        return gradient

    def check(
        self,
        kernels: Library,
        direction: str,
        input: Tensor,
        weight: Tensor,
        output: Tensor,
        bias: Tensor | None = None,
        algorithm: str = "",
        precision: str = "none",
    ) -> None:
        """Integers: no tolerance."""
        expected = self.reference(direction, input, weight, output, bias)
        self.run(kernels, direction, input, weight, output, bias, algorithm, precision)
        ours = {FPROP: output, DGRAD: input, WGRAD: weight}[direction]
        assert torch.equal(ours, expected.to(ours.dtype))
        assert gaps_untouched(ours)


def simt(direction: str) -> str:
    return f"conv2d_{direction}_cuda_simt"


def operands(
    conv: Conv, direction: str, layout: str, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    made = {}
    for written, shape in shapes.items():
        make = result if written == direction else integers
        made[written] = make(shape, layout, dtype)
    return made[DGRAD], made[WGRAD], made[FPROP]


PROBLEMS = [
    Conv((2, 5, 7, 6), 4, padding=(1, 1)),
    Conv((1, 3, 9, 11), 70, kernel=(1, 1)),
    Conv((3, 40, 5, 5), 6, padding=(1, 1)),
    Conv((1, 4, 12, 10), 6, kernel=(3, 2), stride=(2, 3), padding=(2, 0), groups=2),
    Conv((2, 3, 11, 9), 2, kernel=(5, 3), stride=(3, 2), padding=(2, 1), dilation=(2, 3)),
    Conv((1, 6, 9, 9), 12, stride=(2, 2), padding=(1, 1), groups=6),
    Conv((1, 2, 8, 8), 2, kernel=(2, 2), stride=(4, 4), dilation=(4, 2)),
    Conv((1, 1, 3, 3), 1, kernel=(1, 1), stride=(5, 7)),
    Conv((1, 66, 9, 9), 66, kernel=(1, 1), stride=(2, 2)),
    Conv((0, 3, 5, 5), 4),
    Conv((2, 2, 30, 30), 3, padding=(1, 1)),  # wgrad in two splits
]


def random_problems(count: int) -> Iterator[Conv]:
    numbers = random.Random(1)
    while count > 0:
        groups = numbers.choice([1, 1, 2, 3])
        pair = [(numbers.randint(1, most), numbers.randint(1, most)) for most in (4, 4, 3)]
        conv = Conv(
            (
                numbers.randint(1, 3),
                groups * numbers.randint(1, 9),
                numbers.randint(1, 14),
                numbers.randint(1, 14),
            ),
            groups * numbers.randint(1, 9),
            kernel=pair[0],
            stride=pair[1],
            dilation=pair[2],
            padding=(numbers.randint(0, 4), numbers.randint(0, 4)),
            groups=groups,
        )
        if min(conv.output[2:]) > 0:
            count -= 1
            yield conv


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_integers_are_exact(
    kernels: Library, direction: str, layout: str, dtype: torch.dtype
) -> None:
    for seed, conv in enumerate(PROBLEMS):
        kernels.configure(seed)
        input, weight, output = operands(conv, direction, layout, dtype)
        bias = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1)
        added = bias if direction == FPROP else None
        conv.check(kernels, direction, input, weight, output, added, simt(direction))


@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_random_problems_are_exact(kernels: Library, direction: str) -> None:
    for seed, conv in enumerate(random_problems(40)):
        kernels.configure(seed)
        layout = LAYOUTS[seed % len(LAYOUTS)]
        tensors = operands(conv, direction, layout, torch.float32)
        conv.check(kernels, direction, *tensors, algorithm=simt(direction))


@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_64_bit_numbers(kernels: Library, direction: str) -> None:
    """Padding and stride beyond int32: of three rows of outputs the second sees the input."""
    far = 1 << 31
    conv = Conv((1, 2, 4, 5), 3, kernel=(3, 2), stride=(far - 1, 1), padding=(far, 1))
    assert conv.output[2] == 3
    input, weight, output = operands(conv, direction, "nchw", torch.float32)
    # The same rows by an ordinary convolution: output row 1 starts at input row -1.
    near = Conv(conv.input, 3, kernel=(3, 2), stride=(9, 1), padding=(1, 1))
    middle = output[:, :, 1:2].contiguous()
    expected = near.reference(direction, input, weight, middle)
    conv.run(kernels, direction, input, weight, output)
    if direction == FPROP:
        assert torch.equal(output[:, :, 1:2], expected.float())
        assert not output[:, :, [0, 2]].any()
    else:
        assert torch.equal(input if direction == DGRAD else weight, expected.float())


@pytest.mark.parametrize("direction", [FPROP, WGRAD])
def test_expanded_input(kernels: Library, direction: str) -> None:
    conv = Conv((3, 4, 6, 6), 5, padding=(1, 1))
    _, weight, output = operands(conv, direction, "nchw", torch.float32)
    input = integers((1, 1, 6, 6), "nchw", torch.float32).expand(3, 4, 6, 6)
    conv.check(kernels, direction, input, weight, output, algorithm=simt(direction))


@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_error_in_float32(libraries: dict[str, Library], direction: str) -> None:
    """The error that the algorithms state, and "ieee" grade: over 1152 products, 100 times less
    than TF32 would leave."""
    kernels = libraries["plain"]
    kernels.configure()
    conv = Conv((2, 128, 12, 12), 128, padding=(1, 1))
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    made = {name: normal(shape, "nchw", torch.float32) for name, shape in shapes.items()}
    input, weight, output = made[DGRAD], made[WGRAD], made[FPROP]
    expected = conv.reference(direction, input, weight, output)
    conv.run(kernels, direction, input, weight, output, algorithm=simt(direction))
    ours = {FPROP: output, DGRAD: input, WGRAD: weight}[direction].double()
    assert float((ours - expected).norm() / expected.norm()) < 5e-7


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_one_rounding_at_the_end(libraries: dict[str, Library], dtype: torch.dtype) -> None:
    """16-bit results are the float32 ones rounded once, bias included."""
    kernels = libraries["plain"]
    kernels.configure()
    conv = Conv((1, 64, 6, 6), 8, padding=(1, 1))
    input, weight = normal(conv.input, "nchw", dtype), normal(conv.weight, "nchw", dtype)
    bias = normal((1, 1, 1, 8), "nchw", dtype).view(-1)
    output, wide = result(conv.output, "nchw", dtype), result(conv.output, "nchw", torch.float32)
    conv.run(kernels, FPROP, input, weight, output, bias, simt(FPROP))
    conv.run(kernels, FPROP, input.float(), weight.float(), wide, bias.float(), simt(FPROP))
    assert torch.equal(output, wide.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_bias_gradient(kernels: Library, layout: str, dtype: torch.dtype) -> None:
    for shape in [(2, 5, 7, 9), (0, 3, 2, 2), (1, 1, 1, 1), (3, 2, 20, 11)]:
        grad_output = integers(shape, layout, dtype)
        grad_bias = torch.full((shape[1],), 77.0, dtype=dtype)
        empty = torch.empty(0, 0, 0, 0)
        kernels.conv2d("bias", empty, empty, grad_output, grad_bias)
        assert torch.equal(grad_bias, grad_output.double().sum((0, 2, 3)).to(dtype))


def test_runs_repeat_bit_by_bit(libraries: dict[str, Library]) -> None:
    """Whatever the order in which the threads run."""
    kernels = libraries["plain"]
    conv = Conv((2, 24, 32, 33), 20, padding=(1, 1), stride=(2, 1))
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    for direction in shapes:
        bits = []
        made = {name: normal(shape, "nchw", torch.float32) for name, shape in shapes.items()}
        for seed in range(3):
            kernels.configure(seed)
            tensors = made[DGRAD], made[WGRAD], made[FPROP]
            conv.run(kernels, direction, *tensors, algorithm=simt(direction))
            bits.append(made[direction].clone())
        assert torch.equal(bits[0], bits[1])
        assert torch.equal(bits[0], bits[2])


def test_impossible_algorithms_are_refused(libraries: dict[str, Library]) -> None:
    kernels = libraries["plain"]
    empty = torch.empty(1, 1, 1, 1)
    with pytest.raises(RuntimeError, match="needs the window"):
        kernels.max_pool2d(
            "backward",
            empty,
            empty,
            torch.zeros(1, 1, 1, 1, dtype=torch.int64),
            kernel=(0, 0),
            stride=(1, 1),
            algorithm="max_pool2d_backward_cuda_gather",
        )
