"""An autograd.Function that is an operator's Autograd kernel, in eager and under torch.func alike.

``torch.autograd.Function.apply`` stands in front of the dispatcher: functorch's transforms reach it
through a higher-order operator that finds out the levels by itself. Ours run *behind* it, as the
Autograd-key kernel of the operator, exactly where torch's own C++ formulas sit: functorch has
already chosen a level, and what is below is reached by calling the operator again. That wants the
"single level" base class, and two switches that a Function turns off for its forward and its jvp.
The result nests to any depth, forward over forward too (there torch's higher-order operator
silently gives zero tangents, measured on 2.13).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch._C import (
    _are_functorch_transforms_active,
    _get_tracing_state,
    _is_any_autocast_enabled,
    _len_torch_dispatch_stack,
)
from torch._C._functorch import is_legacy_batchedtensor, peek_interpreter_stack
from torch._functorch import autograd_function as functorch_autograd_function
from torch.autograd import forward_ad
from torch.autograd.forward_ad import _set_fwd_grad_enabled
from torch.autograd.function import _SingleLevelFunction
from torch.utils._python_dispatch import _get_current_dispatch_mode

# What stands between a call and its kernel where one of these answers with something. Watchers see
# what a backward pass calls as well. Not peek_interpreter_stack(), which Dynamo knows: to ask it
# makes thread-local state that autograd's engine copies ten times a pass from then on.
WATCHERS: tuple[Callable[[], Any], ...] = (
    _are_functorch_transforms_active,
    _len_torch_dispatch_stack,
)
OBSTACLES: tuple[Callable[[], Any], ...] = (_is_any_autocast_enabled, _get_tracing_state)

_unpack_dual: Any = forward_ad.unpack_dual
_allow_one_level: Any = functorch_autograd_function.enable_single_level_autograd_function  # type: ignore[attr-defined]
BelowAutograd = torch._C._AutoDispatchBelowAutograd


@contextlib.contextmanager
def _below_this_level() -> Iterator[None]:
    # A Function's forward runs with both kinds of differentiation off. The levels of functorch
    # further down want theirs.
    with torch.enable_grad(), _set_fwd_grad_enabled(True), BelowAutograd():
        yield


def below_autograd() -> contextlib.AbstractContextManager[Any]:
    """For a forward: where calling the operator reaches its kernel, or functorch's next level."""
    return BelowAutograd() if peek_interpreter_stack() is None else _below_this_level()


def is_differentiating_forward() -> bool:
    """May any tensor here carry a tangent?"""
    # torch.func.jvp keeps its levels on functorch's stack, forward_ad.dual_level in this variable.
    return forward_ad._current_level >= 0 or peek_interpreter_stack() is not None


def nothing_between() -> bool:
    """Is there nothing between this call and the kernel but, perhaps, a backward pass to record?

    No transform, no tracer, no mode and no autocast: the operators that take plain integers may be
    called, which none of these know.
    """
    return _nothing_transforms() and not _len_torch_dispatch_stack()


def reaches_kernel_in_backward(grad_output: Tensor) -> bool:
    """nothing_between(), in a backward that is not itself recorded.

    ``torch.autograd.grad(is_grads_batched=True)`` still batches by the vmap of before functorch,
    which only the tensor shows.
    """
    return (
        not torch.is_grad_enabled()
        and nothing_between()
        and not is_legacy_batchedtensor(grad_output)
    )


def only_shows_packed_weights() -> bool:
    """The same, but for explain()'s recorder, which is to see what a module really calls."""
    return (
        _nothing_transforms()
        and _len_torch_dispatch_stack() == 1
        and getattr(_get_current_dispatch_mode(), "shows_packed_weights", False)
    )


def _nothing_transforms() -> bool:
    return (
        not torch.compiler.is_compiling()
        and forward_ad._current_level < 0
        and not _are_functorch_transforms_active()
        and not any(obstacle() for obstacle in OBSTACLES)
    )


def needs_autograd(*args: Any) -> bool:
    """Must this call be recorded?"""
    return (
        torch.is_grad_enabled()
        and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args)
    ) or is_differentiating_forward()


class OperatorFunction(_SingleLevelFunction):
    """Base of the Functions below.

    What ``torch.autograd.Function`` has more stands in front of the dispatcher, as Python (2 us a
    call) or, from torch 2.15 on, in C++. ``apply`` is for where functorch is not active; ``record``
    works under functorch too.
    """

    apply = torch._C._FunctionBase.__dict__["apply"]
    # All that compiled autograd asks of a Function.
    _compiled_autograd_key = staticmethod(torch.autograd.Function._compiled_autograd_key)

    @classmethod
    def record(cls, *args: Any) -> Any:
        if peek_interpreter_stack() is None:
            return cls.apply(*args)
        with _allow_one_level():
            return cls.apply(*args)


def calls_in_backward() -> contextlib.AbstractContextManager[Any]:
    """For a backward: its operators skip their own Autograd kernels where nothing records them."""
    if torch.is_grad_enabled() or is_differentiating_forward():
        return contextlib.nullcontext()
    return BelowAutograd()


def wanted_gradients(ctx: Any, count: int) -> tuple[bool, ...]:
    """For a backward: whose gradients of its first `count` inputs are used; the last may be None.

    ``needs_input_grad`` is what the forward knew. ``torch.autograd.grad(loss, images)`` wants no
    weight's gradient, and torch's own operators, which are told, compute none.
    """
    needed: tuple[bool, ...] = ctx.needs_input_grad[:count]
    if sum(needed) < 2 or torch.compiler.is_compiling():
        return needed
    functions = ctx.next_functions
    return tuple(need and _will_run(functions[i][0]) for i, need in enumerate(needed))


def _will_run(node: Any) -> bool:
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:
        return True  # so it answers of a leaf that torch.autograd.grad() was asked for


def tangent_rule(rule: Callable[..., Any]) -> Callable[..., Any]:
    """For a jvp: tangents of outer levels keep flowing while this level's are computed."""

    @wraps(rule)
    def with_forward_grad(*args: Any) -> Any:
        with _set_fwd_grad_enabled(True):
            return rule(*args)

    return with_forward_grad


def primals(ctx: Any) -> tuple[Tensor, ...]:
    """The saved tensors without this level's tangents, which a jvp must not count twice."""
    return tuple(_unpack_dual(tensor).primal for tensor in ctx.saved_tensors)


def add_tangents(first: Tensor | None, second: Tensor | None) -> Tensor | None:
    if first is None or second is None:
        return second if first is None else first
    return first + second
