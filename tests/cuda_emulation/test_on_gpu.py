"""The operators on a real GPU, against torch on the CPU: what the emulation cannot show. Skipped
where there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _emulator import DTYPES
from _layouts import LAYOUTS, integers, normal
from test_conv2d_emulated import DGRAD, FPROP, PROBLEMS, WGRAD, Conv, random_problems
from test_depthwise_emulated import PROBLEMS as DEPTHWISE
from test_max_pool2d_emulated import PROBLEMS as POOLS
from test_max_pool2d_emulated import gradient_by_index, same, sprinkled
from test_tensor_cores_emulated import IN_PLACE
from test_warpgroups_emulated import GRADIENTS, WARPGROUP, WARPGROUP_DGRAD
from test_warpgroups_emulated import PROBLEMS as WARPGROUPS
from torch import Tensor, nn

import fastconv


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


@contextlib.contextmanager
def fp32_precision(setting: str) -> Iterator[None]:
    switch: Any = torch.backends.cudnn.conv
    before = switch.fp32_precision
    switch.fp32_precision = setting
    try:
        yield
    finally:
        switch.fp32_precision = before


def run(
    conv: Conv,
    direction: str,
    tensors: dict[str, Tensor],
    bias: Tensor | None,
    channels_last: bool = False,
    algorithm: str = "",
) -> Tensor:
    input, weight, output = (tensors[name] for name in (DGRAD, WGRAD, FPROP))
    parameters = (conv.stride, conv.padding, conv.dilation, conv.groups)
    if direction == FPROP:
        return ops.conv2d(input, weight, bias, *parameters, algorithm)
    rest = (*parameters, channels_last, algorithm)
    if direction == DGRAD:
        return ops.conv2d_grad_input(output, weight, conv.input, *rest)
    return ops.conv2d_grad_weight(output, input, conv.weight, *rest)


def algorithms(op: str) -> list[fastconv.Algorithm]:
    return [a for a in fastconv.algorithms() if a.device == "cuda" and a.op == op]


def needs_another_gpu(algorithm: fastconv.Algorithm) -> bool:
    asks = algorithm.name in (WARPGROUP, WARPGROUP_DGRAD)
    return asks and torch.cuda.get_device_capability() != (9, 0)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_algorithm_is_exact_on_integers(layout: str) -> None:
    for algorithm in algorithms("conv2d"):
        ran = 0
        precision = "tf32" if "tf32" in algorithm.name else "ieee"
        for dtype in algorithm.dtypes:
            for conv in (*IN_PLACE, *PROBLEMS, *DEPTHWISE, *WARPGROUPS, *GRADIENTS):
                tensors = operands(conv, layout, dtype)
                expected = conv.reference(
                    algorithm.direction, tensors[DGRAD], tensors[WGRAD], tensors[FPROP]
                )
                moved = on_gpu(tensors)
                try:
                    with fp32_precision(precision):
                        ours = run(
                            conv,
                            algorithm.direction,
                            moved,
                            None,
                            layout == "nhwc",
                            algorithm.name,
                        )
                except RuntimeError as error:
                    if "cannot do this problem" not in str(error):
                        raise
                    continue
                assert torch.equal(ours.cpu(), expected.to(dtype)), (algorithm.name, conv)
                ran += 1
        assert ran or layout == "nchw" or needs_another_gpu(algorithm), algorithm.name


@pytest.mark.parametrize("direction", [FPROP, DGRAD, WGRAD])
def test_stated_errors_hold(direction: str) -> None:
    conv = Conv((4, 256, 28, 28), 256, padding=(1, 1))
    shapes = {DGRAD: conv.input, WGRAD: conv.weight, FPROP: conv.output}
    tensors = {name: normal(shape, "nhwc", torch.float32) for name, shape in shapes.items()}
    expected = conv.reference(direction, tensors[DGRAD], tensors[WGRAD], tensors[FPROP])
    moved = on_gpu(tensors)
    for algorithm in algorithms("conv2d"):
        plain = "depthwise" not in algorithm.name and torch.float32 in algorithm.dtypes
        if algorithm.direction != direction or not plain:
            continue
        precision = "tf32" if "tf32" in algorithm.name else "ieee"
        with fp32_precision(precision):
            ours = run(conv, direction, moved, None, True, algorithm.name).cpu().double()
        error = float((ours - expected).norm() / expected.norm())
        assert error <= algorithm.error, (algorithm.name, error)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_models_and_their_gradients(dtype: torch.dtype, channels_last: bool) -> None:
    """Through nn, functional and autograd, against torch in float64 on the CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(16, 16, 3, padding=1, groups=16),
        nn.Conv2d(16, 24, 1, stride=2),
    ).to(dtype)
    x = torch.randn(2, 3, 20, 22).to(dtype)
    exact = nn.Sequential(*model).double()
    for parameter in exact.parameters():
        parameter.grad = None
    reference_x = x.double().requires_grad_()
    reference = exact(reference_x)
    reference.square().sum().backward()
    wanted = [reference, reference_x.grad, *(p.grad for p in exact.parameters())]

    layout = torch.channels_last if channels_last else torch.contiguous_format
    ours = fastconv.convert(exact).to(dtype).cuda().to(memory_format=layout)
    for parameter in ours.parameters():
        parameter.grad = None
    our_x = x.cuda().to(memory_format=layout).requires_grad_()
    with fp32_precision("ieee"):
        output = ours(our_x)
        output.square().sum().backward()
    found = [output, our_x.grad, *(p.grad for p in ours.parameters())]
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5}.get(dtype, 4e-2)
    for our, right in zip(found, wanted, strict=True):
        assert our.device.type == "cuda"
        error = (our.cpu().double() - right).norm() / right.norm()
        assert float(error) < tolerance


