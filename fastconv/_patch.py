"""The context manager that sends torch's own functions to fastconv."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fastconv import functional

__all__ = ["patch"]

_REPLACEMENTS: Mapping[Any, Callable[..., Any]] = {
    torch.conv2d: functional.conv2d,
    torch.nn.functional.conv2d: functional.conv2d,
    torch.max_pool2d: functional.max_pool2d,
    torch.nn.functional.max_pool2d: functional.max_pool2d,
    torch.nn.functional.max_pool2d_with_indices: functional.max_pool2d_with_indices,
    torch._C._nn.max_pool2d_with_indices: functional.max_pool2d_with_indices,
}


class patch(TorchFunctionMode):
    """Context manager: on this thread, ``conv2d`` and ``max_pool2d`` calls go to fastconv.

    It covers ``torch.nn.functional`` and ``torch``, by whatever name they were imported, and with
    them every ``torch.nn`` module, converted or not. It nests, also with other modes.

    Example::

        with fastconv.patch():
            y = model(x)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _REPLACEMENTS.get(func, func)(*args, **(kwargs or {}))
