"""One subject under one setting: checked, timed, and if asked weighed, into a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import nn

import fastconv
from fastconv._bench.compare import MEMORY_FORMATS, Side, compare, twin
from fastconv._bench.memory import peak_memory
from fastconv._bench.passes import Direction
from fastconv._bench.results import Row
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import (
    Subject,
    build,
    floor_of,
    kind_of,
    name_of,
    network_of,
    shape_of,
    work_of,
)

_IN_EXPLANATIONS: dict[Direction, tuple[str, ...]] = {
    "forward": ("fprop", "forward"),
    "input gradient": ("dgrad", "backward"),
    "weight gradient": ("wgrad",),
}


def explain_layer(
    converted: nn.Module, input: torch.Tensor, direction: Direction
) -> fastconv._explain.Row:
    """What the dispatcher says of one direction of one layer."""
    rows = fastconv.explain(converted, input.detach(), backward=direction != "forward").rows
    (found,) = (row for row in rows if row.direction in _IN_EXPLANATIONS[direction])
    return found


def measure(
    subject: Subject,
    setting: Setting,
    *,
    budget: float,
    before_sample: Callable[[], object] | None = None,
    memory: bool = False,
) -> Row:
    """Raises WrongResultError where fastconv's result is too far from float64's.

    Raises RuntimeError where the algorithm that the setting asks for rejects the layer.
    """
    with setting.in_force():
        module, input = build(subject, setting)
        algorithms: dict[str, str] = {}
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d)):
            for layout in setting.layouts:
                converted = twin(module, "fastconv", layout, setting.frozen)
                own = input.clone(memory_format=MEMORY_FORMATS[layout])
                explained = explain_layer(converted, own, setting.direction)
                algorithms[layout] = explained.algorithm or "torch's own"
        result = compare(
            module,
            input,
            setting.direction,
            layouts=setting.layouts,
            floor=floor_of(subject, module, setting),
            budget=budget,
            frozen=setting.frozen,
            before_sample=before_sample,
        )
    sides = get_args(Side)
    peaks: dict[str, dict[str, int]] = {
        side: {layout: peak_memory(subject, setting, side, layout) for layout in setting.layouts}
        for side in (sides if memory else ())
    }
    return Row(
        network=network_of(subject),
        name=name_of(subject),
        kind=kind_of(subject),
        shape=shape_of(subject),
        count=1 if not hasattr(subject, "count") else subject.count,
        setting=setting,
        work=work_of(subject, setting),
        seconds={s: {k: result.timings[s, k].median for k in setting.layouts} for s in sides},
        spread={s: {k: result.timings[s, k].spread for k in setting.layouts} for s in sides},
        error={
            "torch": result.errors.torch,
            "fastconv": result.errors.fastconv,
            "allowed": result.errors.allowed,
        },
        algorithms=algorithms,
        peak_bytes=peaks,
    )
