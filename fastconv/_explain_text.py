"""What :func:`fastconv.explain` prints: a table of the layers, and why not the other algorithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastconv._algorithms import algorithms, of_the_same_job
from fastconv._table import render

if TYPE_CHECKING:
    from fastconv._explain import Row

_HEADER = (
    "layer",
    "operator",
    "problem",
    "output",
    "parameters",
    "MACs",
    "sees",
    "algorithm",
    "estimate",
    "workspace",
    "packed",
)
# Layers that a reason names before it only counts them.
_NAMED = 4


def describe(rows: Sequence[Row]) -> str:
    return "\n\n".join(
        [
            render(_HEADER, [_cells(row) for row in rows]),
            _totals(rows),
            *_against_the_others(rows),
        ]
    )


def _cells(row: Row) -> tuple[str, ...]:
    seconds = row.estimated_seconds.get(row.algorithm or "")
    return (
        _name(row),
        f"{row.op} {row.direction}",
        row.problem,
        "x".join(map(str, row.output_size)),
        f"{row.parameters:,}",
        _short(row.multiply_adds),
        "x".join(
            "all" if math.isinf(extent) else f"{extent:.0f}" for extent in row.receptive_field
        ),
        row.algorithm or "torch's own",
        "" if seconds is None else f"{1e6 * seconds:,.0f} us",
        f"{row.workspace_bytes:,} B",
        f"{row.packed_bytes:,} B",
    )


def _name(row: Row) -> str:
    return row.name or "(root)"


def _short(count: int) -> str:
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)


def _totals(rows: Sequence[Row]) -> str:
    layers = {(row.name, row.op): row for row in rows}.values()
    forward = [row for row in rows if row.direction in ("fprop", "forward")]
    return (
        f"total: {len(layers)} layers, {sum(row.parameters for row in layers):,} parameters, "
        f"{_short(sum(row.multiply_adds for row in forward))} multiply-adds forward, "
        f"{sum(row.packed_bytes for row in layers):,} B of packed weights"
    )


def _reasons(row: Row) -> dict[str, str]:
    """Against everything that does not compute this row."""
    reasons = dict(row.rejected)
    if row.algorithm is None:
        return reasons
    slower = "was passed over: not worth it here, or another was asked for"
    for other in of_the_same_job(row.algorithm):
        if other.name == row.algorithm:
            slower = "comes later in the list"
            continue
        estimated = {other.name, row.algorithm} <= row.estimated_seconds.keys()
        reasons.setdefault(other.name, "takes longer, by the estimate" if estimated else slower)
    return reasons


def _against_the_others(rows: Sequence[Row]) -> list[str]:
    layers_of: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for pair in _reasons(row).items():
            layers_of.setdefault(pair, []).append(_name(row))
    if not layers_of:
        return []
    order = [algorithm.name for algorithm in algorithms()]
    pairs = sorted(layers_of, key=lambda pair: order.index(pair[0]) if pair[0] in order else -1)
    lines = [(*pair, _some_of(list(dict.fromkeys(layers_of[pair])))) for pair in pairs]
    return [render(("against the others", "because it", "layers"), lines)]


def _some_of(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
