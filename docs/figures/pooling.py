"""Max pooling: row maxima shared between windows, and two ways back."""

from drawing import ACCENT, BLUE, GREEN, GREY, ORANGE, PALE, arrow, box, canvas, grid, text

axes = canvas(34, 21)
PLANE = ((1, 5, 2, 0, 3, 1), (4, 2, 6, 1, 0, 2), (3, 1, 2, 7, 1, 0), (0, 2, 1, 3, 4, 8))
ROW_MAXIMA = [[max(row[j : j + 3]) for j in range(4)] for row in PLANE]
WINDOWS = [[max(ROW_MAXIMA[i + r][j] for r in range(3)) for j in range(4)] for i in range(2)]

text(axes, (5.0, 0.9), "a plane", bold=True)
grid(
    axes,
    (1.2, 1.8),
    4,
    6,
    lambda i, j: BLUE if i < 3 and j < 3 else PALE,
    lambda i, j: PLANE[i][j],
    cell=1.25,
)
text(axes, (16.2, 0.9), "row maxima, 3 columns each", bold=True)
grid(
    axes,
    (13.7, 1.8),
    4,
    4,
    lambda i, j: BLUE if i < 3 and j == 0 else PALE,
    lambda i, j: ROW_MAXIMA[i][j],
    cell=1.25,
)
text(axes, (27.4, 0.9), "maxima over 3 rows of those", bold=True)
grid(
    axes,
    (24.9, 1.8),
    2,
    4,
    lambda i, j: GREEN if (i, j) == (0, 0) else PALE,
    lambda i, j: WINDOWS[i][j],
    cell=1.25,
)
arrow(axes, (9.0, 4.2), (13.3, 4.2))
arrow(axes, (19.0, 3.1), (24.5, 3.1))
text(
    axes,
    (17.0, 8.5),
    "Forward, 3 x 3 at stride 1: 2 + 2 comparisons a window instead of 8. "
    "Windows above one another share row maxima,\n"
    "which live in a ring of as many rows as a window spans. All of it 16 columns at a time.",
    size=9,
)

text(axes, (8.0, 11.0), "backward by scatter", bold=True)
grid(axes, (1.2, 12.2), 1, 3, ORANGE, lambda i, j: f"g{j}", cell=1.5)
grid(axes, (7.4, 12.2), 3, 5, lambda i, j: ORANGE if (i, j) in ((0, 1), (2, 3)) else PALE, cell=1.3)
for j, target in enumerate(((9.3, 12.85), (9.3, 12.85), (11.9, 15.5))):
    arrow(axes, (1.95 + 1.5 * j, 13.8), target, colour=ACCENT, bend=0.2, line=1.0)
text(
    axes,
    (8.0, 18.3),
    "zero the plane, then add each gradient\nat its index; windows may overlap",
    size=9,
)

text(axes, (25.6, 11.0), "backward, windows that do not overlap", bold=True)
grid(axes, (18.6, 12.6), 1, 3, ORANGE, lambda i, j: f"g{j}", cell=1.5)
WINNER = {0: (0, 1), 1: (1, 0), 2: (1, 1)}
for j in range(3):
    box(axes, (25.4 + 2.7 * j, 12.1), (2.5, 2.5), "none", edge=GREY)
    grid(
        axes,
        (25.4 + 2.7 * j, 12.1),
        2,
        2,
        [[ORANGE if WINNER[j] == (r, s) else PALE for s in range(2)] for r in range(2)],
        [[f"g{j}" if WINNER[j] == (r, s) else "0" for s in range(2)] for r in range(2)],
        cell=1.25,
    )
arrow(axes, (23.3, 13.35), (25.2, 13.35), colour=ACCENT)
text(
    axes,
    (25.6, 18.3),
    "each window writes all its cells, its gradient or zero:\nno clearing, no reading back",
    size=9,
)
