"""The pages of docs/: they build without a warning, their samples run, and nothing is left out."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import os
import re
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from _subprocess import ROOT

import fastconv

DOCS = ROOT / "docs"

pytestmark = pytest.mark.skipif(
    not (DOCS / "conf.py").exists(), reason="the pages are not beside the tests"
)


def sphinx(builder: str, folder: Path) -> None:
    """Build with warnings as errors, and names that lead nowhere as warnings."""
    command = [sys.executable, "-m", "sphinx", "-b", builder, "-q", "-W", "--keep-going", "-n"]
    command += ["-d", str(folder / "doctrees"), str(DOCS), str(folder / builder)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert result.returncode == 0, result.stdout + result.stderr


def names_in(inventory: Path) -> set[str]:
    """What the pages describe, by Sphinx's own list: four lines of header, the rest compressed."""
    lines = zlib.decompress(inventory.read_bytes().split(b"\n", 4)[4]).decode().splitlines()
    return {line.split(" py:")[0] for line in lines if " py:" in line}


def public_names() -> set[str]:
    modules = ("fastconv", "fastconv.functional", "fastconv.nn")
    return {f"{m}.{name}" for m in modules for name in importlib.import_module(m).__all__}


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="sphinx is not installed")
def test_pages_build_their_samples_run_and_every_public_name_is_there(tmp_path: Path) -> None:
    """One test, since the samples are run from what the first build has read."""
    sphinx("html", tmp_path)
    assert public_names() <= names_in(tmp_path / "html" / "objects.inv")
    sphinx("doctest", tmp_path)


def spelled_out(pattern: str) -> set[str]:
    """``a_{b,c}_d`` is a_b_d and a_c_d, as to a shell."""
    parts = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", pattern)]
    return {"".join(choice) for choice in itertools.product(*parts)}


def described_algorithms() -> set[str]:
    text = "".join(page.read_text() for page in sorted((DOCS / "algorithms").glob("*.md")))
    patterns = re.findall(r"`((?:conv2d|max_pool2d)_[a-z0-9_{},]+)`", text)
    return set().union(*map(spelled_out, patterns))


def cuda_algorithms() -> set[str]:
    """By their sources: most builds have no library that could tell."""
    text = "".join(path.read_text() for path in (ROOT / "csrc" / "cuda").rglob("*.cu"))
    return set(re.findall(r'"((?:conv2d|max_pool2d)_[a-z]+_cuda_[a-z0-9_]+)"', text))


def test_every_algorithm_is_described_and_no_other() -> None:
    on_gpu = cuda_algorithms()
    assert len(on_gpu) >= 20
    assert described_algorithms() == {a.name for a in fastconv.algorithms()} | on_gpu


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_the_sample_of_an_algorithm_compiles(tmp_path: Path) -> None:
    (sample,) = re.findall(r"```cpp\n(.*?)```", (DOCS / "extending.md").read_text(), re.DOTALL)
    source = tmp_path / "pointwise.cpp"
    source.write_text(sample)
    flags = ["-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{ROOT / 'csrc'}"]
    result = subprocess.run(["g++", *flags, str(source)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
