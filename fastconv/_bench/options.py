"""The command line: what it takes, and what is wrong with what it was given."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch

import fastconv
from fastconv._bench.catalogue import all_layers
from fastconv._bench.compare import MEMORY_FORMATS
from fastconv._bench.layers import Layer, distinct, spread
from fastconv._bench.memory import can_measure
from fastconv._bench.networks import NETWORKS
from fastconv._bench.passes import LAYER_DIRECTIONS, Direction
from fastconv._bench.settings import DTYPES, Setting
from fastconv._bench.shape_files import BadShapeFileError, read
from fastconv._bench.subjects import Subject
from fastconv._bench.tolerance import PRECISIONS

PASSES: dict[str, tuple[Direction, ...]] = {
    "forward": ("forward",),
    "input-gradient": ("input gradient",),
    "weight-gradient": ("weight gradient",),
    "training": ("training step",),
    "fprop": ("forward",),
    "dgrad": ("input gradient",),
    "wgrad": ("weight gradient",),
    "backward": ("input gradient", "weight gradient"),
    "all": LAYER_DIRECTIONS,
}
_PASS_OF_ALGORITHM: dict[str, Direction] = {
    "fprop": "forward",
    "dgrad": "input gradient",
    "wgrad": "weight gradient",
    "forward": "forward",
    "backward": "input gradient",
}


class UsageError(Exception):
    """A wish that cannot be met; the message says why, in a sentence for the caller."""


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_argument_group("what is timed")
    what.add_argument("--models", action="store_true", help="whole networks, not single layers")
    what.add_argument(
        "--csv", type=Path, nargs="+", metavar="PATH", help="layers from files of shapes"
    )
    what.add_argument("--network", default="", help="only networks with this in their name")
    what.add_argument("--layers", default="", help="only layers with this in 'network name'")
    what.add_argument("--kind", default="", help="only kinds with this in them: '3x3', 'max pool'")
    what.add_argument("--limit", type=_positive, help="at most so many layers, evenly spread")

    how = parser.add_argument_group("how", "several values make every combination")
    how.add_argument(
        "--pass",
        dest="passes",
        nargs="+",
        choices=PASSES,
        metavar="PASS",
        help=f"of {', '.join(PASSES)} (default forward)",
    )
    how.add_argument("--dtype", nargs="+", choices=DTYPES, default=["float32"])
    how.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["none"],
        help="torch.backends.mkldnn.conv.fp32_precision, for both sides",
    )
    how.add_argument("--batch", nargs="+", type=_positive, default=[1])
    how.add_argument("--threads", nargs="+", type=_threads, default=[1], help="numbers, or 'all'")
    how.add_argument(
        "--layout",
        choices=[*MEMORY_FORMATS, "best"],
        default="best",
        help="hold both sides to one memory format (default: each side's faster one)",
    )
    how.add_argument("--freeze", action="store_true", help="promise that the weights stay")
    how.add_argument("--cold", action="store_true", help="evict the caches before each call")
    how.add_argument("--algorithm", default="", help="fastconv by this algorithm alone")
    how.add_argument(
        "--seconds", type=_seconds, default=1.0, help="time to spend on each layer (default 1)"
    )

    output = parser.add_argument_group("results")
    output.add_argument("--memory", action="store_true", help="peak memory of a first call too")
    output.add_argument("--regret", action="store_true", help="all algorithms beside the choice")
    output.add_argument("--json", type=Path, metavar="PATH", help="write everything measured")
    output.add_argument("--plot", type=Path, metavar="PATH.png", help="two pictures per setting")
    output.add_argument("--load", type=Path, metavar="PATH.json", help="show an earlier run again")
    output.add_argument(
        "--compare", type=Path, nargs=2, metavar=("A.json", "B.json"), help="what changed"
    )
    output.add_argument("--dry-run", action="store_true", help="say what would be timed")


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def _threads(text: str) -> int:
    return torch.get_num_threads() if text == "all" else _positive(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time")
    return value


def subjects_of(arguments: argparse.Namespace) -> list[Subject]:
    if arguments.models:
        named = [network for network in NETWORKS if network.whole]
        found = [n for n in named if arguments.network.lower() in n.name.lower()]
        if not found:
            names = ", ".join(network.name for network in named)
            raise UsageError(f"no network has {arguments.network!r} in its name, of {names}")
        return list(found)
    layers = [layer for layer in _layers(arguments) if _is_wanted(layer, arguments)]
    if not layers:
        raise UsageError("no layer is of that network, name and kind")
    return list(spread(layers, arguments.limit))


def _layers(arguments: argparse.Namespace) -> list[Layer]:
    if not arguments.csv:
        return all_layers(arguments.network)
    try:
        return distinct([layer for path in arguments.csv for layer in read(path)])
    except BadShapeFileError as error:
        raise UsageError(str(error)) from error


def _is_wanted(layer: Layer, arguments: argparse.Namespace) -> bool:
    return (
        arguments.network.lower() in layer.network.lower()
        and arguments.layers in f"{layer.network} {layer.name}"
        and arguments.kind in layer.kind
    )


def settings_of(arguments: argparse.Namespace) -> list[Setting]:
    directions = _directions(arguments)
    if arguments.freeze and "training step" in directions:
        raise UsageError("a training step changes the weights that --freeze promises to keep")
    if arguments.dtype != ["float32"] and "training step" in directions:
        raise UsageError(
            "a training step is timed in float32 alone: of random weights the 16-bit gradients are "
            "as far from float64 as they are large, torch's too, so nothing could be checked"
        )
    if arguments.regret and (arguments.freeze or arguments.algorithm or arguments.models):
        raise UsageError("--regret is of the choices for layers, without --freeze and --algorithm")
    if arguments.memory and not can_measure():
        raise UsageError("--memory needs Linux' /proc/self/clear_refs")
    settings = [
        Setting(
            direction=direction,
            dtype=dtype,
            precision=precision if dtype == "float32" else "none",
            batch=batch,
            threads=threads,
            layout=arguments.layout,
            frozen=arguments.freeze,
            cold=arguments.cold,
            algorithm=arguments.algorithm,
        )
        for dtype, precision, batch, threads, direction in itertools.product(
            arguments.dtype, arguments.precision, arguments.batch, arguments.threads, directions
        )
    ]
    return list(dict.fromkeys(settings))


def _directions(arguments: argparse.Namespace) -> list[Direction]:
    asked = [direction for name in arguments.passes or [] for direction in PASSES[name]]
    if arguments.algorithm:
        known = {algorithm.name: algorithm for algorithm in fastconv.algorithms()}
        if arguments.algorithm not in known:
            raise UsageError(
                f"no algorithm is called {arguments.algorithm!r}: see `python -m fastconv info`"
            )
        computed = _PASS_OF_ALGORITHM[known[arguments.algorithm].direction]
        if asked and asked != [computed]:
            raise UsageError(f"{arguments.algorithm} computes the {computed} alone")
        return [computed]
    if arguments.models:
        wrong = [d for d in asked if d not in ("forward", "training step")]
        if wrong:
            raise UsageError(f"a whole network has no {wrong[0]}: forward and training it has")
    elif "training step" in asked:
        raise UsageError("a training step is of whole networks: add --models")
    return list(dict.fromkeys(asked)) or ["forward"]
