"""Compiles every CUDA kernel with the warnings on, for each architecture, and lists what it costs:
registers, shared memory and spills. Needs nvcc, neither a GPU nor torch.

    python scripts/cuda_compile.py [--arch 80 --arch 90a] [--jobs 2] [--csv FILE]

Fails where a source does not compile, warns, or spills.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WARNINGS = ("-Xcompiler=-Wall,-Wextra", "-Werror=all-warnings")


@dataclass(frozen=True, order=True)
class Kernel:
    architecture: str
    source: str
    name: str
    registers: int
    stack_bytes: int
    spill_stores: int
    spill_loads: int


def nvcc() -> str:
    home = os.environ.get("CUDA_HOME")
    found = str(Path(home) / "bin" / "nvcc") if home else shutil.which("nvcc")
    if found is None:
        raise SystemExit("cuda_compile needs nvcc: set CUDA_HOME")
    return found


def sources() -> list[Path]:
    """The kernels and their launches; what faces torch is built by setup.py."""
    return sorted((ROOT / "csrc" / "cuda").glob("*/*.cu"))


def readable(symbols: list[str]) -> dict[str, str]:
    tool = shutil.which("cu++filt") or shutil.which("c++filt")
    if tool is None or not symbols:
        return {symbol: symbol for symbol in symbols}
    lines = subprocess.run([tool, *symbols], capture_output=True, text=True, check=True).stdout
    names = [line.replace("fastconv::cuda::", "") for line in lines.splitlines()]
    return dict(zip(symbols, (name.partition(">(")[0] + ">" for name in names), strict=True))


def kernels_in(log: str, architecture: str, source: str) -> Iterator[Kernel]:
    """From ptxas -v: one block of lines for each entry function."""
    blocks = re.split(r"Compiling entry function '(\w+)' for '\w+'", log)[1:]
    symbols = blocks[::2]
    names = readable(symbols)
    for symbol, text in zip(symbols, blocks[1::2], strict=True):

        def number(pattern: str, text: str = text) -> int:
            match = re.search(pattern, text)
            return int(match[1]) if match else 0

        yield Kernel(
            architecture,
            source,
            names[symbol],
            number(r"Used (\d+) registers"),
            number(r"(\d+) bytes stack frame"),
            number(r"(\d+) bytes spill stores"),
            number(r"(\d+) bytes spill loads"),
        )


def compile_one(source: Path, architecture: str, folder: Path) -> list[Kernel]:
    name = str(source.relative_to(ROOT / "csrc" / "cuda"))
    target = folder / (name.replace("/", "_") + architecture + ".o")
    command = [
        nvcc(),
        "-std=c++20",
        "-O3",
        f"-I{ROOT / 'csrc'}",
        f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
        "-Xptxas=-v",
        *WARNINGS,
        "-c",
        str(source),
        "-o",
        str(target),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{name} for sm_{architecture}:\n{done.stdout}{done.stderr}")
    return list(kernels_in(done.stderr, architecture, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--arch", action="append", help="80 and 90a where none is given")
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("MAX_JOBS", "2")))
    parser.add_argument("--csv", type=Path, help="write the table here too")
    arguments = parser.parse_args()
    tasks = [(source, arch) for arch in arguments.arch or ["80", "90a"] for source in sources()]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        found = pool.map(lambda task: compile_one(task[0], task[1], Path(folder)), tasks)
        kernels = sorted(kernel for group in found for kernel in group)

    print(f"{'sm':>4} {'registers':>9} {'stack':>6} {'spills':>7}  kernel")
    for kernel in kernels:
        spills = kernel.spill_stores + kernel.spill_loads
        print(
            f"{kernel.architecture:>4} {kernel.registers:>9} {kernel.stack_bytes:>6} {spills:>7}"
            f"  {kernel.name}"
        )
    if arguments.csv is not None:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Kernel)])
            writer.writeheader()
            writer.writerows(asdict(kernel) for kernel in kernels)
    spilling = [kernel for kernel in kernels if kernel.spill_stores + kernel.spill_loads > 0]
    print(f"{len(kernels)} kernels, {len(spilling)} of them spill")
    if not kernels or spilling:
        sys.exit(1)


if __name__ == "__main__":
    main()
