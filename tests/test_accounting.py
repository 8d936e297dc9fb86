"""What torch's own tools say of a call: as many FLOPs as of torch's layers, and names to read."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _differentiable import CONVS, function_of_leaves, leaves
from _networks import NETWORKS
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import fastconv


def flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def operands(name: str) -> tuple[Tensor, ...]:
    """Those of CONVS, behind something that has a gradient of its own to hand on."""
    first, *rest = leaves(CONVS[name])
    return first * 1, *rest


@pytest.mark.parametrize("wanted", ["input", "weight", "bias", "both", "all"])
@pytest.mark.parametrize("leaf", [True, False], ids=["leaf", "inner"])
@pytest.mark.parametrize("name", [n for n in CONVS if n != "without bias"])
def test_every_gradient_counts_as_torchs(name: str, leaf: bool, wanted: str) -> None:
    """Those that nobody asks for are not computed, however many tensors require them."""
    totals = []
    for conv2d in (fastconv.conv2d, F.conv2d):
        tensors = leaves(CONVS[name]) if leaf else operands(name)
        named = dict(zip(("input", "weight", "bias"), tensors, strict=True))
        asked = {"both": tensors[:2], "all": tensors}.get(wanted) or [named[wanted]]
        output = function_of_leaves(conv2d, CONVS[name])
        totals.append(flops(lambda: torch.autograd.grad(output(*tensors).sum(), asked)))  # noqa: B023
    assert totals[0] == totals[1] > 0


# In a backward of the backward torch convolves group by group, which its own formula counts as less
# than the grouped convolution, and pads where a stride has skipped rows.
COUNTED_OTHERWISE = {"groups", "depthwise", "everything", "stride", "skipped row"}


@pytest.mark.parametrize("name", sorted(CONVS.keys() - COUNTED_OTHERWISE))
def test_second_derivatives_count_as_torchs(name: str) -> None:
    totals = []
    for conv2d in (fastconv.conv2d, F.conv2d):
        tensors = leaves(CONVS[name])

        def work() -> None:
            output = function_of_leaves(conv2d, CONVS[name])(*tensors)  # noqa: B023
            grads = torch.autograd.grad(output.pow(3).sum(), tensors[:2], create_graph=True)  # noqa: B023
            sum(g.square().sum() for g in grads).backward()

        totals.append(flops(work))
    assert totals[0] == totals[1] > 0


def step(model: nn.Module, x: Tensor) -> Callable[[], Any]:
    return lambda: model(x).square().sum().backward()


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_counts_as_torchs_in_every_use(name: str) -> None:
    torch.manual_seed(0)
    model, x = NETWORKS[name](), torch.randn(2, 3, 32, 32)
    converted = fastconv.convert(model)
    training = flops(step(copy.deepcopy(model), x))
    assert flops(step(converted, x)) == training > 0
    with fastconv.patch():
        assert flops(step(copy.deepcopy(model), x)) == training
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert flops(step(converted, x)) == training
    on_meta = copy.deepcopy(converted).to("meta")
    assert flops(step(on_meta, x.to("meta"))) == training
    torch._dynamo.reset()
    compiled = torch.compile(converted, backend="aot_eager")
    compiled(x)
    assert flops(step(compiled, x)) == training


def test_packed_weights_count_as_torchs() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.MaxPool2d(2), nn.Conv2d(64, 96, 1)).eval()
    frozen = fastconv.freeze(fastconv.convert(model))
    x = torch.randn(1, 64, 20, 20)
    with torch.no_grad():
        frozen(x)
        assert flops(lambda: frozen(x)) == flops(lambda: model(x)) > 0


@pytest.mark.parametrize("through", ["grad", "backward"])
def test_gradients_that_nobody_wants_are_not_computed(through: str) -> None:
    layer = fastconv.nn.Conv2d(4, 4, 3)
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    asked: list[list[bool]] = []
    for inner in (x, x * 1):
        total = layer(inner).sum()
        for wanted in ([x], [layer.weight], [layer.bias], [x, layer.weight, layer.bias]):
            with torch.profiler.profile(record_shapes=True) as profile:
                if through == "grad":
                    grads = torch.autograd.grad(total, wanted, retain_graph=True)
                else:
                    total.backward(inputs=wanted, retain_graph=True)
                    grads = [t.grad for t in wanted]
            assert all(g is not None for g in grads)
            name = "aten::convolution_backward_overrideable"
            asked += [event.concrete_inputs[-1] for event in profile.events() if event.name == name]
    one = [[i == j for j in range(3)] for i in range(3)]
    assert asked == [*one, [True] * 3] * 2


USES = ("training", "prediction", "frozen", "autocast", "compiled")


@pytest.mark.parametrize("use", USES)
def test_profiler_shows_names_to_read(use: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = fastconv.convert(nn.Sequential(nn.Conv2d(64, 64, 3), nn.MaxPool2d(2)))
    if use == "frozen":
        fastconv.freeze(model)
    call = torch.compile(model, backend="aot_eager") if use == "compiled" else model
    predicts = use in ("prediction", "frozen")
    x = torch.randn(1, 64, 9, 9)
    with (
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=use == "autocast"),
        torch.set_grad_enabled(not predicts),
    ):
        call(x)
        with torch.profiler.profile() as profile:
            output = call(x)
            if not predicts:
                output.sum().backward()
    names = {event.key for event in profile.key_averages() if event.key.startswith("fastconv::")}
    for job in ("conv2d", "max_pool2d"):
        assert any(job in name for name in names), names
    if not predicts:
        assert any("max_pool2d_backward" in name for name in names), names
        assert any("conv2d_grad" in n or "conv2d_backward" in n for n in names), names
