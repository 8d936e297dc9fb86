"""The demonstration's promises: each is printed as it is checked, and one broken fails the run."""

from __future__ import annotations

from rich.console import Console


class Claims:
    def __init__(self, console: Console) -> None:
        self.console = console
        self.kept = 0
        self.broken: list[str] = []

    def check(self, holds: bool, claim: str) -> None:
        if holds:
            self.kept += 1
            self.console.print(f"  [green]kept[/]    {claim}")
        else:
            self.broken.append(claim)
            self.console.print(f"  [bold red]BROKEN[/]  {claim}")
