"""convert, revert and report: only the class of a module changes; all that hangs on it stays."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from _networks import NETWORKS
from torch import Tensor, nn

import fastconv


def layers_of(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.MaxPool2d))]


def ours(module: nn.Module) -> bool:
    return type(module).__module__.startswith("fastconv")


class Loud(nn.Conv2d):
    """Somebody's own convolution, which may do anything."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


@pytest.fixture
def model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), Loud(4, 2, 1))


def test_convert_copies_by_default(model: nn.Sequential) -> None:
    converted = fastconv.convert(model)
    assert converted is not model
    assert type(model[0]) is nn.Conv2d
    assert type(model[2]) is nn.MaxPool2d
    assert type(converted[0]) is fastconv.nn.Conv2d
    assert type(converted[2]) is fastconv.nn.MaxPool2d
    assert converted[0].weight is not model[0].weight
    assert torch.equal(converted[0].weight, model[0].weight)


def test_convert_in_place_keeps_every_object(model: nn.Sequential) -> None:
    modules, parameters = list(model.modules()), list(model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    assert fastconv.convert(model, inplace=True) is model
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    before = model[0].weight.clone()
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, model[0].weight)


def test_the_root_itself_is_converted() -> None:
    for plain, kind in (
        (nn.Conv2d(3, 4, 3), fastconv.nn.Conv2d),
        (nn.MaxPool2d(2), fastconv.nn.MaxPool2d),
    ):
        assert type(fastconv.convert(plain)) is kind
        assert type(fastconv.convert(plain, inplace=True)) is kind
        assert type(plain) is kind


def test_subclasses_are_left_alone(model: nn.Sequential) -> None:
    assert type(fastconv.convert(model)[3]) is Loud


def test_converting_twice_changes_nothing(model: nn.Sequential) -> None:
    once = fastconv.convert(model)
    twice = fastconv.convert(once)
    assert [type(m) for m in once.modules()] == [type(m) for m in twice.modules()]


def test_filter_is_asked_with_name_and_module(model: nn.Sequential) -> None:
    asked: dict[str, nn.Module] = {}

    def only_pools(name: str, module: nn.Module) -> bool:
        asked[name] = module
        return isinstance(module, nn.MaxPool2d)

    converted = fastconv.convert(model, filter=only_pools)
    assert {"0", "2"} <= asked.keys()
    assert type(converted[0]) is nn.Conv2d
    assert type(converted[2]) is fastconv.nn.MaxPool2d


def test_revert_gives_plain_torch_back(model: nn.Sequential) -> None:
    types = [type(m) for m in model.modules()]
    converted = fastconv.convert(model)
    reverted = fastconv.revert(converted)
    assert [type(m) for m in reverted.modules()] == types
    assert any(ours(m) for m in converted.modules())  # a copy: the converted one still is
    assert fastconv.revert(converted, inplace=True) is converted
    assert [type(m) for m in converted.modules()] == types
    for a, b in zip(reverted.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_hooks_and_training_state_survive(model: nn.Sequential) -> None:
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("forward"))
    model[0].register_forward_pre_hook(lambda *_: calls.append("pre"))
    model[0].register_full_backward_hook(lambda *_: calls.append("backward"))
    model.eval()
    model[0].weight.requires_grad_(False)
    converted = fastconv.convert(model, inplace=True)
    assert not converted.training
    assert not converted[0].training
    assert not converted[0].weight.requires_grad
    converted(torch.randn(1, 3, 8, 8)).sum().backward()
    assert calls == ["pre", "forward", "backward"]


@pytest.mark.parametrize("inplace", [False, True])
def test_shared_modules_stay_shared(inplace: bool) -> None:
    shared = nn.Conv2d(3, 3, 3, padding=1)
    converted = fastconv.convert(nn.Sequential(shared, nn.ReLU(), shared), inplace)
    assert converted[0] is converted[2]
    assert ours(converted[0])


def test_shared_parameters_stay_shared() -> None:
    a, b = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
    b.weight = a.weight
    converted = fastconv.convert(nn.Sequential(a, b))
    assert converted[0].weight is converted[1].weight


def test_state_dict_is_the_same_in_both_directions(model: nn.Sequential) -> None:
    converted = fastconv.convert(model)
    assert list(converted.state_dict()) == list(model.state_dict())
    converted.load_state_dict(model.state_dict())
    model.load_state_dict(converted.state_dict())


def test_repr_is_torchs(model: nn.Sequential) -> None:
    assert repr(fastconv.convert(model)) == repr(model)


def test_pickle_and_deepcopy(model: nn.Sequential) -> None:
    # Loud is a class of this file: pickle needs to find it
    converted = fastconv.convert(model[:3])
    x = torch.randn(1, 3, 8, 8)
    for clone in (copy.deepcopy(converted), pickle.loads(pickle.dumps(converted))):
        assert [type(m) for m in clone.modules()] == [type(m) for m in converted.modules()]
        assert torch.equal(clone(x), converted(x))


def test_save_and_load(model: nn.Sequential, tmp_path) -> None:
    converted = fastconv.convert(model[:3])
    torch.save(converted.state_dict(), tmp_path / "state.pt")
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    plain.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert torch.equal(plain[0].weight, converted[0].weight)


