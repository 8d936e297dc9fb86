"""`make bench-all`: every kind of comparison that the bench makes, into bench/results/.

A list of command lines, one file of results and its pictures each, cut to what a machine of two
cores does in half an hour.
"""

from __future__ import annotations

import argparse
import datetime
import re
import time
from pathlib import Path

from fastconv._bench.command import main as bench
from fastconv._bench.machine import cpu_name
from fastconv._ops import _C

RESULTS = Path(__file__).parent / "results"

RUNS = {
    "forward-frozen": "--freeze --seconds 0.2",
    "forward": "--seconds 0.2",
    "forward-all-threads": "--freeze --threads all --limit 80 --seconds 0.2",
    "backward": "--pass backward --limit 80 --seconds 0.2",
    "batch-16": "--pass all --batch 16 --limit 20 --seconds 0.2",
    "precision": "--precision ieee tf32 bf16 --kind 3x3 --limit 25 --freeze --seconds 0.2",
    "16-bit": "--dtype bfloat16 float16 --limit 30 --seconds 0.2",
    "grouped": "--kind grouped --dtype float32 bfloat16 float16 --pass all --seconds 0.2",
    "pooling": "--kind pool --pass forward backward --layout NCHW --seconds 0.2",
    "cold": "--cold --limit 30 --seconds 0.3",
    "memory": "--memory --limit 25 --seconds 0.1",
    "regret": "--regret --pass all --limit 40 --seconds 0.3",
    "models": "--models --freeze --threads 1 all --seconds 3",
    "training": "--models --pass training --batch 8 --threads all --seconds 1",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.everything", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--folder", type=Path, default=RESULTS)
    parser.add_argument("--dry-run", action="store_true", help="say how long each may take")
    arguments = parser.parse_args()

    name = f"{machine_name()}-{datetime.date.today().isoformat()}"
    start, status = time.monotonic(), 0
    for run in arguments.only:
        path = arguments.folder / f"{name}-{run}.json"
        options = RUNS[run].split()
        print(
            f"##### {run}: {RUNS[run]} ({(time.monotonic() - start) / 60:.0f} min in)", flush=True
        )
        options += ["--dry-run"] if arguments.dry_run else ["--json", str(path)]
        if not arguments.dry_run and run != "regret":  # of choices there is nothing to draw
            options += ["--plot", str(path.with_suffix(".png"))]
        status = max(status, bench(options))
    return status


def machine_name() -> str:
    """As in `xeon-2-50ghz-avx512`."""
    words = re.sub(r"\(\w+\)|intel|amd|processor|cpu|@", " ", cpu_name().lower())
    return re.sub(r"[^a-z0-9]+", "-", f"{words} {_C.isa()['detected']}").strip("-")


if __name__ == "__main__":
    raise SystemExit(main())
