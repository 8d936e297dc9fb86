"""What every convolution of the bench reaches, from bench/results: fastconv, frozen, one thread."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt

from drawing import ACCENT, GREY, INK

# Sphinx runs figures in their own folder, with no __file__.
RESULTS = Path.cwd().parents[1] / "bench" / "results"
FROZEN = max(RESULTS.glob("*-avx512-*-forward-frozen.json"))
RUNS = sorted(RESULTS.glob(FROZEN.name.replace("forward-frozen", "*")))
MEASURED = json.loads(FROZEN.read_text())
SHAPE = re.compile(
    r"(?P<C>\d+)x(?P<H>\d+)x(?P<W>\d+) (?P<R>\d+)x(?P<S>\d+)(?:/(?P<stride>\d+))?"
    r"(?: dil \d+)?(?: g(?P<groups>\d+))? -> (?P<K>\d+)"
)
GROUPS = {
    "3x3, 5x5, dilated": ("o", "#2c7fb8", ("3x3", "3x3, few channels", "5x5", "dilated")),
    "1x1": ("s", "#e08214", ("1x1", "1x1, few channels", "1x1 strided")),
    "first layers": ("D", "#4d9221", ("first layer",)),
    "grouped": ("v", "#8e6bb0", ("grouped",)),
    "depthwise": ("^", ACCENT, ("depthwise 3x3",)),
}


def floats_touched(shape: str, work: int) -> float:
    """Input, weight and output, each once."""
    found = SHAPE.fullmatch(shape)
    assert found is not None, shape
    size = {name: int(value or 1) for name, value in found.groupdict().items()}
    weight = size["K"] * size["C"] // size["groups"] * size["R"] * size["S"]
    output = work / (weight / size["K"])
    return size["C"] * size["H"] * size["W"] + weight + output


figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
for name, (marker, colour, kinds) in GROUPS.items():
    rows = [row for row in MEASURED["rows"] if row["kind"] in kinds]
    axes.scatter(
        [row["work"] / floats_touched(row["shape"], row["work"]) for row in rows],
        [2e-9 * row["work"] / min(row["seconds"]["fastconv"].values()) for row in rows],
        s=22,
        marker=marker,
        c=colour,
        alpha=0.8,
        linewidths=0,
        label=name,
    )
peaks = [1e-9 * json.loads(path.read_text())["peaks"]["float32, 1"] for path in RUNS]
axes.axhspan(min(peaks), max(peaks), color=GREY, alpha=0.25, lw=0)
axes.text(1.6, max(peaks) * 1.07, f"torch.mm: {min(peaks):.0f} to {max(peaks):.0f}", color=INK)
axes.set_xscale("log")
axes.set_yscale("log")
axes.set_xlabel("multiply-adds for each float of input, weight and output")
axes.set_ylabel("GFLOP/s, as the definition counts")
axes.set_ylim(3, 600)
axes.grid(True, which="major", color=GREY, alpha=0.25)
axes.legend(loc="lower right", frameon=False)
