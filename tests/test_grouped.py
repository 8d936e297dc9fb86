"""Groups of few channels: every way in which filters fall into vectors, on integers, exactly."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
import torch
from _algorithms import admitting_precision, attempt, fp32_precision, usable_algorithms

import fastconv

pytestmark = pytest.mark.kernels

ALGORITHMS = {
    direction: [a for a in usable_algorithms("conv2d", direction) if "_grouped_" in a.name]
    for direction in ("fprop", "dgrad", "wgrad")
}

# (groups, channels and filters per group): whole vectors of several groups, a last vector that is
# not full, groups that do not divide a vector, groups of one vector and more, more of one side
# than of the other.
GROUPS = [
    (32, 4, 4),
    (8, 8, 8),
    (3, 16, 16),
    (5, 4, 4),
    (7, 2, 2),
    (6, 1, 2),
    (6, 2, 1),
    (3, 3, 5),
    (2, 12, 12),
    (2, 24, 20),
    (2, 32, 32),
    (4, 4, 8),
    (4, 8, 4),
    (2, 17, 33),
]
# kernel, stride, padding, dilation
WINDOWS: list[tuple[Any, Any, Any, Any]] = [
    (3, 1, 1, 1),
    (3, 2, 1, 1),
    (3, 3, 0, 1),
    (3, 1, 2, 2),
    (1, 1, 0, 1),
    (1, 2, 1, 1),
    ((2, 5), (2, 1), (1, 4), 1),
    ((5, 3), 1, (0, 3), (1, 2)),
    (4, (1, 2), 3, 1),
]


CHANNELS_LAST = (torch.channels_last, torch.float32)
FORMS = [
    CHANNELS_LAST,
    (torch.contiguous_format, torch.float32),
    (torch.channels_last, torch.bfloat16),
    (torch.contiguous_format, torch.float16),
]


def integers(*shape: int, form: tuple[torch.memory_format, torch.dtype] = CHANNELS_LAST) -> Any:
    layout, dtype = form
    return torch.randint(-4, 5, shape).to(dtype).contiguous(memory_format=layout)


def size_and_options(window: Any, groups: int) -> tuple[tuple[int, int], dict[str, Any]]:
    kernel, stride, padding, dilation = window
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return kernel if isinstance(kernel, tuple) else (kernel, kernel), options


def in_float64(call: Any, *tensors: torch.Tensor | None, **options: Any) -> Any:
    return call(*(None if t is None else t.double() for t in tensors), **options)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_forward_is_exact_on_integers(groups: Any, window: Any) -> None:
    group_count, channels, filters = groups
    (kernel_h, kernel_w), options = size_and_options(window, group_count)
    ran = 0
    sizes = [(9, 31, 1), (7, 7, 2), (12, 15, 1)]
    for (height, width, batch), form in itertools.product(sizes, FORMS):
        layout, dtype = form
        input = integers(batch, group_count * channels, height, width, form=form)
        weight = integers(group_count * filters, channels, kernel_h, kernel_w, form=form)
        bias = torch.randint(-4, 5, (group_count * filters,)).to(dtype)
        expected = in_float64(torch.nn.functional.conv2d, input, weight, bias, **options)
        call = functools.partial(fastconv.conv2d, input, weight, bias, **options)
        for algorithm in ALGORITHMS["fprop"]:
            if dtype not in algorithm.dtypes:
                continue
            with fp32_precision(admitting_precision(algorithm)):
                output = attempt(algorithm, call)
            if output is None:
                assert channels > 32
                continue
            ran += 1
            assert torch.equal(output, expected.to(dtype)), (algorithm.name, form)
            assert output.is_contiguous(memory_format=layout)
    assert ran or not ALGORITHMS["fprop"]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_input_gradient_is_exact_on_integers(groups: Any, window: Any) -> None:
    group_count, channels, filters = groups
    (kernel_h, kernel_w), options = size_and_options(window, group_count)
    for (height, width, batch), form in itertools.product([(9, 31, 1), (7, 8, 2)], FORMS):
        input = integers(batch, group_count * channels, height, width, form=form).requires_grad_()
        weight = integers(group_count * filters, channels, kernel_h, kernel_w, form=form)
        exact_input = input.detach().double().requires_grad_()
        exact = torch.nn.functional.conv2d(exact_input, weight.double(), **options)
        grad_output = integers(*exact.shape, form=form)
        (expected,) = torch.autograd.grad(exact, exact_input, grad_output.double())

        def gradient(
            input: torch.Tensor = input,
            weight: torch.Tensor = weight,
            grad_output: torch.Tensor = grad_output,
        ) -> torch.Tensor:
            # The forward pass hands the algorithm to its backward pass.
            output = fastconv.conv2d(input, weight, **options)
            return torch.autograd.grad(output, input, grad_output)[0]

        for algorithm in ALGORITHMS["dgrad"]:
            if input.dtype not in algorithm.dtypes:
                continue
            with fp32_precision(admitting_precision(algorithm)):
                result = attempt(algorithm, gradient)
            if result is None:
                assert filters > 32
                continue
            assert torch.equal(result, expected.to(input.dtype)), (algorithm.name, form)


@pytest.mark.parametrize("window", WINDOWS, ids=str)
@pytest.mark.parametrize("groups", GROUPS, ids=str)
def test_weight_gradient_is_exact_on_integers(groups: Any, window: Any) -> None:
    group_count, channels, filters = groups
    (kernel_h, kernel_w), options = size_and_options(window, group_count)
    sizes = [(9, 31, 1), (7, 8, 2), (12, 17, 5), (5, 141, 1)]
    for (height, width, batch), form in itertools.product(sizes, FORMS):
        input = integers(batch, group_count * channels, height, width, form=form)
        weight = integers(group_count * filters, channels, kernel_h, kernel_w, form=form)
        weight.requires_grad_()
        exact_weight = weight.detach().double().requires_grad_()
        exact = torch.nn.functional.conv2d(input.double(), exact_weight, **options)
        grad_output = integers(*exact.shape, form=form)
        (expected,) = torch.autograd.grad(exact, exact_weight, grad_output.double())

        def gradient(
            input: torch.Tensor = input,
            weight: torch.Tensor = weight,
            grad_output: torch.Tensor = grad_output,
        ) -> torch.Tensor:
            output = fastconv.conv2d(input, weight, **options)
            return torch.autograd.grad(output, weight, grad_output)[0]

        for algorithm in ALGORITHMS["wgrad"]:
            result = attempt(algorithm, gradient)
            if result is None:
                assert max(channels, filters) > 16
                continue
            assert torch.equal(result, expected.to(weight.dtype)), (algorithm.name, form)


def test_threads_change_no_bit_of_the_weight_gradient() -> None:
    torch.manual_seed(0)
    input = torch.randn(6, 32, 29, 23)
    weight = torch.randn(32, 8, 3, 3, requires_grad=True)
    grad_output = torch.randn(6, 32, 29, 23)
    before = torch.get_num_threads()
    for algorithm in ALGORITHMS["wgrad"]:
        results = []
        try:
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                with fastconv.use_algorithm(algorithm.name):
                    output = fastconv.conv2d(input, weight, None, 1, 1, 1, 4)
                results.append(torch.autograd.grad(output, weight, grad_output)[0])
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(result, results[0]) for result in results)


def test_threads_and_packed_weights_change_no_bit() -> None:
    torch.manual_seed(0)
    input = torch.randn(2, 64, 19, 23).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(64, 8, 3, 3)
    before = torch.get_num_threads()
    for algorithm, stride in itertools.product(ALGORITHMS["fprop"], (1, 2)):
        options = ([stride] * 2, [1, 1], [1, 1], 8)
        results = []
        try:
            with fp32_precision(admitting_precision(algorithm)):
                blob = torch.ops.fastconv.conv2d_pack_weight(
                    weight, input.shape, *options, True, algorithm.name
                )
                for threads in (1, 2, 3):
                    torch.set_num_threads(threads)
                    with fastconv.use_algorithm(algorithm.name):
                        results.append(fastconv.conv2d(input, weight, None, stride, 1, 1, 8))
                    results.append(
                        torch.ops.fastconv.conv2d_packed(input, weight, None, blob, *options)
                    )
        finally:
            torch.set_num_threads(before)
        assert all(torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("dilation", [1, 200])
def test_windows_that_need_too_much_memory_are_left_to_the_gemm(dilation: int) -> None:
    input = integers(1, 8, 1 + 2 * dilation, 601)
    weight = integers(8, 4, 3, 3)
    for algorithm in ALGORITHMS["fprop"]:
        with fp32_precision(admitting_precision(algorithm)):
            output = attempt(
                algorithm,
                lambda: fastconv.conv2d(input, weight, None, 1, dilation, dilation, 2),
            )
        assert (output is None) == (dilation == 200)
