"""What the benchmark and the demonstration print: one table row per layer, one line per kind."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from fastconv._bench.changes import Changes
from fastconv._bench.compare import Comparison
from fastconv._bench.results import Regret, Row, geometric_mean


def console(width: int = 120) -> Console:
    """Wide enough for the tables, in a pipe and in a narrow terminal too."""
    return Console(width=max(Console().width, width), highlight=False)


def _table(title: str, columns: dict[str, str], caption: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for name, justify in columns.items():
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    table.caption, table.caption_justify = caption, "left"
    return table


def comparison_table(title: str, clock: str, more: Sequence[str] = ()) -> Table:
    """`more`: columns after the usual ones."""
    columns = {"layer": "left", "input, kernel -> channels": "left"}
    columns |= dict.fromkeys(("torch", "fastconv", "ratio", "error"), "right")
    columns |= dict.fromkeys(more, "left")
    return _table(
        title,
        columns,
        f"ms: medians of interleaved runs ({clock}), "
        "each side at the faster of NCHW and NHWC (named)\n"
        "ratio: torch / fastconv; error: ||out - float64|| / ||float64|| of fastconv",
    )


def comparison_row(
    table: Table, name: str, shape: str, timed: Comparison | Row, error: float, *more: str
) -> None:
    table.add_row(
        name,
        shape,
        milliseconds(*timed.best("torch")),
        milliseconds(*timed.best("fastconv")),
        ratio(timed.ratio),
        f"{error:.1e}",
        *more,
    )


def milliseconds(layout: str, seconds: float) -> str:
    return f"{seconds * 1e3:.3f} {layout}"


def ratio(value: float) -> str:
    style = "green" if value >= 1 else "yellow"
    return f"[{style}]{value:.2f}x[/]"


def short_name(algorithm: str) -> str:
    """Without the operator and the direction, which the title has."""
    return re.sub(r"^(conv2d|max_pool2d)_[a-z]+_", "", algorithm)


def rows_table(title: str, rows: Sequence[Row], clock: str) -> Table:
    weighed = any(row.peak_bytes for row in rows)
    more = ["algorithm", *(["MB torch", "MB fastconv"] if weighed else [])]
    table = comparison_table(title, clock, more)
    for row in rows:
        cells = [short_name(row.algorithm)]
        if weighed:
            cells += [_megabytes(row, "torch"), _megabytes(row, "fastconv")]
        label = f"{row.network} {row.name}"
        comparison_row(table, label, row.shape, row, row.error["fastconv"], *cells)
    return table


def _megabytes(row: Row, side: str) -> str:
    """At the layout in which the side is faster."""
    return f"{row.peak_bytes[side][row.best(side)[0]] / 2**20:.1f}" if row.peak_bytes else ""


def summary_table(rows: Sequence[Row]) -> Table:
    kinds: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    if len(kinds) > 1:
        kinds["all"] = list(rows)
    columns = {"kind": "left", "shapes": "right", "geometric mean": "right", "slowest": "right"}
    table = _table("", {**columns, "which": "left"}, "each distinct shape counts once")
    for kind, members in kinds.items():
        slowest = min(members, key=lambda row: row.ratio)
        mean = geometric_mean(row.ratio for row in members)
        name = f"{slowest.network} {slowest.name}, {slowest.shape}"
        table.add_row(kind, str(len(members)), ratio(mean), ratio(slowest.ratio), name)
    return table


def regret_table(title: str, regrets: Sequence[Regret]) -> Table:
    columns = {"layer": "left", "input, kernel -> channels": "left", "layout": "left"}
    columns |= {"chosen": "left", "ms": "right", "best": "left", "best ms": "right"}
    table = _table(
        f"regret, {title}",
        {**columns, "regret": "right"},
        "regret: time of the chosen algorithm / time of the best - 1, none packed beforehand",
    )
    for entry in regrets:
        chosen, best = entry.seconds[entry.chosen], entry.seconds[entry.best]
        style = "green" if entry.regret < 0.05 else "yellow"
        table.add_row(
            f"{entry.network} {entry.name}",
            entry.shape,
            entry.layout,
            short_name(entry.chosen),
            f"{chosen * 1e3:.3f}",
            short_name(entry.best) if entry.regret else "",
            f"{best * 1e3:.3f}" if entry.regret else "",
            f"[{style}]{100 * entry.regret:.1f} %[/]",
        )
    return table


def regret_summary(regrets: Sequence[Regret]) -> str:
    worst = max(regrets, key=lambda entry: entry.regret)
    mean = sum(entry.regret for entry in regrets) / len(regrets)
    wrong = sum(entry.regret > 0 for entry in regrets)
    return (
        f"mean regret {100 * mean:.1f} % over {len(regrets)} choices, {wrong} of them not the "
        f"best; worst {100 * worst.regret:.1f} %: {worst.network} {worst.name}, {worst.shape}, "
        f"{worst.layout}"
    )


def changes_table(found: Changes) -> Table:
    factor = geometric_mean(change.factor for change in found.common)
    columns = {"layer": "left", "input, kernel -> channels": "left", "setting": "left"}
    columns |= dict.fromkeys(("ms", "ms now", "ratio", "ratio now", "change"), "right")
    table = _table(
        f"{len(found.common)} comparisons, geometric mean of the changes {factor:.3f}x",
        columns,
        "change: ratio now / ratio before, where ratio is torch / fastconv; the worst first",
    )
    for change in found.common:
        before, after = change.before, change.after
        table.add_row(
            f"{after.network} {after.name}",
            after.shape,
            str(after.setting),
            f"{before.best('fastconv')[1] * 1e3:.3f}",
            f"{after.best('fastconv')[1] * 1e3:.3f}",
            f"{before.ratio:.2f}x",
            ratio(after.ratio),
            ratio(change.factor),
        )
    return table
