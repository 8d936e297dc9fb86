"""Depthwise 3x3 along rows: each input vector is loaded once and used by every output row above."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, PALE, arrow, box, canvas, grid, text

axes = canvas(34, 17)
text(axes, (7.6, 0.9), "input, one channel (in scratch, padded)", bold=True)
for row in range(6):
    top = 1.9 + 1.7 * row
    grid(axes, (1.0, top), 1, 12, BLUE if row == 2 else PALE, cell=1.1, height=1.2)
    text(axes, (0.5, top + 0.6), str(row), size=8.5)
for shift, colour in enumerate(("#2c7fb8", "#e08214", ACCENT)):
    left, top = 1.0 + 1.1 * shift, 1.9 + 1.7 * 2 - 0.12 - 0.1 * shift
    box(axes, (left, top), (8.8, 1.44 + 0.2 * shift), "none", edge=colour, line=2)
text(axes, (7.6, 12.7), "row 2 as three loads, one column apart:\ntap columns s = 0, 1, 2", size=9)

text(axes, (26.5, 0.9), "sums in registers: a block of output rows", bold=True)
for row in range(4):
    top = 2.9 + 2.2 * row
    used = row <= 2
    grid(axes, (22.0, top), 1, 8, GREEN if used else PALE, cell=1.1, height=1.2)
    text(axes, (32.0, top + 0.6), f"row {row}", size=9)
for row, tap in ((0, 2), (1, 1), (2, 0)):
    arrow(axes, (14.4, 5.9), (21.8, 3.5 + 2.2 * row), colour="#2c7fb8")
    text(axes, (19.6, (3.7, 5.3, 8.3)[row]), f"x w[{tap}][0..2]", size=8.5)
for i in range(3):
    grid(axes, (22.0 + 1.3 * i, 12.1), 1, 1, ORANGE, [[f"w{i}"]], cell=1.3, height=1.1)
text(axes, (26.2, 12.65), "9 weights of the channel,\nbroadcast", size=9, align="left")
text(
    axes,
    (17.0, 15.4),
    "Nine products for each output and nothing to sum over channels: "
    "a GEMM would have a single row to work with.\n"
    "The limit is loads, so each loaded vector serves all output rows whose window it lies in.",
    size=9,
)
