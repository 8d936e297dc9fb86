"""Layers from CSV files, one in a line, with torch's parameters in the columns (K = out_channels).

Convolutions: network, layer, C, H, W, K, R, S, stride_h, stride_w, pad_h, pad_w, dil_h, dil_w and
groups. Poolings have no K and no groups, but ceil_mode, and a kind, of which only ``max`` is read.
A column N is not read: the batch is the bench's own setting.
"""

from __future__ import annotations

import csv
from pathlib import Path

from fastconv._bench.layers import Conv, Layer, Pair, Pool, distinct

_BOTH = {"network", "layer", "C", "H", "W", "R", "S", "stride_h", "stride_w", "pad_h", "pad_w"}


class BadShapeFileError(ValueError):
    """A file that is no list of layers; the message says why."""


def read(path: Path) -> list[Layer]:
    """Each distinct shape of the file once."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = set(reader.fieldnames or ())
            missing = sorted(_BOTH - columns)
            if missing:
                raise BadShapeFileError(f"{path} has no column {', '.join(missing)}")
            layers = [
                _layer(f"{path}, line {reader.line_num}", row)
                for row in reader
                if row.get("kind", "max") == "max"
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise BadShapeFileError(f"{path} cannot be read: {error}") from error
    if not layers:
        raise BadShapeFileError(f"{path} lists no layer")
    return distinct(layers)


def _layer(place: str, row: dict[str, str]) -> Layer:
    def number(column: str, default: str | None = None) -> int:
        text = row.get(column) or default
        try:
            return int(text or "")
        except ValueError:
            raise BadShapeFileError(f"{place}: {column} is {text!r}, not a number") from None

    def pair(first: str, second: str, default: str | None = None) -> Pair:
        return number(first, default), number(second, default)

    plane, kernel = pair("H", "W"), pair("R", "S")
    stride, padding = pair("stride_h", "stride_w"), pair("pad_h", "pad_w")
    dilation = pair("dil_h", "dil_w", "1")
    network, name, channels = row["network"], row["layer"], number("C")
    if "K" not in row:
        ceil_mode = bool(number("ceil_mode", "0"))
        return Pool(network, name, channels, plane, kernel, stride, padding, dilation, ceil_mode)
    return Conv(
        network,
        name,
        channels,
        plane,
        number("K"),
        kernel,
        stride,
        padding,
        dilation,
        number("groups", "1"),
    )
