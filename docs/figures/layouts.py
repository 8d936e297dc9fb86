"""The same image in memory as NCHW and as channels_last."""

from drawing import BLUE, GREEN, INK, ORANGE, arrow, canvas, grid, text

COLOURS = (BLUE, GREEN, ORANGE)
NAMES = "RGB"
axes = canvas(34, 16)

for c in reversed(range(3)):
    grid(
        axes,
        (1.4 + 0.8 * c, 3.4 - 0.8 * c),
        2,
        3,
        COLOURS[c],
        [[f"{NAMES[c]}{3 * i + j}" if c == 0 else "" for j in range(3)] for i in range(2)],
        cell=1.5,
    )
text(axes, (4.0, 7.6), "one image: C = 3,\nH = 2, W = 3", size=9)


def strip(row: float, title: str, order: list[tuple[int, int]], strides: str) -> None:
    text(axes, (9.2, row - 1.3), title, align="left", bold=True)
    text(axes, (33.2, row - 1.3), strides, align="right", size=9, mono=True)
    for at, (channel, pixel) in enumerate(order):
        grid(
            axes,
            (9.2 + 1.33 * at, row),
            1,
            1,
            COLOURS[channel],
            [[f"{NAMES[channel]}{pixel}"]],
            cell=1.33,
        )


strip(
    3.0, "NCHW (contiguous)", [(c, p) for c in range(3) for p in range(6)], "strides (18, 6, 3, 1)"
)
arrow(axes, (9.3, 5.2), (13.1, 5.2), colour=INK)
text(axes, (13.4, 5.2), "neighbours are the next column of one channel", align="left", size=9)
strip(8.8, "channels_last", [(c, p) for p in range(6) for c in range(3)], "strides (18, 1, 9, 3)")
arrow(axes, (9.3, 11.0), (13.1, 11.0), colour=INK)
text(axes, (13.4, 11.0), "neighbours are the next channel of one pixel", align="left", size=9)
text(
    axes,
    (9.2, 13.6),
    "element (n, c, h, w) lies at   n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3]",
    align="left",
    size=9,
)
