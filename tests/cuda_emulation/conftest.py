"""The emulated kernels, built once for a session in each of the two ways."""

from __future__ import annotations

import shutil

import pytest
from _emulator import Library, build

MEMORY_HOOKS = {"plain": False, "hooks": True}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cuda_emulation: the CUDA kernels, run by the host compiler's emulation"
    )
    config.addinivalue_line("markers", "cuda: runs on a GPU, and is skipped where there is none")


@pytest.fixture(scope="session")
def libraries() -> dict[str, Library]:
    if shutil.which("g++") is None:
        pytest.skip("the emulation needs a C++ compiler")
    return {name: build(hooks) for name, hooks in MEMORY_HOOKS.items()}


@pytest.fixture(params=list(MEMORY_HOOKS))
def kernels(request: pytest.FixtureRequest, libraries: dict[str, Library]) -> Library:
    library = libraries[request.param]
    library.configure()
    library.take_findings()
    return library
