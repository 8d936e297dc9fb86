"""What a call costs where there is next to nothing to compute: `python -m bench.calls`.

Modules on a 1x3x8x8 image, torch's and fastconv's in turns, one thread, medians of CPU time. What
is timed is Python, torch's dispatcher, autograd, and the choice of an algorithm.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import fastconv
from fastconv._bench.machine import facts, machine
from fastconv._bench.timing import clock, time_interleaved
from fastconv._table import render

IMAGE = (1, 3, 8, 8)
MODULES: dict[str, Callable[[], nn.Module]] = {
    "Conv2d(3, 4, 3, padding=1)": lambda: nn.Conv2d(3, 4, 3, padding=1),
    "MaxPool2d(2)": lambda: nn.MaxPool2d(2),
}


def inference(module: nn.Module, image: Tensor) -> Callable[[], object]:
    def call() -> object:
        with torch.no_grad():
            return module(image)

    return call


def recorded(module: nn.Module, image: Tensor) -> Callable[[], object]:
    return lambda: module(image)


def with_gradients(module: nn.Module, image: Tensor) -> Callable[[], tuple[Tensor, ...]]:
    leaves = [*module.parameters(), image]
    by = torch.ones_like(module(image))
    return lambda: torch.autograd.grad(module(image), leaves, by)


USES = {
    "no gradient": inference,
    "recorded": recorded,
    "recorded, then backward": with_gradients,
}


@dataclass(frozen=True)
class Result:
    """Seconds of a call."""

    module: str
    use: str
    torch: float
    fastconv: float

    @property
    def ratio(self) -> float:
        return self.torch / self.fastconv


def compare(make: Callable[[], nn.Module], use: str, seconds: float) -> tuple[float, float]:
    """Seconds of a call, torch's and ours."""
    torch.manual_seed(0)
    theirs, image = make(), torch.randn(IMAGE, requires_grad=True)
    ours = fastconv.convert(theirs)
    for a, b in zip(with_gradients(theirs, image)(), with_gradients(ours, image)(), strict=True):
        torch.testing.assert_close(b, a)
    sides = {"torch": USES[use](theirs, image), "fastconv": USES[use](ours, image)}
    for call in sides.values():
        call()
    timings = time_interleaved(sides, budget=seconds, max_rounds=10_000, clock=clock())
    return timings["torch"].median, timings["fastconv"].median


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line (default: 2)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    results = [
        Result(name, use, *compare(make, use, arguments.seconds))
        for name, make in MODULES.items()
        for use in USES
    ]
    rows = [
        (r.module, r.use, f"{r.torch * 1e6:.1f}", f"{r.fastconv * 1e6:.1f}", f"{r.ratio:.2f}x")
        for r in results
    ]
    print(machine())
    print(render(("module", "use", "torch, us", "fastconv, us", "ratio"), rows))
    if arguments.json:
        text = json.dumps({"machine": facts(), "calls": [asdict(r) for r in results]}, indent=1)
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
