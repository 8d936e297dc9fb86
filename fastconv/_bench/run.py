"""A run: every task measured, with progress shown and each setting's table when it is done."""

from __future__ import annotations

import argparse
import functools
import itertools
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from fastconv._bench import present
from fastconv._bench.compare import WrongResultError
from fastconv._bench.machine import CacheEviction, facts, measured_peak
from fastconv._bench.measure import measure
from fastconv._bench.memory import ProcessDiedError
from fastconv._bench.networks import Network
from fastconv._bench.options import UsageError
from fastconv._bench.plan import Task
from fastconv._bench.regret import measure_regret
from fastconv._bench.results import Results, peak_key
from fastconv._bench.settings import DTYPES, Setting
from fastconv._bench.subjects import name_of, network_of


def run_tasks(tasks: Sequence[Task], arguments: argparse.Namespace) -> Results:
    """Interrupted, it returns what it has, and says so."""
    results = Results(facts(), {name: str(value) for name, value in vars(arguments).items()})
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    screen = present.console()
    rejected: list[str] = []
    screen.print(present.machine_line(results))
    with Progress(*columns, console=screen, transient=True) as progress:
        bar = progress.add_task("", total=len(tasks))
        unshown: Setting | None = None
        try:
            for setting, group in itertools.groupby(tasks, key=lambda task: task.setting):
                unshown = setting
                _measure_peaks(results, setting)
                for task in group:
                    label = f"{network_of(task.subject)} {name_of(task.subject)}"
                    progress.update(bar, description=label)
                    _measure(task, arguments, results, rejected, screen)
                    progress.advance(bar)
                present.show_setting(results, setting, screen)
                unshown = None
        except KeyboardInterrupt:
            results.interrupted = True
            if unshown is not None and unshown in results.settings():
                present.show_setting(results, unshown, screen)
            screen.print("interrupted: what was measured so far is kept")
    reasons = Counter(rejected)
    if len(rejected) == len(tasks):
        raise UsageError(f"{arguments.algorithm} computes none of them: {next(iter(reasons))}")
    for reason, times in reasons.items():
        screen.print(f"left out: {escape(reason)} ({times} times)")
    return results


def _measure(
    task: Task,
    arguments: argparse.Namespace,
    results: Results,
    rejected: list[str],
    screen: Console,
) -> None:
    label = f"{network_of(task.subject)} {name_of(task.subject)}, {task.setting}"
    try:
        if arguments.regret and not isinstance(task.subject, Network):
            budget = arguments.seconds
            results.regrets += measure_regret(task.subject, task.setting, budget=budget)
            return
        row = measure(
            task.subject,
            task.setting,
            budget=arguments.seconds,
            before_sample=_eviction() if task.setting.cold else None,
            memory=arguments.memory,
        )
        results.rows.append(row)
    except (WrongResultError, ProcessDiedError) as error:
        results.failures.append(f"{label}: {error}")
        present.show_failure(results.failures[-1], screen)
    except RuntimeError as error:
        if not task.setting.algorithm:
            raise
        rejected.append(str(error))  # the algorithm that was asked for cannot do this layer


@functools.cache
def _eviction() -> CacheEviction:
    return CacheEviction()


def _measure_peaks(results: Results, setting: Setting) -> None:
    """Of float32 always: it is what every picture is measured against."""
    with setting.in_force():
        for dtype in dict.fromkeys(("float32", setting.dtype)):
            key = peak_key(dtype, setting.threads)
            if key not in results.peaks:
                results.peaks[key] = measured_peak(DTYPES[dtype])
