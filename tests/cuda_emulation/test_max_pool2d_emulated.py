"""The max-pooling kernels of csrc/cuda, emulated, against torch on the CPU: no tolerance at all."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from _emulator import DTYPES, Library, Pair
from _layouts import LAYOUTS, gaps_untouched, integers, memory, result
from torch import Tensor

pytestmark = pytest.mark.cuda_emulation

GATHER = "max_pool2d_backward_cuda_gather"
SCATTER = "max_pool2d_backward_cuda_scatter"
FORWARD = "max_pool2d_forward_cuda_direct"
FORWARD_CHANNELS = "max_pool2d_forward_cuda_channels"
BACKWARD_CHANNELS = "max_pool2d_backward_cuda_channels"


@dataclass(frozen=True)
class Pool:
    input: tuple[int, int, int, int]
    kernel: Pair
    stride: Pair
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    def reference(self, input: Tensor) -> tuple[Tensor, Tensor]:
        return F.max_pool2d_with_indices(
            input.contiguous(),
            self.kernel,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
        )

    def run(
        self,
        kernels: Library,
        direction: str,
        input: Tensor,
        output: Tensor,
        indices: Tensor | None,
        algorithm: str = "",
    ) -> None:
        kernels.max_pool2d(
            direction,
            input,
            output,
            indices,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
            algorithm=algorithm,
        )


PROBLEMS = [
    Pool((2, 3, 9, 8), (3, 3), (2, 2), (1, 1)),
    Pool((1, 5, 8, 6), (2, 2), (2, 2)),
    Pool((1, 2, 11, 13), (3, 2), (1, 3), (1, 0), (2, 3)),
    Pool((2, 1, 10, 9), (3, 3), (2, 2), (1, 1), ceil_mode=True),
    Pool((1, 1, 7, 7), (7, 7), (1, 1), (3, 3)),
    Pool((1, 40, 5, 5), (2, 3), (4, 1)),
    Pool((0, 3, 4, 4), (2, 2), (2, 2)),
    Pool((1, 1, 20, 30), (3, 3), (1, 1), (1, 1)),  # more than 256 outputs in a plane
]


def same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.double().nan_to_num(nan=12345.0), b.double().nan_to_num(nan=12345.0))


def sprinkled(shape: tuple[int, ...], layout: str, dtype: torch.dtype) -> Tensor:
    """Integers with many ties, and infinities and NaNs among them."""
    tensor = integers(shape, layout, dtype, most=2)
    for value, share in ((float("nan"), 0.1), (float("-inf"), 0.3), (float("inf"), 0.05)):
        tensor.masked_fill_(torch.rand(shape) < share, value)
    return tensor


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [integers, sprinkled])
def test_forward(kernels: Library, make, layout: str, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    for seed, pool in enumerate(PROBLEMS):
        kernels.configure(seed)
        input = make(pool.input, layout, dtype)
        values, indices = pool.reference(input)
        ours = result(values.shape, layout, dtype)
        our_indices = memory(values.shape, layout, torch.int64, 77)
        pool.run(kernels, "forward", input, ours, our_indices, FORWARD)
        assert same(ours, values)
        assert torch.equal(our_indices, indices)
        assert gaps_untouched(ours)
        assert gaps_untouched(our_indices)
        alone = result(values.shape, layout, dtype)
        pool.run(kernels, "forward", input, alone, None, FORWARD)
        assert same(alone, values)


def gradient_by_index(grad_output: Tensor, indices: Tensor, shape: tuple[int, ...]) -> Tensor:
    planes = torch.zeros(*shape[:2], shape[2] * shape[3], dtype=torch.float64)
    planes.scatter_add_(2, indices.flatten(2), grad_output.double().flatten(2))
    return planes.view(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", [GATHER, SCATTER])
def test_backward(kernels: Library, algorithm: str, layout: str, dtype: torch.dtype) -> None:
    for seed, pool in enumerate(PROBLEMS):
        kernels.configure(seed)
        values, indices = pool.reference(integers(pool.input, layout, dtype))
        grad_output = integers(values.shape, layout, dtype)
        expected = gradient_by_index(grad_output, indices, pool.input).to(dtype)
        our_indices = memory(values.shape, layout, torch.int64).copy_(indices)
        grad_input = result(pool.input, layout, dtype)
        pool.run(kernels, "backward", grad_input, grad_output, our_indices, algorithm)
        assert torch.equal(grad_input, expected)
        assert gaps_untouched(grad_input)


WHOLE_PIECES = [
    Pool((2, 8, 9, 8), (3, 3), (2, 2), (1, 1)),
    Pool((1, 24, 11, 13), (3, 2), (1, 3), (1, 0), (2, 3)),
    Pool((2, 16, 10, 9), (3, 3), (2, 2), (1, 1), ceil_mode=True),
    Pool((1, 40, 7, 7), (2, 2), (2, 2)),
    Pool((0, 8, 4, 4), (2, 2), (2, 2)),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [integers, sprinkled])
def test_pieces_of_channels(kernels: Library, make, dtype: torch.dtype) -> None:  # type: ignore[no-untyped-def]
    for seed, pool in enumerate(WHOLE_PIECES):
        kernels.configure(seed)
        input = make(pool.input, "nhwc", dtype)
        values, indices = pool.reference(input)
        ours = result(values.shape, "nhwc", dtype)
        our_indices = memory(values.shape, "nhwc", torch.int64, 77)
        pool.run(kernels, "forward", input, ours, our_indices, FORWARD_CHANNELS)
        assert same(ours, values)
        assert torch.equal(our_indices, indices)
        alone = result(values.shape, "nhwc", dtype)
        pool.run(kernels, "forward", input, alone, None, FORWARD_CHANNELS)
        assert same(alone, values)
        grad_output = integers(values.shape, "nhwc", dtype)
        grad_input = result(pool.input, "nhwc", dtype)
        pool.run(kernels, "backward", grad_input, grad_output, our_indices, BACKWARD_CHANNELS)
        assert torch.equal(
            grad_input, gradient_by_index(grad_output, indices, pool.input).to(dtype)
        )


def test_pieces_of_channels_are_whole(libraries: dict[str, Library]) -> None:
    pool = Pool((1, 3, 4, 4), (2, 2), (2, 2))
    for layout, channels in (("nhwc", 3), ("nchw", 8)):
        input = integers((1, channels, 4, 4), layout, torch.float32)
        output = result((1, channels, 2, 2), layout, torch.float32)
        with pytest.raises(RuntimeError, match="whole 16-byte pieces"):
            pool.run(libraries["plain"], "forward", input, output, None, FORWARD_CHANNELS)


def test_scatter_keeps_inside_the_plane(kernels: Library) -> None:
    """Indices may say anything; what they name outside the plane is passed over."""
    pool = Pool((1, 1, 4, 4), (2, 2), (2, 2))
    grad_output = torch.ones(1, 1, 2, 2)
    indices = torch.tensor([-1, 16, 3, 1 << 62]).view(1, 1, 2, 2)
    grad_input = result(pool.input, "nchw", torch.float32)
    pool.run(kernels, "backward", grad_input, grad_output, indices, SCATTER)
    assert grad_input.flatten().tolist() == [0.0] * 3 + [1.0] + [0.0] * 12


def test_a_window_wholly_in_the_padding(kernels: Library) -> None:
    """-inf, an index inside the plane, and a gradient that lands there."""
    pool = Pool((1, 2, 1, 1), (2, 2), (2, 2), (1, 1), (2, 2), ceil_mode=True)
    outputs = (1, 2, 1, 1)
    output = result(outputs, "nchw", torch.float32)
    indices = memory(outputs, "nchw", torch.int64, 77)
    pool.run(kernels, "forward", torch.ones(pool.input), output, indices)
    assert bool((output == float("-inf")).all())
    assert not indices.any()
    grad_input = result(pool.input, "nchw", torch.float32)
    pool.run(kernels, "backward", grad_input, torch.full(outputs, 3.0), indices)
    assert bool((grad_input == 3.0).all())


def test_64_bit_numbers(kernels: Library) -> None:
    """A stride as large as torch takes, whose products are beyond int32."""
    pool = Pool((1, 1, 4, 4), (2, 1), ((1 << 31) - 1, 1))
    input = integers(pool.input, "nchw", torch.float32)
    output = result((1, 1, 1, 4), "nchw", torch.float32)
    pool.run(kernels, "forward", input, output, None)
    assert torch.equal(output, input[:, :, :2].amax(2, keepdim=True))
