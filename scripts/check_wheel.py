"""Says of each wheel that is not what its name promises what is wrong with it.

    python scripts/check_wheel.py out/wheel/repaired/*.whl

What setuptools packs depends on what lay around, and auditwheel on what is linked: so the wheel
itself is asked.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

REQUIRED = ("fastconv/_C.*.so", "fastconv/_C.pyi", "fastconv/py.typed")


def faults(wheel: Path) -> Iterator[str]:
    """What the wheel is not, each a phrase that follows its name."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
    _, version, *_, platform = wheel.stem.split("-")
    has_cuda = bool(fnmatch.filter(names, "fastconv/_cuda.*so"))
    if has_cuda and "+cu" not in version:
        yield "has CUDA kernels, and its name does not say so"
    if not has_cuda and "+cu" in version:
        yield "has no CUDA kernels, and its name says that it has"
    for name in sorted(PurePosixPath(name).name for name in names):
        if name.startswith(("libtorch", "libc10")):
            yield f"brings {name}"
    if not platform.startswith("manylinux"):
        yield "is not tagged manylinux"
    for pattern in REQUIRED:
        if not fnmatch.filter(names, pattern):
            yield f"lacks {pattern}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, nargs="+", metavar="wheel")
    wrong = {wheel: list(faults(wheel)) for wheel in parser.parse_args().wheels}
    for wheel, phrases in wrong.items():
        if phrases:
            print(f"{wheel.name} {', '.join(phrases)}.", file=sys.stderr)
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
