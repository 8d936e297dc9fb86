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

# A median needs some rounds; of rounds that take seconds, as training steps do, fewer must do.
FEWEST_ROUNDS = 7
LONG_ROUND = 2.0
FEWEST_LONG_ROUNDS = 3


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


def clock_name(threads: int | None = None) -> str:
    return "CPU time" if (threads or torch.get_num_threads()) == 1 else "wall time"


def _seconds(call: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        call()
    return (clock() - start) / repeats


def time_interleaved(
    candidates: Mapping[Key, Callable[[], object]],
    *,
    budget: float = 0.5,
    max_rounds: int = 200,
    clock: Callable[[], float],
    before_sample: Callable[[], object] | None = None,
) -> dict[Key, Timing]:
    """Time every candidate for about `budget` seconds in all, and for a few rounds at least.

    Each must have been called before: first calls create primitives and fault pages in.
    `before_sample` runs before each sample, outside the time, and makes a sample a single call.
    """
    names = list(candidates)
    start = time.perf_counter()
    repeats = {}
    for name in names:
        if before_sample is not None:
            before_sample()
        warm = _seconds(candidates[name], 1, clock)
        alone = before_sample is not None
        repeats[name] = 1 if alone else max(1, round(SHORTEST_SAMPLE / max(warm, 1e-9)))
    short = 0.0 if before_sample is not None else SHORTEST_SAMPLE * len(names)
    round_cost = max(time.perf_counter() - start, short)
    fewest = FEWEST_ROUNDS if round_cost < LONG_ROUND else FEWEST_LONG_ROUNDS
    rounds = min(max_rounds, max(fewest, round(budget / round_cost)))

    samples: dict[Key, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if before_sample is not None:
                before_sample()
            samples[name].append(_seconds(candidates[name], repeats[name], clock))
    timings = {}
    for name, values in samples.items():
        low, median, high = statistics.quantiles(values, n=4)
        timings[name] = Timing(median, high - low)
    return timings
