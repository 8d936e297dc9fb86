"""Rung 5: the operators as torch's machinery sees them: fakes, compile, export, autocast."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.library import opcheck

import fastconv

ops = torch.ops.fastconv


def randn(*shape: int, dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
    return torch.randn(shape, dtype=dtype, requires_grad=grad)


def channels_last(t: Tensor) -> Tensor:
    return t.detach().to(memory_format=torch.channels_last).requires_grad_(t.requires_grad)


def pooled_indices() -> Tensor:
    return F.max_pool2d(randn(2, 3, 6, 6), 2, return_indices=True)[1]


CALLS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "conv2d": (ops.conv2d, (randn(2, 4, 6, 5, grad=True), randn(6, 4, 3, 3, grad=True))),
    "conv2d with everything": (
        ops.conv2d,
        (randn(2, 4, 6, 5, grad=True), randn(6, 2, 3, 3, grad=True), randn(6, grad=True),
         [2, 1], [1, 2], [1, 2], 2),
    ),
    "conv2d padded on two sides": (
        ops.conv2d, (randn(1, 2, 5, 5, grad=True), randn(3, 2, 2, 2), None, [1], [0, 1, 0, 1]),
    ),
    "conv2d unbatched": (ops.conv2d, (randn(4, 6, 5, grad=True), randn(6, 4, 3, 3))),
    "conv2d channels_last": (
        ops.conv2d, (channels_last(randn(2, 4, 6, 5, grad=True)), randn(6, 4, 3, 3, grad=True)),
    ),
    "conv2d empty batch": (ops.conv2d, (randn(0, 4, 6, 5, grad=True), randn(6, 4, 3, 3))),
    "conv2d_grad_input": (
        ops.conv2d_grad_input,
        (randn(2, 6, 4, 3, grad=True), randn(6, 4, 3, 3, grad=True), [2, 4, 6, 5]),
    ),
    "conv2d_grad_input channels_last": (
        ops.conv2d_grad_input,
        (randn(2, 6, 4, 3), randn(6, 4, 3, 3), [2, 4, 6, 5], [1], [0], [1], 1, True),
    ),
    "conv2d_grad_weight": (
        ops.conv2d_grad_weight,
        (randn(2, 6, 4, 3, grad=True), randn(2, 4, 6, 5, grad=True), [6, 4, 3, 3]),
    ),
    "conv2d_grad_weight channels_last": (
        ops.conv2d_grad_weight,
        (randn(2, 6, 4, 3), randn(2, 4, 6, 5), [6, 4, 3, 3], [1], [0], [1], 1, True),
    ),
    "_conv2d_gradients": (
        ops._conv2d_gradients,
        (
            randn(2, 6, 4, 3, grad=True), randn(2, 4, 7, 6, grad=True), randn(6, 2, 3, 3),
            [2], [1], [1], 2, True, True, True,
        ),
    ),
    "conv2d_grad_bias": (ops.conv2d_grad_bias, (randn(2, 6, 4, 3, grad=True),)),
    "max_pool2d": (ops.max_pool2d, (randn(2, 3, 7, 8, grad=True), [3], [2], [1])),
    "max_pool2d dilated, ceil": (
        ops.max_pool2d, (randn(2, 3, 7, 8, grad=True), [2, 3], [2], [1], [2, 1], True),
    ),
    "max_pool2d_with_indices": (
        ops.max_pool2d_with_indices, (randn(2, 3, 7, 8, grad=True), [2]),
    ),
    "max_pool2d_with_indices channels_last": (
        ops.max_pool2d_with_indices, (channels_last(randn(2, 3, 7, 8, grad=True)), [2]),
    ),
    "max_pool2d_with_indices unbatched": (ops.max_pool2d_with_indices, (randn(3, 7, 8), [2])),
    "max_pool2d_backward": (
        ops.max_pool2d_backward, (randn(2, 3, 3, 3, grad=True), pooled_indices(), [2, 3, 6, 6]),
    ),
    "max_pool2d_backward of a known window": (
        ops.max_pool2d_backward,
        (
            randn(2, 3, 3, 3, grad=True), pooled_indices(), [2, 3, 6, 6], False, "",
            [2, 2, 2, 2, 0, 0, 1, 1, 0],
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name: str) -> None:
    operator, args = CALLS[name]
    opcheck(operator, args)


NUMBERS = (1, 1, 1, 1, 1, 1, 1)
WINDOW = (2, 2, 2, 2, 0, 0, 1, 1, False)
PACKED = ops.conv2d_pack_weight(randn(64, 64, 3, 3, dtype=torch.float32), [1, 64, 14, 14], [1], [1])
SMALL = randn(1, 4, 6, 6), randn(4, 4, 3, 3)
# Called only where nothing stands between Python and the kernel (_autograd_function.OBSTACLES), so
# that no tracer, fake tensor or derivative comes by.
WITHOUT_FAKE: dict[str, tuple[Any, ...]] = {
    "_conv2d": (*SMALL, None, *NUMBERS),
    "_conv2d_backward": (SMALL[0], *SMALL, [1], [1], [1], 1, True, True, True),
    "_conv2d_memo": (*SMALL, None, *NUMBERS),
    "_conv2d_kept": (*SMALL, None, ops._conv2d_memo(*SMALL, None, *NUMBERS), None, *NUMBERS),
    "_max_pool2d": (SMALL[0], *WINDOW),
    "_max_pool2d_with_indices": (SMALL[0], *WINDOW),
    "_max_pool2d_backward": (randn(2, 3, 3, 3), pooled_indices(), 6, 6, False, *WINDOW),
    "weight_fingerprint": (SMALL[1],),
    "conv2d_pack_weight": (SMALL[1], [1, 4, 6, 6]),
    "conv2d_packed_algorithm": (PACKED,),
}


@pytest.mark.parametrize("name", WITHOUT_FAKE)
def test_schema_of_what_no_tracer_sees(name: str) -> None:
    opcheck(getattr(ops, name), WITHOUT_FAKE[name], test_utils="test_schema")


def test_opcheck_of_a_packed_weight() -> None:
    """It has no gradient: modules use it where none is recorded."""
    x, weight = randn(1, 64, 14, 14, dtype=torch.float32), randn(64, 64, 3, 3, dtype=torch.float32)
    opcheck(ops.conv2d_packed, (x, weight, None, PACKED, [1], [1]))


def test_every_operator_is_checked() -> None:
    names = torch._C._dispatch_get_all_op_names()
    ours = {name.removeprefix("fastconv::") for name in names if name.startswith("fastconv::")}
    checked = {operator._qualified_op_name.split("::")[1] for operator, _ in CALLS.values()}
    assert ours == checked | WITHOUT_FAKE.keys() | {"conv2d_packed"}


@pytest.mark.parametrize("name", CALLS)
def test_fake_has_the_real_shape_strides_and_dtype(name: str) -> None:
    operator, args = CALLS[name]
    on_meta = [t.detach().to("meta") if isinstance(t, Tensor) else t for t in args]
    real, fake = operator(*args), operator(*on_meta)
    pairs = zip(real, fake, strict=True) if isinstance(real, tuple) else [(real, fake)]
    for a, b in pairs:
        assert (a.shape, a.stride(), a.dtype) == (b.shape, b.stride(), b.dtype)
        assert b.is_meta


def network(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    y = fastconv.conv2d(x, weight, bias, stride=1, padding="same").relu()
    values, indices = fastconv.max_pool2d(y, 2, return_indices=True)
    return fastconv.max_pool2d(values, 3, 2, 1, ceil_mode=True) + indices.sum()


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_graph_break(dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    weight, bias = randn(4, 3, 4, 4, grad=True), randn(4, grad=True)
    for size in (12, 16):
        x = randn(2, 3, size, size, grad=True)
        ours = torch.autograd.grad(compiled(x, weight, bias).sum(), (x, weight, bias))
        eager = torch.autograd.grad(network(x, weight, bias).sum(), (x, weight, bias))
        torch.testing.assert_close(compiled(x, weight, bias), network(x, weight, bias))
        torch.testing.assert_close(ours, eager)


def test_compiles_modules_in_training() -> None:
    torch._dynamo.reset()
    model = fastconv.convert(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.ReLU(), nn.MaxPool2d(2)
        ).double()
    )
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = randn(2, 3, 8, 8)
    torch.testing.assert_close(compiled(x), model(x))
    ours = torch.autograd.grad(compiled(x).square().sum(), list(model.parameters()))
    eager = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))
    torch.testing.assert_close(ours, eager)


def test_inductor() -> None:
    torch._dynamo.reset()
    # No arithmetic of its own around the operators, so that no C++ has to be compiled.
    compiled = torch.compile(
        lambda x, w: fastconv.max_pool2d(fastconv.conv2d(x, w, None, 2, 1), 2), fullgraph=True
    )
    x, weight = randn(2, 3, 12, 12), randn(4, 3, 3, 3)
    torch.testing.assert_close(
        compiled(x, weight), F.max_pool2d(F.conv2d(x, weight, None, 2, 1), 2)
    )


def test_export_with_a_free_batch() -> None:
    model = fastconv.convert(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
    )
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (torch.randn(2, 3, 12, 12),), dynamic_shapes=[{0: batch}])
    targets = {str(node.target) for node in exported.graph.nodes}
    assert "fastconv.conv2d.default" in targets
    x = torch.randn(5, 3, 12, 12)
    torch.testing.assert_close(exported.module()(x), model(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_as_torch(dtype: torch.dtype) -> None:
    x, weight, bias = randn(2, 3, 8, 8, dtype=torch.float32), randn(4, 3, 3, 3), randn(4)
    x, weight, bias = (t.float().requires_grad_() for t in (x, weight, bias))
    results = []
    for conv2d, max_pool2d in ((fastconv.conv2d, fastconv.max_pool2d), (F.conv2d, F.max_pool2d)):
        with torch.autocast("cpu", dtype=dtype):
            output = conv2d(x, weight, bias)
            pooled = max_pool2d(output, 2)
        assert output.dtype == pooled.dtype == dtype
        grads = torch.autograd.grad(pooled.float().square().sum(), (x, weight, bias))
        assert {g.dtype for g in grads} == {torch.float32}
        results.append((output, pooled, grads))
    torch.testing.assert_close(results[0], results[1], rtol=3e-2, atol=3e-2)
    assert F.max_pool2d(x, 2).dtype == torch.float32
    with torch.autocast("cpu", dtype=dtype):
        assert fastconv.max_pool2d(x, 2).dtype == F.max_pool2d(x, 2).dtype
        with torch.autocast("cpu", enabled=False):
            assert fastconv.conv2d(x, weight).dtype == torch.float32


def test_autocast_of_mixed_dtypes() -> None:
    """Without autocast these do not fit; with it they are all cast."""
    x, weight = randn(1, 3, 5, 5, dtype=torch.float32), randn(2, 3, 3, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu"):
        assert fastconv.conv2d(x, weight).dtype == F.conv2d(x, weight).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "dtype", [torch.int64, torch.int32, torch.uint8, torch.complex64, torch.complex128]
)
def test_what_only_torch_has_goes_to_torch(dtype: torch.dtype) -> None:
    x = torch.randint(0, 4, (1, 2, 5, 5)).to(dtype)
    weight = torch.randint(0, 3, (2, 2, 2, 2)).to(dtype)
    ours = fastconv.conv2d(x, weight, padding=1)
    assert ours.dtype == dtype
    assert torch.equal(ours, F.conv2d(x, weight, padding=1))
    module = fastconv.nn.Conv2d(2, 2, 2, bias=False)
    module.weight = nn.Parameter(weight, requires_grad=False)
    assert torch.equal(module(x), F.conv2d(x, weight))
    if not dtype.is_complex:
        pooled = fastconv.max_pool2d(x, 2, return_indices=True)
        assert all(map(torch.equal, pooled, F.max_pool2d(x, 2, return_indices=True)))


def test_complex_is_differentiated_by_torch() -> None:
    x = torch.randn(1, 2, 5, 5, dtype=torch.complex128, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3, dtype=torch.complex128, requires_grad=True)
    ours = torch.autograd.grad(fastconv.conv2d(x, weight).abs().sum(), (x, weight))
    theirs = torch.autograd.grad(F.conv2d(x, weight).abs().sum(), (x, weight))
    torch.testing.assert_close(ours, theirs)


def test_meta_tensors_stay_on_meta() -> None:
    with torch.device("meta"):
        model = fastconv.nn.Conv2d(3, 8, 3, padding=1)
        output = fastconv.nn.MaxPool2d(2)(model(torch.empty(2, 3, 8, 8)))
    assert output.is_meta
    assert output.shape == (2, 8, 4, 4)
