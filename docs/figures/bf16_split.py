"""A float as the sum of three bfloat16 terms, and the products of terms that are formed."""

import numpy as np

from drawing import BLUE, GREEN, GREY, ORANGE, PALE, YELLOW, box, canvas, grid, text


def nearest_bfloat16(x: np.float32) -> np.float32:
    bits = int(x.view(np.uint32))
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return np.float32(np.array(rounded, np.uint32).view(np.float32)[()])


axes = canvas(34, 19)
x = np.float32(np.pi)
terms = []
left = x
for _ in range(3):
    terms.append(nearest_bfloat16(left))
    left = np.float32(left - terms[-1])

bits = f"{int(x.view(np.uint32)):032b}"
text(axes, (0.8, 1.0), f"float32 pi = {x:.9f}", align="left", bold=True)


def field(i: int, j: int) -> str:
    return GREY if j == 0 else (YELLOW if j < 9 else (BLUE if j < 16 else PALE))


grid(axes, (0.8, 2.0), 1, 32, field, lambda i, j: bits[j], cell=1.0, height=1.3, text_size=8.5)
text(axes, (1.3, 4.0), "sign", size=8)
text(axes, (5.8, 4.0), "8 bits of exponent", size=8)
text(axes, (20.8, 4.0), "23 bits of fraction; a bfloat16 keeps the first 7 of them", size=8)

fills = (BLUE, GREEN, ORANGE)
rest = ("the same of what is left", "and once more", "nothing is left")
for i, (name, term) in enumerate(zip("hml", terms, strict=True)):
    top = 5.6 + 2.1 * i
    box(axes, (0.8, top), (1.6, 1.5), fills[i], name, bold=True)
    text(axes, (2.9, top + 0.75), f"= {term:+.10f}", align="left", mono=True)
    text(axes, (10.2, top + 0.75), f"nearest bfloat16; {rest[i]}", align="left", size=9)
text(axes, (0.8, 12.2), f"h + m + l = {sum(map(float, terms)):.9f}", align="left", mono=True)

text(axes, (28.6, 5.2), "products of the terms\nof a and b", bold=True)
ORDER = ((1, 3, 6), (3, 6, 9), (6, 9, 9))
COLOURS = {1: BLUE, 3: GREEN, 6: ORANGE, 9: "white"}
grid(
    axes,
    (26.2, 7.4),
    3,
    3,
    lambda i, j: COLOURS[ORDER[i][j]],
    lambda i, j: f"{'hml'[i]}*{'hml'[j]}",
    cell=1.9,
    height=1.4,
)
for j in range(3):
    text(axes, (27.15 + 1.9 * j, 6.9), f"b.{'hml'[j]}", size=8.5, colour=GREY)
    text(axes, (25.6, 8.1 + 1.4 * j), f"a.{'hml'[j]}", size=8.5, colour=GREY)
legend = (
    (BLUE, "x1: h*h alone: bfloat16's own grade"),
    (GREEN, "x3: and h*m, m*h: about 16 bits"),
    (ORANGE, "x6: and h*l, m*m, l*h: float32's grade"),
    ("white", "never formed: below float32's last bit"),
)
for i, (fill, words) in enumerate(legend):
    box(axes, (17.4, 13.0 + 1.35 * i), (1.2, 0.95), fill)
    text(axes, (19.1, 13.5 + 1.35 * i), words, align="left", size=9)
text(
    axes,
    (0.8, 14.6),
    "Each product of two bfloat16 is exact\nin float32: 8 bits times 8 bits.\n"
    "Errors: only from terms left out\nand from adding up.",
    align="left",
    size=9,
)
