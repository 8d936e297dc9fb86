"""Times layers of real networks on a GPU against torch's, which is cuDNN at its best:
``python -m bench.gpu``.

cuDNN chooses by trial (``torch.backends.cudnn.benchmark``), both sides run in both memory formats
and under the same precision, and each is judged by its faster one. A result is checked against
float64 before anything is timed. Times are CUDA events', warm and with the L2 cache emptied before
each call. Rows and tables go to bench/results/.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import fastconv
from fastconv._bench.catalogue import all_layers
from fastconv._bench.compare import MEMORY_FORMATS, Layout, Side, judge, twin
from fastconv._bench.layers import Conv, Layer, Pool, input_of, spread
from fastconv._bench.passes import LAYER_DIRECTIONS, Call, Direction, prepare
from fastconv._table import render

RESULTS = Path(__file__).parent / "results"
CHECKED_IMAGES = 2  # float64 is slow, and an image is like another
ROUNDS = 15
REPEATS = 10  # of a warm sample; a cold one is a single call

# dtype and the setting of torch.backends.cudnn.conv.fp32_precision, which both sides run under.
KINDS: dict[str, tuple[torch.dtype, str]] = {
    "bfloat16": (torch.bfloat16, "ieee"),
    "float16": (torch.float16, "ieee"),
    "tf32": (torch.float32, "tf32"),
    "float32": (torch.float32, "ieee"),
}
FLOORS = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "tf32": 1e-3, "float32": 1e-6}

Times = dict[tuple[Side, Layout], float]


@dataclass(frozen=True)
class Row:
    """One layer, one direction: milliseconds of either side at its faster memory format."""

    layer: str
    kind: str
    shape: str
    direction: str
    dtype: str
    batch: int
    cold: bool
    torch_ms: float
    torch_layout: str
    fastconv_ms: float
    fastconv_layout: str
    tflops: float
    gigabytes_per_second: float
    error: float
    torch_error: float

    @property
    def ratio(self) -> float:
        return self.torch_ms / self.fastconv_ms


class Stopwatch:
    """Milliseconds by CUDA events; `cold` empties the L2 cache before each call."""

    def __init__(self) -> None:
        size = torch.cuda.get_device_properties(0).L2_cache_size
        self._flush = torch.empty(max(4 * size, 1 << 28) // 4, device="cuda")

    def __call__(self, call: Call, cold: bool) -> float:
        repeats = 1 if cold else REPEATS
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        if cold:
            self._flush.zero_()
        start.record()
        for _ in range(repeats):
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / repeats


@contextlib.contextmanager
def cudnn_at_its_best(precision: str) -> Iterator[None]:
    switch: Any = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = torch.backends.cudnn.benchmark, switch.fp32_precision
    torch.backends.cudnn.benchmark, switch.fp32_precision = True, precision
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, switch.fp32_precision = before


def bytes_moved(layer: Layer, direction: Direction, batch: int, itemsize: int) -> int:
    """What must be read or written at least: each tensor once; a pooling's indices are int64."""
    if isinstance(layer, Pool):
        height, width = layer.plane
        outputs = batch * layer.channels * math.prod(layer.plane) // math.prod(layer.stride)
        indices = 8 * outputs if direction != "forward" else 0
        return itemsize * (batch * layer.channels * height * width + outputs) + indices
    input = batch * layer.channels * math.prod(layer.plane)
    output = batch * layer.out_channels * math.prod(layer.output_plane)
    weight = layer.out_channels * layer.channels // layer.groups * math.prod(layer.kernel)
    return itemsize * (input + output + weight)


def calls_of(
    layer: Layer, direction: Direction, dtype: torch.dtype, batch: int, device: str
) -> dict[tuple[Side, Layout], Call]:
    torch.manual_seed(0)
    module = layer.module().to(device, dtype)
    input = input_of(layer, batch).to(device, dtype)
    calls: dict[tuple[Side, Layout], Call] = {}
    for layout, memory_format in MEMORY_FORMATS.items():
        for side in ("torch", "fastconv"):
            own = input.detach().clone(memory_format=memory_format)
            calls[side, layout] = prepare(twin(module, side, layout, False), own, direction)
    return calls


def errors_of(
    layer: Layer, direction: Direction, name: str, device: str
) -> Callable[[], tuple[float, float]]:
    """Checks every candidate on a few images; the errors of ours and torch's in channels_last."""
    dtype = KINDS[name][0]
    calls = calls_of(layer, direction, dtype, CHECKED_IMAGES, device)
    torch.manual_seed(0)
    module = layer.module().to(device, dtype).double()
    input = input_of(layer, CHECKED_IMAGES).to(device, dtype).double()
    exact = prepare(module, input, direction, dtype)

    def check() -> tuple[float, float]:
        references, found = exact(), (0.0, 0.0)
        for layout in MEMORY_FORMATS:
            ours, theirs = calls["fastconv", layout](), calls["torch", layout]()
            errors = judge(ours, theirs, references, FLOORS[name])
            if not errors.ok:
                raise AssertionError(
                    f"{layer.network} {layer.name} {direction} {name} {layout}: error "
                    f"{errors.fastconv:.1e}, allowed {errors.allowed:.1e}"
                )
            found = errors.fastconv, errors.torch
        return found

    return check


