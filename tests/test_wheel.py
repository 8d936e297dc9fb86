"""What is shipped: a library that any torch from 2.10 on loads, and sources that can be built."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch
from _subprocess import ROOT

import fastconv
from fastconv._ops import _C

PACKAGE = Path(fastconv.__file__).parent
LIBRARY = Path(_C.__file__)
LIBRARIES = sorted(PACKAGE.glob("_*.so"))


def lines_of(*command: str | Path) -> list[str]:
    result = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True)
    return result.stdout.splitlines()


def needed_symbols(library: Path) -> set[str]:
    """Undefined dynamic symbols, without those that libc and libstdc++ give by version."""
    symbols = [line.split()[-1] for line in lines_of("nm", "-D", "--undefined-only", library)]
    return {symbol for symbol in symbols if "@" not in symbol}


OLDEST = (2, 10)
GUARD = re.compile(r"#\s*if\s+TORCH_FEATURE_VERSION\s*>=\s*TORCH_VERSION_(\d+)_(\d+)_\d+\b")


def without_newer(header: str, oldest: tuple[int, int] = OLDEST) -> str:
    """The lines that a compiler for the oldest torch sees; both sides of any other condition."""
    kept: list[str] = []
    open_blocks: list[bool | None] = []  # None: not about a release
    for line in header.splitlines():
        directive = re.match(r"\s*#\s*(if|elif|else|endif)", line)
        guard = GUARD.match(line.strip())
        if directive is None:
            if False not in open_blocks:
                kept.append(line)
        elif directive[1] in ("if", "elif") and not guard and "TORCH_FEATURE_VERSION" in line:
            raise ValueError(f"not understood: {line}")
        elif directive[1] == "if":
            release = guard and (int(guard[1]), int(guard[2]))
            open_blocks.append(release <= oldest if release else None)
        elif directive[1] == "endif":
            open_blocks.pop()
        elif open_blocks[-1] is not None:
            open_blocks[-1] = directive[1] == "else" and not open_blocks[-1]
    assert not open_blocks
    return "\n".join(kept)


def functions_of(header: str) -> set[str]:
    return set(re.findall(r"\b((?:torch|aoti_(?:torch|record))_\w+)\s*\(", header))


def stable_headers() -> list[str]:
    include = Path(torch.__file__).parent / "include/torch/csrc"
    paths = [*include.glob("stable/c/*.h"), *include.glob("inductor/aoti_torch/c/shim.h")]
    return [path.read_text() for path in paths]


def stable_symbols() -> set[str]:
    """What torch's headers declare of the C interface that is there from the oldest torch on."""
    return set().union(*(functions_of(without_newer(header)) for header in stable_headers()))


def test_functions_of_a_newer_torch_are_not_stable_symbols() -> None:
    header = """
        #ifdef __cplusplus
        #if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_10_0
        int torch_old();
        #ifdef USE_CUDA
        int torch_old_cuda();
        #endif // USE_CUDA
        #endif // TORCH_FEATURE_VERSION >= TORCH_VERSION_2_10_0
        #  if TORCH_FEATURE_VERSION >= TORCH_VERSION_2_11_0
        int torch_new();
        #ifdef USE_CUDA
        int torch_new_cuda();
        #else
        int torch_new_cpu();
        #endif
        #else
        int torch_before_new();
        #endif
        int torch_always();
        #endif
    """
    old = {"torch_old", "torch_old_cuda", "torch_before_new", "torch_always"}
    new = {"torch_new", "torch_new_cuda", "torch_new_cpu"}
    assert functions_of(without_newer(header)) == old
    assert functions_of(without_newer(header, (2, 11))) == (old | new) - {"torch_before_new"}
    for line in ("#if TORCH_FEATURE_VERSION < TORCH_VERSION_2_11_0", "#elif TORCH_FEATURE_VERSION"):
        with pytest.raises(ValueError, match="not understood"):
            without_newer(f"#ifdef USE_CUDA\n{line}\n#endif")


