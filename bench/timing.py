"""Interleaved timing.

A shared machine drifts by tens of percent from one second to the next, so that two medians taken
one after the other compare the machine with itself. Here every candidate runs once per round, in
an order that rotates from round to round, and only medians from the same rounds are compared.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

Key = TypeVar("Key")

# A sample shorter than this would measure the clock and the interpreter's jitter; faster calls are
# repeated within the sample.
SHORTEST_SAMPLE = 200e-6


@dataclass(frozen=True)
class Timing:
    """Seconds per call: the median over the rounds and the distance between its quartiles."""

    median: float
    spread: float


def clock() -> Callable[[], float]:
    """The clock for torch's present number of threads.

    What one thread computes is its own CPU time, whoever else wants the core. The work of several
    can only be told by the wall.
    """
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def clock_name() -> str:
    return "CPU time" if torch.get_num_threads() == 1 else "wall time"


def _seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def time_interleaved(
    candidates: Mapping[Key, Callable[[], object]],
    *,
    budget: float = 0.5,
    min_rounds: int = 7,
    max_rounds: int = 200,
    clock: Callable[[], float],
) -> dict[Key, Timing]:
    """Time every candidate for about `budget` seconds in all, and at least `min_rounds` rounds."""
    names = list(candidates)
    for call in candidates.values():  # first calls create primitives and fault pages in
        call()
    warm = {name: _seconds(candidates[name], 1, clock) for name in names}
    repeats = {name: max(1, round(SHORTEST_SAMPLE / max(warm[name], 1e-9))) for name in names}
    round_cost = sum(max(warm[name], SHORTEST_SAMPLE) for name in names)
    rounds = min(max_rounds, max(min_rounds, round(budget / round_cost)))

    samples: dict[Key, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(_seconds(candidates[name], repeats[name], clock))
    timings = {}
    for name, values in samples.items():
        low, median, high = statistics.quantiles(values, n=4)
        timings[name] = Timing(median, high - low)
    return timings
