"""Installs a wheel beside some release of torch, in an environment of its own, and runs the suite.

    python scripts/wheel_beside_torch.py --torch 2.11.0 dist/fastconv-*.whl -- -n 2

That one wheel serves every torch from 2.10 on is shown by this and by nothing less. The tests run
from a copy, where no checkout can be imported in place of what was installed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# What needs the checkout itself: C++ sources, the bench's runner.
LEFT_OUT = (
    "cpp",
    "cuda_emulation",
    "third_party",
    "test_bench.py",
    "test_gpu_bench.py",
    "test_wheel.py",
    "__pycache__",
)
# The tools of the suite, at the releases that it is developed with.
TOOLS = ("numpy", "pytest", "pytest-xdist", "hypothesis", "expecttest")


def pinned(tool: str) -> str:
    lines = [
        line
        for path in sorted((ROOT / "requirements").glob("*.txt"))
        for line in path.read_text().splitlines()
        if line.startswith(f"{tool}==")
    ]
    return lines[0].split(";")[0].strip()


def run(*command: str | Path, folder: Path) -> int:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PYTHONNOUSERSITE"] = "1"
    return subprocess.run([*map(str, command)], cwd=folder, env=environment).returncode


FACTS = """
import time
start = time.perf_counter()
import torch
torch_seconds = time.perf_counter() - start
start = time.perf_counter()
import fastconv
seconds = time.perf_counter() - start
print(f"fastconv {fastconv.__version__} from {fastconv.__file__}")
print(f"torch {torch.__version__}: {torch_seconds:.2f} s to import, then fastconv {seconds:.3f} s")
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", required=True, metavar="RELEASE", help="such as 2.11.0")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("arguments", nargs="*", help="for pytest")
    asked = parser.parse_args()
    folder = ROOT / "out" / f"wheel-test-{asked.torch}"
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    start = time.perf_counter()
    steps = [
        (*pip, f"torch=={asked.torch}", *map(pinned, TOOLS)),
        (*pip, "--no-deps", "--force-reinstall", asked.wheel.resolve()),
        (python, "-c", FACTS),
    ]
    for step in steps:
        if run(*step, folder=folder) != 0:
            return 1
    size = asked.wheel.stat().st_size
    print(f"{asked.wheel.name}: {size:,} B; installed in {time.perf_counter() - start:.0f} s")
    shutil.rmtree(folder / "tests", ignore_errors=True)
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns(*LEFT_OUT))
    return run(python, "-m", "pytest", "tests", "-q", *asked.arguments, folder=folder)


if __name__ == "__main__":
    sys.exit(main())
