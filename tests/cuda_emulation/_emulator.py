"""Builds csrc/cuda with the host compiler against the emulator, and runs its kernels on torch's
CPU tensors (docs/cuda-emulation.md)."""

from __future__ import annotations

import ctypes
import enum
import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / "build-cuda-emulation"

DTYPES = {torch.float32: 0, torch.float64: 1, torch.bfloat16: 2, torch.float16: 3}
PRECISIONS = {"none": 0, "ieee": 1, "tf32": 2}

Pair = tuple[int, int]


class Order(enum.IntEnum):
    ASCENDING = 0
    DESCENDING = 1
    RANDOM = 2


class Copies(enum.IntEnum):
    EAGER = 0
    LAZY = 1
    RANDOM = 2


class KernelError(RuntimeError):
    """What the emulator found wrong with a kernel, one line for each finding."""


# ---- Building -------------------------------------------------------------------------------

COMMON = (
    "-std=c++20",
    "-g1",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-gnu-unique",
    "-Wall",
    "-Wextra",
)
KERNEL = ("-x", "c++", "-Wno-unknown-pragmas", "-Werror")
# The compiler's hooks before every load and store of the kernels; libtsan is never linked.
HOOKS = ("-fsanitize=thread", "--param", "tsan-instrument-func-entry-exit=0", "-O1")


@dataclass(frozen=True)
class Unit:
    source: Path
    flags: tuple[str, ...]
    overlay: Path | None = None

    def command(self) -> list[str]:
        includes = [ROOT / "csrc", HERE]
        if self.overlay is not None:
            includes.insert(0, self.overlay)
        compiler = os.environ.get("CXX", "g++")
        return [compiler, *COMMON, *self.flags, *(f"-I{path}" for path in includes)]

    def object(self, headers: str) -> Path:
        """Compiled at most once for each text of source, headers and flags."""
        text = "\0".join([headers, self.source.read_text(), *self.command()])
        return BUILD / (
            self.source.stem + "-" + hashlib.sha256(text.encode()).hexdigest()[:24] + ".o"
        )


def headers(*roots: Path) -> str:
    """The text of every header that a unit may include."""
    paths = [path for root in roots for path in root.rglob("*") if path.suffix in {".h", ".cuh"}]
    return "".join(path.read_text() for path in sorted(paths))


@contextmanager
def one_builder() -> Iterator[None]:
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_and_link(units: Sequence[Unit]) -> Path:
    common = headers(ROOT / "csrc", HERE)
    objects = [
        unit.object(common + (headers(unit.overlay) if unit.overlay is not None else ""))
        for unit in units
    ]

    def compile_one(unit: Unit, target: Path) -> None:
        if not target.exists():
            part = target.with_suffix(".part")
            subprocess.run([*unit.command(), "-c", str(unit.source), "-o", str(part)], check=True)
            part.rename(target)

    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS", "2"))) as pool:
        list(pool.map(compile_one, units, objects))
    name = hashlib.sha256("".join(map(str, objects)).encode()).hexdigest()[:24]
    library = BUILD / f"libkernels-{name}.so"
    if not library.exists():
        part = library.with_suffix(".part")
        compiler = os.environ.get("CXX", "g++")
        # The run-time first: of a function that both hold, the linker takes the one without hooks.
        subprocess.run([compiler, "-shared", *map(str, objects), "-o", str(part)], check=True)
        part.rename(library)
    return library


def units(memory_hooks: bool, overlay: Path | None = None) -> list[Unit]:
    """Every source of the emulated library. A header of `overlay` takes the place of its namesake
    in csrc."""
    run_time = ("-O2", *(["-DCUDA_EMULATION_MEMORY_HOOKS"] if memory_hooks else []))
    kernel = (*KERNEL, *(HOOKS if memory_hooks else ("-O2",)))
    found = [Unit(path, run_time) for path in sorted(HERE.glob("*.cpp"))]
    for name in ("algorithm_list.cpp", "validate.cpp"):
        found.append(Unit(ROOT / "csrc" / name, ("-O2",)))
    changed = set()
    if overlay is not None:
        changed = {str(path.relative_to(overlay)) for path in overlay.rglob("*.cuh")}
    # Not the files of csrc/cuda itself: they are torch's side of the library.
    sources = sorted((ROOT / "csrc" / "cuda").glob("*/*.cu")) + sorted(HERE.glob("*.cu"))
    for path in sources:
        affected = bool(changed) and includes(path.read_text(), changed)
        found.append(Unit(path, kernel, overlay if affected else None))
    return found


def includes(text: str, names: set[str]) -> bool:
    """Does a source include one of these headers, itself or through others?"""
    for line in text.splitlines():
        if not line.startswith('#include "'):
            continue
        name = line.split('"')[1]
        header = ROOT / "csrc" / name
        if name in names or (header.exists() and includes(header.read_text(), names)):
            return True
    return False


def build(memory_hooks: bool, overlay: Path | None = None) -> Library:
    with one_builder():
        return Library(compile_and_link(units(memory_hooks, overlay)))


# ---- Running --------------------------------------------------------------------------------


class HostTensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("role", ctypes.c_int64))