def test_weight_norm_and_parametrizations() -> None:
    torch.manual_seed(1)
    x = torch.randn(1, 3, 8, 8)
    plain = nn.Conv2d(3, 4, 3)
    converted = fastconv.convert(plain)
    for module in (plain, converted):
        torch.nn.utils.parametrizations.weight_norm(module)
    torch.testing.assert_close(converted(x), plain(x))
    # the old style cannot be copied once it is applied, so each gets its own
    reference, old_style = (
        nn.utils.weight_norm(copy.deepcopy(m)) for m in [nn.Conv2d(3, 4, 3)] * 2
    )
    fastconv.convert(old_style, inplace=True)
    assert type(old_style) is fastconv.nn.Conv2d
    for module in (reference, old_style):
        module(x).square().sum().backward()
    torch.testing.assert_close(old_style(x), reference(x))
    for name in ("weight_g", "weight_v", "bias"):
        ours, theirs = (getattr(module, name).grad for module in (old_style, reference))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    spectral = nn.utils.parametrizations.spectral_norm(fastconv.nn.Conv2d(3, 4, 3))
    assert spectral(x).shape == (1, 4, 6, 6)


def test_fused_batch_norm() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fused = torch.nn.utils.fusion.fuse_conv_bn_eval(fastconv.convert(model[0]), model[1])
    assert type(fused) is fastconv.nn.Conv2d
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-5, atol=1e-5)


def test_moving_dtype_and_memory_format(model: nn.Sequential) -> None:
    converted = fastconv.convert(model[:3]).to(torch.bfloat16, memory_format=torch.channels_last)
    output = converted(torch.randn(2, 3, 8, 8, dtype=torch.bfloat16))
    assert output.dtype == torch.bfloat16
    assert output.is_contiguous(memory_format=torch.channels_last)


def test_lazy_modules_become_ours() -> None:
    converted = fastconv.convert(nn.Sequential(nn.LazyConv2d(4, 3), nn.MaxPool2d(2)))
    assert converted(torch.randn(1, 5, 8, 8)).shape == (1, 4, 3, 3)
    assert type(converted[0]) is fastconv.nn.Conv2d


def test_report_names_every_layer_and_why_not(model: nn.Sequential) -> None:
    text = str(fastconv.report(fastconv.convert(model, filter=lambda name, _: name != "0")))
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert {"0", "2", "3"} <= lines.keys()
    assert "1" not in lines
    assert "Loud" in lines["3"]
    rows = {row.name: row for row in fastconv.report(fastconv.convert(model))}
    assert rows["0"].converted
    assert rows["2"].converted
    assert not rows["3"].converted
    assert rows["3"].reason


PADDING_MODES = ["zeros", "reflect", "replicate", "circular"]


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("padding", [1, (2, 1), "same"], ids=str)
def test_every_padding_mode(mode: str, padding) -> None:
    plain = nn.Conv2d(3, 4, (3, 2), padding=padding, padding_mode=mode).double()
    converted = fastconv.convert(plain)
    for shape in ((2, 3, 7, 8), (3, 7, 8)):
        x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
        torch.testing.assert_close(converted(x), plain(x))
        ours, theirs = (
            torch.autograd.grad(m(x).square().sum(), (x, *m.parameters()))
            for m in (converted, plain)
        )
        torch.testing.assert_close(ours, theirs)


def outputs_and_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    output = model(x)
    # a loss that tells the outputs apart
    loss = (output * torch.linspace(-1, 1, output.numel(), dtype=x.dtype).view_as(output)).sum()
    return [output, *torch.autograd.grad(loss, [x, *model.parameters()])]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", NETWORKS)
def test_network_outputs_and_gradients_are_torchs(
    name: str, training: bool, layout: torch.memory_format
) -> None:
    """In float64, where nothing is lost on the way through batch norms and maxima."""
    torch.manual_seed(3)
    model = NETWORKS[name]().double().train(training).to(memory_format=layout)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64).to(memory_format=layout)
    converted = fastconv.convert(model)
    assert all(map(ours, layers_of(converted)))
    theirs = outputs_and_gradients(copy.deepcopy(model), x)
    torch.testing.assert_close(outputs_and_gradients(converted, x), theirs, rtol=1e-8, atol=1e-9)
    reverted = fastconv.revert(converted)
    assert not any(map(ours, reverted.modules()))
    assert [type(m) for m in reverted.modules()] == [type(m) for m in model.modules()]


@pytest.mark.parametrize("name", NETWORKS)
def test_network_in_float32_as_close_to_exact_as_torch(name: str) -> None:
    torch.manual_seed(4)
    model = NETWORKS[name]().eval()
    x = torch.randn(2, 3, 32, 32)
    exact = outputs_and_gradients(copy.deepcopy(model).double(), x.double())
    theirs = outputs_and_gradients(copy.deepcopy(model), x)
    for a, b, c in zip(
        outputs_and_gradients(fastconv.convert(model), x), theirs, exact, strict=True
    ):
        scale = c.norm()
        # errors of a whole network: what one layer rounds, the next may enlarge
        assert (a.double() - c).norm() <= 4 * (b.double() - c).norm() + 2e-6 * scale


def test_training_follows_torch_step_by_step() -> None:
    torch.manual_seed(5)
    model = NETWORKS["resnet"]()
    losses = []
    for candidate in (copy.deepcopy(model), fastconv.convert(model)):
        torch.manual_seed(6)
        optimizer = torch.optim.AdamW(candidate.parameters(), lr=1e-3)
        history = []
        for _ in range(5):
            x, target = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
            loss = nn.functional.cross_entropy(candidate(x), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            history.append(loss.item())
        losses.append(history)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)
