"""How something is timed: one combination of what the command line offers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch

import fastconv
from fastconv._bench.compare import MEMORY_FORMATS, Layout
from fastconv._bench.passes import Direction

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@dataclass(frozen=True)
class Setting:
    direction: Direction = "forward"
    dtype: str = "float32"
    precision: str = "none"
    batch: int = 1
    threads: int = field(default_factory=torch.get_num_threads)
    layout: Layout | Literal["best"] = "best"
    frozen: bool = False
    cold: bool = False
    algorithm: str = ""

    @property
    def layouts(self) -> tuple[Layout, ...]:
        return tuple(MEMORY_FORMATS) if self.layout == "best" else (self.layout,)

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    def __str__(self) -> str:
        parts = [f"{self.direction}, {self.dtype}"]
        if self.precision != "none":
            parts.append(f"precision {self.precision}")
        parts += [f"batch {self.batch}", f"{self.threads} thread{'s' * (self.threads > 1)}"]
        if self.layout != "best":
            parts.append(f"{self.layout} on both sides")
        parts += [name for name in ("frozen", "cold") if getattr(self, name)]
        if self.algorithm:
            parts.append(self.algorithm)
        return ", ".join(parts)

    @property
    def slug(self) -> str:
        """The setting as a part of a file's name: what differs from the defaults."""
        words = str(self).replace(",", "").replace("_", "-").split()
        return "-".join(words)

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Threads, precision and algorithm; the rest is in the tensors."""
        switch = torch.backends.mkldnn.conv  # type: ignore[attr-defined]
        threads, precision = torch.get_num_threads(), switch.fp32_precision
        torch.set_num_threads(self.threads)
        switch.fp32_precision = self.precision
        try:
            with contextlib.ExitStack() as stack:
                if self.algorithm:
                    stack.enter_context(fastconv.use_algorithm(self.algorithm))
                yield
        finally:
            switch.fp32_precision = precision
            torch.set_num_threads(threads)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Setting:
        """Raises TypeError where a field is missing or unknown."""
        if set(value) != {known.name for known in fields(cls)}:
            raise TypeError(f"not the fields of a setting: {', '.join(value)}")
        return cls(**value)
