"""explain(): one row for each call, and the same choice as the dispatcher makes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from _algorithms import fp32_precision, usable_algorithms
from _networks import NETWORKS
from _subprocess import run_python
from torch import Tensor, nn

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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_precision_is_the_dispatchers(dtype: torch.dtype) -> None:
    """Under 'ieee' the operator refuses F(4x4) for all of these, and explain() says so."""
    x, weight = torch.randn(1, 128, 28, 28, dtype=dtype), torch.randn(128, 128, 3, 3, dtype=dtype)
    usable = {a.name for a in usable_algorithms("conv2d", "fprop") if "winograd_f4" in a.name}
    with fp32_precision("ieee"):
        rows = fastconv.explain(x, weight, padding=1, backward=True).rows
        for name in usable:
            with fastconv.use_algorithm(name), pytest.raises(RuntimeError) as refusal:
                fastconv.conv2d(x, weight, padding=1)
            assert rows[0].rejected[name] in str(refusal.value)
    assert not any("winograd_f4" in row.algorithm for row in rows)


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
    table, total, reasons = str(explanation).split("\n\n")
    for row in explanation.rows:
        (line,) = [line for line in table.splitlines() if line.startswith(row.name)]
        assert row.algorithm in line
    assert total.startswith(f"total: 2 layers, {4 * 27 + 4:,} parameters, 5.29 k multiply-adds")
    for algorithm in fastconv.algorithms():
        if algorithm.device == "cpu" and algorithm.direction in ("fprop", "forward"):
            chosen = algorithm.name in {row.algorithm for row in explanation.rows}
            assert (algorithm.name in reasons) != chosen


def test_counts_of_a_row() -> None:
    layer = fastconv.nn.Conv2d(4, 6, (3, 2), stride=2, groups=2)
    (row,) = fastconv.explain(layer, torch.randn(2, 4, 9, 8)).rows
    assert row.output_size == (2, 6, 4, 4)
    assert row.parameters == 6 * 2 * 3 * 2 + 6
    assert row.multiply_adds == (2 * 6 * 4 * 4) * (2 * 3 * 2)
    (pool,) = fastconv.explain(fastconv.nn.MaxPool2d(2), torch.randn(2, 4, 9, 8)).rows
    assert (pool.output_size, pool.parameters, pool.multiply_adds) == ((2, 4, 4, 4), 0, 0)


class Looking(nn.Module):
    """Every way in which a receptive field comes about."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, (7, 5), stride=2, padding=1)
        self.pool = nn.MaxPool2d(3, 2)
        self.average = nn.AvgPool2d(2)
        self.dilated = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.point = nn.Conv2d(4, 4, 1)
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(4, 4, 3, padding=1)
        self.squeezed = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.average(self.pool(self.first(x)).relu_())
        x = self.dilated(x) + self.point(x)
        x = self.last(self.up(x))
        return self.squeezed(nn.functional.adaptive_avg_pool2d(x, 1))


@pytest.mark.parametrize("converted", [True, False])
def test_receptive_fields(converted: bool) -> None:
    model = fastconv.convert(Looking()) if converted else Looking()
    rows = fastconv.explain(model, torch.randn(1, 3, 64, 64)).rows
    assert {row.name: row.receptive_field for row in rows} == {
        "first": (7, 5),
        "pool": (11, 9),  # two more, 2 apart
        "dilated": (47, 45),  # the average one more, 4 apart; then 2 * 2 more, 8 apart
        "point": (15, 13),
        "last": (55, 53),  # upsampling: 4 apart
        "squeezed": (float("inf"), float("inf")),
    }


def test_receptive_field_is_what_gradients_reach() -> None:
    model = fastconv.convert(
        nn.Sequential(
            nn.Conv2d(1, 2, 3, dilation=(1, 3)),
            nn.MaxPool2d(2, (1, 2)),
            nn.Conv2d(2, 2, (4, 3), stride=(2, 1)),
            nn.Conv2d(2, 1, 2, groups=1),
        )
    )
    for parameter in model.parameters():
        parameter.data.abs_()
    # rising to the bottom right and to the top left: the maximum is in either corner of a window
    ramp = torch.arange(40.0)[:, None] + torch.arange(40.0)
    reached = torch.zeros(40, 40)
    for sign in (1, -1):
        x = (sign * ramp)[None, None].requires_grad_()
        output = model(x)
        output[0, 0, 3, 3].backward()
        reached += x.grad[0, 0].abs()
    row = fastconv.explain(model, torch.randn(1, 1, 40, 40)).rows[-1]
    rows, columns = (reached.sum(axis).nonzero().flatten() for axis in (1, 0))
    extent = (rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1)
    assert row.receptive_field == extent


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
            y = fastconv.conv2d(x, w, **kwargs)
            y.backward(torch.randn_like(y))  # which lies as y does: an expanded one need not
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


class Counts(nn.Module):
    """Buffers that a forward replaces and resizes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x: Tensor) -> Tensor:
        self.calls = self.calls + 1
        self.seen.resize_(x.numel()).copy_(x.flatten())
        return x


def test_buffers_are_as_before_whatever_a_forward_does_to_them() -> None:
    model = nn.Sequential(Counts(), fastconv.nn.Conv2d(3, 4, 3))
    buffers = dict(model.named_buffers())
    assert fastconv.explain(model, torch.randn(1, 3, 6, 6)).rows
    assert all(buffers[name] is buffer for name, buffer in model.named_buffers())
    assert model[0].calls == 0
    assert model[0].seen.shape == (0,)
