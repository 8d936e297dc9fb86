"""torch's module against its fastconv twin: checked against float64, then timed.

Each side is timed in both memory formats and judged by its faster one, because a user is free to
choose; a comparison may also be held to one of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

import fastconv
from fastconv._bench.passes import Call, Direction, prepare
from fastconv._bench.timing import Timing, clock, time_interleaved

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


def relative_error(results: Sequence[Tensor], references: Sequence[Tensor]) -> float:
    """Of all tensors together, as if they were one."""
    pairs = list(zip(results, references, strict=True))
    difference = sum(float((ours.double() - exact).square().sum()) for ours, exact in pairs) ** 0.5
    norm = sum(float(exact.square().sum()) for _, exact in pairs) ** 0.5
    return difference / norm if norm > 0 else difference


def judge(
    ours: Sequence[Tensor], theirs: Sequence[Tensor], references: Sequence[Tensor], floor: float
) -> Errors:
    """Hold ours to the larger of `floor` and twice torch's own error."""
    for our, their in zip(ours, theirs, strict=True):
        if our.shape != their.shape or our.dtype != their.dtype:
            raise WrongResultError(
                f"fastconv gives {tuple(our.shape)} in {our.dtype}, "
                f"torch {tuple(their.shape)} in {their.dtype}"
            )
    torch_error = relative_error(theirs, references)
    return Errors(torch_error, relative_error(ours, references), max(floor, 2 * torch_error))


def twin(module: torch.nn.Module, side: Side, layout: Layout, frozen: bool) -> torch.nn.Module:
    """A copy of a plain torch module for one side in one memory format."""
    plain = copy.deepcopy(module).to(memory_format=MEMORY_FORMATS[layout])  # type: ignore[call-overload]
    if side == "torch":
        return plain
    converted = fastconv.convert(plain)
    return fastconv.freeze(converted) if frozen else converted


def calls_of(
    module: torch.nn.Module,
    input: Tensor,
    direction: Direction,
    layouts: Sequence[Layout],
    frozen: bool,
) -> dict[tuple[Side, Layout], Call]:
    calls: dict[tuple[Side, Layout], Call] = {}
    for layout in layouts:
        for side in ("torch", "fastconv"):
            own_input = input.detach().clone(memory_format=MEMORY_FORMATS[layout])
            own_module = twin(module, side, layout, frozen)
            calls[side, layout] = prepare(own_module, own_input, direction)
    return calls


def exact(module: torch.nn.Module, input: Tensor, direction: Direction) -> Sequence[Tensor]:
    """The result in float64, from inputs in the dtype in which the sides get them."""
    wide = copy.deepcopy(module).double()
    return prepare(wide, input.detach().double(), direction, input.dtype)()


def compare(
    module: torch.nn.Module,
    input: Tensor,
    direction: Direction = "forward",
    *,
    layouts: Sequence[Layout] = tuple(MEMORY_FORMATS),
    floor: float = FP32_ERROR,
    budget: float = 0.5,
    frozen: bool = False,
    before_sample: Callable[[], object] | None = None,
) -> Comparison:
    """Check and time `module`, a plain torch layer or network, against its converted copy.

    `frozen` promises fastconv that the weights stay (fastconv.freeze); `before_sample` runs, not
    timed, before each sample, which is then one call.

    Raises WrongResultError where fastconv's error against float64 exceeds the larger of `floor`
    and twice torch's own.
    """
    if isinstance(module, torch.nn.MaxPool2d) and direction == "forward":
        floor = 0.0  # a maximum is one of the inputs: nothing rounds
    calls = calls_of(module, input, direction, layouts, frozen)
    errors = check(calls, exact(module, input, direction), floor)
    timings = time_interleaved(calls, budget=budget, clock=clock(), before_sample=before_sample)
    return Comparison(timings, errors)


def check(
    calls: dict[tuple[Side, Layout], Call], reference: Sequence[Tensor], floor: float
) -> Errors:
    """The worst layout's errors, or a WrongResultError."""
    errors = []
    for layout in dict.fromkeys(layout for _, layout in calls):
        error = judge(calls["fastconv", layout](), calls["torch", layout](), reference, floor)
        if not error.ok:
            raise WrongResultError(
                f"{layout} errs {error.fastconv:.1e} against float64, "
                f"allowed {error.allowed:.1e}, torch errs {error.torch:.1e}"
            )
        errors.append(error)
    return max(errors, key=lambda error: error.fastconv)
