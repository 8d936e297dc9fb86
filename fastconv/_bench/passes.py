"""What is computed of a layer or a network: one callable that computes that and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Direction = Literal["forward", "input gradient", "weight gradient", "training step"]
Call: TypeAlias = Callable[[], Sequence[Tensor]]

LAYER_DIRECTIONS: tuple[Direction, ...] = ("forward", "input gradient", "weight gradient")
NETWORK_DIRECTIONS: tuple[Direction, ...] = ("forward", "training step")


def prepare(
    module: torch.nn.Module, input: Tensor, direction: Direction, dtype: torch.dtype | None = None
) -> Call:
    """The call that computes `direction` and returns what it computed.

    `dtype` is what the gradient of the output and the labels are rounded to, for a reference that
    computes in a wider type what the others compute in theirs.
    """
    if direction == "forward":
        return lambda: _forward(module, input)
    if direction == "training step":
        return _training_step(module, input)
    return _gradient(module, input, direction, dtype or input.dtype)


@torch.no_grad()
def _forward(module: torch.nn.Module, input: Tensor) -> Sequence[Tensor]:
    return (module(input),)


def _gradient(
    module: torch.nn.Module, input: Tensor, direction: Direction, dtype: torch.dtype
) -> Call:
    # Only what is asked for requires a gradient: fastconv and torch both decide from that.
    weights = list(module.parameters())
    input.requires_grad_(direction == "input gradient")
    for weight in weights:
        weight.requires_grad_(direction == "weight gradient" and weight.dim() == 4)
    wanted = input if direction == "input gradient" else weights[0]
    output = module(input)
    generator = torch.Generator().manual_seed(1)
    grad_output = torch.randn(output.shape, generator=generator).to(dtype).to(output)
    grad_output = grad_output.clone(
        memory_format=torch.channels_last
        if output.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )
    return lambda: torch.autograd.grad(output, wanted, grad_output, retain_graph=True)


def _training_step(module: torch.nn.Module, input: Tensor) -> Call:
    """Forward, loss and backward to every parameter; the optimizer is no part of it."""
    module.train()
    parameters = list(module.parameters())
    labels = torch.arange(len(input)) % 10  # every network here tells at least ten classes apart

    def step() -> Sequence[Tensor]:
        loss = functional.cross_entropy(module(input), labels)
        return torch.autograd.grad(loss, parameters)

    return step
