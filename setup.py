"""Builds fastconv._C (operators, CPU kernels, the pybind11 face) and, where there is a GPU or
FORCE_CUDA=1 asks for it, fastconv._cuda (the same operators on CUDA kernels, with a face of its
own), both on LibTorch's stable ABI.

Needs torch, pybind11, ninja and setuptools already installed: `pip install --no-build-isolation .`
MAX_JOBS caps the parallel compiles, as for every torch extension. For CUDA, CUDA_HOME says where
nvcc is and TORCH_CUDA_ARCH_LIST which GPUs to compile for; FORCE_CUDA=1 builds without a GPU and
with a torch that has no CUDA itself, FORCE_CUDA=0 leaves CUDA out.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pybind11
import setuptools
import torch
from setuptools import Extension, setup
from setuptools.command.build import build
from torch.utils import cpp_extension
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

ROOT = Path(__file__).parent
# The oldest torch whose stable ABI carries parallel_for and strings. 0x0210... would be 2.16.
TORCH_TARGET_VERSION = "0x020a000000000000"
# Each with code of its own; the last with PTX too, for GPUs that do not exist yet.
CUDA_ARCHITECTURES = "8.0;8.6;8.9;9.0a;10.0+PTX"
# The operators themselves, one source in both libraries (csrc/backend.h).
SHARED_SOURCES = [
    "csrc/algorithm_list.cpp",
    "csrc/conv2d_op.cpp",
    "csrc/max_pool2d_op.cpp",
    "csrc/precision.cpp",
    "csrc/recorded_conv2d.cpp",
    "csrc/surroundings.cpp",
    "csrc/torch_adapter.cpp",
    "csrc/validate.cpp",
    "csrc/verbose.cpp",
]


def cpu_sources() -> list[str]:
    """Every C++ file under csrc but CUDA's, relative to setup.py as setuptools wants it."""
    paths = [path.relative_to(ROOT) for path in (ROOT / "csrc").rglob("*.cpp")]
    return sorted(str(path) for path in paths if "cuda" not in path.parts)


COMPILER_FLAGS = [
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
]


def cpu_extension() -> Extension:
    extension = CppExtension(
        "fastconv._C",
        cpu_sources(),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args=COMPILER_FLAGS,
    )
    # All we call is the stable C ABI in libtorch_cpu: a link to libtorch_python or libc10 would tie
    # the wheel to a release.
    extension.libraries = ["torch_cpu"]
    return extension


def cuda_home() -> Path | None:
    """Where CUDA is, or None. A torch without CUDA does not look."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if os.environ.get(variable):
            return Path(os.environ[variable])
    nvcc = shutil.which("nvcc")
    found = [Path(nvcc).resolve().parent.parent] if nvcc is not None else []
    # What is on the PATH may be a script that calls the real one.
    for home in [*found, Path("/usr/local/cuda")]:
        if (home / "include" / "cuda_runtime.h").exists():
            return home
    return None


def wants_cuda() -> bool:
    forced = os.environ.get("FORCE_CUDA")
    if forced is not None:
        return forced == "1"
    return torch.cuda.is_available() and cuda_home() is not None


def cuda_sources() -> list[str]:
    paths = (ROOT / "csrc" / "cuda").rglob("*.c*")
    ours = [path.relative_to(ROOT) for path in paths if path.suffix in (".cpp", ".cu")]
    return SHARED_SOURCES + sorted(map(str, ours))


def cuda_extension() -> Extension:
    home = cuda_home()
    if home is None or not (home / "bin" / "nvcc").exists():
        raise SystemExit(f"fastconv: CUDA was asked for, but there is no nvcc (CUDA_HOME={home})")
    cpp_extension.CUDA_HOME = str(home)
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
    extension = CUDAExtension(
        "fastconv._cuda",
        cuda_sources(),
        include_dirs=[str(ROOT / "csrc"), pybind11.get_include()],
        extra_compile_args={
            "cxx": COMPILER_FLAGS,
            "nvcc": [
                "-std=c++20",
                "-O3",
                "-Xcompiler=-fvisibility=hidden,-Wall,-Wextra,-Wno-unused-parameter",
                f"-DTORCH_TARGET_VERSION={TORCH_TARGET_VERSION}",
                "-DTORCH_STABLE_ONLY",
                "-DUSE_CUDA",  # declares the CUDA functions of the stable C ABI
            ],
        },
        # libtorch brings libtorch_cuda with it where torch has CUDA, and a torch without CUDA can
        # still link. Nothing is called in libtorch itself, so the linker has to be told to keep it.
        extra_link_args=["-Wl,--no-as-needed", "-ltorch"],
    )
    # The CUDA run-time is linked in, so that the library suits a torch of any CUDA release.
    extension.libraries = ["torch_cpu", "cudart_static", "dl", "pthread", "rt"]
    return extension


def version() -> str:
    """Of the package; with CUDA kernels, of the CUDA release that they were compiled for too."""
    text = (ROOT / "fastconv" / "_version.py").read_text()
    (number,) = re.findall(r'"(.+)"', text)
    if not wants_cuda():
        return number
    nvcc = [str(cuda_home() / "bin" / "nvcc"), "--version"]
    told = subprocess.run(nvcc, check=True, capture_output=True, text=True).stdout
    (major,) = re.findall(r"release (\d+)\.", told)
    return f"{number}+cu{major}"


class FreshBuild(build):
    def run(self) -> None:
        """A wheel takes all that lies in these folders, an earlier build's CUDA kernels too."""
        for folder in (Path(self.build_lib), *Path(self.build_base).glob("bdist.*")):
            shutil.rmtree(folder, ignore_errors=True)
        super().run()


class Build(BuildExtension):
    def build_extension(self, extension: Extension) -> None:
        """Objects of _cuda in a folder of their own: it shares sources with _C, not their flags."""
        folder = self.build_temp
        if extension.name == "fastconv._cuda":
            self.build_temp = os.path.join(folder, "cuda")
        super().build_extension(extension)
        self.build_temp = folder


def print_configuration() -> None:
    kernels = "CPU and CUDA kernels" if wants_cuda() else "CPU kernels only"
    print(f"fastconv: torch {torch.__version__}, stable ABI target 2.10, {kernels}")
    print(f"fastconv: MAX_JOBS={os.environ.get('MAX_JOBS', 'unset')}, {len(cpu_sources())} sources")
    if wants_cuda():
        architectures = os.environ.get("TORCH_CUDA_ARCH_LIST", CUDA_ARCHITECTURES)
        print(f"fastconv: CUDA_HOME={cuda_home()}, TORCH_CUDA_ARCH_LIST={architectures}")


def require_tools() -> None:
    """A new environment often has a setuptools of years ago, whose own words would fill a page."""
    for tool, version, oldest in (
        ("setuptools", setuptools.__version__, (77,)),
        ("torch", torch.__version__, (2, 10)),
    ):
        if tuple(map(int, re.findall(r"\d+", version)[: len(oldest)])) < oldest:
            needed = f"{tool}>={'.'.join(map(str, oldest))}"
            raise SystemExit(
                f"fastconv is built with {needed} and found {version}: pip install -U '{needed}'"
            )


require_tools()
print_configuration()
setup(
    version=version(),
    ext_modules=[cpu_extension(), *([cuda_extension()] if wants_cuda() else [])],
    cmdclass={"build": FreshBuild, "build_ext": Build.with_options(use_ninja=True)},
)
