"""What was measured, in a form that survives a file."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from fastconv._bench.settings import Setting

FORMAT = 1
Entry = TypeVar("Entry", "Row", "Regret")


class BadResultsError(ValueError):
    """A file that is no result of this bench; the message says why."""


@dataclass(frozen=True)
class Row:
    """A layer or a network, both sides. Dictionaries are by layout, within each side."""

    network: str
    name: str
    kind: str
    shape: str
    count: int
    setting: Setting
    work: int
    """Multiply-adds of a convolution by its definition; a pooling's comparisons."""
    seconds: dict[str, dict[str, float]]
    """Medians."""
    spread: dict[str, dict[str, float]]
    """The distance between the quartiles."""
    error: dict[str, float]
    """Against float64: of each side, and what was allowed to fastconv."""
    algorithms: dict[str, str]
    """What fastconv computed it by; empty for whole networks."""
    peak_bytes: dict[str, dict[str, int]] = field(default_factory=dict)

    def best(self, side: str) -> tuple[str, float]:
        """The side's faster layout and its median in seconds."""
        return min(self.seconds[side].items(), key=lambda item: item[1])

    @property
    def ratio(self) -> float:
        return self.best("torch")[1] / self.best("fastconv")[1]

    def rate(self, side: str) -> float:
        """Operations a second, an addition and a multiplication being two."""
        return 2 * self.work / self.best(side)[1]

    @property
    def algorithm(self) -> str:
        return self.algorithms.get(self.best("fastconv")[0], "")


@dataclass(frozen=True)
class Regret:
    """What the dispatcher chose for a layer, and what each algorithm that accepts it took."""

    network: str
    name: str
    kind: str
    shape: str
    count: int
    setting: Setting
    layout: str
    chosen: str
    seconds: dict[str, float]
    """By algorithm, the chosen one too, each asked for by name."""

    @property
    def best(self) -> str:
        return min(self.seconds, key=lambda name: self.seconds[name])

    @property
    def regret(self) -> float:
        """Time of the choice over time of the best, less one: 0 is a perfect choice."""
        return self.seconds[self.chosen] / self.seconds[self.best] - 1


@dataclass
class Results:
    machine: dict[str, str]
    options: dict[str, str] = field(default_factory=dict)
    """Of the command line, as they were in force."""
    peaks: dict[str, float] = field(default_factory=dict)
    """Operations a second of torch.mm, by `peak_key`."""
    rows: list[Row] = field(default_factory=list)
    regrets: list[Regret] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """Results too far from float64, which were not timed, and processes that died."""
    interrupted: bool = False
    """Whether it was stopped before all was measured."""

    def settings(self) -> list[Setting]:
        measured = [row.setting for row in self.rows] + [entry.setting for entry in self.regrets]
        return list(dict.fromkeys(measured))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n", "utf-8")


def load(path: Path) -> Results:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadResultsError(f"{path} is no JSON: {error}") from error
    if not isinstance(value, dict) or value.pop("format", None) != FORMAT:
        raise BadResultsError(f"{path} is no result of this bench (format {FORMAT})")
    try:
        rows = _entries(Row, value.pop("rows"))
        regrets = _entries(Regret, value.pop("regrets"))
        return Results(rows=rows, regrets=regrets, **value)
    except (KeyError, TypeError) as error:
        raise BadResultsError(f"{path} is no result of this bench: {error}") from error


def _entries(kind: type[Entry], values: Iterable[dict[str, Any]]) -> list[Entry]:
    names = {known.name for known in fields(kind)}
    entries = []
    for value in values:
        if set(value) != names:
            raise TypeError(f"a {kind.__name__} has not the fields {', '.join(value)}")
        setting = Setting.from_json(value["setting"])
        entries.append(kind(**{**value, "setting": setting}))
    return entries


def peak_key(dtype: str, threads: int) -> str:
    return f"{dtype}, {threads}"


def geometric_mean(values: Iterable[float]) -> float:
    logarithms = [math.log(value) for value in values]
    return math.exp(sum(logarithms) / len(logarithms))