def test_compiled_as_eager() -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1))
    model = fastconv.convert(model).cuda()
    x = torch.randn(2, 8, 16, 16, device="cuda", requires_grad=True)
    compiled = torch.compile(model, fullgraph=True)
    expected, ours = model(x), compiled(x)
    assert torch.equal(ours, expected)
    (expected_grad,) = torch.autograd.grad(expected.sum(), x)
    (our_grad,) = torch.autograd.grad(ours.sum(), x)
    assert torch.equal(our_grad, expected_grad)


@pytest.mark.parametrize("how", ["make_graphed_callables", "reduce-overhead"])
def test_a_model_trains_in_a_cuda_graph(how: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(16, 8, 1))
    model = fastconv.convert(model).cuda()
    parameters = list(model.parameters())

    def gradients(call: Any, x: Tensor) -> list[Tensor]:
        output = call(x)
        # Out of the graph's own memory, which the next replay writes to.
        return [t.clone() for t in (output, *torch.autograd.grad(output.sum(), parameters))]

    images = [torch.randn(2, 8, 16, 16, device="cuda") for _ in range(3)]
    expected = [gradients(model, x) for x in images]
    in_graph = (
        torch.compile(model, fullgraph=True, mode=how)
        if how == "reduce-overhead"
        else torch.cuda.make_graphed_callables(model, (images[0].clone(),))
    )
    for x, eager in zip(images, expected, strict=True):  # the first ones only warm up
        for ours, right in zip(gradients(in_graph, x), eager, strict=True):
            torch.testing.assert_close(ours, right)


def test_autocast_runs_in_its_dtype() -> None:
    conv = fastconv.nn.Conv2d(8, 8, 3).cuda()
    x = torch.randn(1, 8, 9, 9, device="cuda")
    with torch.autocast("cuda", torch.float16):
        assert conv(x).dtype is torch.float16


def test_explain_says_what_runs() -> None:
    x = torch.randn(2, 64, 14, 14, device="cuda").to(memory_format=torch.channels_last)
    weight = torch.randn(64, 64, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    names = [row.algorithm for row in fastconv.explain(x.half(), weight.half(), backward=True).rows]
    assert names == [f"conv2d_{d}_cuda_tensor_core" for d in (FPROP, DGRAD, WGRAD)]
    with fp32_precision("ieee"):
        assert "split" in str(fastconv.explain(x, weight).rows[0].algorithm)
    with fp32_precision("tf32"):
        assert "tf32" in str(fastconv.explain(x, weight).rows[0].algorithm)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("filters", [64, 256])
def test_large_layers_on_warpgroups(filters: int, dtype: torch.dtype) -> None:
    """More tiles than multiprocessors, so that every ring turns from tile to tile."""
    if torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("needs an sm_90 GPU")
    conv = Conv((24, 64, 56, 50), filters, padding=(1, 1))
    tensors = operands(conv, "nhwc", dtype)
    bias = integers((1, 1, 1, filters), "nchw", dtype).view(-1)
    expected = conv.reference(FPROP, tensors[DGRAD], tensors[WGRAD], tensors[FPROP], bias)
    moved, moved_bias = on_gpu(tensors), bias.cuda()
    gradient = conv.reference(DGRAD, tensors[DGRAD], tensors[WGRAD], tensors[FPROP])
    with fastconv.use_algorithm(WARPGROUP), fastconv.use_algorithm(WARPGROUP_DGRAD):
        for _ in range(20):
            ours = run(conv, FPROP, moved, moved_bias)
            assert torch.equal(ours.cpu(), expected.to(dtype))
            ours = run(conv, DGRAD, moved, None, True)
            assert torch.equal(ours.cpu(), gradient.to(dtype))


def test_pooling_gathers_its_gradient() -> None:
    x = torch.randn(2, 3, 15, 15, device="cuda", requires_grad=True)
    ours = fastconv.max_pool2d(x, 3, 2, 1)
    with fastconv.use_algorithm("max_pool2d_backward_cuda_gather"):
        (gradient,) = torch.autograd.grad(fastconv.max_pool2d(x, 3, 2, 1).sum(), x)
    cpu = x.detach().cpu().requires_grad_()
    theirs = F.max_pool2d(cpu, 3, 2, 1)
    (expected,) = torch.autograd.grad(theirs.sum(), cpu)
    assert torch.equal(ours.cpu(), theirs)
    assert torch.equal(gradient.cpu(), expected)


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
    for precision in ("ieee", "none"):
        with fp32_precision(precision):
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
    halves = on_gpu(operands(conv, "nhwc", torch.float16))
    warpgroups = [
        (a.direction, a.name)
        for a in algorithms("conv2d")
        if a.name in (WARPGROUP, WARPGROUP_DGRAD) and not needs_another_gpu(a)
    ]

    def everything() -> list[Tensor]:
        values, indices = ops.max_pool2d_with_indices(tensors[DGRAD], [3, 3], [2, 2], [1, 1])
        return [
            *(run(conv, direction, tensors, None) for direction in (FPROP, DGRAD, WGRAD)),
            *(run(conv, way, halves, None, True, name) for way, name in warpgroups),
            ops.conv2d_grad_bias(tensors[FPROP]),
            values,
            ops.max_pool2d_backward(values, indices, conv.input),
        ]

    everything()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = everything()
    for tensor in (*tensors.values(), *halves.values()):
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
