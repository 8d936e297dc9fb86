"""Loads the compiled library and names its operators.

Importing this module is what makes ``torch.ops.fastconv`` exist.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch


def _what_to_do(error: ImportError) -> str:
    """Why there is no compiled library to load and what helps, in a sentence."""
    build = "run `pip install --no-build-isolation .` in its repository"
    if importlib.util.find_spec("fastconv._C") is not None:
        return (
            "fastconv's compiled library does not load with this torch, which must be 2.10 or "
            f"newer, or was built for another system: {build} to rebuild it ({error})."
        )
    foreign = sorted(path.name for path in Path(__file__).parent.glob("_C.*.so"))
    if foreign:
        return (
            f"fastconv was built for another Python than this one ({', '.join(foreign)}): install "
            f"the wheel of this Python, or {build}."
        )
    return f"fastconv is not built: {build}."


try:
    from fastconv import _C
except ImportError as error:
    raise ImportError(_what_to_do(error)) from None

__all__ = [
    "_C",
    "conv2d",
    "conv2d_eager",
    "conv2d_grad_bias",
    "conv2d_grad_input",
    "conv2d_grad_weight",
    "conv2d_kept_eager",
    "conv2d_memo_eager",
    "conv2d_pack_weight",
    "conv2d_packed",
    "conv2d_packed_algorithm",
    "conv2d_recorded_eager",
    "max_pool2d",
    "max_pool2d_backward",
    "max_pool2d_backward_eager",
    "max_pool2d_eager",
    "max_pool2d_with_indices",
    "max_pool2d_with_indices_eager",
    "register_fake",
    "register_kernel",
    "register_kernel_of_torchs",
    "register_vmap",
    "weight_fingerprint_eager",
]

# Overloads, not packets: a packet resolves its overload again at every call, about 1 us.
conv2d: Any = torch.ops.fastconv.conv2d.default
conv2d_grad_input: Any = torch.ops.fastconv.conv2d_grad_input.default
conv2d_grad_weight: Any = torch.ops.fastconv.conv2d_grad_weight.default
conv2d_grad_bias: Any = torch.ops.fastconv.conv2d_grad_bias.default
conv2d_pack_weight: Any = torch.ops.fastconv.conv2d_pack_weight.default
conv2d_packed: Any = torch.ops.fastconv.conv2d_packed.default
conv2d_packed_algorithm: Any = torch.ops.fastconv.conv2d_packed_algorithm.default
max_pool2d: Any = torch.ops.fastconv.max_pool2d.default
max_pool2d_with_indices: Any = torch.ops.fastconv.max_pool2d_with_indices.default
max_pool2d_backward: Any = torch.ops.fastconv.max_pool2d_backward.default

# For nothing_between(): the callables beneath the overloads, whose frame costs as much as a check.
conv2d_eager: Any = torch.ops.fastconv._conv2d.default._op
conv2d_kept_eager: Any = torch.ops.fastconv._conv2d_kept.default._op
conv2d_memo_eager: Any = torch.ops.fastconv._conv2d_memo.default._op
weight_fingerprint_eager: Any = torch.ops.fastconv.weight_fingerprint.default._op
conv2d_recorded_eager: Any = torch.ops.aten.convolution_overrideable.default._op
max_pool2d_eager: Any = torch.ops.fastconv._max_pool2d.default._op
max_pool2d_with_indices_eager: Any = torch.ops.fastconv._max_pool2d_with_indices.default._op
max_pool2d_backward_eager: Any = torch.ops.fastconv._max_pool2d_backward.default._op

# Registrations from Python hang on these objects and end with them.
_library: Any = torch.library.Library("fastconv", "FRAGMENT")  # type: ignore[no-untyped-call]
_aten: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]

for _name in (
    "_conv2d",
    "_conv2d_memo",
    "_conv2d_kept",
    "weight_fingerprint",
    "_conv2d_backward",
    "_max_pool2d",
    "_max_pool2d_with_indices",
    "_max_pool2d_backward",
):
    for _key in ("Autograd", "ADInplaceOrView"):
        _library.impl(_name, torch.library.fallthrough_kernel, _key)

Function = TypeVar("Function", bound=Callable[..., Any])


def register_kernel(name: str, dispatch_key: str) -> Callable[[Function], Function]:
    """Decorator: the kernel of an operator for one of torch's dispatch keys."""
    return _register_in(_library, name, dispatch_key)


def register_kernel_of_torchs(name: str, dispatch_key: str) -> Callable[[Function], Function]:
    """The same for an operator of torch's that it has no kernels for (csrc/recorded_conv2d.h)."""
    return _register_in(_aten, name, dispatch_key)


def _register_in(library: Any, name: str, dispatch_key: str) -> Callable[[Function], Function]:
    def register(kernel: Function) -> Function:
        library.impl(name, kernel, dispatch_key)
        return kernel

    return register


def register_fake(name: str) -> Callable[[Function], Function]:
    """Decorator: an operator on tensors that have no data."""

    def register(kernel: Function) -> Function:
        torch.library.register_fake(f"fastconv::{name}", kernel, lib=_library)
        return kernel

    return register


def register_vmap(name: str) -> Callable[[Function], Function]:
    """Decorator: the batching rule of an operator."""

    def register(rule: Function) -> Function:
        torch.library.register_vmap(f"fastconv::{name}", rule, lib=_library)
        return rule

    return register