def test_the_headers_of_torch_are_read_up_to_the_oldest_release() -> None:
    assert "torch_call_dispatcher" in stable_symbols()  # since 2.10
    assert "torch_dtype_float8_e8m0fnu" not in stable_symbols()  # since 2.11


def weak_symbols(library: Path) -> set[str]:
    """What the library does without where nobody has it."""
    symbols = [line.split() for line in lines_of("nm", "-D", "--undefined-only", library)]
    return {name for kind, name in symbols if kind == "w"}


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.name.split(".")[0])
@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_no_unstable_symbol_of_torch_is_needed(library: Path) -> None:
    symbols = needed_symbols(library) - weak_symbols(library)
    of_python = {symbol for symbol in symbols if re.match(r"_?Py", symbol)}
    of_cpp = {symbol for symbol in symbols if re.match(r"_ZNK?St", symbol)}
    of_torch = symbols - of_python - of_cpp
    assert of_torch
    assert of_python
    assert not of_torch - stable_symbols()
    of_newer_torch = {name for name in weak_symbols(library) if "torch" in name}
    assert of_newer_torch <= {"torch_exception_get_what_without_backtrace"}


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm, of binutils")
def test_that_check_finds_an_unstable_library() -> None:
    library = Path(torch.__file__).parent / "lib" / "libtorch_python.so"
    assert len(needed_symbols(library) - stable_symbols()) > 1000


@pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump, of binutils")
def test_no_other_library_of_torch_is_linked() -> None:
    needed = [line.split()[1] for line in lines_of("objdump", "-p", LIBRARY) if "NEEDED" in line]
    assert [name for name in needed if "torch" in name or "c10" in name] == ["libtorch_cpu.so"]
    assert not [name for name in needed if "python" in name or "gomp" in name]


