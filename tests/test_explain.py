"""explain(): one row for each call, and the same choice as the dispatcher makes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from _networks import NETWORKS
from _subprocess import run_python
from torch import nn

import fastconv


@pytest.mark.kernels
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_of_a_network_has_a_row(name: str) -> None:
    model = fastconv.convert(NETWORKS[name]())
    names = {
        name
        for name, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d))
    }
    rows = fastconv.explain(model, torch.randn(1, 3, 32, 32)).rows
    assert {row.name for row in rows} == names
    known = {a.name: a for a in fastconv.algorithms()}
    for row in rows:
        assert row.algorithm in known
        assert known[row.algorithm].op == row.op
        assert known[row.algorithm].direction == row.direction
        assert row.algorithm not in row.rejected
        assert all(row.rejected.values())


def test_a_layer_that_packs_its_weight_has_one_row() -> None:
    layer = fastconv.convert(nn.Conv2d(64, 64, 3, padding=1))
    directions = [
        [row.direction for row in fastconv.explain(layer, torch.randn(1, 64, 28, 28)).rows]
        for _ in range(2)  # the first call packs, the second finds it packed
    ]
    assert directions == [["fprop"], ["fprop"]]


def test_text_is_a_table_of_the_rows() -> None:
    model = fastconv.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))
    explanation = fastconv.explain(model, torch.randn(1, 3, 9, 9))
    lines = str(explanation).splitlines()
    for row in explanation.rows:
        (line,) = [line for line in lines if line.startswith(row.name)]
        assert row.algorithm in line


def test_a_model_that_is_not_converted_is_torchs_own() -> None:
    rows = fastconv.explain(nn.Sequential(nn.Conv2d(3, 4, 3)), torch.randn(1, 3, 9, 9)).rows
    assert [row.algorithm for row in rows] == [None]


def test_single_call_with_all_its_arguments() -> None:
    x, weight, bias = torch.randn(2, 4, 9, 8), torch.randn(6, 2, 3, 3), torch.randn(6)
    rows = fastconv.explain(x, weight, bias, 2, 1, 1, 2, backward=True).rows
    assert [row.direction for row in rows] == ["fprop", "dgrad", "wgrad"]
    by_name = fastconv.explain(x, weight, bias, stride=2, padding=1, groups=2, backward=True).rows
    assert [row.algorithm for row in rows] == [row.algorithm for row in by_name]


def test_the_model_is_left_as_it_was() -> None:
    model = fastconv.convert(NETWORKS["resnet"]()).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    fastconv.explain(model, torch.randn(2, 3, 32, 32, generator=torch.Generator()))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_choice_is_the_dispatchers() -> None:
    """The log of what ran, against the explanation of what would."""
    result = run_python(
        """
        import torch, fastconv
        torch.manual_seed(0)
        for x, w, kwargs in (
            (torch.randn(1, 16, 20, 20), torch.randn(32, 16, 3, 3), {"padding": 1}),
            (torch.randn(1, 16, 20, 20), torch.randn(16, 1, 3, 3), {"groups": 16}),
            (torch.randn(1, 3, 20, 20).half(), torch.randn(8, 3, 7, 7).half(), {"stride": 2}),
            (torch.randn(2, 8, 9, 9).double(), torch.randn(8, 8, 1, 1).double(), {}),
        ):
            w.requires_grad_(); x.requires_grad_()
            for row in fastconv.explain(x, w, backward=True, **kwargs).rows:
                print(row.algorithm)
            import sys
            sys.stderr.write("=== now\\n")
            fastconv.conv2d(x, w, **kwargs).sum().backward()
            sys.stderr.write("=== done\\n")
        """,
        FASTCONV_VERBOSE="1",
    )
    assert result.returncode == 0, result.stderr
    ran: set[str] = set()
    problems = []
    for line in result.stderr.splitlines():
        if line == "=== now":
            ran = set()
        elif line == "=== done":
            problems.append(ran)
            ran = set()
        elif line.startswith("fastconv: "):
            ran.add(line.split()[1])
    said = result.stdout.split()
    assert len(said) == 12
    assert problems == [set(said[i : i + 3]) for i in range(0, 12, 3)]


def test_functional_calls_appear_under_their_module() -> None:
    class Block(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.max_pool2d(F.conv2d(x, torch.ones(2, 3, 3, 3)), 2)

    model = nn.Sequential(nn.Identity(), Block())
    with fastconv.patch():
        rows = fastconv.explain(model, torch.randn(1, 3, 9, 9)).rows
    assert [(row.name, row.op) for row in rows] == [("1", "conv2d"), ("1", "max_pool2d")]
    assert all(row.algorithm for row in rows)
