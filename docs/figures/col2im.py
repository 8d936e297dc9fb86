"""col2im: a row of sums for each pixel of the output, added where its window stands."""

from drawing import BLUE, GREEN, ORANGE, YELLOW, arrow, canvas, grid, text

axes = canvas(34, 14.5)
CELL = 1.05
FIRST, SECOND, BOTH = BLUE, YELLOW, GREEN

text(axes, (2.9, 0.9), "grad_output", bold=True)
text(axes, (2.9, 2.0), "pixels x K", size=9)
grid(
    axes,
    (0.8, 3.0),
    2,
    4,
    lambda i, j: (FIRST, SECOND)[i],
    lambda i, j: f"k{j}",
    cell=CELL,
    text_size=8,
)
text(axes, (0.5, 3.55), "p", align="right", size=9)
text(axes, (0.5, 4.6), "q", align="right", size=9)

text(axes, (12.6, 0.9), "weight, as it lies", bold=True)
text(axes, (12.6, 2.0), "K x (taps and channels)", size=9)
grid(
    axes,
    (7.9, 3.0),
    4,
    9,
    lambda i, j: ORANGE,
    lambda i, j: f"{j // 3},{j % 3}",
    cell=CELL,
    text_size=7.5,
)
text(axes, (6.45, 4.0), "x", size=13)

text(axes, (12.6, 8.8), "sums", bold=True)
text(axes, (12.6, 9.9), "every pixel's share of each tap", size=9)
grid(
    axes,
    (7.9, 10.9),
    2,
    9,
    lambda i, j: (FIRST, SECOND)[i],
    lambda i, j: f"{j // 3},{j % 3}",
    cell=CELL,
    text_size=7.5,
)
arrow(axes, (12.6, 7.4), (12.6, 8.3))
text(axes, (7.6, 11.45), "p", align="right", size=9)
text(axes, (7.6, 12.5), "q", align="right", size=9)


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
