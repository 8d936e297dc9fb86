"""One step of the micro-kernel: a column of A times a row of B, added to 28 registers."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, arrow, canvas, grid, text

axes = canvas(34, 14.5)
ROWS = 7


def lines(i: int, j: int) -> str:
    return "a[13]" if i == ROWS - 1 else ("..." if i == ROWS - 2 else f"a[{i}]")


grid(axes, (3.2, 5.0), ROWS, 1, ORANGE, lines, cell=2.6, height=1.1)
text(axes, (4.5, 3.9), "one column of the A tile,\neach broadcast to a vector", size=9)

grid(axes, (9.2, 2.3), 1, 2, BLUE, lambda i, j: f"b[{j}]: 16 floats", cell=9.0, height=1.2)
text(axes, (18.2, 1.3), "one row of the B panel: 2 vectors, one load each", size=9)

grid(
    axes,
    (9.2, 5.0),
    ROWS,
    2,
    GREEN,
    lambda i, j: (
        "..." if i == ROWS - 2 else f"sum[{13 if i == ROWS - 1 else i}][{j}] += a * b[{j}]"
    ),
    cell=9.0,
    height=1.1,
)
arrow(axes, (6.0, 5.55), (9.0, 5.55), colour=ACCENT)
arrow(axes, (13.7, 3.6), (13.7, 4.9), colour=ACCENT)
arrow(axes, (22.7, 3.6), (22.7, 4.9), colour=ACCENT)
text(
    axes,
    (17.0, 13.7),
    "28 fused multiply-adds of 16 lanes: 448 products for 2 loads and 14 broadcasts",
    size=9,
)
text(axes, (28.0, 8.0), "next k:\nnext column of A,\nnext row of B", size=9, align="left")
