"""What the dispatcher's choices cost: each algorithm that accepts a layer beside the chosen one.

No weights are kept packed meanwhile, so that each algorithm does its whole work at each call.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn

import fastconv
from fastconv._algorithms import of_the_same_job
from fastconv._bench.compare import MEMORY_FORMATS, Layout, WrongResultError, exact, judge, twin
from fastconv._bench.layers import Layer
from fastconv._bench.measure import explain_layer
from fastconv._bench.passes import Call, Direction, prepare
from fastconv._bench.results import Regret
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import build, floor_of, work_of
from fastconv._bench.timing import clock, time_interleaved

# The references take a nanosecond or more for each product: on larger layers, seconds a call.
_MOST_WORK_OF_REFERENCE = 20_000_000
# What takes that many times as long as the choice at its first call is not the best.
_HOPELESS = 4.0
_LIMIT = "FASTCONV_PACK_LIMIT_MB"


def measure_regret(layer: Layer, setting: Setting, *, budget: float) -> list[Regret]:
    """One entry for each memory format.

    Raises WrongResultError where an algorithm's result is too far from float64's.
    """
    with setting.in_force(), _nothing_packed():
        module, input = build(layer, setting)
        reference = exact(module, input, setting.direction)
        return [
            _in_layout(layer, setting, layout, module, input, reference, budget)
            for layout in setting.layouts
        ]


def _in_layout(
    layer: Layer,
    setting: Setting,
    layout: Layout,
    module: nn.Module,
    input: Tensor,
    reference: Sequence[Tensor],
    budget: float,
) -> Regret:
    converted = twin(module, "fastconv", layout, frozen=False)
    plain = twin(module, "torch", layout, frozen=False)
    own = input.clone(memory_format=MEMORY_FORMATS[layout])
    told = explain_layer(converted, own, setting.direction)
    assert told.algorithm is not None
    theirs = prepare(plain, own.detach().clone(), setting.direction)()
    floor = floor_of(layer, module, setting)

    def checked(name: str) -> Call:
        call = pinned(name, converted, own, setting.direction)
        error = judge(call(), theirs, reference, floor)
        if not error.ok:
            raise WrongResultError(
                f"{name} in {layout} errs {error.fastconv:.1e} against "
                f"float64, allowed {error.allowed:.1e}, torch errs {error.torch:.1e}"
            )
        return call

    small = work_of(layer, setting) <= _MOST_WORK_OF_REFERENCE
    calls = promising(told, checked, small)
    timings = time_interleaved(calls, budget=budget, clock=clock())
    return Regret(
        network=layer.network,
        name=layer.name,
        kind=layer.kind,
        shape=layer.shape,
        count=layer.count,
        setting=setting,
        layout=layout,
        chosen=told.algorithm,
        seconds={name: timing.median for name, timing in timings.items()},
    )


def promising(
    told: fastconv._explain.Row, checked: Callable[[str], Call], small: bool
) -> dict[str, Call]:
    """The choice, and what else accepts the layer and is not hopelessly slower."""
    assert told.algorithm is not None
    calls = {told.algorithm: checked(told.algorithm)}
    longest = _HOPELESS * _seconds(calls[told.algorithm])
    for name in (algorithm.name for algorithm in of_the_same_job(told.algorithm)):
        rejects = name in told.rejected
        if rejects or name == told.algorithm or (name.endswith("_reference") and not small):
            continue
        call = checked(name)
        if _seconds(call) <= longest:
            calls[name] = call
    return calls


def pinned(name: str, module: nn.Module, input: Tensor, direction: Direction) -> Call:
    """The call by that algorithm; a backward one is bound to it by its forward."""
    own = input.detach().clone()  # of the same strides
    with fastconv.use_algorithm(name):
        call = prepare(module, own, direction)
    if direction != "forward":
        return call

    def forward() -> Sequence[Tensor]:
        with fastconv.use_algorithm(name):
            return call()

    return forward


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@contextlib.contextmanager
def _nothing_packed() -> Iterator[None]:
    before = os.environ.get(_LIMIT)
    os.environ[_LIMIT] = "0"
    try:
        yield
    finally:
        del os.environ[_LIMIT]
        if before is not None:
            os.environ[_LIMIT] = before
