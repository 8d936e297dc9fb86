"""Checks that no code of a newer instruction set can be linked into the baseline.

A file compiled for AVX-512 that instantiates an inline function or a template with external
linkage emits a weak copy of it. The linker keeps one copy for everybody, and if it is this one, a
CPU without AVX-512 dies in std::min. So: in the objects named *avx*, no weak function may hold a
VEX- or EVEX-encoded instruction.
"""

import re
import subprocess
import sys
from pathlib import Path

# Mnemonics of AVX and later begin with v, and so do these few of the baseline.
AVX_INSTRUCTION = re.compile(r"\s+[0-9a-f]+:\t(?!(?:verr|verw|vmcall|vmlaunch|vmresume|vmxoff)\b)v")


def lines_of(*command: str) -> list[str]:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def weak_symbols(path: Path) -> set[str]:
    symbols = (line.split() for line in lines_of("nm", "--defined-only", str(path)))
    return {name for _, kind, name in symbols if kind in "WVu"}


def functions_with_avx(path: Path) -> set[str]:
    found, current = set(), ""
    for line in lines_of("objdump", "-d", "--no-show-raw-insn", str(path)):
        if start := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            current = start[1]
        elif AVX_INSTRUCTION.match(line):
            found.add(current)
    return found


def main() -> int:
    objects = [Path(argument) for argument in sys.argv[1:]]
    isa_objects = [path for path in objects if "avx" in path.name or "amx" in path.name]
    failures = 0
    for path in isa_objects:
        with_avx = functions_with_avx(path)
        if not with_avx:
            print(f"{path.name}: no AVX instruction at all; is its pragma in place?")
            failures += 1
        for name in sorted(weak_symbols(path) & with_avx):
            print(f"{path.name}: weak function with AVX code: {name}")
            failures += 1
    print(f"{len(isa_objects)} objects of {len(objects)} looked at, {failures} failures")
    return 1 if failures or not isa_objects else 0


if __name__ == "__main__":
    sys.exit(main())
