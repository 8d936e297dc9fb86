"""Rung 5: torch.func's transforms, alone and nested, against the same transform of torch's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _differentiable import CONVS, POOLS, distinct_values, function_of_leaves, leaves
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap

import fastconv

Transform = Callable[[Callable[..., Any]], Callable[..., Any]]


def plain(t: Tensor) -> Tensor:
    return t.detach()


def assert_same_transform(
    transform: Transform, ours: Callable[..., Any], theirs: Callable[..., Any], *args: Tensor
) -> None:
    torch.testing.assert_close(
        transform(ours)(*args), transform(theirs)(*args), rtol=1e-9, atol=1e-9
    )


def stacked(t: Tensor, examples: int = 3) -> Tensor:
    return torch.stack([t.detach() + i * torch.randn_like(t) for i in range(examples)])


@pytest.mark.parametrize("batched", ["100", "010", "001", "110", "101", "011", "111"])
@pytest.mark.parametrize("name", ["everything", "depthwise", "same", "unbatched", "pointwise"])
def test_vmap_of_conv2d(name: str, batched: str) -> None:
    conv = CONVS[name]
    in_dims = tuple(0 if b == "1" else None for b in batched)
    args = [stacked(t) if d == 0 else plain(t) for t, d in zip(leaves(conv), in_dims, strict=True)]
    assert_same_transform(
        lambda f: vmap(f, in_dims),
        function_of_leaves(fastconv.conv2d, conv),
        function_of_leaves(F.conv2d, conv),
        *args,
    )


def test_vmap_over_another_dimension() -> None:
    x, weight, bias = (stacked(t) for t in leaves(CONVS["groups"]))
    assert_same_transform(
        lambda f: vmap(f, in_dims=(4, 2, 1), out_dims=3),
        function_of_leaves(fastconv.conv2d, CONVS["groups"]),
        function_of_leaves(F.conv2d, CONVS["groups"]),
        x.movedim(0, 4),
        weight.movedim(0, 2),
        bias.movedim(0, 1),
    )


@pytest.mark.parametrize("name", ["everything", "groups", "without bias"])
def test_nested_vmap(name: str) -> None:
    conv = CONVS[name]
    tensors = leaves(conv)
    x = stacked(stacked(tensors[0]), 2)
    rest = [stacked(t) for t in tensors[1:]]
    nothing = (None,) * len(rest)
    assert_same_transform(
        lambda f: vmap(vmap(f), in_dims=(0, *nothing)),
        function_of_leaves(fastconv.conv2d, conv),
        function_of_leaves(F.conv2d, conv),
        x,
        *rest,
    )


@pytest.mark.parametrize("name", ["everything", "depthwise", "unbatched"])
@pytest.mark.parametrize("argument", [0, 1, 2])
def test_vmap_of_every_gradient(name: str, argument: int) -> None:
    conv = CONVS[name]
    args = [stacked(t) for t in leaves(conv)]

    def total(conv2d: Callable[..., Tensor]) -> Callable[..., Tensor]:
        call = function_of_leaves(conv2d, conv)
        return lambda *tensors: call(*tensors).pow(3).sum()

    for in_dims in (0, (0, None, None), (None, 0, None)):
        some = [t if in_dims == 0 or in_dims[i] == 0 else t[0] for i, t in enumerate(args)]
        assert_same_transform(
            lambda f, in_dims=in_dims: vmap(grad(f, argument), in_dims),
            total(fastconv.conv2d),
            total(F.conv2d),
            *some,
        )


def test_per_sample_gradients_of_a_network() -> None:
    torch.manual_seed(2)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(4, 3, 3, groups=1, stride=2),
        torch.nn.Flatten(0),
    ).double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    images = torch.randn(5, 2, 10, 10, dtype=torch.float64)

    def per_sample(model: torch.nn.Module) -> dict[str, Tensor]:
        def loss(parameters: dict[str, Tensor], image: Tensor) -> Tensor:
            return functional_call(model, parameters, (image,)).square().sum()

        return vmap(grad(loss), in_dims=(None, 0))(parameters, images)

    torch.testing.assert_close(per_sample(fastconv.convert(model)), per_sample(model))


@pytest.mark.parametrize("transform", [jacrev, jacfwd])
@pytest.mark.parametrize("argument", [0, 1, 2])
@pytest.mark.parametrize("name", ["everything", "same"])
def test_jacobians(name: str, argument: int, transform: Callable[..., Any]) -> None:
    assert_same_transform(
        lambda f: transform(f, argument),
        function_of_leaves(fastconv.conv2d, CONVS[name]),
        function_of_leaves(F.conv2d, CONVS[name]),
        *map(plain, leaves(CONVS[name])),
    )


@pytest.mark.parametrize(
    "transform",
    [
        hessian,
        lambda f: jacrev(jacrev(f)),
        lambda f: jacrev(jacfwd(f)),
        lambda f: jacfwd(jacfwd(f)),
    ],
    ids=["forward_over_reverse", "reverse_over_reverse", "reverse_over_forward", "forward_twice"],
)
def test_hessians(transform: Transform) -> None:
    x, weight, bias = map(plain, leaves(CONVS["padding"]))

    def of(conv2d: Callable[..., Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda w: conv2d(x, w, bias, padding=1).pow(3).sum()

    assert_same_transform(transform, of(fastconv.conv2d), of(F.conv2d), weight)


def test_jvp_and_vjp() -> None:
    args = tuple(map(plain, leaves(CONVS["everything"])))
    tangents = tuple(torch.randn_like(t) for t in args)
    ours = function_of_leaves(fastconv.conv2d, CONVS["everything"])
    theirs = function_of_leaves(F.conv2d, CONVS["everything"])
    torch.testing.assert_close(jvp(ours, args, tangents), jvp(theirs, args, tangents))
    output, pullback = vjp(ours, *args)
    want, torch_pullback = vjp(theirs, *args)
    torch.testing.assert_close(output, want)
    torch.testing.assert_close(pullback(output), torch_pullback(output))


@pytest.mark.parametrize("name", POOLS)
def test_transforms_of_max_pool2d(name: str) -> None:
    x = distinct_values(3, 2, 2, 6, 7)

    def ours(t: Tensor) -> Any:
        return fastconv.max_pool2d(t, **POOLS[name], return_indices=True)

    def theirs(t: Tensor) -> Any:
        return F.max_pool2d(t, **POOLS[name], return_indices=True)

    assert_same_transform(vmap, ours, theirs, x)
    assert_same_transform(vmap, ours, theirs, x[:, 0])  # unbatched inside
    assert_same_transform(lambda f: vmap(f, in_dims=1), ours, theirs, x)
    assert_same_transform(lambda f: vmap(vmap(f)), ours, theirs, x)

    def values(f: Callable[..., Any]) -> Callable[[Tensor], Tensor]:
        return lambda t: f(t)[0].pow(2)

    small = x[0, 0]
    for transform in (jacrev, jacfwd):
        assert_same_transform(transform, values(ours), values(theirs), small)
    assert_same_transform(
        hessian, lambda t: values(ours)(t).sum(), lambda t: values(theirs)(t).sum(), small
    )
    assert_same_transform(
        lambda f: vmap(grad(f)),
        lambda t: values(ours)(t).sum(),
        lambda t: values(theirs)(t).sum(),
        x,
    )


@pytest.mark.parametrize("batched", ["10", "01", "11"])
def test_autocast_inside_transforms(batched: str) -> None:
    """torch's own convolution stays in float32 under vmap on a CPU; ours follows autocast there."""
    tensors = [t.float() for t in leaves(CONVS["groups"])[:2]]
    in_dims = tuple(0 if b == "1" else None for b in batched)
    args = [stacked(t) if d == 0 else plain(t) for t, d in zip(tensors, in_dims, strict=True)]

    def call(x: Tensor, weight: Tensor) -> Tensor:
        return fastconv.conv2d(x, weight, groups=2)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = vmap(call, in_dims)(*args)
        each = [
            call(*(t if d is None else t[i] for t, d in zip(args, in_dims, strict=True)))
            for i in range(3)
        ]
        weight_gradient = grad(lambda w: call(plain(tensors[0]), w).float().sum())(
            plain(tensors[1])
        )
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got, torch.stack(each), rtol=2e-2, atol=2e-2)
    assert weight_gradient.dtype == torch.float32
