"""torch.compile's default backend calls our operators as they are.

Inductor does so with any operator that it cannot lower. But where the environment variable CI is
set, as on most build services, it refuses those that torch's table decomposes, to keep torch's own
lowerings complete: and that table has ours, for other tools (_decompositions.py).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from torch._library.utils import get_layout_constraint_tag

Function = TypeVar("Function", bound=Callable[..., Any])


def _call_as_it_is(operator: Any) -> None:
    # Inductor loads before it traces what it compiles; loading it here would cost every import
    # of fastconv seconds.
    lowering: Any = sys.modules.get("torch._inductor.lowering")
    if lowering is None or operator in lowering.lowerings:
        return
    layout = lowering.tag_to_layout_constraint(get_layout_constraint_tag(operator))
    lowering.make_fallback(operator, layout, warn=False)


def called_as_it_is(operator: Any) -> Callable[[Function], Function]:
    """Decorator of the operator's fake: the one part of it that runs whenever Inductor traces."""

    def decorate(fake: Function) -> Function:
        @functools.wraps(fake)
        def run(*args: Any, **kwargs: Any) -> Any:
            _call_as_it_is(operator)
            return fake(*args, **kwargs)

        return run  # type: ignore[return-value]

    return decorate
