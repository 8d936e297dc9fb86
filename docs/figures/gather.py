"""What a panel of 16 output pixels reads for one tap: neighbours, and lanes that are off."""

from drawing import ACCENT, BLUE, GREEN, GREY, PALE, arrow, box, canvas, grid, text

WIDTH, FIRST, LANES = 10, 6, 16
axes = canvas(34, 17.5)
PANEL = range(FIRST, FIRST + LANES)


def number(i: int, j: int) -> int:
    return WIDTH * i + j


def is_read(pixel: int) -> bool:
    """Does some pixel of the panel read it through the tap one column to the left?"""
    return pixel + 1 in PANEL and (pixel + 1) % WIDTH != 0


text(axes, (6.4, 1.0), "output pixels: a panel of 16", bold=True)
grid(
    axes,
    (0.9, 2.0),
    4,
    WIDTH,
    lambda i, j: GREEN if number(i, j) in PANEL else PALE,
    number,
    cell=1.1,
    text_size=8,
)
text(axes, (24.6, 1.0), "input pixels that the tap to the left reads", bold=True)
grid(
    axes,
    (19.1, 2.0),
    4,
    WIDTH,
    lambda i, j: BLUE if is_read(number(i, j)) else PALE,
    number,
    cell=1.1,
    text_size=8,
)
for row in range(4):
    box(axes, (18.0, 2.0 + 1.1 * row), (1.1, 1.1), "none", "0", edge=GREY, dashed=True, text_size=8)
text(axes, (17.3, 7.2), "padding", size=8.5, colour=GREY)
arrow(axes, (12.4, 4.2), (17.4, 4.2))

text(axes, (0.9, 9.2), "the row of the panel for that tap:", align="left", bold=True)
for lane, pixel in enumerate(PANEL):
    off = pixel % WIDTH == 0
    fill, words = ("white", "0") if off else (BLUE, str(pixel - 1))
    box(axes, (0.9 + 2.0 * lane, 10.2), (2.0, 1.3), fill, words, text_size=9)
    text(axes, (1.9 + 2.0 * lane, 12.2), "0" if off else "1", size=9, mono=True)
text(axes, (0.9, 13.4), "mask of the lanes inside the image", align="left", size=9, colour=GREY)
text(
    axes,
    (0.9, 15.4),
    "Stride 1 and as many columns out as in: lane l lies at the offset of lane 0 plus l, over the "
    "end of the row too.\nOne masked load of 16 floats does it. The lanes that are off are "
    "never touched in memory and load as zero.",
    align="left",
    size=9,
)
for lane in (4, 14):
    box(axes, (0.9 + 2.0 * lane, 10.2), (2.0, 1.3), "none", edge=ACCENT, line=2)
