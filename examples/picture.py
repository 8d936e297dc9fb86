"""The demonstration in one picture: two loss curves, and the time of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a file is all that is wanted: no display needed

from matplotlib import pyplot
from matplotlib.axes import Axes

from examples.digits import EARLY_STEPS, LOSS_TOLERANCE, Run
from examples.photograph import LayerResult
from fastconv._bench.compare import Side
from fastconv._bench.timing import clock_name

COLOURS: dict[Side, str] = {"torch": "#e8590c", "fastconv": "#1864ab"}


def draw_losses(axes: Axes, runs: Mapping[str, Run]) -> None:
    """torch's curve broad and pale, fastconv's thin on top of it: they should be one line."""
    axes.plot(
        runs["torch"].losses,
        color=COLOURS["torch"],
        alpha=0.35,
        linewidth=4,
        label="torch",
    )
    axes.plot(
        runs["fastconv"].losses,
        color=COLOURS["fastconv"],
        linewidth=1,
        label="fastconv",
    )
    axes.set_yscale("log")
    axes.margins(x=0.01, y=0.08)
    axes.set_ylabel("training loss (cross entropy)")
    axes.set_title("LeNet-5 on handwritten digits, same seed")
    axes.legend(title="layers of", loc="upper right")
    axes.grid(alpha=0.25)


def draw_difference(axes: Axes, runs: Mapping[str, Run]) -> None:
    ours, theirs = runs["fastconv"].losses, runs["torch"].losses
    apart = [abs(a - b) for a, b in zip(ours, theirs, strict=True)]
    axes.plot(apart, color="#495057", linewidth=1)
    axes.hlines(LOSS_TOLERANCE, 0, EARLY_STEPS, color="#c92a2a", linewidth=2)
    # Below the curve, which stays above it once the two networks have parted.
    axes.text(
        3 * EARLY_STEPS,
        1e-7,
        f"red: at most {LOSS_TOLERANCE:.0e} apart in the first {EARLY_STEPS} steps",
        va="center",
        fontsize=8,
        color="#c92a2a",
    )
    axes.set_yscale("log")
    axes.set_ylim(1e-9, 1e-1)
    axes.set_xlabel("training step")
    axes.set_ylabel("loss difference")
    axes.grid(alpha=0.25)


def draw_layers(axes: Axes, title: str, layers: Sequence[LayerResult]) -> None:
    """Two bars for each layer in the order of the network, first layer on top."""
    height = 0.4
    for offset, side in zip((-height / 2, height / 2), COLOURS, strict=True):
        times = [layer.comparison.best(side)[1] * 1e3 for layer in layers]
        places = [place + offset for place in range(len(layers))]
        axes.barh(places, times, height, color=COLOURS[side], label=side)
    for place, layer in enumerate(layers):
        slower = max(layer.comparison.best(side)[1] for side in COLOURS)
        axes.annotate(
            f"{layer.comparison.ratio:.2f}x",
            (slower * 1e3, place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.01)
    axes.set_xlabel(f"ms ({clock_name()}, median; each side at its faster memory format)")
    axes.set_title(f"{title}: time of each layer, and torch / fastconv")
    axes.legend()
    axes.grid(axis="x", alpha=0.25)
    axes.set_axisbelow(True)


def draw(
    path: Path,
    layers: Mapping[str, Sequence[LayerResult]],
    runs: Mapping[str, Run],
    footnote: str,
) -> None:
    figure = pyplot.figure(figsize=(13, 8.5), layout="constrained")
    halves = figure.add_gridspec(1, 2)
    left, right = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    losses, difference, small = left.subplots(3, 1, height_ratios=(3, 1.5, 3.5))
    difference.sharex(losses)
    losses.tick_params(labelbottom=False)
    draw_losses(losses, runs)
    draw_difference(difference, runs)
    (large_title, large_layers), (small_title, small_layers) = layers.items()
    draw_layers(small, small_title, small_layers)
    draw_layers(right.subplots(), large_title, large_layers)
    figure.supxlabel(footnote, fontsize=8, color="#495057")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
