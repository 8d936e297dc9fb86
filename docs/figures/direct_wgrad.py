"""The weight gradient tap by tap: the same pixels of grad_output, the input moved by the tap."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, PALE, arrow, box, canvas, grid, text

axes = canvas(34, 17)
text(axes, (5.0, 0.9), "grad_output: K planes", bold=True)
for depth in reversed(range(3)):
    corner = (1.2 + 0.5 * depth, 3.0 - 0.5 * depth)
    grid(axes, corner, 5, 5, lambda i, j: ORANGE if i == 2 else PALE, cell=1.2)
text(axes, (5.0, 10.3), "a chunk: at most 128 pixels,\none running sum", size=9)

text(axes, (15.6, 0.9), "input: C planes", bold=True)
for depth in reversed(range(3)):
    corner = (11.6 + 0.5 * depth, 3.0 - 0.5 * depth)
    grid(axes, corner, 5, 5, lambda i, j: BLUE if i == 3 and j > 0 else PALE, cell=1.2)
box(axes, (17.6, 6.6), (1.2, 1.2), "white", "0", dashed=True, text_size=8)
text(
    axes,
    (15.6, 10.3),
    "the same pixels, moved by the tap:\nhere one row down, one column right",
    size=9,
)

text(axes, (27.4, 0.9), "grad_weight: R x S tiles of K x C", bold=True)
for r in range(3):
    for s in range(3):
        here = (r, s) == (2, 2)
        box(
            axes,
            (22.6 + 3.3 * s, 2.2 + 2.5 * r),
            (3.0, 2.2),
            GREEN if here else PALE,
            f"tap {r},{s}",
            text_size=8.5,
        )
arrow(axes, (19.2, 7.9), (29.2, 9.4), colour=ACCENT, bend=0.25)
text(
    axes,
    (5.0, 14.6),
    "for each tap:\n    for each pixel of the chunk:\n"
    "        tile[14 filters][2 vectors of channels] +=\n"
    "            grad_output[pixel, filter] * input[pixel + tap, channel]",
    size=9,
    mono=True,
    align="left",
)
