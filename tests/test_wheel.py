"""What is shipped: a library that any torch from 2.10 on loads, and sources that can be built."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from _subprocess import ROOT

import fastconv
from fastconv._ops import _C

PACKAGE = Path(fastconv.__file__).parent
LIBRARY = Path(_C.__file__)


def lines_of(*command: str | Path) -> list[str]:
    result = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return result.stdout.splitlines()


def needed_symbols(library: Path) -> set[str]:
    """Undefined dynamic symbols, without those that libc and libstdc++ give by version."""
    symbols = [line.split()[-1] for line in lines_of("nm", "-D", "--undefined-only", library)]
    return {symbol for symbol in symbols if "@" not in symbol}


def stable_symbols() -> set[str]:
    """What torch's headers declare of the C interface that stays from release to release."""
    include = Path(torch.__file__).parent / "include/torch/csrc"
    headers = [*include.glob("stable/c/*.h"), *include.glob("inductor/aoti_torch/c/shim.h")]
    text = "".join(path.read_text() for path in headers)
    return set(re.findall(r"\b((?:aoti_)?torch_\w+)\s*\(", text))


# Of these families the headers' macros make the names.
OF_A_FAMILY = re.compile(r"aoti_torch_(dtype|device_type|layout|memory_format|delete)_\w+$")
# Weak ones, which the linker or the run-time fills in.
OF_THE_LINKER = {"_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable", "__gmon_start__"}


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_no_unstable_symbol_of_torch_is_needed() -> None:
    symbols = needed_symbols(LIBRARY) - OF_THE_LINKER
    of_python = {symbol for symbol in symbols if re.match(r"_?Py", symbol)}
    of_cpp = {symbol for symbol in symbols if re.match(r"_ZNK?St", symbol)}
    of_torch = {s for s in symbols - of_python - of_cpp if not OF_A_FAMILY.match(s)}
    assert of_torch
    assert of_python
    assert not of_torch - stable_symbols()


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_that_check_finds_an_unstable_library() -> None:
    library = Path(torch.__file__).parent / "lib" / "libtorch_python.so"
    assert len(needed_symbols(library) - stable_symbols()) > 1000


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump, of binutils")
def test_no_other_library_of_torch_is_linked() -> None:
    needed = [line.split()[1] for line in lines_of("objdump", "-p", LIBRARY) if "NEEDED" in line]
    assert [name for name in needed if "torch" in name or "c10" in name] == ["libtorch_cpu.so"]
    assert not [name for name in needed if "python" in name or "gomp" in name]


def import_of(package: Path) -> subprocess.CompletedProcess[str]:
    """Import the package that lies in a folder of its own, and nothing else of that name."""
    # An editable install finds fastconv._C beside the sources, whatever the path says.
    code = (
        "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path "
        "if not getattr(finder, '__module__', '').startswith('__editable__')]; "
        f"sys.path.insert(0, {str(package.parent)!r}); import fastconv"
    )
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=package.parent
    )


@pytest.fixture
def unbuilt(tmp_path: Path) -> Path:
    package = tmp_path / "fastconv"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return package


def test_the_copied_package_works_with_its_library(unbuilt: Path) -> None:
    shutil.copy(LIBRARY, unbuilt)
    assert import_of(unbuilt).returncode == 0


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (None, r"fastconv is not built: run `pip install --no-build-isolation \.`"),
        ("_C.cpython-39-x86_64-linux-gnu.so", "was built for another Python than this one"),
        (LIBRARY.name, "does not load with this torch, which must be 2.10 or newer"),
    ],
)
def test_a_missing_or_foreign_library_is_one_sentence(
    unbuilt: Path, file: str | None, sentence: str
) -> None:
    if file is not None:
        (unbuilt / file).write_bytes(b"no library")
    result = import_of(unbuilt)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if re.match(r"\w*Error", line)]
    assert len(errors) == 1
    assert re.search(sentence, errors[0])
    assert "pip install --no-build-isolation ." in errors[0]


