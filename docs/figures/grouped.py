"""Four groups of four channels in one vector: a permutation serves all lanes at once."""

from drawing import ACCENT, BLUE, GREEN, ORANGE, RED, YELLOW, arrow, canvas, grid, text

FILLS = (BLUE, ORANGE, YELLOW, RED)
axes = canvas(34, 15.5)
LEFT, CELL = 6.6, 1.65


def lanes(top: float, name: str, label: object, note: str = "") -> None:
    text(axes, (6.2, top + 0.65), name, align="right", bold=True)
    grid(
        axes,
        (LEFT, top),
        1,
        16,
        lambda i, j: FILLS[j // 4] if label != "f" else GREEN,
        lambda i, j: label(j) if callable(label) else f"{label}{j}",
        cell=CELL,
        height=1.3,
        text_size=8.5,
    )
    if note:
        text(axes, (LEFT + 8 * CELL, top + 1.95), note, size=8.5)


lanes(1.9, "a pixel", "c")
text(
    axes,
    (LEFT + 8 * CELL, 1.0),
    "channels as they lie in channels_last: groups 0, 1, 2, 3",
    size=8.5,
)
lanes(
    5.6,
    "permuted",
    lambda j: f"c{4 * (j // 4) + 1}",
    "step k = 1: each lane gets channel 1 of its own group",
)
lanes(9.1, "weights", "w", "packed so: filter j's weight for channel 1 of its group, one load")
lanes(12.6, "sums", "f", "filters 0 to 15: fused multiply-add, 16 lanes busy of 16")
for lane in (1, 5, 9, 13):
    x = LEFT + (lane + 0.5) * CELL
    for target in range(lane - 1, lane + 3):
        arrow(axes, (x, 3.25), (LEFT + (target + 0.5) * CELL, 5.55), line=0.7, colour=ACCENT)
