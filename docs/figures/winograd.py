"""F(2x2, 3x3): tiles into the transformed domain, one product for each point, and back."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, YELLOW, arrow, box, canvas, grid, text

axes = canvas(34, 19)

text(axes, (3.2, 0.9), "input tile d, 4 x 4", bold=True)
grid(axes, (1.2, 1.7), 4, 4, BLUE, cell=1.0)
text(axes, (13.2, 0.9), "V = B' d B", bold=True)
grid(axes, (11.2, 1.7), 4, 4, BLUE, cell=1.0)
arrow(axes, (5.6, 3.7), (10.8, 3.7))
text(axes, (8.2, 2.5), "32 additions,\nno products", size=8.5)

text(axes, (3.2, 8.4), "filter g, 3 x 3", bold=True)
grid(axes, (1.7, 9.2), 3, 3, ORANGE, cell=1.0)
text(axes, (13.2, 8.4), "U = G g G'", bold=True)
grid(axes, (11.2, 9.2), 4, 4, ORANGE, cell=1.0)
arrow(axes, (5.6, 11.0), (10.8, 11.0))
text(axes, (8.2, 9.7), "once for a\nweight that stays", size=8.5)

text(axes, (22.4, 4.5), "M = sum over channels of V * U", bold=True)
grid(axes, (20.4, 5.3), 4, 4, YELLOW, cell=1.0)
arrow(axes, (15.6, 4.0), (20.1, 6.4))
arrow(axes, (15.6, 11.0), (20.1, 8.4))
text(axes, (22.4, 10.6), "16 products\nfor 4 outputs,\nnot 36", colour=ACCENT, size=9.5)

text(axes, (30.8, 5.5), "y = A' M A, 2 x 2", bold=True)
grid(axes, (29.8, 6.3), 2, 2, GREEN, cell=1.0)
arrow(axes, (24.8, 7.3), (29.5, 7.3))
text(axes, (27.1, 6.3), "24 additions", size=8.5)

box(axes, (1.2, 14.4), (31.6, 4.0), "#f7f9fb")
text(axes, (1.8, 15.1), "point by point it is matrix products:", align="left", bold=True)
for i, x in enumerate((16.4, 21.6, 28.6)):
    box(axes, (x, 15.2), (1.7, 2.4), BLUE, "V", text_size=9)
    box(axes, (x + 2.0, 15.2), (1.5, 1.5), ORANGE, "U", text_size=9)
    text(axes, (x + 1.8, 17.95), f"point {(0, 1, 15)[i]}", size=8)
text(axes, (26.8, 16.2), "...", size=13)
text(
    axes,
    (1.8, 16.9),
    "tiles x channels times channels x filters,\n16 of them (36 for F(4x4, 3x3))",
    align="left",
    size=9,
)
