"""The emulator's specimens on a real GPU: what only it can say of the fragment layouts, which a
wrapper and its twin might have wrong alike. Skipped where there is no GPU or no nvcc."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from _emulator import HERE, ROOT

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "tf32": torch.float32}


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME")
    return str(Path(home) / "bin" / "nvcc") if home else shutil.which("nvcc")


def build(folder: Path, architecture: str) -> Path:
    library = folder / "libconformance.so"
    sources = [HERE / "specimens.cu", HERE / "on_gpu" / "conformance.cu"]
    includes = [f"-I{ROOT / 'csrc'}", f"-I{HERE}"]
    flags = ["-std=c++20", f"-arch={architecture}", "-Xcompiler=-fPIC", "-shared"]
    command = [str(nvcc()), *flags, *includes, *map(str, sources), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


@pytest.mark.cuda_emulation
@pytest.mark.skipif(nvcc() is None, reason="needs nvcc")
def test_the_program_builds_without_a_gpu(tmp_path: Path) -> None:
    assert hasattr(ctypes.CDLL(str(build(tmp_path, "sm_80"))), "conformance")


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(tmp_path_factory.mktemp("conformance"), "native")))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available() or nvcc() is None, reason="needs a GPU and nvcc")
@pytest.mark.parametrize("b_by_depth", [False, True])
@pytest.mark.parametrize("name", DTYPES)
def test_fragments_lie_as_emulated(specimens: ctypes.CDLL, name: str, b_by_depth: bool) -> None:
    if name == "tf32" and b_by_depth:
        pytest.skip("this specimen has B by columns alone")
    rows, columns, depth = (16, 8, 8) if name == "tf32" else (32, 16, 96)
    # No two elements of A are alike within a row or a column, nor of B: a swap shows.
    a = (torch.arange(rows * depth).view(rows, depth) * 7 % 251 - 125).to(DTYPES[name])
    b = (torch.arange(columns * depth).view(columns, depth) * 11 % 241 - 120).to(DTYPES[name])
    given = b.T.contiguous() if b_by_depth else b
    a_on_gpu, b_on_gpu = a.cuda(), given.cuda()
    c = torch.full((rows, columns), float("nan"), device="cuda")
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (a_on_gpu, b_on_gpu, c)]
    assert specimens.conformance(f"product_{name}".encode(), *pointers, depth, int(b_by_depth)) == 0
    assert torch.equal(c.cpu(), (a.double() @ b.double().T).float())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available() or nvcc() is None, reason="needs a GPU and nvcc")
def test_shuffles_and_barriers(specimens: ctypes.CDLL) -> None:
    a = torch.arange(64.0, device="cuda").view(1, 64)
    expected = {
        "sum_by_atomics": a.sum(1),
        "reverse": a[0].flip(0),
        "rotate_in_warp": a.view(2, 32).roll(-1, 1).flatten(),
    }
    for kernel, right in expected.items():
        c = torch.zeros_like(right)
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (a, a, c)]
        assert specimens.conformance(kernel.encode(), *pointers, 64, 0) == 0
        assert torch.equal(c, right)
