"""How many problems hypothesis draws: a bounded number in `make test`, FASTCONV_FUZZ times as many
in `make fuzz`, and then other ones at every run."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("FASTCONV_FUZZ", "1"))


def examples(count: int) -> settings:
    return settings(
        max_examples=count * TIMES,
        derandomize=TIMES == 1,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
