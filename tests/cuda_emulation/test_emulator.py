"""The emulator itself: right kernels pass, and each known fault of a small kernel is caught."""

from __future__ import annotations

import pytest
import torch
from _emulator import Copies, KernelError, Library, Order
from torch import Tensor

pytestmark = pytest.mark.cuda_emulation

SEEDS = range(1, 11)


def integers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(-8, 9, shape).to(dtype)


def run(library: Library, kernel: str, fault: str) -> tuple[Tensor, Tensor]:
    """What the specimen computed, and what it should have."""
    if kernel.startswith("product"):
        dtype = {"bf16": torch.bfloat16, "f16": torch.float16, "tf32": torch.float32}[
            kernel.removeprefix("product_")
        ]
        rows, columns, depth = (16, 8, 8) if dtype is torch.float32 else (32, 16, 96)
        a, b = integers(rows, depth, dtype=dtype), integers(columns, depth, dtype=dtype)
        c = torch.zeros(rows, columns)
        library.specimen(kernel, fault, a, b, c)
        return c, a.float() @ b.float().T
    blocks = 3 if kernel == "sum_of_block" else 1
    a = integers(blocks, 64)
    expected = {
        "sum_of_block": lambda: a.sum(1),
        "sum_by_atomics": lambda: a.sum(1),
        "reverse": lambda: a[0].flip(0),
        "rotate_in_warp": lambda: a.view(2, 32).roll(-1, 1).flatten(),
    }[kernel]()
    c = torch.zeros(expected.shape)
    library.specimen(kernel, fault, a, None, c)
    return c, expected


@pytest.mark.parametrize(
    "kernel",
    [
        "product_bf16",
        "product_f16",
        "product_tf32",
        "sum_of_block",
        "sum_by_atomics",
        "reverse",
        "rotate_in_warp",
    ],
)
@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("copies", list(Copies))
def test_right_kernels_pass(kernels: Library, kernel: str, order: Order, copies: Copies) -> None:
    for seed in SEEDS:
        kernels.configure(seed, order, copies)
        ours, expected = run(kernels, kernel, "none")
        assert torch.equal(ours, expected)


def test_matrices_load_transposed(kernels: Library) -> None:
    a, b = integers(32, 16, dtype=torch.float16), integers(16, 16, dtype=torch.float16)
    c = torch.zeros(32, 16)
    kernels.specimen("product_f16", "none", a, b, c, b_by_depth=True)
    assert torch.equal(c, a.float() @ b.float())


# The finding of the build with memory hooks, and whether the plain build sees the fault in the
# values (or in a finding that needs no hooks).
FAULTS = [
    ("product_f16", "no_wait", "copy in flight", True),
    ("product_f16", "no_barrier_before_use", "race", True),
    ("product_f16", "stage_overwritten", "race", True),
    ("product_f16", "swapped_fragment", None, True),
    ("product_f16", "wrong_matrix_row", None, True),
    ("sum_of_block", "no_barrier_before_use", "race", True),
    ("sum_of_block", "barrier_skipped", "barrier after exit", True),
    ("sum_of_block", "blocks_share_an_element", "race", True),
    ("sum_of_block", "divergent", "divergent warp", True),
    ("sum_by_atomics", "lost_update", "race", False),
    ("sum_by_atomics", "uninitialised", "uninitialised", True),
    ("reverse", "read_past_shared", "out of bounds", True),
    ("reverse", "write_past_global", "out of bounds", True),
    ("rotate_in_warp", "no_warp_barrier", "race", True),
]


def caught(library: Library, kernel: str, fault: str) -> str:
    """ "" where the fault shows in nothing, "wrong" where it shows in the values only."""
    try:
        ours, expected = run(library, kernel, fault)
    except KernelError as error:
        return str(error)
    return "" if torch.equal(ours, expected) else "wrong"


@pytest.mark.parametrize(
    ("kernel", "fault", "finding"),
    [(kernel, fault, finding) for kernel, fault, finding, _ in FAULTS if finding],
)
def test_hooks_name_every_fault(
    libraries: dict[str, Library], kernel: str, fault: str, finding: str
) -> None:
    """In every run, whatever the order: the detector does not wait for bad luck."""
    library = libraries["hooks"]
    for seed in SEEDS:
        library.configure(seed)
        assert finding in caught(library, kernel, fault)


@pytest.mark.parametrize(
    ("kernel", "fault"), [(kernel, fault) for kernel, fault, _, plain in FAULTS if plain]
)
def test_the_plain_build_catches_it_too(
    libraries: dict[str, Library], kernel: str, fault: str
) -> None:
    """In some run out of ten."""
    library = libraries["plain"]
    results = []
    for seed in SEEDS:
        library.configure(seed)
        results.append(caught(library, kernel, fault))
    assert any(results)


def test_findings_name_the_line(libraries: dict[str, Library]) -> None:
    library = libraries["hooks"]
    library.configure()
    assert "tests/cuda_emulation/specimens.cu:" in caught(library, "sum_by_atomics", "lost_update")
