"""The gradient of the input at stride 2: four classes of pixels, each a convolution of stride 1."""

from drawing import BLUE, GREEN, ORANGE, YELLOW, canvas, grid, text

FILLS = {(0, 0): BLUE, (0, 1): GREEN, (1, 0): YELLOW, (1, 1): ORANGE}
TAPS = {0: (1,), 1: (0, 2)}
axes = canvas(34, 15)

text(axes, (4.9, 0.9), "grad_input, 6 x 6", bold=True)
grid(
    axes,
    (1.0, 1.8),
    6,
    6,
    lambda i, j: FILLS[i % 2, j % 2],
    lambda i, j: f"{i},{j}",
    cell=1.3,
    text_size=8,
)
text(
    axes,
    (4.9, 11.2),
    "3 x 3, stride 2, padding 1.\nRow h meets tap r only where\nh + 1 - r is even.",
    size=9,
)

text(axes, (22.4, 0.9), "the taps that each class reads grad_output through", bold=True)
NAMES = {0: "even", 1: "odd"}
for index, ((row, column), fill) in enumerate(FILLS.items()):
    left = 11.6 + 5.7 * index
    used = [(r, s) for r in TAPS[row] for s in TAPS[column]]
    grid(
        axes,
        (left, 3.6),
        3,
        3,
        [[fill if (i, j) in used else "white" for j in range(3)] for i in range(3)],
        [[f"{i},{j}" if (i, j) in used else "" for j in range(3)] for i in range(3)],
        cell=1.4,
        text_size=8,
    )
    text(axes, (left + 2.1, 2.55), f"{NAMES[row]} row,\n{NAMES[column]} column", size=8.5)
    count = len(used)
    text(axes, (left + 2.1, 8.7), f"{count} tap{'s' if count > 1 else ''}", bold=True)
text(
    axes,
    (22.4, 11.2),
    "1 + 2 + 2 + 4 = 9: every weight is used in one class. Filling grad_output up\n"
    "with zeros and convolving it at stride 1 gives the same numbers with four\n"
    "times the products.",
    size=9,
)
