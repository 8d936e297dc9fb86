"""The emulator's specimens on a real GPU: what only it can say of the fragment layouts, which a
wrapper and its twin might have wrong alike. Skipped where there is no GPU or no nvcc."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import _specimens_sm90 as sm90
import pytest
import torch
from _emulator import HERE, ROOT

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "tf32": torch.float32}


def nvcc() -> str | None:
    home = os.environ.get("CUDA_HOME")
    return str(Path(home) / "bin" / "nvcc") if home else shutil.which("nvcc")


def build(folder: Path, architecture: str) -> Path:
    library = folder / "libconformance.so"
    sources = [*sorted(HERE.glob("specimens*.cu")), HERE / "on_gpu" / "conformance.cu"]
    includes = [f"-I{ROOT / 'csrc'}", f"-I{HERE}"]
    flags = ["-std=c++20", f"-arch={architecture}", "-Xcompiler=-fPIC", "-shared"]
    command = [str(nvcc()), *flags, *includes, *map(str, sources), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


@pytest.mark.cuda_emulation
@pytest.mark.skipif(nvcc() is None, reason="needs nvcc")
@pytest.mark.parametrize("architecture", ["sm_80", "sm_90a"])
def test_the_program_builds_without_a_gpu(tmp_path: Path, architecture: str) -> None:
    assert hasattr(ctypes.CDLL(str(build(tmp_path, architecture))), "conformance")


def is_sm90() -> bool:
    return torch.cuda.is_available() and torch.cuda.get_device_capability() == (9, 0)


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    architecture = "sm_90a" if is_sm90() else "native"
    return ctypes.CDLL(str(build(tmp_path_factory.mktemp("conformance"), architecture)))


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


@pytest.mark.cuda
@pytest.mark.skipif(not is_sm90() or nvcc() is None, reason="needs an sm_90 GPU and nvcc")
@pytest.mark.parametrize("name", sm90.NAMES)
def test_tensor_maps_and_warpgroups_are_as_emulated(specimens: ctypes.CDLL, name: str) -> None:
    right = sm90.expected(name)
    a, b = (t.cuda() for t in sm90.operands(name))
    c = torch.full_like(right, float("nan"), device="cuda")
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (a, b, c)]
    assert specimens.conformance(name.encode(), *pointers, 64, 0) == 0
    assert torch.equal(c.cpu(), right)
