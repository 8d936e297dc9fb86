"""What a run will time, and how long that may take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from fastconv._bench.settings import Setting
from fastconv._bench.subjects import Subject, can_have, work_of

# Rough rates of one thread, to say whether a run takes minutes or hours: operations a second (of
# 16-bit types where the CPU has no products of these), and what a comparison costs anyhow.
_RATE = {"float32": 40e9, "bfloat16": 10e9, "float16": 10e9}
_REFERENCE_RATE = 15e9
_CALL = 20e-6
_PREPARATION = 0.03
_PROCESS = 0.4


@dataclass(frozen=True)
class Task:
    subject: Subject
    setting: Setting


def combine(subjects: Sequence[Subject], settings: Sequence[Setting]) -> list[Task]:
    """Setting by setting, every subject for which the setting means something."""
    return [
        Task(subject, setting)
        for setting, subject in itertools.product(settings, subjects)
        if can_have(subject, setting)
    ]


def estimated_seconds(task: Task, budget: float, *, regret: bool, memory: bool) -> float:
    setting = task.setting
    operations = 2 * work_of(task.subject, setting)
    call = _CALL + operations / (_RATE[setting.dtype] * setting.threads)
    layouts = len(setting.layouts)
    candidates = layouts * (5 if regret else 2)
    fewest = 7 if candidates * call < 2 else 3
    seconds = _PREPARATION + operations / (_REFERENCE_RATE * setting.threads)
    seconds += max((layouts if regret else 1) * budget, fewest * candidates * call)
    seconds += 3 * candidates * call
    if memory:
        seconds += 2 * layouts * (_PROCESS + 2 * call)
    return seconds


def readable(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"
