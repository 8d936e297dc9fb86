"""The command line: ``python -m fastconv info`` and ``python -m fastconv bench``."""

from __future__ import annotations

import argparse

import torch

import fastconv
from fastconv import _cuda_loader
from fastconv._bench.command import DESCRIPTION, run
from fastconv._bench.options import add_options
from fastconv._ops import _C
from fastconv._table import render


def info() -> str:
    """What a bug report should carry."""
    isa = _C.isa()
    facts = {
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "instruction set": f"{isa['used']} (this CPU has {isa['detected']})",
        "CUDA kernels": "loaded" if _cuda_loader.loaded else "not built, or torch has no CUDA",
        **{key.replace("_", " "): str(value) for key, value in _C.build_info().items()},
    }
    algorithms = [
        (
            algorithm.name,
            algorithm.isa,
            ", ".join(str(dtype).removeprefix("torch.") for dtype in algorithm.dtypes),
            f"{algorithm.error:.1e}",
            algorithm.note,
        )
        for algorithm in fastconv.algorithms()
    ]
    lines = [f"{name}: {value}" for name, value in facts.items()]
    header = ("algorithm", "needs", "dtypes", "error", "note")
    return "\n".join([*lines, "", render(header, algorithms)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fastconv", description=fastconv.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="facts about this build, this CPU and the algorithms")
    add_options(commands.add_parser("bench", help=DESCRIPTION, description=DESCRIPTION))
    arguments = parser.parse_args()
    if arguments.command == "bench":
        return run(arguments, "python -m fastconv bench")
    print(info())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
