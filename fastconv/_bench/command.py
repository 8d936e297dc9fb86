"""``python -m fastconv bench``: from what was asked for to what is printed and written."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from fastconv._bench.options import UsageError, add_options, settings_of, subjects_of

INTERRUPTED = 130  # as a shell has it, for SIGINT

DESCRIPTION = "Time fastconv against torch, layer by layer or in whole networks."


def main(arguments: Sequence[str] | None = None, program: str = "python -m fastconv bench") -> int:
    parser = argparse.ArgumentParser(prog=program, description=DESCRIPTION)
    add_options(parser)
    return run(parser.parse_args(arguments), program)


def run(arguments: argparse.Namespace, program: str) -> int:
    """0: all is well; 1: a result was wrong; 2: it cannot be done; 130: it was interrupted.

    What was measured before an interruption is written and shown all the same.
    """
    try:
        _need("rich", "prints the tables")
        if arguments.plot is not None:
            _need("matplotlib", "draws the pictures")
        return _run(arguments)
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2


def _need(library: str, purpose: str) -> None:
    if importlib.util.find_spec(library) is None:
        raise UsageError(f"{library} {purpose} and is not installed: pip install fastconv[bench]")


def _run(arguments: argparse.Namespace) -> int:
    # These need rich.
    from fastconv._bench import present
    from fastconv._bench.changes import changes
    from fastconv._bench.plan import combine
    from fastconv._bench.results import BadResultsError, Results, load
    from fastconv._bench.run import run_tasks

    try:
        earlier = [load(path) for path in arguments.compare or ()]
        loaded = load(arguments.load) if arguments.load is not None else None
    except BadResultsError as error:
        raise UsageError(str(error)) from error
    if earlier:
        before, after = earlier
        present.show_changes(changes(before, after))
        return 0
    if loaded is None:
        tasks = combine(subjects_of(arguments), settings_of(arguments))
        if not tasks:
            raise UsageError("no layer has that pass under that precision")
        if arguments.dry_run:
            present.show_plan(tasks, arguments)
            return 0
        _prepare_folder(arguments.json)
        _prepare_folder(arguments.plot)
        loaded = run_tasks(tasks, arguments)
        if arguments.json is not None:
            loaded.save(arguments.json)
    else:
        assert isinstance(loaded, Results)
        present.show(loaded)
    if arguments.plot is not None:
        from fastconv._bench.plots import draw

        for path in draw(loaded, arguments.plot):
            print(path)
    if loaded.failures:
        return 1
    return INTERRUPTED if loaded.interrupted else 0


def _prepare_folder(path: Path | None) -> None:
    """Before hours of measuring, not after."""
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path} cannot be written")
