"""What the specimens of specimens_sm90.cu should give, by the manuals' definitions."""

from __future__ import annotations

import torch
from torch import Tensor

PRODUCTS = {
    f"warpgroup_{name}_{columns}": (dtype, columns)
    for name, dtype in {"bf16": torch.bfloat16, "f16": torch.float16}.items()
    for columns in (128, 256)
}
NAMES = ("copied_pixels", "copied_box", *PRODUCTS)


def operands(name: str) -> tuple[Tensor, Tensor]:
    """No two elements of a row or a column are alike: a swap shows."""
    if name not in PRODUCTS:
        images = torch.arange(9 * 7 * 6 * 72).view(9, 7, 6, 72) % 2039 - 1019
        return images.to(torch.float16), torch.zeros(1, dtype=torch.float16)
    dtype, columns = PRODUCTS[name]
    a = (torch.arange(64 * 64).view(64, 64) * 7 % 251 - 125).to(dtype)
    b = (torch.arange(columns * 64).view(columns, 64) * 11 % 241 - 120).to(dtype)
    return a, b


def expected(name: str) -> Tensor:
    a, b = operands(name)
    if name in PRODUCTS:
        return (a.double() @ b.double().T).float()
    rows = torch.zeros(128, 64)
    if name == "copied_pixels":
        # From the first pixel, (-1, -2), to the last, in steps of two columns; the copy starts at
        # the fourth of the seventh image and reads channels 8 to 71 of what lies (1, 2) further on.
        walk = [(n, h, w) for n in range(11) for h in range(-2, 7) for w in range(-1, 6, 2)]
        first = walk.index((6, -2, 5))
        places = [(n, h + 2, w + 1) for n, h, w in walk[first : first + 128]]
        first_channel = 8
    else:
        places = [(n, 3, 2) for n in range(1, 129)]
        first_channel = 64
    channels = min(64, 72 - first_channel)
    for row, (n, h, w) in enumerate(places):
        if n < 9 and 0 <= h < 7 and 0 <= w < 6:
            rows[row, :channels] = a[n, h, w, first_channel : first_channel + channels].float()
    # Piece p of eight elements lies at p ^ row % 8.
    row, piece = torch.arange(128).view(-1, 1), torch.arange(8).view(1, -1)
    return rows.view(128, 8, 8)[row, piece ^ row % 8].view(128, 64)
