"""The convolutions and max poolings that a model calls, and which module called them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from fastconv._receptive_field import ReceptiveFields

__all__ = ["Call", "Recorder", "calls_of_model"]


@dataclass(frozen=True)
class Call:
    module: str
    operator: Any
    args: tuple[Any, ...]
    result: Any
    receptive_field: tuple[float, float]


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the calls of `operators`."""

    shows_packed_weights = True

    def __init__(self, operators: Collection[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[Call] = []
        self.modules: list[str] = [""]
        self._operators = operators
        self._fields = ReceptiveFields()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self._fields.follow(func, args, result)
        if func in self._operators:
            field = self._fields.seen_by(result)
            self.calls.append(Call(self.modules[-1], func, args, result, field))
        return result


@contextlib.contextmanager
def _named_calls(model: torch.nn.Module, recorder: Recorder) -> Iterator[None]:
    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: recorder.modules.append(name)

    def leave(*_: Any) -> None:
        recorder.modules.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _buffers_kept(model: torch.nn.Module) -> Iterator[None]:
    """Their content and their sizes: observers of quantisation grow theirs at a first call."""
    kept = [
        (module._buffers, name, buffer, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for owner, name, buffer, before in kept:
                if buffer.shape != before.shape:
                    buffer.resize_(before.shape)
                buffer.copy_(before)
                owner[name] = buffer


def calls_of_model(
    model: torch.nn.Module,
    inputs: tuple[Any, ...],
    parameters: dict[str, Any],
    operators: Collection[Any],
) -> list[Call]:
    """Run the model once, without gradients; buffers and random state are as before afterwards."""
    recorder = Recorder(operators)
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        _buffers_kept(model),
        _named_calls(model, recorder),
        recorder,
    ):
        model(*inputs, **parameters)
    return recorder.calls
