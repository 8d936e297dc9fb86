"""torch.compile and what comes after an export: as many graphs as torch, the same numbers."""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from _problems import channels_last, pair
from test_opinfo import CONV2D, LAYOUTS, MAX_POOL2D, samples
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.library import opcheck

import fastconv


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch._dynamo.reset()


def network(layout: torch.memory_format = torch.contiguous_format) -> nn.Module:
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding="same", bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            nn.Conv2d(8, 4, 3, groups=2, stride=2, padding=1),
            nn.Conv2d(4, 4, 3, padding=1, groups=4, padding_mode="reflect"),
        )
        .double()
        .to(memory_format=layout)
    )


def image(layout: torch.memory_format, batch: int, height: int, width: int) -> Tensor:
    x = torch.randn(batch, 3, height, width, dtype=torch.float64).to(memory_format=layout)
    return x.requires_grad_()


def results(call: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor) -> list[Tensor]:
    output = call(x)
    return [output, *torch.autograd.grad(output.square().sum(), [x, *model.parameters()])]


SIZES = ((2, 16, 17), (3, 20, 19), (4, 24, 30), (5, 13, 28), (1, 33, 16), (7, 40, 41))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dynamic", [None, True])
def test_no_more_graphs_than_torch(dynamic: bool | None, layout: torch.memory_format) -> None:
    graphs = []
    for convert in (fastconv.convert, copy.deepcopy):
        torch._dynamo.reset()
        model = convert(network(layout))
        counter = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend=counter)
        for size in SIZES:
            x = image(layout, *size)
            got, want = results(compiled, model, x), results(model, model, x)
            torch.testing.assert_close(got, want)
            assert [t.stride() for t in got] == [t.stride() for t in want]
        graphs.append(counter.frame_count)
    assert graphs[0] <= graphs[1] < len(SIZES)


def test_inductor_trains_with_free_sizes_in_channels_last() -> None:
    model = fastconv.convert(network(torch.channels_last))
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for size in SIZES[:3]:
        x = image(torch.channels_last, *size)
        got, want = results(compiled, model, x), results(twin, twin, x)
        torch.testing.assert_close(got, want)
        assert [t.stride() for t in got] == [t.stride() for t in want]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_sizes_that_are_marked_dynamic_stay_so(backend: str) -> None:
    """One graph for all, an error where one of them became a constant. (Inductor's own lowering of
    torch's convolution makes it one; ours is called as it is.)"""
    model = fastconv.convert(network(torch.channels_last))
    twin = copy.deepcopy(model)
    counter = CompileCounterWithBackend(backend)
    compiled = torch.compile(model, fullgraph=True, backend=counter)
    for size in SIZES[:4]:
        x = image(torch.channels_last, *size)
        for dimension in (0, 2, 3):
            torch._dynamo.mark_dynamic(x, dimension)
        got, want = results(compiled, model, x), results(twin, twin, x.detach().requires_grad_())
        torch.testing.assert_close(got, want)
        assert [t.stride() for t in got] == [t.stride() for t in want]
    assert counter.frame_count == 1


def test_compiled_autograd() -> None:
    """The backward as a graph of its own, traced from the Functions when it runs."""
    model = fastconv.convert(network())
    x = image(torch.contiguous_format, 2, 16, 17)
    want = results(model, model, x)[1:]
    compiler = torch.compile(backend="aot_eager", fullgraph=True)
    with torch._dynamo.compiled_autograd._enable(compiler):
        model(x).square().sum().backward()
    torch.testing.assert_close([x.grad, *(p.grad for p in model.parameters())], want)


def test_compiles_under_autocast() -> None:
    model = fastconv.convert(network().float())

    def work(x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return model(x)

    x = image(torch.contiguous_format, 2, 16, 17).detach().float()
    got = torch.compile(work, fullgraph=True, backend="aot_eager")(x)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, work(x))


def test_transforms_compile() -> None:
    """Per-sample gradients: vmap of grad inside the compiled function."""
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)

    def loss(weight: Tensor, x: Tensor) -> Tensor:
        return fastconv.max_pool2d(fastconv.conv2d(x, weight, padding=1), 2).square().sum()

    work = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))
    x = torch.randn(5, 3, 8, 8, dtype=torch.float64)
    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(weight, x), work(weight, x))


def test_a_named_algorithm_holds_in_a_graph_and_no_longer() -> None:
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    compiled = torch.compile(fastconv.conv2d, fullgraph=True, backend="aot_eager")
    with fastconv.use_algorithm("conv2d_fprop_reference"):
        expected = fastconv.conv2d(x, weight)
        assert torch.equal(compiled(x, weight), expected)
        with (
            pytest.raises(RuntimeError, match="depthwise"),
            fastconv.use_algorithm("conv2d_fprop_depthwise_scalar"),
        ):
            compiled(x, weight)
    assert torch.equal(compiled(x, weight), fastconv.conv2d(x, weight))


