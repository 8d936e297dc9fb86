"""patch(): functional calls go to fastconv, on this thread, for as long as asked."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import conv2d as imported_conv2d
from torch.nn.functional import max_pool2d as imported_max_pool2d
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile

import fastconv


def runs_ours(work: Callable[[], object]) -> bool:
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        work()
    names = {event.key for event in recorded.key_averages()}
    return any(name.startswith("fastconv::") for name in names)


X, WEIGHT = torch.randn(1, 4, 9, 9), torch.randn(8, 4, 3, 3)
MODULE = nn.Conv2d(4, 8, 3)

CALLS: dict[str, Callable[[], object]] = {
    "F.conv2d": lambda: F.conv2d(X, WEIGHT),
    "torch.conv2d": lambda: torch.conv2d(X, WEIGHT),
    "conv2d imported earlier": lambda: imported_conv2d(X, WEIGHT),
    "conv2d with everything": lambda: F.conv2d(X, WEIGHT, torch.ones(8), 2, 1, 1, 1),
    "conv2d by name": lambda: F.conv2d(input=X, weight=WEIGHT, padding="same"),
    "F.max_pool2d": lambda: F.max_pool2d(X, 2),
    "torch.max_pool2d": lambda: torch.max_pool2d(X, 2),
    "max_pool2d imported earlier": lambda: imported_max_pool2d(X, 2),
    "max_pool2d with indices": lambda: F.max_pool2d(X, 2, return_indices=True),
    "F.max_pool2d_with_indices": lambda: F.max_pool2d_with_indices(X, 2),
    "nn.Conv2d": lambda: MODULE(X),
    "nn.MaxPool2d": lambda: nn.MaxPool2d(2)(X),
    "nn.MaxPool2d with indices": lambda: nn.MaxPool2d(2, return_indices=True)(X),
}


@pytest.mark.parametrize("name", CALLS)
def test_call_goes_to_fastconv_and_back(name: str) -> None:
    call = CALLS[name]
    assert not runs_ours(call)
    with fastconv.patch():
        assert runs_ours(call)
        patched = call()
    assert not runs_ours(call)
    torch.testing.assert_close(patched, call())


def test_nests() -> None:
    call = CALLS["F.conv2d"]
    with fastconv.patch():
        with fastconv.patch():
            assert runs_ours(call)
        assert runs_ours(call)
    assert not runs_ours(call)


def test_ends_when_an_error_passes_through() -> None:
    with pytest.raises(RuntimeError, match="non-positive stride"), fastconv.patch():
        F.conv2d(X, WEIGHT, stride=0)
    assert not runs_ours(CALLS["F.conv2d"])


def test_this_thread_only() -> None:
    seen: list[bool] = []
    with fastconv.patch():
        other = threading.Thread(target=lambda: seen.append(runs_ours(CALLS["F.conv2d"])))
        other.start()
        other.join()
    assert seen == [False]


def test_with_another_mode_in_force() -> None:
    called: list[str] = []

    class Listener(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            called.append(getattr(func, "__name__", str(func)))
            return func(*args, **(kwargs or {}))

    with fastconv.patch(), Listener():
        assert runs_ours(CALLS["F.conv2d"])
    assert "conv2d" in called
    with Listener(), fastconv.patch():
        assert runs_ours(CALLS["F.conv2d"])


def test_gradients_under_patch() -> None:
    x = X.clone().requires_grad_()
    with fastconv.patch():
        output = F.max_pool2d(F.conv2d(x, WEIGHT), 2)
    (ours,) = torch.autograd.grad(output.sum(), x)  # outside: the graph remembers
    (theirs,) = torch.autograd.grad(F.max_pool2d(F.conv2d(x, WEIGHT), 2).sum(), x)
    torch.testing.assert_close(ours, theirs)


def test_other_functions_are_untouched() -> None:
    with fastconv.patch():
        assert not runs_ours(lambda: F.conv1d(torch.randn(1, 2, 9), torch.randn(3, 2, 3)))
        assert not runs_ours(lambda: F.max_pool1d(torch.randn(1, 2, 9), 2))
        assert not runs_ours(lambda: F.conv2d(X.to(torch.complex64), WEIGHT.to(torch.complex64)))
