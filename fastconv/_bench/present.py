"""Results, plans and changes on the terminal."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from fastconv._bench import tables
from fastconv._bench.changes import Changes
from fastconv._bench.plan import Task, estimated_seconds, readable
from fastconv._bench.results import Results
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import name_of, network_of, shape_of
from fastconv._bench.timing import clock_name

_WIDTH = 150


def console() -> Console:
    return tables.console(_WIDTH)


def machine_line(results: Results) -> str:
    facts = results.machine
    return (
        f"{facts['cpu']}, {facts['cores']} cores, {facts['instruction set']}; Python "
        f"{facts['python']}, torch {facts['torch']}, fastconv {facts['fastconv']}; {facts['date']}"
    )


def show(results: Results) -> None:
    screen = console()
    screen.print(machine_line(results))
    for setting in results.settings():
        show_setting(results, setting, screen)
    for failure in results.failures:
        show_failure(failure, screen)


def show_failure(failure: str, screen: Console) -> None:
    screen.print(f"[bold red]FAILED[/] {escape(failure)}")


def show_setting(results: Results, setting: Setting, screen: Console) -> None:
    rows = [row for row in results.rows if row.setting == setting]
    regrets = [entry for entry in results.regrets if entry.setting == setting]
    if rows:
        screen.print(tables.rows_table(str(setting), rows, clock_name(setting.threads)))
        screen.print(tables.summary_table(rows))
    if regrets:
        screen.print(tables.regret_table(str(setting), regrets))
        screen.print(tables.regret_summary(regrets))


def show_plan(tasks: Sequence[Task], arguments: argparse.Namespace) -> None:
    screen = console()
    seconds = 0.0
    for task in tasks:
        subject = task.subject
        estimate = estimated_seconds(
            task, arguments.seconds, regret=arguments.regret, memory=arguments.memory
        )
        seconds += estimate
        screen.print(
            f"{network_of(subject)} {name_of(subject)}: {shape_of(subject)}; {task.setting}; "
            f"{readable(estimate)}"
        )
    screen.print(f"{len(tasks)} comparisons, very roughly {readable(seconds)}")


def show_changes(found: Changes) -> None:
    screen = console()
    if found.common:
        screen.print(tables.changes_table(found))
    else:
        screen.print("the two have no comparison in common")
    for name, rows in (("first", found.only_before), ("second", found.only_after)):
        if rows:
            screen.print(f"only in the {name}: {len(rows)} comparisons")
