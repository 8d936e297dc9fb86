"""The ring of three stages in shared memory, and how a block's tile is shared by its warps."""

from drawing import ACCENT, BLUE, GREEN, GREY, ORANGE, PALE, YELLOW, arrow, box, canvas, grid, text

FILLS = (BLUE, ORANGE, YELLOW)
axes = canvas(34, 22.6)
text(
    axes,
    (0.8, 0.9),
    "a step: 64 bytes of depth of 128 rows and 128 columns",
    align="left",
    bold=True,
)
for step in range(6):
    left = 6.2 + 4.5 * step
    text(axes, (left + 2.15, 2.2), f"step {step}", size=9, colour=GREY)
    if step + 2 < 6:
        box(
            axes,
            (left, 2.9),
            (4.2, 1.4),
            FILLS[(step + 2) % 3],
            f"copy step {step + 2}",
            text_size=8.5,
        )
    else:
        box(
            axes,
            (left, 2.9),
            (4.2, 1.4),
            "white",
            "(empty group)",
            text_size=8.5,
            edge=GREY,
            dashed=True,
        )
    box(axes, (left, 5.1), (4.2, 1.4), FILLS[step % 3], f"multiply step {step}", text_size=8.5)
    arrow(axes, (left - 0.15, 2.6), (left - 0.15, 6.8), colour=ACCENT, line=1.0)
text(axes, (5.7, 3.6), "cp.async", align="right", mono=True, size=9)
text(axes, (5.7, 5.8), "mma.sync", align="right", mono=True, size=9)
text(
    axes,
    (0.8, 8.0),
    "red: wait until this step's copies are there, then __syncthreads. The colour is the stage, "
    "step modulo 3:\na copy overwrites what was multiplied one step before, "
    "so nobody still reads it.",
    align="left",
    size=9,
)

text(axes, (6.0, 10.6), "a block: 128 x 128 sums", bold=True)
grid(
    axes,
    (1.2, 11.5),
    2,
    4,
    lambda i, j: GREEN if (i, j) == (0, 1) else PALE,
    lambda i, j: f"warp {i + 2 * j}",
    cell=2.4,
    height=4.4,
    text_size=8.5,
)
text(axes, (6.0, 21.1), "8 warps of 64 x 32 each", size=9)

text(axes, (18.0, 10.6), "a warp: 64 x 32", bold=True)
grid(
    axes,
    (15.2, 11.5),
    4,
    4,
    lambda i, j: ORANGE if (i, j) == (1, 2) else PALE,
    cell=1.4,
    height=2.2,
)
text(axes, (18.0, 21.1), "16 mma tiles of 16 x 8", size=9)

text(axes, (28.2, 10.6), "a lane of one mma tile", bold=True)
grid(
    axes,
    (24.2, 11.5),
    8,
    4,
    lambda i, j: YELLOW if (i, j) == (2, 1) else PALE,
    lambda i, j: f"{4 * i + j}",
    cell=2.0,
    height=1.1,
    text_size=8,
)
text(axes, (28.2, 21.5), "lane = 4 * row + column pair;\nand the same again 8 rows below", size=9)
