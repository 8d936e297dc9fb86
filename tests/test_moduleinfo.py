"""Rung 4 for modules: torch's own ModuleInfo samples of Conv2d, LazyConv2d and MaxPool2d."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.common_modules import ModuleInput, module_db

import fastconv


def module_inputs(module_class: type[nn.Module], training: bool) -> Iterator[ModuleInput]:
    info = next(info for info in module_db if info.module_cls is module_class)
    yield from info.module_inputs_func(
        info, device="cpu", dtype=torch.float64, requires_grad=True, training=training
    )


def cases() -> list[Any]:
    found = []
    for ours, theirs in ((fastconv.nn.Conv2d, nn.Conv2d), (fastconv.nn.MaxPool2d, nn.MaxPool2d)):
        for training in (True, False):
            for i, module_input in enumerate(module_inputs(theirs, training)):
                mode = "training" if training else "evaluation"
                name = f"{ours.__name__}-{mode}-{i}"
                found.append(pytest.param(ours, theirs, module_input, training, id=name))
    return found


def first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output


def pair_of_modules(
    ours: type[nn.Module], theirs: type[nn.Module], module_input: ModuleInput, training: bool
) -> tuple[nn.Module, nn.Module]:
    made = module_input.constructor_input
    a, b = ours(*made.args, **made.kwargs), theirs(*made.args, **made.kwargs)
    a, b = a.double().train(training), b.double().train(training)
    a.load_state_dict(b.state_dict())
    return a, b


def assert_same_behaviour(a: nn.Module, b: nn.Module, module_input: ModuleInput) -> None:
    inputs = module_input.forward_input
    assert inputs is not None
    results = []
    for module in (a, b):
        args = [x.detach().clone().requires_grad_() for x in inputs.args]
        output = module(*args, **inputs.kwargs)
        leaves = [*args, *module.parameters()]
        grads = torch.autograd.grad(first(output).square().sum(), leaves)
        results.append((output, grads))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("ours", "theirs", "module_input", "training"), cases())
def test_module_behaves_as_torchs(
    ours: type[nn.Module], theirs: type[nn.Module], module_input: ModuleInput, training: bool
) -> None:
    a, b = pair_of_modules(ours, theirs, module_input, training)
    assert isinstance(a, theirs)
    assert repr(a) == repr(b)
    assert_same_behaviour(a, b, module_input)
    assert_same_behaviour(copy.deepcopy(a), b, module_input)
    assert_same_behaviour(pickle.loads(pickle.dumps(a)), b, module_input)
    assert_same_behaviour(fastconv.convert(b), b, module_input)


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("when", ["before", "after"])
def test_lazy_convolution_converts_before_and_after_it_has_its_channels(
    index: int, when: str
) -> None:
    module_input = list(module_inputs(nn.LazyConv2d, True))[index]
    made, inputs = module_input.constructor_input, module_input.forward_input
    assert inputs is not None
    lazy = nn.LazyConv2d(*made.args, **made.kwargs).double()
    if when == "before":
        converted = fastconv.convert(lazy)
        converted(*inputs.args)
        lazy(*inputs.args)
    else:
        lazy(*inputs.args)
        converted = fastconv.convert(lazy)
    assert type(lazy) is nn.Conv2d
    assert type(converted) is fastconv.nn.Conv2d
    converted.load_state_dict(lazy.state_dict())
    assert_same_behaviour(converted, lazy, module_input)