ABSENT, READ, WRITTEN = 0, 1, 2


def host_tensor(tensor: Tensor | None, role: int) -> HostTensor:
    if tensor is None:
        return HostTensor(None, 0, ABSENT)
    extent = 0
    if tensor.numel() > 0:
        last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        extent = (last + 1) * tensor.element_size()
    return HostTensor(tensor.data_ptr(), extent, role)


class Library:
    """The kernels of csrc/cuda on the emulator. Tensors are 4-D and on the CPU; what a kernel
    writes is written in place, gaps between the elements included in the check of its bounds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.library = ctypes.CDLL(str(path))
        self.library.emulation_last_algorithm.restype = ctypes.c_char_p
        self.memory_hooks = bool(self.library.emulation_has_memory_hooks())
        self.multiprocessors = 4

    def configure(
        self, seed: int = 1, order: Order = Order.RANDOM, copies: Copies = Copies.RANDOM
    ) -> None:
        self.library.emulation_configure(int(order), int(copies), ctypes.c_uint64(seed))

    @property
    def last_algorithm(self) -> str:
        return self.library.emulation_last_algorithm().decode()

    def conv2d(
        self,
        direction: str,
        input: Tensor,
        weight: Tensor,
        output: Tensor,
        bias: Tensor | None = None,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
        algorithm: str = "",
        precision: str = "none",
    ) -> None:
        """fprop writes output, dgrad input, wgrad weight, and "bias" writes bias."""
        written = {"fprop": 2, "dgrad": 0, "wgrad": 1, "bias": 3}[direction]
        numbers = [
            *input.shape,
            *weight.shape,
            *output.shape,
            *stride,
            *padding,
            *dilation,
            groups,
            PRECISIONS[precision],
            *input.stride(),
            *weight.stride(),
            *output.stride(),
        ]
        tensors = (input, weight, output, bias)
        self._call("conv2d", direction, algorithm, output, numbers, tensors, {written})

    def max_pool2d(
        self,
        direction: str,
        input: Tensor,
        output: Tensor,
        indices: Tensor | None,
        *,
        kernel: Pair,
        stride: Pair,
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        ceil_mode: bool = False,
        algorithm: str = "",
    ) -> None:
        """forward writes output and indices, backward input."""
        numbers = [
            *input.shape,
            *output.shape,
            *kernel,
            *stride,
            *padding,
            *dilation,
            int(ceil_mode),
            *input.stride(),
            *output.stride(),
        ]
        written = {1, 2} if direction == "forward" else {0}
        tensors = (input, output, indices)
        self._call("max_pool2d", direction, algorithm, output, numbers, tensors, written)

    def specimen(
        self,
        kernel: str,
        fault: str,
        a: Tensor,
        b: Tensor | None,
        c: Tensor,
        *,
        b_by_depth: bool = False,
    ) -> None:
        """One kernel of specimens.cu, which writes c."""
        tensors = (HostTensor * 3)(
            host_tensor(a, READ), host_tensor(b, READ), host_tensor(c, WRITTEN)
        )
        error = ctypes.create_string_buffer(1000)
        failed = self.library.emulation_specimen(
            kernel.encode(),
            fault.encode(),
            tensors,
            a.shape[-1],
            int(b_by_depth),
            error,
            ctypes.c_int64(len(error)),
        )
        self._raise(bool(failed), error)

    def _call(
        self,
        op: str,
        direction: str,
        algorithm: str,
        typed: Tensor,
        numbers: Sequence[int],
        tensors: Sequence[Tensor | None],
        written: set[int],
    ) -> None:
        error = ctypes.create_string_buffer(1000)
        function = getattr(self.library, f"emulation_{op}")
        failed = function(
            direction.encode(),
            algorithm.encode(),
            DTYPES[typed.dtype],
            (ctypes.c_int64 * len(numbers))(*numbers),
            (HostTensor * len(tensors))(
                *(
                    host_tensor(tensor, WRITTEN if i in written else READ)
                    for i, tensor in enumerate(tensors)
                )
            ),
            self.multiprocessors,
            error,
            ctypes.c_int64(len(error)),
        )
        self._raise(bool(failed), error)

    def _raise(self, failed: bool, error: ctypes.Array[ctypes.c_char]) -> None:
        findings = self.take_findings()
        if failed:
            raise RuntimeError(error.value.decode())
        if findings:
            raise KernelError("\n".join(findings))

    def take_findings(self) -> list[str]:
        text = ctypes.create_string_buffer(1 << 16)
        self.library.emulation_take_findings(text, ctypes.c_int64(len(text)))
        return [self._with_line(line) for line in text.value.decode().splitlines()]

    def _with_line(self, finding: str) -> str:
        what, at, offset = finding.partition(" @")
        if not at:
            return finding
        frames = subprocess.run(
            ["addr2line", "-i", "-e", str(self.path), "0x" + offset],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        # The kernel's line, not that of the inline function of ours that it called.
        own = [frame for frame in frames if "cuda_emulation.h:" not in frame]
        where = own[0].replace(str(ROOT) + "/", "") if own else "0x" + offset
        return f"{what} at {where}"
