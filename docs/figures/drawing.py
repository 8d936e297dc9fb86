"""What the figures have in common: colours, boxes, grids of cells, arrows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, Rectangle

__all__ = ["ACCENT", "BLUE", "GREEN", "GREY", "INK", "ORANGE", "PALE", "RED", "YELLOW"]
__all__ += ["arrow", "box", "canvas", "grid", "text"]

INK, GREY, PALE = "#22303c", "#8796a5", "#eef2f6"
BLUE, GREEN, ORANGE, RED, YELLOW = "#9cc4e4", "#b5d99c", "#f7c08a", "#ef9a9a", "#f6e3a1"
ACCENT = "#c0392b"

# Ten points, and the same bytes for the same figure.
mpl.rcParams.update({"font.size": 10, "svg.hashsalt": "fastconv", "savefig.facecolor": "white"})

Point = tuple[float, float]
Cell = TypeVar("Cell")


def canvas(width: float, height: float, inches: float = 8.0) -> Axes:
    """Axes of `width` by `height` units, y downwards, nothing drawn around them."""
    figure = plt.figure(figsize=(inches, inches * height / width))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return axes


def text(
    axes: Axes,
    at: Point,
    words: str,
    *,
    size: float = 10,
    colour: str = INK,
    align: str = "center",
    bold: bool = False,
    mono: bool = False,
    rotation: float = 0,
) -> None:
    axes.text(
        *at,
        words,
        ha=align,
        va="center",
        fontsize=size,
        color=colour,
        weight="bold" if bold else "normal",
        family="monospace" if mono else "sans-serif",
        rotation=rotation,
        linespacing=1.35,
    )


def box(
    axes: Axes,
    at: Point,
    size: Point,
    fill: str = PALE,
    words: str = "",
    *,
    edge: str = INK,
    line: float = 1.0,
    text_size: float = 10,
    dashed: bool = False,
    bold: bool = False,
) -> None:
    """A rectangle from its upper left corner, with words in the middle."""
    style = "--" if dashed else "-"
    axes.add_patch(Rectangle(at, *size, facecolor=fill, edgecolor=edge, lw=line, ls=style))
    if words:
        middle = (at[0] + size[0] / 2, at[1] + size[1] / 2)
        text(axes, middle, words, size=text_size, bold=bold)


def _of(source: Callable[[int, int], Cell] | Sequence[Sequence[Cell]], i: int, j: int) -> Cell:
    return source(i, j) if callable(source) else source[i][j]


def grid(
    axes: Axes,
    at: Point,
    rows: int,
    columns: int,
    fill: Callable[[int, int], str] | Sequence[Sequence[str]] | str = PALE,
    label: Callable[[int, int], object] | Sequence[Sequence[object]] | None = None,
    *,
    cell: float = 1.0,
    height: float | None = None,
    text_size: float = 9,
    edge: str = INK,
    line: float = 0.7,
) -> None:
    """rows x columns cells; `fill` and `label` are asked for each (row, column), or lists."""
    tall = cell if height is None else height
    for i in range(rows):
        for j in range(columns):
            colour = fill if isinstance(fill, str) else _of(fill, i, j)
            words = "" if label is None else str(_of(label, i, j))
            corner = (at[0] + j * cell, at[1] + i * tall)
            box(
                axes, corner, (cell, tall), colour, words, text_size=text_size, edge=edge, line=line
            )


def arrow(
    axes: Axes,
    start: Point,
    end: Point,
    *,
    colour: str = INK,
    bend: float = 0.0,
    both: bool = False,
    line: float = 1.3,
    dashed: bool = False,
) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="<|-|>" if both else "-|>",
            mutation_scale=12,
            lw=line,
            color=colour,
            ls="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=0,
            shrinkB=0,
        )
    )
