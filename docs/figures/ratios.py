"""torch's time over fastconv's by kind of layer, each side at its faster layout: bench/results."""

import json
import math
from pathlib import Path

import matplotlib.pyplot as plt

from drawing import GREY, INK

# Sphinx runs figures in their own folder, with no __file__.
RESULTS = Path.cwd().parents[1] / "bench" / "results"
FROZEN = max(
    RESULTS.glob("*-avx512-*-forward-frozen.json"),
    key=lambda path: path.name.removesuffix("-forward-frozen.json")[-len("2026-11-23") :],
)
PLAIN = FROZEN.with_name(FROZEN.name.replace("-frozen", ""))


def ratios(path: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in json.loads(path.read_text())["rows"]:
        torch, ours = (min(row["seconds"][side].values()) for side in ("torch", "fastconv"))
        found.setdefault(row["kind"], []).append(torch / ours)
    return found


def mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


frozen, plain = ratios(FROZEN), ratios(PLAIN)
kinds = sorted(frozen, key=lambda kind: mean(frozen[kind]))
figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
for offset, results, colour, name in (
    (0.17, frozen, "#2c7fb8", "frozen"),
    (-0.17, plain, "#e08214", "plain"),
):
    for y, kind in enumerate(kinds):
        values = results[kind]
        axes.plot((min(values), max(values)), (y + offset,) * 2, color=colour, lw=5, alpha=0.3)
        axes.plot(mean(values), y + offset, "o", color=colour, label=name if y == 0 else None)
axes.axvline(1, color=INK, lw=1.2, ls="--")
axes.set_yticks(range(len(kinds)), [f"{kind} ({len(frozen[kind])})" for kind in kinds])
axes.set_xscale("log")
axes.set_xticks((0.5, 0.7, 1, 1.5, 2, 3), ("0.5x", "0.7x", "1x", "1.5x", "2x", "3x"))
axes.set_xticks((), minor=True)
axes.set_xlabel("torch's time over fastconv's: mean, and from the slowest to the fastest layer")
axes.grid(True, axis="x", color=GREY, alpha=0.25)
axes.legend(loc="lower right", frameon=False)