def measure(
    layer: Layer,
    direction: Direction,
    name: str,
    batch: int,
    stopwatch: Callable[[Call, bool], float],
    device: str = "cuda",
) -> list[Row]:
    """A warm row and a cold one."""
    dtype, precision = KINDS[name]
    rows = []
    # Elsewhere cuDNN has no say, and a process that tests torch forbids to change its switches.
    with cudnn_at_its_best(precision) if device == "cuda" else contextlib.nullcontext():
        error, torch_error = errors_of(layer, direction, name, device)()
        calls = calls_of(layer, direction, dtype, batch, device)
        for call in calls.values():
            for _ in range(3):
                call()
        for cold in (False, True):
            samples: dict[tuple[Side, Layout], list[float]] = {key: [] for key in calls}
            for _ in range(ROUNDS):
                for key, call in calls.items():
                    samples[key].append(stopwatch(call, cold))
            times: Times = {key: statistics.median(values) for key, values in samples.items()}
            best = {
                side: min((value, key[1]) for key, value in times.items() if key[0] == side)
                for side in ("torch", "fastconv")
            }
            seconds = best["fastconv"][0] / 1e3
            operations = 2 * layer.work * batch if isinstance(layer, Conv) else 0
            moved = bytes_moved(layer, direction, batch, dtype.itemsize)
            rows.append(
                Row(
                    f"{layer.network} {layer.name}",
                    layer.kind,
                    layer.shape,
                    direction,
                    name,
                    batch,
                    cold,
                    *best["torch"],
                    *best["fastconv"],
                    operations / seconds / 1e12,
                    moved / seconds / 1e9,
                    error,
                    torch_error,
                )
            )
    return rows


def ceilings() -> dict[str, float]:
    """What the card does at best: TFLOP/s of a large matrix product, GB/s of a copy."""
    stopwatch, found = Stopwatch(), {}
    for name, (dtype, precision) in KINDS.items():
        matrix: Any = torch.backends.cuda.matmul
        before, matrix.fp32_precision = matrix.fp32_precision, precision
        a, b = (torch.randn(8192, 8192, device="cuda").to(dtype) for _ in range(2))
        product = lambda a=a, b=b: (a @ b,)  # noqa: E731
        product()
        found[f"{name} TFLOP/s"] = 2 * 8192**3 / min(stopwatch(product, False) for _ in range(5))
        found[f"{name} TFLOP/s"] /= 1e9
        matrix.fp32_precision = before
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = lambda: (target.copy_(source),)  # noqa: E731
    copy()
    found["copy GB/s"] = 2 * source.numel() / min(stopwatch(copy, False) for _ in range(5)) / 1e6
    return found


def cache_of(row: Row) -> str:
    return "cold" if row.cold else "warm"


def line_of(row: Row) -> str:
    return (
        f"{row.ratio:6.2f}x {row.fastconv_ms:9.4f} ms {row.tflops:6.1f} TFLOP/s "
        f"{row.gigabytes_per_second:6.0f} GB/s {row.layer} {row.shape} {row.direction} "
        f"{row.dtype} batch {row.batch} {cache_of(row)}"
    )


def summary(rows: Sequence[Row]) -> str:
    """For each direction, dtype, batch and cache: the geometric mean, the worst, and how many."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        for kind in ("all", row.kind):
            group = (row.direction, row.dtype, str(row.batch), cache_of(row), kind)
            groups.setdefault(group, []).append(row)
    lines: list[tuple[str, ...]] = []
    for key, members in sorted(groups.items()):
        mean = math.exp(statistics.fmean(math.log(row.ratio) for row in members))
        worst = min(members, key=lambda row: row.ratio)
        fastest = max(row.tflops for row in members)
        lines.append(
            (
                *key,
                str(len(members)),
                f"{mean:.2f}",
                f"{worst.ratio:.2f} ({worst.layer})",
                f"{fastest:.0f}",
            )
        )
    header = ("direction", "dtype", "batch", "cache", "kind", "layers", "mean", "worst", "TFLOP/s")
    return render(header, lines)


def write(rows: Sequence[Row], facts: dict[str, Any], folder: Path) -> Path:
    name = "-".join(str(facts["gpu"]).lower().split())
    path = folder / f"{name}-{str(facts['date'])[:10]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"facts": facts, "rows": [asdict(row) for row in rows]}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    path.with_suffix(".txt").write_text(summary(rows) + "\n", encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--dtype", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--batch", nargs="*", type=int, default=[1, 32, 256])
    parser.add_argument("--pass", dest="passes", nargs="*", choices=LAYER_DIRECTIONS)
    parser.add_argument("--kind", default="", help="layers whose kind has this in it")
    parser.add_argument("--limit", type=int, default=24, help="layers, spread over the list")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no GPU here")
    if not fastconv._cuda_loader.loaded:
        parser.error(fastconv._cuda_loader.UNAVAILABLE)
    layers = [layer for layer in all_layers() if arguments.kind in layer.kind]
    facts = {
        "gpu": torch.cuda.get_device_name(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "ceilings": ceilings(),
    }
    print(facts, flush=True)
    stopwatch, rows, path = Stopwatch(), [], None
    for layer in spread(layers, arguments.limit):
        for direction in arguments.passes or LAYER_DIRECTIONS:
            if isinstance(layer, Pool) and direction == "weight gradient":
                continue
            for name in arguments.dtype:
                for batch in arguments.batch:
                    new = measure(layer, direction, name, batch, stopwatch)
                    for row in new:
                        print(line_of(row), flush=True)
                    rows += new
        path = write(rows, facts, arguments.results)
    print(summary(rows))
    print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
