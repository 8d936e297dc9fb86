"""One layer, torch's module against its fastconv twin: checked against float64, then timed.

Each side is timed in both memory formats and judged by its faster one, because a user is free to
choose; a comparison may also be held to one of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

import fastconv
from bench.timing import Timing, clock, time_interleaved

Direction = Literal["forward", "input gradient", "weight gradient"]
Side = Literal["torch", "fastconv"]
Layout = Literal["NCHW", "NHWC"]

MEMORY_FORMATS: dict[Layout, torch.memory_format] = {
    "NCHW": torch.contiguous_format,
    "NHWC": torch.channels_last,
}

# What fp32 convolutions may err under torch's default precision: the larger of this and twice
# torch's own error on the same inputs. TF32 errs 3e-4.
FP32_ERROR = 2e-6


class WrongResultError(AssertionError):
    """A result that misses its bound: nothing about it is worth timing."""


@dataclass(frozen=True)
class Errors:
    """Relative errors ||out - ref|| / ||ref|| against float64, and the bound on fastconv's."""

    torch: float
    fastconv: float
    allowed: float

    @property
    def ok(self) -> bool:
        return self.fastconv <= self.allowed  # False for NaN


@dataclass(frozen=True)
class Comparison:
    timings: dict[tuple[Side, Layout], Timing]
    errors: Errors

    def best(self, side: Side) -> tuple[Layout, float]:
        """The side's faster memory format and its median in seconds."""
        medians = {key[1]: timing.median for key, timing in self.timings.items() if key[0] == side}
        return min(medians.items(), key=lambda item: item[1])

    @property
    def ratio(self) -> float:
        """How many times faster fastconv is, each side at its best layout."""
        return self.best("torch")[1] / self.best("fastconv")[1]


def relative_error(result: torch.Tensor, reference: torch.Tensor) -> float:
    difference = torch.linalg.vector_norm(result.double() - reference)
    norm = torch.linalg.vector_norm(reference)
    return float(difference / norm) if norm > 0 else float(difference)


def judge(
    ours: torch.Tensor, theirs: torch.Tensor, reference: torch.Tensor, floor: float
) -> Errors:
    """Hold ours to the larger of `floor` and twice torch's own error."""
    if ours.shape != theirs.shape:
        raise WrongResultError(f"fastconv gives {tuple(ours.shape)}, torch {tuple(theirs.shape)}")
    torch_error = relative_error(theirs, reference)
    return Errors(torch_error, relative_error(ours, reference), max(floor, 2 * torch_error))


def _call(
    module: torch.nn.Module, input: torch.Tensor, direction: Direction
) -> Callable[[], torch.Tensor]:
    """The call that computes one direction and nothing else."""
    weights = list(module.parameters())
    if direction == "forward":

        def forward() -> torch.Tensor:
            with torch.no_grad():
                return module(input)

        return forward

    # Only what is asked for requires a gradient: fastconv and torch both decide from that.
    input.requires_grad_(direction == "input gradient")
    for weight in weights:
        weight.requires_grad_(direction == "weight gradient" and weight.dim() == 4)
    wanted = input if direction == "input gradient" else weights[0]
    output = module(input)
    generator = torch.Generator().manual_seed(1)
    grad_output = torch.randn(output.shape, generator=generator).to(output.dtype)
    grad_output = grad_output.clone(
        memory_format=torch.channels_last
        if output.is_contiguous(memory_format=torch.channels_last)
        else torch.contiguous_format
    )

    def backward() -> torch.Tensor:
        (gradient,) = torch.autograd.grad(output, wanted, grad_output, retain_graph=True)
        return gradient

    return backward


def compare(
    module: torch.nn.Module,
    input: torch.Tensor,
    direction: Direction = "forward",
    *,
    layouts: Sequence[Layout] = tuple(MEMORY_FORMATS),
    floor: float = FP32_ERROR,
    budget: float = 0.5,
    frozen: bool = False,
) -> Comparison:
    """Check and time `module`, a plain torch layer or network, against its converted copy.

    `frozen` promises fastconv that the weights stay (fastconv.freeze).

    Raises WrongResultError where fastconv's error against float64 exceeds the larger of `floor`
    and twice torch's own.
    """
    exact = _call(copy.deepcopy(module).double(), input.detach().double(), direction)()
    if isinstance(module, torch.nn.MaxPool2d) and direction == "forward":
        floor = 0.0  # a maximum is one of the inputs: nothing rounds
    calls: dict[tuple[Side, Layout], Callable[[], torch.Tensor]] = {}
    errors = []
    for layout in layouts:
        memory_format = MEMORY_FORMATS[layout]
        plain = copy.deepcopy(module).to(memory_format=memory_format)  # type: ignore[call-overload]
        converted = fastconv.convert(plain)
        sides: dict[Side, torch.nn.Module] = {
            "torch": plain,
            "fastconv": fastconv.freeze(converted) if frozen else converted,
        }
        for side, twin in sides.items():
            own_input = input.detach().clone(memory_format=memory_format)
            calls[side, layout] = _call(twin, own_input, direction)
        error = judge(calls["fastconv", layout](), calls["torch", layout](), exact, floor)
        if not error.ok:
            raise WrongResultError(f"{direction} of {module}: {error}")
        errors.append(error)
    worst = max(errors, key=lambda error: error.fastconv)
    return Comparison(time_interleaved(calls, budget=budget, clock=clock()), worst)
