"""Rung 5: every derivative against finite differences and against torch's."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from _differentiable import CONVS, POOLS, distinct_values, function_of_leaves, leaves
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual

import fastconv


@pytest.mark.parametrize("name", CONVS)
def test_conv2d_gradients(name: str) -> None:
    call = function_of_leaves(fastconv.conv2d, CONVS[name])
    assert gradcheck(call, leaves(CONVS[name]), check_forward_ad=True, fast_mode=False)


@pytest.mark.parametrize("name", CONVS)
def test_conv2d_second_derivatives(name: str) -> None:
    call = function_of_leaves(fastconv.conv2d, CONVS[name])
    assert gradgradcheck(
        call, leaves(CONVS[name]), check_fwd_over_rev=True, check_rev_over_rev=True, fast_mode=True
    )


@pytest.mark.parametrize("name", ["everything", "same", "depthwise"])
def test_conv2d_batched_derivatives(name: str) -> None:
    call = function_of_leaves(fastconv.conv2d, CONVS[name])
    assert gradcheck(
        call,
        leaves(CONVS[name]),
        check_batched_grad=True,
        check_forward_ad=True,
        check_batched_forward_grad=True,
        fast_mode=True,
    )


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("batched", [True, False])
def test_max_pool2d_derivatives(name: str, batched: bool) -> None:
    x = distinct_values(*((2, 2, 6, 7) if batched else (2, 6, 7))).requires_grad_()

    def call(x: Tensor) -> Tensor:
        return fastconv.max_pool2d(x, **POOLS[name])

    assert gradcheck(call, x, check_forward_ad=True, check_batched_grad=True)
    assert gradgradcheck(call, x, check_fwd_over_rev=True)


@pytest.mark.parametrize("name", ["everything", "groups", "same", "unbatched"])
def test_third_derivatives_are_torchs(name: str) -> None:
    """The backward's backward is recorded too."""

    def third(conv2d) -> list[Tensor]:
        operands = leaves(CONVS[name])
        total = function_of_leaves(conv2d, CONVS[name])(*operands).pow(3).sum()
        for _ in range(2):
            grads = torch.autograd.grad(total, operands, create_graph=True)
            total = sum(g.square().sum() for g in grads)
        return list(torch.autograd.grad(total, operands))

    torch.testing.assert_close(third(fastconv.conv2d), third(F.conv2d), rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("wanted", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_subset_of_requires_grad(
    wanted: tuple[bool, bool, bool], layout: torch.memory_format
) -> None:
    def gradients(conv2d) -> list[Tensor | None]:
        torch.manual_seed(1)
        shapes = ((2, 4, 6, 5), (6, 2, 3, 3), (6,))
        tensors = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
        tensors[0] = tensors[0].to(memory_format=layout)
        for tensor, wants in zip(tensors, wanted, strict=True):
            tensor.requires_grad_(wants)
        output = conv2d(*tensors, stride=2, padding=1, groups=2)
        assert output.requires_grad == any(wanted)
        if any(wanted):
            output.square().sum().backward()
        return [t.grad for t in tensors]

    for ours, theirs in zip(gradients(fastconv.conv2d), gradients(F.conv2d), strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours, theirs)


def test_empty_batch_gives_zero_gradients_not_none() -> None:
    x = torch.zeros(0, 3, 5, 5, requires_grad=True)
    weight = torch.ones(4, 3, 3, 3, requires_grad=True)
    bias = torch.ones(4, requires_grad=True)
    output = fastconv.conv2d(x, weight, bias, padding=1)
    assert output.shape == (0, 4, 5, 5)
    output.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.zeros_like(weight))
    assert bias.grad is not None
    assert torch.equal(bias.grad, torch.zeros_like(bias))


@pytest.mark.parametrize("edited", ["input", "weight"])
def test_in_place_edit_of_a_saved_tensor_raises(edited: str) -> None:
    x, weight, bias = leaves(CONVS["padding"])
    # Not leaves: those may not be edited at all.
    saved = {"input": x * 1, "weight": weight * 1}
    output = fastconv.conv2d(saved["input"], saved["weight"], bias, padding=1)
    saved[edited].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_in_place_edit_of_the_bias_is_allowed() -> None:
    """No gradient needs it."""
    x, weight, bias = leaves(CONVS["padding"])
    bias = bias * 1
    output = fastconv.conv2d(x, weight, bias, padding=1)
    bias.mul_(2)
    output.sum().backward()


def test_in_place_edit_of_pool_indices_raises() -> None:
    x = distinct_values(1, 2, 6, 6).requires_grad_()
    output, indices = fastconv.max_pool2d(x, 2, return_indices=True)
    indices.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_pool_input_may_be_edited_after_the_forward() -> None:
    """The indices are all that the backward needs."""
    x = distinct_values(1, 2, 6, 6).requires_grad_()
    y = x * 1
    output = fastconv.max_pool2d(y, 2)
    y.zero_()
    output.sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == output.numel()


def test_indices_are_not_differentiable() -> None:
    _, indices = fastconv.max_pool2d(distinct_values(1, 1, 4, 4).requires_grad_(), 2, None, 0, 1,
                                     False, True)  # fmt: skip
    assert not indices.requires_grad


def test_gradient_of_another_layout() -> None:
    """What comes back through the graph need not lie as the output does."""
    x, weight, bias = leaves(CONVS["everything"])
    output = fastconv.conv2d(x, weight, bias, **CONVS["everything"].kwargs)
    want = F.conv2d(x, weight, bias, **CONVS["everything"].kwargs)
    for gradient in (
        torch.randn_like(output).transpose(-1, -2).contiguous().transpose(-1, -2),
        torch.ones((), dtype=torch.float64).expand_as(output),
        torch.randn(*output.shape, 2, dtype=torch.float64)[..., 0],
    ):
        ours = torch.autograd.grad(output, (x, weight, bias), gradient, retain_graph=True)
        theirs = torch.autograd.grad(want, (x, weight, bias), gradient, retain_graph=True)
        torch.testing.assert_close(ours, theirs)


def test_forward_mode_follows_torch() -> None:
    conv = CONVS["everything"]
    tangents = [torch.randn_like(t) for t in leaves(conv)]

    def tangent_of(conv2d) -> Tensor:
        with dual_level():
            duals = [make_dual(t.detach(), v) for t, v in zip(leaves(conv), tangents, strict=True)]
            return unpack_dual(function_of_leaves(conv2d, conv)(*duals)).tangent

    torch.testing.assert_close(tangent_of(fastconv.conv2d), tangent_of(F.conv2d))


def test_backward_runs_twice_only_if_the_graph_is_kept() -> None:
    output = fastconv.conv2d(*leaves(CONVS["plain"])).sum()
    output.backward(retain_graph=True)
    output.backward()
    with pytest.raises(RuntimeError, match="second time"):
        output.backward()


def test_hooks_on_saved_tensors_see_both() -> None:
    packed: list[Tensor] = []

    def pack(tensor: Tensor) -> int:
        packed.append(tensor)
        return len(packed) - 1

    x, weight, bias = leaves(CONVS["plain"])
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda i: packed[i]):
        output = fastconv.conv2d(x, weight, bias)
    assert {tuple(t.shape) for t in packed} >= {tuple(x.shape), tuple(weight.shape)}
    output.sum().backward()
    assert x.grad is not None


def test_checkpointing() -> None:
    x, weight, bias = leaves(CONVS["padding"])
    output = torch.utils.checkpoint.checkpoint(
        lambda t: fastconv.max_pool2d(fastconv.conv2d(t, weight, bias, padding=1), 2),
        x,
        use_reentrant=False,
    )
    want = F.max_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    ours = torch.autograd.grad(output.square().sum(), (x, weight, bias))
    theirs = torch.autograd.grad(want.square().sum(), (x, weight, bias))
    torch.testing.assert_close(ours, theirs)


def test_inference_mode_and_no_grad() -> None:
    x, weight, bias = leaves(CONVS["padding"])
    want = F.conv2d(x, weight, bias, padding=1)
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            output = fastconv.conv2d(x, weight, bias, padding=1)
            assert not output.requires_grad
            torch.testing.assert_close(output, want.detach())
            assert fastconv.max_pool2d(x, 2).requires_grad is False
