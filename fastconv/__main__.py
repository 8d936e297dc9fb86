"""The command line: ``python -m fastconv info``, ``explain`` and ``bench``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import torch

import fastconv
from fastconv import _command_explain, _cuda_loader
from fastconv._bench.command import DESCRIPTION, run
from fastconv._bench.options import add_options
from fastconv._ops import _C
from fastconv._table import render

PROGRAM = "python -m fastconv"


def info() -> str:
    """What a bug report should carry."""
    isa = _C.isa()
    facts = {
        "fastconv": fastconv.__version__,
        "python": sys.version.split()[0],
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "instruction set": f"{isa['used']} (this CPU has {isa['detected']})",
        "CUDA": _cuda_loader.state(),
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=fastconv.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="facts about this build, this CPU and the algorithms")
    explain = commands.add_parser(
        "explain", help=_command_explain.DESCRIPTION, description=_command_explain.DESCRIPTION
    )
    _command_explain.add_options(explain)
    add_options(commands.add_parser("bench", help=DESCRIPTION, description=DESCRIPTION))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = _parser().parse_args(arguments)
    if parsed.command == "bench":
        return run(parsed, f"{PROGRAM} bench")
    if parsed.command == "explain":
        return _command_explain.run(parsed, f"{PROGRAM} explain")
    try:
        print(info())
    except RuntimeError as error:  # of FASTCONV_MAX_ISA
        print(f"{PROGRAM} info: {error}", file=sys.stderr)
        return 2
    return 0


def _silence_output() -> None:
    """What is left to write would fail again when Python closes stdout."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main() -> int:
    """main() as a shell expects it: no traceback for Ctrl-C, a closed pipe or a full disk."""
    try:
        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _silence_output()
        return 141
    except OSError as error:
        _silence_output()
        print(f"{PROGRAM}: the output cannot be written: {error.strerror}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(_main())