@pytest.mark.parametrize("strict", [True, False])
def test_export_of_free_sizes(strict: bool) -> None:
    model = fastconv.convert(network()).eval()
    free = torch.export.Dim.DYNAMIC
    example = image(torch.contiguous_format, 2, 16, 17).detach()
    exported = torch.export.export(
        model, (example,), dynamic_shapes=[{0: free, 2: free, 3: free}], strict=strict
    )
    for size in SIZES[:4]:
        x = image(torch.contiguous_format, *size).detach()
        torch.testing.assert_close(exported.module()(x), model(x))


def test_saved_export_loads(tmp_path: Path) -> None:
    model = fastconv.convert(network()).eval()
    x = image(torch.contiguous_format, 2, 16, 17).detach()
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2")
    torch.testing.assert_close(loaded.module()(x), model(x))


def test_ahead_of_time_package(tmp_path: Path) -> None:
    model = fastconv.convert(network()).eval()
    x = image(torch.contiguous_format, 2, 16, 17).detach()
    free = torch.export.Dim.DYNAMIC
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own use of its pytree
        exported = torch.export.export(model, (x,), dynamic_shapes=[{0: free, 2: free, 3: free}])
        path = torch._inductor.aoti_compile_and_package(
            exported, package_path=str(tmp_path / "model.pt2")
        )
        package = torch._inductor.aoti_load_package(path)
        for size in SIZES[:3]:
            x = image(torch.contiguous_format, *size).detach()
            torch.testing.assert_close(package(x), model(x))


def test_compiles_where_the_environment_says_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import config, lowering

    monkeypatch.setenv("CI", "true")
    operators = [torch.ops.fastconv.conv2d.default, torch.ops.fastconv.max_pool2d.default]
    for operator in operators:
        monkeypatch.delitem(lowering.lowerings, operator, raising=False)
    model = fastconv.convert(network()).eval()
    x = image(torch.contiguous_format, 2, 16, 17).detach()
    with torch.no_grad(), config.patch(force_disable_caches=True):
        torch.testing.assert_close(torch.compile(model)(x), model(x))
        assert all(operator in lowering.lowerings for operator in operators)


def as_pair(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


# An operator, its arguments, and what they are an example of.
OpCall = tuple[Any, tuple[Any, ...], tuple[Any, ...]]


def conv2d_calls() -> Iterator[OpCall]:
    for layout in LAYOUTS:
        for i, sample in enumerate(samples(CONV2D, torch.float64, layout)):
            if layout != "contiguous" and i % 3:  # odd: every second sample is an unbatched one
                continue  # an opcheck takes half a second
            weight, bias, *rest = [*sample.args, None][:2] + list(sample.args[2:])
            assert not rest
            kwargs = sample.kwargs
            stride, dilation = (pair(kwargs.get(name, 1)) for name in ("stride", "dilation"))
            padding = kwargs.get("padding", 0)
            given = padding if isinstance(padding, str) else "numbers"
            if isinstance(padding, str):  # the operator takes the numbers for it
                padding = fastconv.functional._as_padding(padding, weight, stride, dilation)
            window = (list(stride), as_pair(padding), list(dilation), kwargs.get("groups", 1))
            arguments = (sample.input, weight, bias, *window)
            yield torch.ops.fastconv.conv2d, arguments, (layout, sample.input.dim(), given)


def max_pool2d_calls() -> Iterator[OpCall]:
    for i, sample in enumerate(samples(MAX_POOL2D, torch.float64, "contiguous")):
        if i % 37 == 0:  # prime to the grid of 1440 samples, so that no setting is always the same
            kwargs = sample.kwargs
            name = "max_pool2d_with_indices" if kwargs["return_indices"] else "max_pool2d"
            stride, dilation = kwargs["stride"], as_pair(kwargs["dilation"])
            window = (
                as_pair(kwargs["kernel_size"]),
                [] if stride is None else as_pair(stride),
                as_pair(kwargs["padding"]),
                dilation,
                kwargs["ceil_mode"],
            )
            kind = (name, dilation != [1], kwargs["ceil_mode"])
            for x in (sample.input, channels_last(sample.input)):
                yield getattr(torch.ops.fastconv, name), (x, *window), kind


KINDS = {
    conv2d_calls: {
        *itertools.product(LAYOUTS, (3, 4), ("numbers",)),
        *itertools.product(("contiguous",), (3, 4), ("same", "valid")),
    },
    max_pool2d_calls: {
        *itertools.product(("max_pool2d", "max_pool2d_with_indices"), *[(False, True)] * 2)
    },
}


@pytest.mark.parametrize("calls", KINDS)
def test_opcheck_of_torchs_samples(calls: Callable[[], Iterator[OpCall]]) -> None:
    seen = []
    for operator, arguments, kind in calls():
        opcheck(operator, arguments)
        seen.append(kind)
    assert len(seen) >= 50
    assert KINDS[calls] <= set(seen)
