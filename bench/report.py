"""What the benchmark and the demonstration print: the machine, and one table row per layer."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from bench.compare import Comparison
from bench.timing import clock_name


def cpu_name() -> str:
    """The processor's marketing name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine() -> str:
    """One line that says what the figures below it were measured on."""
    return (
        f"{cpu_name()}, {torch.get_num_threads()} thread(s), Python {platform.python_version()}, "
        f"torch {torch.__version__}, fastconv {version('fastconv')}"
    )


def describe(module: torch.nn.Module, input: torch.Tensor) -> str:
    """The layer's shape, as in `64x56x56 3x3/2 -> 128`."""
    plane = "x".join(str(size) for size in input.shape[-3:])
    if isinstance(module, torch.nn.Conv2d):
        kernel = "x".join(str(size) for size in module.kernel_size)
        stride = f"/{module.stride[0]}" if max(module.stride) > 1 else ""
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return f"{plane} {kernel}{stride} -> {module.out_channels}{groups}"
    if isinstance(module, torch.nn.MaxPool2d):
        return f"{plane} pool {module.kernel_size}x{module.kernel_size}/{module.stride}"
    return plane


def console() -> Console:
    """Wide enough for the tables, in a pipe and in a narrow terminal too."""
    return Console(width=max(Console().width, 120), highlight=False)


def comparison_table(title: str) -> Table:
    table = Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("layer", no_wrap=True)
    table.add_column("input, kernel -> channels", no_wrap=True)
    table.add_column("torch", justify="right", no_wrap=True)
    table.add_column("fastconv", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("error", justify="right", no_wrap=True)
    table.caption = (
        f"ms: medians of interleaved runs ({clock_name()}), "
        "each side at the faster of NCHW and NHWC (named)\n"
        "ratio: torch / fastconv; error: ||out - float64|| / ||float64|| of fastconv"
    )
    table.caption_justify = "left"
    return table


def milliseconds(best: tuple[str, float]) -> str:
    layout, seconds = best
    return f"{seconds * 1e3:.3f} {layout}"


def ratio(value: float) -> str:
    style = "green" if value >= 1 else "yellow"
    return f"[{style}]{value:.2f}x[/]"


def comparison_row(
    table: Table,
    name: str,
    module: torch.nn.Module,
    input: torch.Tensor,
    result: Comparison,
) -> None:
    table.add_row(
        name,
        describe(module, input),
        milliseconds(result.best("torch")),
        milliseconds(result.best("fastconv")),
        ratio(result.ratio),
        f"{result.errors.fastconv:.1e}",
    )