def import_of(package: Path, program: str = "import fastconv") -> subprocess.CompletedProcess[str]:
    """Run what imports the package that lies in a folder of its own, and no other of that name."""
    # An editable install finds fastconv._C beside the sources, whatever the path says.
    code = (
        "import sys; sys.meta_path[:] = [finder for finder in sys.meta_path "
        "if not getattr(finder, '__module__', '').startswith('__editable__')]; "
        f"sys.path.insert(0, {str(package.parent)!r}); "
        f"\n{program}"
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


# As torch.version.cuda is where there is a GPU; the last line asks for a CUDA tensor's kernel.
PROGRAM_WITH_CUDA = """
import torch
torch.version.cuda = "13.0"
import fastconv, fastconv._cuda_loader
x = torch.ones(1, 1, 3, 3)
print(fastconv.conv2d(x, x).item(), fastconv._cuda_loader.state(), sep="; ")
keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)
torch.ops.fastconv.conv2d.default.redispatch(keys, x, x)
"""


def test_a_foreign_cuda_library_leaves_the_cpu_working_and_is_one_sentence(unbuilt: Path) -> None:
    shutil.copy(LIBRARY, unbuilt)
    (unbuilt / LIBRARY.name.replace("_C", "_cuda", 1)).write_bytes(b"no library")
    result = import_of(unbuilt, PROGRAM_WITH_CUDA)
    assert result.stdout == "9.0; kernels built, but they do not load\n", result.stderr
    said = re.findall(r"^.*\b(RuntimeWarning|RuntimeError): (.+)$", result.stderr, re.MULTILINE)
    (warning, sentence), (error, of_the_operator) = said
    assert (warning, error) == ("RuntimeWarning", "RuntimeError")
    assert sentence == of_the_operator
    assert sentence.startswith("fastconv runs without its CUDA kernels, which do not load with")
    assert "`FORCE_CUDA=1 pip install --no-build-isolation .`" in sentence
    assert "file too short" in sentence


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources, where nothing has been built."""
    if not (ROOT / "setup.py").exists():
        pytest.skip("no checkout")
    copy = tmp_path / "checkout"
    kept_out = (".git", "build*", "*.egg-info", ".venv", "out", "dist", "*.so", "__pycache__", ".*")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*kept_out))
    return copy


def run_setup(checkout: Path, command: str, before: str = "") -> None:
    lines_of(sys.executable, "-c", f"{before}\nimport os; os.chdir({str(checkout)!r}); import sys; "
             f"sys.argv = ['setup.py', '--quiet', {command!r}]; exec(open('setup.py').read(), "
             "{'__name__': '__main__', '__file__': 'setup.py'})")  # fmt: skip


def test_nothing_of_an_earlier_build_gets_into_a_wheel(checkout: Path) -> None:
    """A wheel is what lies in build/lib* and build/bdist* in the end."""
    compiles_nothing = (
        "from setuptools.command import build_ext; build_ext.build_ext.run = lambda self: None"
    )
    run_setup(checkout, "build", compiles_nothing)
    (package,) = checkout.glob("build/lib*/fastconv")
    left = (package / "_cuda.so", package / "_forgotten.py", checkout / "build/bdist.x/wheel/_C.so")
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    run_setup(checkout, "build", compiles_nothing)
    assert (package / "__init__.py").exists()
    assert not [file for file in left if file.exists()]


CPU_WHEEL = "fastconv-0.1.0-cp311-cp311-manylinux_2_34_x86_64.whl"
CUDA_WHEEL = "fastconv-0.1.0+cu13-cp311-cp311-manylinux_2_34_x86_64.whl"
CUDA_LIBRARY = "fastconv/_cuda.cpython-311-x86_64-linux-gnu.so"


@pytest.mark.parametrize(
    ("name", "added", "left_out", "complaint"),
    [
        (CPU_WHEEL, (), (), None),
        (CUDA_WHEEL, (CUDA_LIBRARY,), (), None),
        (CPU_WHEEL, (CUDA_LIBRARY,), (), "has CUDA kernels, and its name does not say so"),
        (CUDA_WHEEL, (), (), "has no CUDA kernels, and its name says that it has"),
        (CPU_WHEEL, ("fastconv.libs/libtorch_cpu-12ab.so",), (), "brings libtorch_cpu-12ab.so"),
        (CPU_WHEEL, ("fastconv.libs/libc10.so",), (), "brings libc10.so"),
        (CPU_WHEEL.replace("manylinux_2_34", "linux"), (), (), "is not tagged manylinux"),
        (CPU_WHEEL, (), ("fastconv/py.typed",), "lacks fastconv/py.typed"),
        (CPU_WHEEL, (), ("fastconv/_C.pyi",), "lacks fastconv/_C.pyi"),
        (CPU_WHEEL, (), ("fastconv/_C.cpython-311-x86_64-linux-gnu.so",), "lacks fastconv/_C.*.so"),
    ],
)
def test_a_wheel_that_is_not_what_its_name_says_is_one_sentence(
    tmp_path: Path,
    name: str,
    added: tuple[str, ...],
    left_out: tuple[str, ...],
    complaint: str | None,
) -> None:
    script = ROOT / "scripts" / "check_wheel.py"
    if not script.exists():
        pytest.skip("no checkout")
    usual = {
        "fastconv/__init__.py",
        "fastconv/_C.cpython-311-x86_64-linux-gnu.so",
        "fastconv/_C.pyi",
        "fastconv/_cuda_loader.py",
        "fastconv/py.typed",
    }
    with zipfile.ZipFile(tmp_path / name, "w") as wheel:
        for file in sorted(usual.union(added).difference(left_out)):
            wheel.writestr(file, "")
    result = subprocess.run(
        [sys.executable, script, tmp_path / name], capture_output=True, text=True
    )
    assert result.returncode == (0 if complaint is None else 1)
    assert result.stderr == ("" if complaint is None else f"{name} {complaint}.\n")


def test_source_distribution_has_every_source(checkout: Path) -> None:
    run_setup(checkout, "sdist")
    (archive,) = (checkout / "dist").glob("*.tar.gz")
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
