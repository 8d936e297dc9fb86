"""Rung 1: integer inputs, tolerance zero, for every convolution algorithm.

Sums of small integers are exact in float32 up to 2^24, whatever their order, and a 16-bit result is
that exact sum rounded once: there is exactly one right answer, and no room for a nearly right one.
"""

from __future__ import annotations

import functools
import itertools

import pytest
import torch
import torch.nn.functional as F
from _algorithms import attempt, fp32_precision, usable_algorithms
from _problems import CONVS, DTYPES, LAYOUTS, Conv, Operands, operands, small_integers
from _reference import reference, run, same_strides
from torch import Tensor

import fastconv

ALGORITHMS = usable_algorithms("conv2d")
RESULT_OF = {"fprop": "output", "dgrad": "grad_input", "wgrad": "grad_weight"}


@functools.cache
def integer_operands(conv: Conv) -> Operands:
    return operands(conv, small_integers)


@functools.cache
def expected_results(conv: Conv, layout: str) -> dict[str, Tensor]:
    # Only expanding changes any value.
    if layout != "expanded" and layout != "contiguous":
        return expected_results(conv, "contiguous")
    return dict(reference(integer_operands(conv).laid_out(LAYOUTS[layout])).items())


def result_of_direction(direction: str, x: Operands) -> Tensor:
    """Only what this direction computes."""
    if direction == "fprop":
        return fastconv.conv2d(x.input, x.weight, x.bias, **x.kwargs)
    input, weight = x.input.detach(), x.weight.detach()
    wanted = input if direction == "dgrad" else weight
    wanted.requires_grad_()
    output = fastconv.conv2d(input, weight, x.bias, **x.kwargs)
    return torch.autograd.grad(output, wanted, x.grad_output.expand_as(output))[0]


def is_exact(algorithm: fastconv.Algorithm) -> bool:
    """Winograd F(4x4) multiplies by thirds and rounds them; its stated error tells it apart."""
    return algorithm.error < 1e-6


def integers_meant(result: Tensor, algorithm: fastconv.Algorithm) -> Tensor:
    """What is as close to an integer as the algorithm's error lets it be, rounded to that one."""
    rounded = result.round()
    return torch.where((result - rounded).abs() < min(500 * algorithm.error, 0.05), rounded, result)


def difference(result: Tensor, expected: Tensor) -> str | None:
    """What is wrong with `result`, or None."""
    if result.shape != expected.shape:
        return f"shape {tuple(result.shape)}, not {tuple(expected.shape)}"
    rounded_once = expected.to(result.dtype)
    wrong = (result != rounded_once).nonzero().tolist()
    if not wrong:
        return None
    at = tuple(wrong[0])
    return (
        f"{len(wrong)} of {result.numel()} elements wrong, first at {at}:"
        f" {result[at].item()}, not {rounded_once[at].item()}"
    )


def layouts_for(conv: Conv) -> list[str]:
    """Every layout where the work is small; the large problems are about blocking."""
    return list(LAYOUTS) if conv.multiplications < 200_000 else ["contiguous", "channels_last"]


def fail_with(failures: list[str]) -> None:
    if failures:
        shown = "\n".join(failures[:20])
        pytest.fail(f"{len(failures)} failures:\n{shown}", pytrace=False)


@pytest.mark.parametrize("family", CONVS)
@pytest.mark.parametrize(
    ("algorithm", "dtype"),
    [(a, dtype) for a in ALGORITHMS for dtype in a.dtypes],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_algorithm_is_exact(algorithm: fastconv.Algorithm, dtype: torch.dtype, family: str) -> None:
    failures = []
    accepted = 0
    for conv in CONVS[family]:
        for layout in layouts_for(conv):
            x = integer_operands(conv).to(dtype).laid_out(LAYOUTS[layout])
            result = attempt(algorithm, lambda x=x: result_of_direction(algorithm.direction, x))
            if result is None:
                continue
            accepted += 1
            if not is_exact(algorithm):
                result = integers_meant(result, algorithm)
            expected = expected_results(conv, layout)[RESULT_OF[algorithm.direction]]
            if wrong := difference(result, expected):
                failures.append(f"{conv}, {layout}: {wrong}")
    fail_with(failures)
    if accepted == 0:
        pytest.skip("takes none of these problems")


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_takes_its_problems(algorithm: fastconv.Algorithm) -> None:
    """An algorithm that rejected every problem would pass the test above."""
    accepted = 0
    layouts = [LAYOUTS["contiguous"], LAYOUTS["channels_last"]]
    for conv, layout in itertools.product(itertools.chain(*CONVS.values()), layouts):
        x = integer_operands(conv).to(algorithm.dtypes[0]).laid_out(layout)
        result = attempt(algorithm, lambda x=x: result_of_direction(algorithm.direction, x))
        accepted += result is not None
    assert accepted >= 8


@pytest.mark.kernels
@pytest.mark.parametrize("family", CONVS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_default_choice_is_exact(dtype: torch.dtype, family: str) -> None:
    """As a user calls it: the output and every gradient at once, grad_bias among them."""
    failures = []
    for conv in CONVS[family]:
        for layout in layouts_for(conv):
            x = integer_operands(conv).to(dtype).laid_out(LAYOUTS[layout])
            with fp32_precision("ieee"):
                results = run(fastconv.conv2d, x)
            for name, result in results.items():
                if wrong := difference(result, expected_results(conv, layout)[name]):
                    failures.append(f"{conv}, {layout}, {name}: {wrong}")
    fail_with(failures)


@pytest.mark.parametrize("family", CONVS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced"])
def test_strides_are_torchs(family: str, layout: str) -> None:
    failures = []
    for conv in CONVS[family]:
        if conv.input[0] == 0 and layout == "transposed":
            continue  # there torch's zero grad_weight is any permutation that weight happens to be
        x = integer_operands(conv).to(torch.float32).laid_out(LAYOUTS[layout])
        theirs = run(F.conv2d, x)
        for name, result in run(fastconv.conv2d, x).items():
            want = getattr(theirs, name)
            if not same_strides(result, want):
                failures.append(f"{conv}, {name}: {result.stride()}, torch: {want.stride()}")
    fail_with(failures)
