"""The dispatcher as a user sees it: algorithms(), use_algorithm() and what it refuses."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import torch
from _algorithms import attempt, is_usable, usable_algorithms

import fastconv

NAMES = [a.name for a in fastconv.algorithms()]
FPROP_REFERENCE = "conv2d_fprop_reference"
DGRAD_REFERENCE = "conv2d_dgrad_reference"


def some_conv() -> torch.Tensor:
    return fastconv.conv2d(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3))


def test_algorithms_are_frozen_facts() -> None:
    listed = fastconv.algorithms()
    assert isinstance(listed, tuple)
    assert len(set(NAMES)) == len(NAMES)
    for algorithm in listed:
        assert dataclasses.is_dataclass(algorithm)
        with pytest.raises(dataclasses.FrozenInstanceError):
            algorithm.name = "other"  # type: ignore[misc]
        assert algorithm.op in ("conv2d", "max_pool2d")
        assert algorithm.direction in ("fprop", "dgrad", "wgrad", "forward", "backward")
        if algorithm.device == "cpu":
            assert algorithm.isa in ("scalar", "avx2", "avx512", "avx512_bf16", "amx")
        else:
            assert algorithm.device == "cuda"
            assert algorithm.isa.startswith("sm_")
        assert algorithm.dtypes
        assert algorithm.note
        assert algorithm.error >= 0


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
def test_reference_is_last_and_takes_everything(direction: str) -> None:
    last = [a for a in fastconv.algorithms() if (a.device, a.direction) == ("cpu", direction)][-1]
    assert "reference" in last.name
    assert last.isa == "scalar"
    assert set(last.dtypes) == {torch.float32, torch.float64, torch.bfloat16, torch.float16}


def test_unknown_name_is_refused_on_entry() -> None:
    with (
        pytest.raises(ValueError, match="no_such_algorithm"),
        fastconv.use_algorithm("no_such_algorithm"),
    ):
        pytest.fail("entered")


def test_one_context_may_be_entered_again() -> None:
    context = fastconv.use_algorithm(FPROP_REFERENCE)
    for _ in range(2):
        with context:
            some_conv()


@pytest.mark.kernels
def test_algorithm_of_another_op_or_direction_does_not_govern() -> None:
    x = torch.randn(1, 2, 6, 6, requires_grad=True)
    weight = torch.randn(3, 2, 3, 3)
    want = fastconv.conv2d(x, weight)
    for algorithm in fastconv.algorithms():
        if algorithm.direction != "fprop":
            with fastconv.use_algorithm(algorithm.name):  # usable here or not
                assert torch.equal(fastconv.conv2d(x, weight), want)


def chosen(explanation) -> list[str]:
    return [row.algorithm for row in explanation.rows]


def test_nesting_inner_wins_for_its_direction_and_ends() -> None:
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3)

    def now() -> list[str]:
        return chosen(fastconv.explain(x, weight, backward=True))

    default = now()
    rejected = fastconv.explain(x, weight).rows[0].rejected
    fprops = [a.name for a in usable_algorithms("conv2d", "fprop") if a.name not in rejected]
    other = next(name for name in fprops if name != FPROP_REFERENCE)
    with fastconv.use_algorithm(FPROP_REFERENCE):
        assert now() == [FPROP_REFERENCE, *default[1:]]
        with fastconv.use_algorithm(DGRAD_REFERENCE):
            assert now() == [FPROP_REFERENCE, DGRAD_REFERENCE, default[2]]
            with fastconv.use_algorithm(other):
                assert now() == [other, DGRAD_REFERENCE, default[2]]
            assert now() == [FPROP_REFERENCE, DGRAD_REFERENCE, default[2]]
        assert now() == [FPROP_REFERENCE, *default[1:]]
    assert now() == default


def test_it_ends_when_an_error_passes_through() -> None:
    x, weight = torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)
    default = chosen(fastconv.explain(x, weight))
    with pytest.raises(KeyError), fastconv.use_algorithm(FPROP_REFERENCE):
        raise KeyError
    assert chosen(fastconv.explain(x, weight)) == default != [FPROP_REFERENCE]


def test_other_threads_are_not_governed() -> None:
    seen: list[list[str]] = []

    def look() -> None:
        seen.append(chosen(fastconv.explain(torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3))))

    look()
    with fastconv.use_algorithm(FPROP_REFERENCE):
        other = threading.Thread(target=look)
        other.start()
        other.join()
        look()
    assert seen[1] == seen[0]
    assert seen[2] == [FPROP_REFERENCE]


def rejecting(op: str) -> tuple[fastconv.Algorithm, str]:
    """A usable algorithm that cannot do a dense problem, and its reason."""
    explanation = fastconv.explain(torch.ones(1, 4, 6, 6), torch.ones(8, 4, 3, 3))
    for name, reason in explanation.rows[0].rejected.items():
        algorithm = next(a for a in fastconv.algorithms() if a.name == name)
        if is_usable(algorithm):
            return algorithm, reason
    pytest.skip("every usable algorithm takes a plain problem")


def test_a_problem_it_cannot_do_is_an_error_with_the_reason() -> None:
    algorithm, reason = rejecting("conv2d")
    with (
        fastconv.use_algorithm(algorithm.name),
        pytest.raises(RuntimeError, match="cannot do this problem") as caught,
    ):
        fastconv.conv2d(torch.ones(1, 4, 6, 6), torch.ones(8, 4, 3, 3))
    assert algorithm.name in str(caught.value)
    assert reason in str(caught.value)


def test_backward_uses_what_the_forward_captured() -> None:
    """Wherever and whenever it runs: here after the context has ended, on autograd's thread."""
    dgrads = usable_algorithms("conv2d", "dgrad")
    x = torch.randn(2, 7, 11, 12)
    weight = torch.randn(9, 7, 3, 3)
    grad_output = torch.randn(2, 9, 9, 10)
    for algorithm in dgrads:
        leaf = x.clone().requires_grad_()
        with fastconv.use_algorithm(algorithm.name):
            output = fastconv.conv2d(leaf, weight)
        within = attempt(
            algorithm,
            lambda: torch.autograd.grad(output, leaf, grad_output, retain_graph=True),  # noqa: B023
        )
        if within is None:
            continue
        (inside,) = within
        (outside,) = torch.autograd.grad(output, leaf, grad_output, retain_graph=True)
        with fastconv.use_algorithm(dgrads[0].name):
            (elsewhere,) = torch.autograd.grad(output, leaf, grad_output)
        assert torch.equal(inside, outside)
        assert torch.equal(inside, elsewhere)


def test_a_captured_algorithm_that_cannot_do_the_backward_says_so() -> None:
    listed = [a for a in fastconv.algorithms() if (a.device, a.direction) == ("cpu", "dgrad")]
    unusable = [a for a in listed if not is_usable(a)]
    if not unusable:
        pytest.skip("this process may use every instruction set")
    x = torch.ones(1, 2, 5, 5, requires_grad=True)
    with fastconv.use_algorithm(unusable[0].name):
        output = fastconv.conv2d(x, torch.ones(3, 2, 3, 3))
    with pytest.raises(RuntimeError, match=unusable[0].name):
        output.sum().backward()
