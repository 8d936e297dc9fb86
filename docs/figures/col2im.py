"""col2im: a row of sums for each pixel of the output, added where its window stands."""

from collections.abc import Callable

from drawing import BLUE, GREEN, ORANGE, YELLOW, arrow, canvas, grid, text

axes = canvas(34, 14.5)
CELL = 1.05
FIRST, SECOND, BOTH = BLUE, YELLOW, GREEN


def matrix(
    left: float, top: float, columns: int, label: Callable[[int], str], fills: list[str]
) -> None:
    """Rows of cells from (left, top) on, one for each colour."""
    grid(
        axes,
        (left, top),
        len(fills),
        columns,
        lambda i, j: fills[i],
        lambda i, j: label(j),
        cell=CELL,
        text_size=7.5,
    )


def tap(j: int) -> str:
    return f"{j // 3},{j % 3}"


text(axes, (2.9, 0.9), "grad_output", bold=True)
text(axes, (2.9, 2.0), "pixels x K", size=9)
matrix(0.8, 3.0, 4, lambda j: f"k{j}", [FIRST, SECOND])

text(axes, (12.6, 0.9), "weight, as it lies", bold=True)
text(axes, (12.6, 2.0), "K x (taps and channels)", size=9)
matrix(7.9, 3.0, 9, tap, [ORANGE] * 4)
text(axes, (6.45, 4.0), "x", size=13)

text(axes, (12.6, 8.8), "sums", bold=True)
text(axes, (12.6, 9.9), "every pixel's share of each tap", size=9)
matrix(7.9, 10.9, 9, tap, [FIRST, SECOND])
arrow(axes, (12.6, 7.4), (12.6, 8.3))
for right, top in ((0.5, 3.55), (7.6, 11.45)):
    text(axes, (right, top), "p", align="right", size=9)
    text(axes, (right, top + CELL), "q", align="right", size=9)


def cell_of_windows(i: int, j: int) -> str:
    first, second = 1 <= i < 4 and 1 <= j < 4, 1 <= i < 4 and 3 <= j < 6
    if first and second:
        return BOTH
    return FIRST if first else SECOND if second else "white"


text(axes, (26.6, 0.9), "grad_input, stride 2", bold=True)
grid(
    axes,
    (22.0, 3.0),
    5,
    7,
    cell_of_windows,
    lambda i, j: {FIRST: "p", SECOND: "q", BOTH: "p+q"}.get(cell_of_windows(i, j), ""),
    cell=1.32,
    text_size=8,
)
text(
    axes,
    (26.6, 10.7),
    "each sum is added at its tap's place;\nwhere windows overlap, several",
    size=9,
)
arrow(axes, (17.7, 11.9), (21.6, 8.2))
