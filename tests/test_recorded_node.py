"""The node by which torch itself records a usual call, and where its backward pass goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from _isolated import outcome
from _subprocess import run_python
from torch import Tensor
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

import fastconv

aten = torch.ops.aten
NODE = "ConvolutionOverrideableBackward0"
GEOMETRY = {"stride": 2, "padding": 1, "groups": 2}


def leaves() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    sizes = ((2, 4, 7, 6), (6, 2, 3, 3), (6,))
    x, weight, bias = (torch.randn(size, dtype=torch.float64) for size in sizes)
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


def recorded() -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    of = leaves()
    output = fastconv.conv2d(*of, **GEOMETRY)
    assert type(output.grad_fn).__name__ == NODE
    return output, of


def gradients(output: Tensor, of: tuple[Tensor, ...], by: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(output, of, by, retain_graph=True)


def torchs_gradients(by: Tensor) -> tuple[Tensor, ...]:
    of = leaves()
    return torch.autograd.grad(torch.nn.functional.conv2d(*of, **GEOMETRY), of, by)


def test_torch_alone_has_no_kernel_for_it() -> None:
    code = """
    import torch
    x, w = torch.randn(1, 1, 3, 3), torch.randn(1, 1, 3, 3)
    for call in (
        lambda: torch.ops.aten.convolution_overrideable(x, w, None, [1], [1], [1], False, [], 1),
        lambda: torch.ops.aten.convolution_backward_overrideable(
            x, x, w, [1], [1], [1], False, [], 1, [True] * 3
        ),
    ):
        try:
            call()
        except NotImplementedError:
            print("none")
    """
    assert run_python(code).stdout.split() == ["none", "none"]


def test_torchs_own_convolution_stays_torchs() -> None:
    x, weight, bias = leaves()
    with torch.profiler.profile() as profile:
        torch.nn.functional.conv2d(x, weight, bias, **GEOMETRY).sum().backward()
    names = {event.key for event in profile.key_averages()}
    assert "aten::convolution_backward" in names
    assert not [name for name in names if "overrideable" in name or name.startswith("fastconv")]


def test_is_not_taken_where_an_algorithm_is_asked_for() -> None:
    x, weight, bias = leaves()
    with fastconv.use_algorithm("conv2d_fprop_reference"):
        output = fastconv.conv2d(x, weight, bias, **GEOMETRY)
    assert type(output.grad_fn).__name__ != NODE


def test_gradients_that_are_not_wanted_are_undefined() -> None:
    output, (x, weight, _) = recorded()
    for wanted in range(8):
        mask = [bool(wanted >> i & 1) for i in range(3)]
        with torch.no_grad():
            grads = aten.convolution_backward_overrideable(
                output, x, weight, [2], [1], [1], False, [], 2, mask
            )
        assert [grad is not None for grad in grads] == mask


def batched_by_vmap(output: Tensor, of: tuple[Tensor, ...], by: Tensor) -> Any:
    return torch.func.vmap(lambda g: gradients(output, of, g))(by)


def batched_by_autograd(output: Tensor, of: tuple[Tensor, ...], by: Tensor) -> Any:
    return torch.autograd.grad(output, of, by, retain_graph=True, is_grads_batched=True)


@pytest.mark.filterwarnings("error:There is a performance drop")
@pytest.mark.parametrize("batched", [batched_by_vmap, batched_by_autograd])
def test_backward_of_many_at_once(batched: Callable[..., Any]) -> None:
    """By our batching rules, not by torch's loop over the examples, which warns."""
    output, of = recorded()
    by = torch.randn(3, *output.shape, dtype=output.dtype)
    for i, expected in enumerate(zip(*map(torchs_gradients, by), strict=True)):
        torch.testing.assert_close(batched(output, of, by)[i], torch.stack(expected))
    (of_weight,) = batched(output, of[1:2], by)
    torch.testing.assert_close(of_weight, torch.stack([torchs_gradients(g)[1] for g in by]))


def test_tangents_pass_through_the_backward() -> None:
    output, of = recorded()
    by, tangent = torch.randn_like(output), torch.randn_like(output)
    with dual_level():
        duals = [unpack_dual(g) for g in gradients(output, of, make_dual(by, tangent))]
        for dual, grad, along in zip(
            duals, torchs_gradients(by), torchs_gradients(tangent), strict=True
        ):
            torch.testing.assert_close(dual.primal, grad)
            torch.testing.assert_close(dual.tangent, along)


