"""Two results of the bench side by side: what a change of the code did to each layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TypeAlias

from fastconv._bench.results import Results, Row

Key: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class Change:
    before: Row
    after: Row

    @property
    def factor(self) -> float:
        """How many times faster fastconv became, measured against torch on each day.

        Two runs on a shared machine differ by more than most changes of the code; torch beside
        each takes that out.
        """
        return self.after.ratio / self.before.ratio


@dataclass(frozen=True)
class Changes:
    common: list[Change]
    """The most slowed down first."""
    only_before: list[Row]
    only_after: list[Row]


def key_of(row: Row) -> Key:
    """What makes two rows comparable: the layer and everything about how it was timed."""
    setting = asdict(row.setting).values()
    return (row.network, row.name, row.shape, *map(str, setting))


def changes(before: Results, after: Results) -> Changes:
    earlier = {key_of(row): row for row in before.rows}
    later = {key_of(row): row for row in after.rows}
    common = [Change(earlier[key], later[key]) for key in earlier if key in later]
    return Changes(
        sorted(common, key=lambda change: change.factor),
        [row for key, row in earlier.items() if key not in later],
        [row for key, row in later.items() if key not in earlier],
    )
