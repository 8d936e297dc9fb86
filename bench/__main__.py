"""Compare fastconv with torch layer by layer: `python -m bench --help`."""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from typing import get_args

import torch
from rich.progress import track

from bench.compare import MEMORY_FORMATS, Direction, compare
from bench.layers import LAYERS, Layer, Pool
from bench.report import comparison_row, comparison_table, console, machine


def geometric_mean(values: list[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--layers", default="", help="only layers whose name contains this")
    parser.add_argument("--direction", choices=get_args(Direction), default="forward")
    parser.add_argument(
        "--layout",
        choices=[*MEMORY_FORMATS, "best"],
        default="best",
        help="hold both sides to one memory format (default: each side's faster one)",
    )
    parser.add_argument(
        "--freeze", action="store_true", help="promise fastconv that the weights stay"
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="time to spend on each layer (default 1)",
    )
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    layouts = list(MEMORY_FORMATS) if arguments.layout == "best" else [arguments.layout]
    chosen: list[Layer] = [
        layer
        for layer in LAYERS
        if arguments.layers in f"{layer.network} {layer.name}"
        and not (isinstance(layer, Pool) and arguments.direction == "weight gradient")
    ]
    if not chosen:
        raise SystemExit(
            f"no layer with a {arguments.direction} has {arguments.layers!r} in its name"
        )

    screen = console()
    screen.print(machine())
    table = comparison_table(
        f"fp32 {arguments.direction}, batch {arguments.batch}, threads {arguments.threads}"
        + (", frozen" if arguments.freeze else "")
    )
    ratios: dict[str, list[float]] = defaultdict(list)
    for layer in track(chosen, console=screen, transient=True):
        torch.manual_seed(0)
        input = torch.randn(arguments.batch, layer.channels, layer.size, layer.size)
        result = compare(
            layer.module(),
            input,
            arguments.direction,
            layouts=layouts,
            budget=arguments.seconds,
            frozen=arguments.freeze,
        )
        comparison_row(table, f"{layer.network} {layer.name}", layer.module(), input, result)
        ratios[layer.kind].append(result.ratio)
    screen.print(table)
    for kind, values in ratios.items():
        screen.print(f"{kind}: {geometric_mean(values):.2f}x (geometric mean of {len(values)})")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