def test_a_derivative_of_the_backward_under_func() -> None:
    output, of = recorded()
    by = torch.randn_like(output)

    def length(g: Tensor) -> Tensor:
        (grad_input,) = torch.autograd.grad(output, of[0], g, create_graph=True)
        return grad_input.square().sum()

    expected_by = by.clone().requires_grad_()
    x = leaves()[0]
    torchs = torch.nn.functional.conv2d(x, *leaves()[1:], **GEOMETRY)
    (grad,) = torch.autograd.grad(torchs, x, expected_by, create_graph=True)
    (expected,) = torch.autograd.grad(grad.square().sum(), expected_by)
    torch.testing.assert_close(torch.func.grad(length)(by), expected)


class Noting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def test_a_mode_around_the_backward_sees_the_operators() -> None:
    output, of = recorded()
    by = torch.randn_like(output)
    with Noting() as mode:
        grads = gradients(output, of, by)
    torch.testing.assert_close(grads, torchs_gradients(by))
    ours = {name for name in mode.seen if name.startswith("fastconv::")}
    assert ours == {f"fastconv::conv2d_grad_{of}" for of in ("input", "weight", "bias")}


def test_flops_of_the_backward_alone_are_torchs() -> None:
    def count(output: Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            output.sum().backward()
        return counter.get_total_flops()

    assert count(recorded()[0]) == count(torch.nn.functional.conv2d(*leaves(), **GEOMETRY)) > 0


class Wrapper(Tensor):
    """A subclass without memory of its own, as those that wait for a gradient to arrive."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Wrapper:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def unwrap(value: Any) -> Any:
            return value.inner if isinstance(value, Wrapper) else value

        return func(*tree_map(unwrap, args), **tree_map(unwrap, kwargs or {}))


def test_a_gradient_without_memory_is_asked_for_its_content() -> None:
    output, of = recorded()
    by = torch.randn_like(output)
    grads = gradients(output, of, Wrapper(by))
    assert not any(isinstance(grad, Wrapper) for grad in grads)
    torch.testing.assert_close(grads, torchs_gradients(by))


class Seeing(Tensor):
    """A subclass with memory that sees what is done with it."""

    seen: ClassVar[list[str]] = []

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.seen.append(func.name())
        with no_dispatch():
            return func(*args, **(kwargs or {}))


def test_a_subclass_with_memory_sees_the_backward() -> None:
    output, of = recorded()
    by = torch.randn_like(output)
    Seeing.seen.clear()
    grads = gradients(output, of, Tensor._make_subclass(Seeing, by))
    assert any(name.startswith("fastconv::") for name in Seeing.seen)
    torch.testing.assert_close(grads, torchs_gradients(by))


def negated(values: Tensor) -> Tensor:
    """The same values in a view that torch negates when it is read."""
    view = torch.complex(torch.zeros_like(values), -values).conj().imag
    assert view.is_neg()
    return view


@pytest.mark.parametrize("which", ["grad_output", "input", "weight", "unpacked"])
def test_lazily_negated_tensors(which: str) -> None:
    x, weight, bias = leaves()
    by = torch.randn(2, 6, 4, 3, dtype=torch.float64)
    expected = torchs_gradients(by)
    if which == "input":
        x = negated(x.detach()).requires_grad_()
    elif which == "weight":
        weight = negated(weight.detach()).requires_grad_()
    elif which == "grad_output":
        by = negated(by)
    unpack = negated if which == "unpacked" else lambda t: t
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, unpack):
        output = fastconv.conv2d(x, weight, bias, **GEOMETRY)
        torch.testing.assert_close(gradients(output, (x, weight, bias), by), expected)


def test_what_a_mode_raises_is_told() -> None:
    class Refusing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, *_: Any) -> Any:
            raise ValueError(f"not {func.name()}")

    output, of = recorded()
    by = torch.randn_like(output)
    with Refusing(), pytest.raises(RuntimeError, match="not fastconv::conv2d_grad_input"):
        gradients(output, of, by)
    torch.testing.assert_close(gradients(output, of, by), torchs_gradients(by))


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_backward_in_a_mode_that_records_nothing(mode: Any) -> None:
    of = leaves()
    total = fastconv.conv2d(*of, **GEOMETRY).square().sum()
    with mode():
        total.backward()
    want = leaves()
    torch.nn.functional.conv2d(*want, **GEOMETRY).square().sum().backward()
    torch.testing.assert_close([x.grad for x in of], [x.grad for x in want])


def test_a_hook_that_raises_is_not_called_again() -> None:
    called = []

    def pack(tensor: Tensor) -> Tensor:
        called.append(tensor)
        raise RuntimeError("no room")

    of = leaves()
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        pytest.raises(RuntimeError, match="no room"),
    ):
        fastconv.conv2d(*of, **GEOMETRY)
    assert len(called) == 1


def test_a_changed_input_is_noticed() -> None:
    _, (x, weight, _) = recorded()
    inner = x * 1
    output = fastconv.conv2d(inner, weight, groups=2)
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_several_threads_at_once() -> None:
    output, of = recorded()
    by = torch.randn_like(output)
    results: list[tuple[Tensor, ...]] = []

    def work() -> None:
        results.extend(gradients(output, of, by) for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 200
    for grads in results:
        torch.testing.assert_close(grads, results[0], rtol=0, atol=0)


X, W, G = torch.randn(1, 2, 5, 5), torch.randn(4, 2, 3, 3), torch.randn(1, 4, 3, 3)
ALL = [True, True, True]
FORWARD = aten.convolution_overrideable
BACKWARD = aten.convolution_backward_overrideable
BAD: dict[str, Callable[[], Any]] = {
    "transposed": lambda: FORWARD(X, W, None, [1], [0], [1], True, [0], 1),
    "no stride": lambda: FORWARD(X, W, None, [], [0], [1], False, [0], 1),
    "three strides": lambda: FORWARD(X, W, None, [1, 1, 1], [0], [1], False, [0], 1),
    "three dilations": lambda: FORWARD(X, W, None, [1], [0], [1, 1, 1], False, [0], 1),
    "a stride of zero": lambda: FORWARD(X, W, None, [0], [0], [1], False, [0], 1),
    "no groups": lambda: FORWARD(X, W, None, [1], [0], [1], False, [0], 0),
    "a line of pixels": lambda: FORWARD(X[0, 0], W, None, [1], [0], [1], False, [0], 1),
    "volumes": lambda: FORWARD(X[None], W[None], None, [1], [0], [1], False, [0], 1),
    "two dtypes": lambda: FORWARD(X, W.double(), None, [1], [0], [1], False, [0], 1),
    "a sparse input": lambda: FORWARD(X.to_sparse(), W, None, [1], [0], [1], False, [0], 1),
    "transposed gradient": lambda: BACKWARD(G, X, W, [1], [0], [1], True, [0], 1, ALL),
    "two wishes": lambda: BACKWARD(G, X, W, [1], [0], [1], False, [0], 1, [True, True]),
    "four wishes": lambda: BACKWARD(G, X, W, [1], [0], [1], False, [0], 1, [True] * 4),
    "a gradient of other sizes": lambda: BACKWARD(
        G[..., 1:], X, W, [1], [0], [1], False, [0], 1, ALL
    ),
    "its bias alone": lambda: BACKWARD(
        G[..., 1:], X, W, [1], [0], [1], False, [0], 1, [False, False, True]
    ),
    "three strides of a gradient": lambda: BACKWARD(
        G, X, W, [1, 1, 1], [0], [1], False, [0], 1, ALL
    ),
    "no input": lambda: BACKWARD(G, torch.empty(0), W, [1], [0], [1], False, [0], 1, ALL),
    "a sparse gradient": lambda: BACKWARD(G.to_sparse(), X, W, [1], [0], [1], False, [0], 1, ALL),
    "a gradient on no device": lambda: BACKWARD(
        G.to("meta"), X, W, [1], [0], [1], False, [0], 1, ALL
    ),
}


@pytest.mark.parametrize("records", [True, False])
@pytest.mark.parametrize("name", BAD)
def test_raw_calls_are_checked(name: str, records: bool) -> None:
    with torch.set_grad_enabled(records):
        assert outcome(BAD[name]).split(":")[0].endswith("Error")
