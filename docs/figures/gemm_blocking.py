"""Which block of which matrix lives in which memory."""

from drawing import BLUE, GREEN, GREY, INK, ORANGE, PALE, arrow, box, canvas, text

axes = canvas(34, 25)
text(axes, (5.2, 1.0), "A: rows x depth", bold=True)
box(axes, (1.2, 2.0), (8.0, 9.0), PALE)
box(axes, (3.2, 2.0), (2.4, 9.0), "#fdeedd", edge=GREY)
box(axes, (3.2, 4.4), (2.4, 0.9), ORANGE)
text(axes, (10.0, 4.85), "14 rows\nx 256", size=8.5, align="left")

text(axes, (18.4, 1.0), "B: depth x columns", bold=True)
box(axes, (14.0, 2.0), (9.0, 8.0), PALE)
box(axes, (14.9, 4.0), (4.6, 2.4), "#d6e7f5", edge=GREY)
box(axes, (16.2, 4.0), (1.1, 2.4), BLUE)
text(axes, (23.3, 5.2), "256 deep\nx 256", size=8.5, align="left")

text(axes, (29.9, 1.0), "C: rows x columns", bold=True)
box(axes, (26.4, 2.0), (7.0, 9.0), PALE)
box(axes, (27.2, 2.6), (4.2, 5.4), "#e1f0d6", edge=GREY)
box(axes, (28.3, 4.4), (1.1, 0.9), GREEN)
text(axes, (29.9, 11.8), "one block of C: one task", size=8.5)

rows = (
    ("memory, L3", PALE, "A, B and C as the tensors are; B may exist only as a rule (im2col)"),
    (
        "L2, 1 MiB",
        "#d6e7f5",
        "the packed block of B (at most 256 KiB), beside the block of C it adds to",
    ),
    ("L1", ORANGE, "one tile of A (14 x 256: 14 KiB) and the panel of B that streams by"),
    ("32 registers", GREEN, "28 sums: 14 rows x 2 vectors of 16; 2 for B, 1 for A"),
)
for i, (name, fill, words) in enumerate(rows):
    top = 13.2 + 1.6 * i
    box(axes, (1.2, top), (6.6, 1.3), fill, name, text_size=9)
    text(axes, (8.4, top + 0.65), words, align="left", size=9)

loops = (
    "for each block of C:                          # tasks, shared among threads",
    "    for each 256 of the depth:",
    "        pack the block of B into panels       # L2",
    "        for each 14 rows of the block of C:   # pack that tile of A, or read it in place",
    "            for each 32 columns:              # micro-kernel: C tile += A tile x B panel",
)
for i, line in enumerate(loops):
    text(axes, (1.2, 20.2 + 1.0 * i), line, align="left", size=8.5, mono=True, colour=INK)
arrow(axes, (16.75, 6.5), (16.75, 12.9), colour=GREY, dashed=True)
arrow(axes, (4.4, 5.4), (4.4, 12.9), colour=GREY, dashed=True)
