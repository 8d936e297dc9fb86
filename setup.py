"""Builds fastconv._C: operators, CPU kernels and the pybind11 face, on LibTorch's stable ABI.

Needs torch, pybind11, ninja and setuptools already installed: `pip install --no-build-isolation .`
MAX_JOBS caps the parallel compiles, as for every torch extension.
"""

import os
from pathlib import Path

import pybind11
import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

ROOT = Path(__file__).parent
# The oldest torch whose stable ABI carries parallel_for and strings. 0x0210... would be 2.16.
TORCH_TARGET_VERSION = "0x020a000000000000"


def cpu_sources() -> list[str]:
    """Every C++ file under csrc, relative to setup.py as setuptools wants it."""
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").rglob("*.cpp"))


def cpu_extension() -> CppExtension:
    extension = CppExtension(
        "fastconv._C",
        cpu_sources(),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args=[
            "-std=c++20",
            "-O2",
            "-g0",  # Python's own flags ask for debug information: 6.6 MB instead of 0.4
            "-fvisibility=hidden",
            "-fno-math-errno",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",  # torch's stable headers have some
            f"-DTORCH_TARGET_VERSION={TORCH_TARGET_VERSION}",
            "-DTORCH_STABLE_ONLY",
        ],
    )
    # All we call is the stable C ABI in libtorch_cpu: a link to libtorch_python or libc10 would tie
    # the wheel to a release.
    extension.libraries = ["torch_cpu"]
    return extension


def print_configuration() -> None:
    print(f"fastconv: torch {torch.__version__}, stable ABI target 2.10, CPU kernels only")
    print(f"fastconv: MAX_JOBS={os.environ.get('MAX_JOBS', 'unset')}, {len(cpu_sources())} sources")


print_configuration()
setup(
    ext_modules=[cpu_extension()],
    cmdclass={"build_ext": BuildExtension.with_options(use_ninja=True)},
)
