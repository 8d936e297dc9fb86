"""The operators on a real GPU, against torch on the CPU: what the emulation cannot show. Skipped
where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _emulator import DTYPES
from _layouts import LAYOUTS, integers, normal
from test_conv2d_emulated import DGRAD, FPROP, PROBLEMS, WGRAD, Conv, random_problems
from test_max_pool2d_emulated import PROBLEMS as POOLS
from test_max_pool2d_emulated import gradient_by_index, same, sprinkled
from torch import Tensor


def has_kernels() -> bool:
    if not torch.cuda.is_available():
        return False
    from fastconv import _cuda_loader

    return _cuda_loader.loaded


pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not has_kernels(), reason="needs a GPU and FORCE_CUDA=1 in the build"),
]

ops: Any = torch.ops.fastconv


def run(conv: Conv, direction: str, tensors: dict[str, Tensor], bias: Tensor | None) -> Tensor:
    input, weight, output = (tensors[name] for name in (DGRAD, WGRAD, FPROP))
    parameters = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if direction == FPROP:
        return ops.conv2d(input, weight, bias, *parameters)
    if direction == DGRAD:
        return ops.conv2d_grad_input(output, weight, conv.input, *parameters)
    return ops.conv2d_grad_weight(output, input, conv.weight, *parameters)


def operands(conv: Conv, layout: str, dtype: torch.dtype) -> dict[str, Tensor]:
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    return {name: integers(shape, layout, dtype) for name, shape in shapes.items()}


def on_gpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the same strides: .cuda() would make an overlapping or gapped tensor dense."""
    moved = {}
    for name, tensor in tensors.items():
        empty = torch.empty_strided(
            tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cuda"
        )
        moved[name] = empty.copy_(tensor)
    return moved


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_integers_are_exact(direction: str, layout: str, dtype: torch.dtype) -> None:
    for conv in [*PROBLEMS, *random_problems(20)]:
        tensors = operands(conv, layout, dtype)
        filters = integers((1, 1, 1, conv.filters), "nchw", dtype).view(-1)
        bias = filters if direction == FPROP else None
        expected = conv.reference(direction, tensors[DGRAD], tensors[WGRAD], tensors[FPROP], bias)
        ours = run(conv, direction, on_gpu(tensors), None if bias is None else bias.cuda())
        assert torch.equal(ours.cpu(), expected.to(dtype))


@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_float32_is_not_tf32(direction: str) -> None:
    conv = Conv((4, 256, 28, 28), 256, padding=(1, 1))
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    tensors = {name: normal(shape, "nchw", torch.float32) for name, shape in shapes.items()}
    expected = conv.reference(direction, tensors[DGRAD], tensors[WGRAD], tensors[FPROP])
    ours = run(conv, direction, on_gpu(tensors), None).cpu().double()
    assert float((ours - expected).norm() / expected.norm()) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_max_pool2d(layout: str, dtype: torch.dtype) -> None:
    for pool in POOLS:
        input = sprinkled(pool.input, layout, dtype)
        values, indices = pool.reference(input)
        moved = on_gpu({"input": input})["input"]
        parameters = (pool.kernel, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        ours, our_indices = ops.max_pool2d_with_indices(moved, *parameters)
        assert same(ours.cpu(), values)
        assert torch.equal(our_indices.cpu(), indices)
        assert same(ops.max_pool2d(moved, *parameters).cpu(), values)
        grad_output = integers(tuple(values.shape), "nchw", dtype)
        grad_input = ops.max_pool2d_backward(grad_output.cuda(), our_indices, pool.input)
        expected = gradient_by_index(grad_output, indices, pool.input).to(dtype)
        assert torch.equal(grad_input.cpu(), expected)


def test_a_graph_captures_every_operator() -> None:
    conv = Conv((2, 8, 16, 16), 8, padding=(1, 1))
    tensors = on_gpu(operands(conv, "nchw", torch.float32))

    def everything() -> list[Tensor]:
        values, indices = ops.max_pool2d_with_indices(tensors[DGRAD], [3, 3], [2, 2], [1, 1])
        return [
            *(run(conv, direction, tensors, None) for direction in (FPROP, DGRAD, WGRAD)),
            ops.conv2d_grad_bias(tensors[FPROP]),
            values,
            ops.max_pool2d_backward(values, indices, conv.input),
        ]

    everything()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = everything()
    for tensor in tensors.values():
        tensor.copy_(integers(tuple(tensor.shape), "nchw", torch.float32))
    graph.replay()
    for ours, expected in zip(captured, everything(), strict=True):
        assert torch.equal(ours, expected)


def test_the_current_stream_is_used() -> None:
    """What a stream has not computed yet is not read."""
    conv = Conv((8, 64, 56, 56), 64, padding=(1, 1))
    tensors = on_gpu(operands(conv, "nchw", torch.float32))
    expected = run(conv, FPROP, tensors, None)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = torch.zeros_like(tensors[DGRAD])
        torch.cuda._sleep(50_000_000)
        late.copy_(tensors[DGRAD])
        ours = run(conv, FPROP, {**tensors, DGRAD: late}, None)
    stream.synchronize()
    assert torch.equal(ours, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_runs_on_the_device_of_its_tensors() -> None:
    conv = Conv((1, 3, 9, 9), 4)
    tensors = operands(conv, "nchw", torch.float32)
    second = {name: tensor.to("cuda:1") for name, tensor in tensors.items()}
    with torch.cuda.device(0):
        ours = run(conv, FPROP, second, None)
    assert ours.device == torch.device("cuda:1")
    expected = conv.reference(FPROP, tensors[DGRAD], tensors[WGRAD], tensors[FPROP])
    assert torch.equal(ours.cpu(), expected.float())


def test_tensors_of_two_devices_are_refused() -> None:
    with pytest.raises(RuntimeError, match="same device"):
        ops.conv2d(torch.zeros(1, 1, 3, 3, device="cuda"), torch.zeros(1, 1, 2, 2))
