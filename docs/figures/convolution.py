"""One output of a convolution: a window of all channels times one filter."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, PALE, arrow, canvas, grid, text

CHANNELS, FILTERS = 3, 4
axes = canvas(34, 15.5)


def inside(row: int, column: int) -> bool:
    return 1 <= row <= 3 and 2 <= column <= 4


for c in reversed(range(CHANNELS)):
    corner = (1.2 + 0.7 * c, 3.6 - 0.7 * c)
    grid(axes, corner, 7, 7, lambda i, j: BLUE if inside(i, j) else PALE, cell=1.1)
text(axes, (5.6, 13.0), "input: C planes of H x W", bold=True)
text(axes, (5.6, 14.2), "a window: R x S pixels of each channel", size=9)

for k in range(FILTERS):
    for c in reversed(range(CHANNELS)):
        corner = (15.3 + 0.35 * c, 1.9 - 0.35 * c + 2.7 * k)
        grid(axes, corner, 3, 3, ORANGE if k == 1 else "#fbe6cf", cell=0.65)
text(axes, (16.4, 13.0), "weight: K filters", bold=True)
text(axes, (16.4, 14.2), "of C x R x S each", size=9)

for k in reversed(range(FILTERS)):
    corner = (23.6 + 0.6 * k, 4.2 - 0.6 * k)
    here = k == 1
    grid(
        axes,
        corner,
        5,
        5,
        [[GREEN if here and (i, j) == (1, 2) else PALE for j in range(5)] for i in range(5)],
        cell=1.2,
    )
text(axes, (27.6, 13.0), "output: K planes of P x Q", bold=True)
text(axes, (27.6, 14.2), "one element: C x R x S multiply-adds", size=9)

arrow(axes, (7.0, 5.4), (15.0, 5.4), colour=ACCENT, bend=-0.12)
arrow(axes, (17.9, 5.4), (27.1, 5.6), colour=ACCENT, bend=-0.12)
text(axes, (12.6, 4.2), "times", colour=ACCENT)
text(axes, (21.3, 3.8), "summed", colour=ACCENT)
