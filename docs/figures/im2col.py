"""Patches of an image as the columns of a matrix, and the product that is the convolution."""

from drawing import ACCENT, BLUE, GREEN, GREY, ORANGE, PALE, YELLOW, arrow, box, canvas, grid, text

axes = canvas(34, 20)
FILLS = (BLUE, GREEN, YELLOW, ORANGE)
PIXELS = [(p, q) for p in range(2) for q in range(2)]


def cell(i: int, j: int) -> int:
    return 4 * i + j


grid(axes, (1.0, 3.4), 4, 4, PALE, cell, cell=1.25)
box(axes, (1.0, 3.4), (3.75, 3.75), "none", edge="#2c7fb8", line=3)
box(axes, (2.25, 4.65), (3.75, 3.75), "none", edge="#e08214", line=3, dashed=True)
text(axes, (3.5, 2.4), "image, 4 x 4", bold=True)
text(axes, (3.5, 10.3), "a 3 x 3 window stands\non 2 x 2 pixels", size=9)

text(axes, (13.2, 1.0), "im2col: a column for each output pixel,", bold=True)
text(axes, (13.2, 2.1), "a row for each tap (and channel)", size=9)
for column, (p, q) in enumerate(PIXELS):
    grid(
        axes,
        (10.0 + 1.6 * column, 3.4),
        9,
        1,
        FILLS[column],
        [[cell(p + i // 3, q + i % 3)] for i in range(9)],
        cell=1.6,
        height=1.05,
    )
arrow(axes, (4.8, 3.9), (9.9, 3.9), colour="#2c7fb8")
arrow(axes, (6.0, 8.5), (15.6, 13.0), colour="#e08214", bend=0.3)
text(axes, (13.2, 14.7), "16 numbers became 36: each is in up to 9 windows", size=9, colour=ACCENT)

text(axes, (26.3, 1.0), "the convolution is one product", bold=True)
box(axes, (20.0, 9.0), (4.6, 2.6), ORANGE, "weight\nK x CRS", text_size=9)
box(axes, (26.0, 3.4), (6.6, 4.6), BLUE, "im2col matrix\nCRS x PQ", text_size=9)
box(axes, (26.0, 9.0), (6.6, 2.6), GREEN, "output\nK x PQ", text_size=9)
text(axes, (25.3, 10.3), "=", size=13)
text(axes, (25.3, 5.7), "x", size=13, colour=GREY)
text(axes, (22.3, 12.6), "as it lies in memory", size=9)
text(axes, (29.3, 12.6), "as it lies in memory (NCHW)", size=9)

text(
    axes,
    (17.0, 17.0),
    "With C channels the matrix has C times 9 rows: channel 0's taps, channel 1's, and so on.\n"
    "In channels_last everything is turned: PQ x CRS times CRS x K, a row for each pixel.",
    size=9,
)
