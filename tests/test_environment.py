"""FASTCONV_MAX_ISA and FASTCONV_VERBOSE, which a process reads once."""

from __future__ import annotations

import pytest
from _subprocess import output_of, run_python

LEVELS = ["scalar", "avx2", "avx512", "avx512_bf16", "amx"]

DETECTED = """
from fastconv import _C
print(_C.isa()["detected"])
"""

CHOSEN_ISAS = """
import torch, fastconv
from fastconv import _C
isa_of = {a.name: a.isa for a in fastconv.algorithms()}
x, w = torch.randn(1, 16, 20, 20), torch.randn(32, 16, 3, 3)
rows = list(fastconv.explain(x, w, padding=1, backward=True).rows)
rows += fastconv.explain(x.bfloat16(), w.bfloat16()).rows
rows += fastconv.explain(x, w[:16, :1], groups=16, backward=True).rows
rows += fastconv.explain(fastconv.nn.MaxPool2d(2), x, backward=True).rows
print(_C.isa()["used"], *sorted({isa_of[row.algorithm] for row in rows}))
"""


def at_most(isa: str) -> set[str]:
    return set(LEVELS[: LEVELS.index(isa) + 1])


@pytest.mark.parametrize("cap", LEVELS)
def test_cap_is_kept(cap: str) -> None:
    detected = output_of(DETECTED, FASTCONV_MAX_ISA="").split()[0]
    used, *isas = output_of(CHOSEN_ISAS, FASTCONV_MAX_ISA=cap).split()
    assert used == LEVELS[min(LEVELS.index(cap), LEVELS.index(detected))]
    assert set(isas) <= at_most(used)
    if used != "amx":
        assert used in isas  # and it is made use of


def test_algorithm_beyond_the_cap_says_what_it_needs() -> None:
    result = run_python(
        """
        import torch, fastconv
        for a in fastconv.algorithms():
            if a.device == "cpu" and a.isa != "scalar":
                x = torch.ones(1, 1, 3, 3, dtype=a.dtypes[0], requires_grad=True)
                try:
                    with fastconv.use_algorithm(a.name):
                        if a.op == "conv2d":
                            w = torch.ones(1, 1, 1, 1, dtype=a.dtypes[0], requires_grad=True)
                            fastconv.conv2d(x, w).sum().backward()
                        else:
                            fastconv.max_pool2d(x, 1).sum().backward()
                except RuntimeError as error:
                    assert a.name in str(error), error
                    assert f"needs {a.isa}, this process may use scalar" in str(error), error
                else:
                    raise AssertionError(f"{a.name} ran")
        """,
        FASTCONV_MAX_ISA="scalar",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("value", ["sse2", "AVX2", "avx512 ", "1"])
def test_bad_cap_is_a_clear_error(value: str) -> None:
    result = run_python(
        """
        import torch, fastconv
        fastconv.conv2d(torch.ones(1, 1, 3, 3), torch.ones(1, 1, 1, 1))
        """,
        FASTCONV_MAX_ISA=value,
    )
    assert result.returncode == 1  # an exception, not a signal
    assert f"FASTCONV_MAX_ISA is '{value}'" in result.stderr
    assert "scalar, avx2, avx512, avx512_bf16, amx" in result.stderr


WORK = """
import torch, fastconv
x = torch.randn(1, 4, 9, 9, requires_grad=True)
w = torch.randn(8, 4, 3, 3, requires_grad=True)
fastconv.max_pool2d(fastconv.conv2d(x, w), 2).sum().backward()
"""


def test_verbose_names_every_choice() -> None:
    result = run_python(WORK, FASTCONV_VERBOSE="1")
    lines = [line for line in result.stderr.splitlines() if line.startswith("fastconv: ")]
    names = " ".join(line.split()[1] for line in lines)
    for job in ("conv2d_fprop", "conv2d_dgrad", "conv2d_wgrad"):
        assert job in names
    assert "max_pool2d_forward" in names
    assert "max_pool2d_backward" in names
    assert any("1x4x9x9" in line and "float32" in line for line in lines)


@pytest.mark.parametrize("value", ["", "0"])
def test_silent_otherwise(value: str) -> None:
    result = run_python(WORK, FASTCONV_VERBOSE=value)
    assert result.returncode == 0
    assert "fastconv:" not in result.stderr
    assert not result.stdout


def test_command_line_info() -> None:
    result = run_python(
        """
        import runpy, sys
        sys.argv = ["fastconv", "info"]
        runpy.run_module("fastconv", run_name="__main__")
        """
    )
    assert result.returncode == 0, result.stderr
    assert "conv2d_fprop_reference" in result.stdout