def test_source_distribution_has_every_source(tmp_path: Path) -> None:
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout")
    copy = tmp_path / "checkout"
    kept_out = (".git", "build*", "*.egg-info", ".venv", "out", "dist", "*.so", "__pycache__", ".*")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*kept_out))
    lines_of(sys.executable, "-c", f"import os; os.chdir({str(copy)!r}); import sys; "
             "sys.argv = ['setup.py', '--quiet', 'sdist']; exec(open('setup.py').read(), "
             "{'__name__': '__main__', '__file__': 'setup.py'})")  # fmt: skip
    (archive,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        packed = {name.split("/", 1)[1] for name in file.getnames() if "/" in name}
    sources = {
        str(path.relative_to(ROOT))
        for folder, kinds in (("csrc", "*.[ch]*"), ("fastconv", "*.py*"))
        for path in (ROOT / folder).rglob(kinds)
        if "__pycache__" not in path.parts
    }
    assert len(sources) > 100
    assert not sources - packed
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "fastconv/py.typed"} <= packed


@pytest.mark.parametrize(
    ("tool", "version", "complaint"),
    [
        (
            "setuptools",
            "65.5.0",
            "setuptools>=77 and found 65.5.0: pip install -U 'setuptools>=77'",
        ),
        ("torch", "2.9.1+cpu", "torch>=2.10 and found 2.9.1+cpu: pip install -U 'torch>=2.10'"),
    ],
)
def test_tools_that_are_too_old_are_one_sentence(tool: str, version: str, complaint: str) -> None:
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout")
    code = (
        f"import {tool}; {tool}.__version__ = {version!r}; import runpy, sys; "
        "sys.argv = ['setup.py', '--version']; runpy.run_path('setup.py', run_name='__main__')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr == f"fastconv is built with {complaint}\n"


USER_PROGRAM = """
import torch

import fastconv
from fastconv import nn
from fastconv.functional import conv2d, max_pool2d

model: torch.nn.Sequential = fastconv.convert(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)))
fastconv.freeze(model)
layer = nn.Conv2d(3, 4, 3, padding="same")
output: torch.Tensor = conv2d(torch.ones(1, 3, 8, 8), layer.weight, layer.bias, (1, 1), "same")
values, indices = max_pool2d(output, 2, return_indices=True)
names: list[str] = [algorithm.name for algorithm in fastconv.algorithms()]
with fastconv.use_algorithm(names[0]), fastconv.patch():
    rows = fastconv.explain(model, torch.ones(1, 3, 8, 8)).rows
sizes: list[tuple[int, ...]] = [row.output_size for row in rows]
reasons: list[str] = [row.reason for row in fastconv.report(fastconv.revert(model))]
"""


@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="mypy is not installed")
def test_a_program_that_uses_the_package_is_typed(tmp_path: Path) -> None:
    """Strictly, by what py.typed promises; and what is wrong in it is found."""
    assert (PACKAGE / "py.typed").exists()
    (tmp_path / "right.py").write_text(USER_PROGRAM)
    (tmp_path / "wrong.py").write_text(USER_PROGRAM + "fastconv.conv2d(output, 3).nothing\n")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "right.py", "wrong.py"],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(PACKAGE.parent)},
    )  # fmt: skip
    assert result.stderr == ""
    line = USER_PROGRAM.count("\n") + 1
    complaints = sorted(result.stdout.splitlines())
    assert len(complaints) == 2
    assert complaints[0].startswith(f'wrong.py:{line}: error: "Tensor" has no attribute "nothing"')
    assert 'incompatible type "int"; expected "Tensor"' in complaints[1]


def test_version_has_one_source() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastconv.__version__)
    changelog = ROOT / "CHANGELOG.md"
    if changelog.exists():
        assert f"## {fastconv.__version__}" in changelog.read_text()
