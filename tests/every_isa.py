"""The suite at this machine's best instruction set, then the kernel tests under each lower one.

`make test` runs this. FASTCONV_MAX_ISA is read once per process, so each level is a pytest run of
its own; arguments are passed on to every one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from fastconv import _C

LEVELS = ("scalar", "avx2", "avx512", "avx512_bf16", "amx")  # each includes the ones before it
# What it has more than the one before are algorithms that the best level's tests go through too.
NOT_ALONE = ("avx512_bf16",)
RESULTS = Path("out/test-results")


def run_pytest(isa: str, *arguments: str) -> int:
    print(f"\n=== FASTCONV_MAX_ISA={isa}", flush=True)
    command = [sys.executable, "-m", "pytest", f"--junitxml={RESULTS / isa}.xml", *arguments]
    return subprocess.run(command, env={**os.environ, "FASTCONV_MAX_ISA": isa}).returncode


def main(arguments: list[str]) -> int:
    best = _C.isa()["used"]
    codes = [run_pytest(best, *arguments)]
    for isa in reversed(LEVELS[: LEVELS.index(best)]):
        if isa in NOT_ALONE:
            continue
        codes.append(run_pytest(isa, "-m", "kernels", *arguments))
    return max(codes)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
