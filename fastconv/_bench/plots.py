"""Results in pictures: the ratio of every layer, and its operations a second beside the peak."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # a file is all that is wanted: no display needed

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from fastconv._bench.compare import Side
from fastconv._bench.results import Results, Row, geometric_mean, peak_key
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import WHOLE_NETWORK

COLOURS: dict[Side, str] = {"torch": "#e8590c", "fastconv": "#1864ab"}
_SLOWER = "#e8590c"
_GREY = "#495057"
_ROWS_PER_COLUMN = 48
_MOST_COLUMNS = 4
_ROW_INCHES = 0.17
_MOST_NAMED = 60


def draw(results: Results, path: Path) -> list[Path]:
    """Two files for each setting, named after `path` and, where there are several, the setting."""
    settings = list(dict.fromkeys(row.setting for row in results.rows))
    written = []
    for setting in settings:
        rows = [row for row in results.rows if row.setting == setting]
        stem = path.stem if len(settings) == 1 else f"{path.stem}-{setting.slug}"
        suffix = path.suffix or ".png"
        pictures = {"ratio": draw_ratios(results, setting, rows)}
        if any(row.kind != "max pool" for row in rows):
            pictures["gflops"] = draw_rates(results, setting, rows)
        for name, figure in pictures.items():
            file = path.with_name(f"{stem}-{name}{suffix}")
            figure.savefig(file, dpi=110)
            pyplot.close(figure)
            written.append(file)
    return written


def draw_ratios(results: Results, setting: Setting, rows: Sequence[Row]) -> Figure:
    """One bar a layer from 1.0 outwards, by network, in as many columns as it takes."""
    lines: list[Row | str] = []
    for network, group in itertools.groupby(rows, key=lambda row: row.network):
        layers = list(group)
        lines += layers if _is_network(layers[0]) else [network, *layers]
    columns = min(_MOST_COLUMNS, math.ceil(len(lines) / _ROWS_PER_COLUMN))
    length = math.ceil(len(lines) / columns)
    figure = pyplot.figure(
        figsize=(7.5 if columns == 1 else 5.2 * columns, 1.7 + length * _ROW_INCHES),
        layout="constrained",
    )
    low = min(0.8, *(row.ratio for row in rows)) / 1.12
    high = max(1.25, *(row.ratio for row in rows)) * 1.45  # room for the figures at the bars
    for index, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        part = lines[index * length : (index + 1) * length]
        _draw_bars(axes, part, length)
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xticks([tick for tick in (0.25, 0.5, 1, 2, 4, 8, 16, 32) if low < tick < high])
    mean = geometric_mean(row.ratio for row in rows)
    figure.suptitle(f"torch's time / fastconv's, geometric mean {mean:.2f}x\n{setting}")
    _footnote(figure, results)
    return figure


def _draw_bars(axes: Axes, lines: Sequence[Row | str], length: int) -> None:
    for place, line in enumerate(lines):
        if isinstance(line, str):
            across = axes.get_yaxis_transform()
            axes.text(
                0, place, line, transform=across, fontsize=7.5, weight="bold", va="center", c=_GREY
            )
            continue
        colour = COLOURS["fastconv"] if line.ratio >= 1 else _SLOWER
        axes.barh(place, line.ratio - 1, 0.72, left=1, color=colour)
        axes.annotate(
            f"{line.ratio:.2f}",
            (max(line.ratio, 1), place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=6,
        )
    names = ["" if isinstance(line, str) else _label(line) for line in lines]
    axes.set_yticks(range(len(lines)), names, fontsize=6)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(length - 0.4, -0.6)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.grid(axis="x", which="major", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw_rates(results: Results, setting: Setting, rows: Sequence[Row]) -> Figure:
    """A dot for each side of each layer; the axis ends at the peak unless a layer is above it."""
    rows = [row for row in rows if row.kind != "max pool"]
    named = len(rows) <= _MOST_NAMED
    figure = pyplot.figure(
        figsize=(max(8, min(17, 2 + 0.2 * len(rows))), 7.5 if named else 5.5), layout="constrained"
    )
    axes = figure.subplots()
    places = range(len(rows))
    rates = {side: [row.rate(side) / 1e9 for row in rows] for side in COLOURS}
    axes.vlines(places, rates["torch"], rates["fastconv"], color="#adb5bd", linewidth=1, zorder=1)
    for side, values in rates.items():
        axes.scatter(places, values, s=14, color=COLOURS[side], label=side, zorder=2)
    peaks = {
        dtype: results.peaks[peak_key(dtype, setting.threads)] / 1e9
        for dtype in dict.fromkeys(("float32", setting.dtype))
    }
    highest = max(max(values) for values in rates.values())
    top = max(*peaks.values(), highest * 1.02 if highest > peaks["float32"] else 0.0)
    for dtype, peak in peaks.items():
        axes.axhline(peak, color="black", linewidth=1, linestyle="--")
        axes.annotate(
            f"{peak:.0f}\ntorch.mm\n{dtype}",
            (1, peak),
            xycoords=axes.get_yaxis_transform(),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_ylim(0, top)
    axes.set_xlim(-1, len(rows))
    axes.set_ylabel("GFLOP/s by the definition's products")
    if not _is_network(rows[0]):
        _mark_networks(axes, rows)
    if named:
        axes.set_xticks(places, [_label(row) for row in rows], rotation=90, fontsize=6.5)
    else:
        axes.set_xticks([])
    axes.grid(axis="y", alpha=0.3)
    # Beside the axes too, where the peaks leave it room.
    marks = sorted([0.0, *(peak / top for peak in peaks.values()), 1.0])
    low, high = max(itertools.pairwise(marks), key=lambda gap: gap[1] - gap[0])
    beside = (1, (low + high) / 2)
    axes.legend(loc="center left", bbox_to_anchor=beside, frameon=False, handletextpad=0)
    title = f"Operations a second, each side at its faster layout\n{setting}"
    if highest > peaks["float32"]:
        title += "\nWinograd and padding save products of the definition"
    axes.set_title(title, pad=24)
    _footnote(figure, results)
    return figure


def _label(row: Row) -> str:
    return row.network if _is_network(row) else f"{row.name}  {row.shape}"


def _is_network(row: Row) -> bool:
    return row.kind == WHOLE_NETWORK


def _mark_networks(axes: Axes, rows: Sequence[Row]) -> None:
    """Every second network on a grey ground, its name above it."""
    start = 0
    for index, (network, group) in enumerate(itertools.groupby(rows, key=lambda row: row.network)):
        count = len(list(group))
        if index % 2:
            axes.axvspan(start - 0.5, start + count - 0.5, color="#f1f3f5", zorder=0)
        axes.annotate(
            network,
            (start + count / 2 - 0.5, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4 + 9 * (index % 2)),
            textcoords="offset points",
            ha="center",
            fontsize=7.5,
            color=_GREY,
        )
        start += count


def _footnote(figure: Figure, results: Results) -> None:
    facts = results.machine
    figure.supxlabel(
        f"{facts['cpu']}, {facts['instruction set'].split()[0]}; torch {facts['torch']}, fastconv "
        f"{facts['fastconv']}; {facts['date'][:10]}",
        fontsize=7.5,
        color=_GREY,
    )
