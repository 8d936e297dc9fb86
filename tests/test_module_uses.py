"""What people do with modules: wrap, defer, share, checkpoint, quantize, scale their loss."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from _networks import NETWORKS
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint_sequential

import fastconv


def gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(model(x).square().sum(), list(model.parameters())))


def test_meta_device_then_materialized() -> None:
    """Deferred initialisation: built without memory, converted, filled from a checkpoint."""
    torch.manual_seed(0)
    source = NETWORKS["resnet"]().eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.device("meta"):
        empty = fastconv.convert(NETWORKS["resnet"]()).eval()
    assert empty(x.to("meta")).is_meta
    by_copy = copy.deepcopy(empty).to_empty(device="cpu")
    by_copy.load_state_dict(source.state_dict())
    by_assignment = copy.deepcopy(empty)
    by_assignment.load_state_dict(source.state_dict(), assign=True)
    for model in (by_copy, by_assignment):
        with torch.no_grad():
            torch.testing.assert_close(model(x), source(x), rtol=1e-4, atol=1e-5)


def test_skip_init() -> None:
    module = nn.utils.skip_init(fastconv.nn.Conv2d, 3, 4, 3)
    assert type(module) is fastconv.nn.Conv2d
    assert module.weight.shape == (4, 3, 3, 3)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_network(reentrant: bool) -> None:
    torch.manual_seed(0)
    model = fastconv.convert(NETWORKS["mobilenet"]().double()).eval()
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    checkpoint_sequential(model, 3, x, use_reentrant=reentrant).square().sum().backward()
    torch.testing.assert_close([p.grad for p in model.parameters()], gradients(model, x))


class FakeQuantized(nn.Conv2d):
    """A quantisation-aware convolution as people write them: another weight, torch's forward."""

    def forward(self, input: Tensor) -> Tensor:
        scale = self.weight.detach().abs().amax() / 127
        weight = torch.fake_quantize_per_tensor_affine(self.weight, scale.item(), 0, -127, 127)
        return self._conv_forward(input, weight, self.bias)


class OursFakeQuantized(fastconv.nn.Conv2d):
    forward = FakeQuantized.forward


def test_quantisation_aware_wrappers() -> None:
    """A subclass of torch's layer stays as it is, a subclass of ours runs our kernels."""
    torch.manual_seed(0)
    theirs = FakeQuantized(3, 4, 3, padding=1)
    ours = OursFakeQuantized(3, 4, 3, padding=1)
    ours.load_state_dict(theirs.state_dict())
    model = fastconv.convert(nn.Sequential(theirs))
    assert type(model[0]) is FakeQuantized
    x = torch.randn(2, 3, 8, 8)
    assert fastconv.explain(ours, x).rows[0].algorithm
    assert fastconv.explain(model, x).rows[0].algorithm is None
    with fastconv.patch():
        assert fastconv.explain(model, x).rows[0].algorithm
        patched = gradients(model, x)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    for other in (patched, gradients(ours, x)):
        torch.testing.assert_close(other, gradients(theirs, x), rtol=1e-4, atol=1e-4)
    frozen = fastconv.freeze(ours).eval()
    with torch.no_grad():  # never the module's own weight in place of the one it was given
        torch.testing.assert_close(frozen(x), theirs(x), rtol=1e-5, atol=1e-5)


def spectral(module: nn.Module) -> nn.Module:
    return parametrizations.spectral_norm(module)


def weight_norm(module: nn.Module) -> nn.Module:
    return parametrizations.weight_norm(module)


def orthogonal(module: nn.Module) -> nn.Module:
    return parametrizations.orthogonal(module)


def pruned(module: nn.Module) -> nn.Module:
    return prune.l1_unstructured(module, "weight", amount=0.5)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("wrap", [spectral, weight_norm, orthogonal, pruned])
def test_parametrized_layers(wrap: Callable[[nn.Module], nn.Module], training: bool) -> None:
    """Two steps of descent as torch's layer: the gradient reaches the parametrization's own
    parameters, and its buffers (in training, of spectral_norm's power iteration) follow."""
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, 3, padding=1).double()
    x = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    results = []
    for module in (copy.deepcopy(plain), fastconv.convert(plain)):
        torch.manual_seed(1)
        wrapped = wrap(module).train(training)
        buffers = [[b.clone() for b in wrapped.buffers()]]
        seen = []
        for _ in range(2):
            steps = gradients(wrapped, x)
            seen += [wrapped(x).detach(), *steps]
            with torch.no_grad():
                seen.append(wrapped(x))
                for parameter, gradient in zip(wrapped.parameters(), steps, strict=True):
                    parameter.sub_(gradient, alpha=0.01)
            buffers.append([b.clone() for b in wrapped.buffers()])
        if wrap is spectral:
            assert all(map(torch.equal, buffers[1], buffers[2])) != training
        results.append([seen, buffers, list(wrapped.state_dict().values())])
    torch.testing.assert_close(results[1], results[0])


def test_a_layer_parametrized_first_is_left_and_reported() -> None:
    model = nn.Sequential(weight_norm(nn.Conv2d(3, 4, 3)))
    (row,) = fastconv.report(fastconv.convert(model))
    assert not row.converted
    assert "parametrized before" in row.reason
    parametrize.remove_parametrizations(model[0], "weight")
    (row,) = fastconv.report(fastconv.convert(model))
    assert row.converted


@pytest.mark.parametrize("inplace", [False, True])
def test_a_layer_parametrized_afterwards_is_reverted(inplace: bool) -> None:
    torch.manual_seed(0)
    converted = nn.Sequential(weight_norm(fastconv.nn.Conv2d(3, 4, 3)))
    x = torch.randn(1, 3, 6, 6)
    want = [converted(x).detach(), *gradients(converted, x)]
    reverted = fastconv.revert(converted, inplace)
    assert not isinstance(reverted[0], fastconv.nn.Conv2d)
    assert isinstance(converted[0], fastconv.nn.Conv2d) == (not inplace)
    assert parametrize.is_parametrized(reverted[0], "weight")
    assert fastconv.explain(reverted, x).rows[0].algorithm is None
    torch.testing.assert_close([reverted(x).detach(), *gradients(reverted, x)], want)
    parametrize.remove_parametrizations(reverted[0], "weight")
    assert type(reverted[0]) is nn.Conv2d
    (row,) = fastconv.report(reverted)
    assert (row.converted, row.reason) == (False, "not converted yet")


@pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated", "ignore:.*observer")
def test_torchs_own_quantisation_aware_training() -> None:
    """Prepared by torch, which looks for Conv2d by its exact type; patch() computes it."""
    from torch.ao.quantization import get_default_qat_qconfig, prepare_qat

    torch.manual_seed(0)
    model = fastconv.convert(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2)))
    model.qconfig = get_default_qat_qconfig("fbgemm")
    plain = prepare_qat(fastconv.revert(model).train())
    assert type(plain[0]) is torch.ao.nn.qat.Conv2d
    converted = fastconv.convert(plain)
    assert [row.converted for row in fastconv.report(converted)] == [False, True]
    x = torch.randn(2, 3, 8, 8)
    with fastconv.patch():
        assert all(row.algorithm for row in fastconv.explain(converted, x).rows)
        ours = gradients(converted, x)
    torch.testing.assert_close(ours, gradients(plain, x), rtol=1e-3, atol=1e-4)


def test_hooks_of_every_kind_see_what_torchs_show() -> None:
    seen: list[dict[str, object]] = []
    torch.manual_seed(0)
    plain = nn.Conv2d(3, 4, 3)
    x = torch.randn(1, 3, 6, 6)
    for module in (copy.deepcopy(plain), fastconv.convert(plain)):
        record: dict[str, object] = {}
        module.register_forward_pre_hook(lambda m, a, r=record: r.update(pre=a[0].shape))
        module.register_forward_hook(lambda m, a, o, r=record: r.update(post=o.shape))
        module.register_full_backward_pre_hook(lambda m, g, r=record: r.update(before=g[0].shape))
        module.register_full_backward_hook(
            lambda m, i, o, r=record: r.update(after=(i[0].shape, o[0].shape))
        )
        module.weight.register_hook(lambda g, r=record: r.update(tensor=g.shape))
        module.weight.register_post_accumulate_grad_hook(
            lambda p, r=record: r.update(accumulated=p.grad.shape)
        )
        module(x.clone().requires_grad_()).sum().backward()
        seen.append(record)
    assert seen[0] == seen[1]
    assert len(seen[0]) == 6


def test_a_forward_hook_may_replace_the_output() -> None:
    module = fastconv.nn.Conv2d(3, 4, 3)
    module.register_forward_hook(lambda m, a, out: out * 0)
    assert not module(torch.randn(1, 3, 6, 6)).any()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_of_every_protocol(protocol: int) -> None:
    model = fastconv.freeze(fastconv.convert(NETWORKS["lenet"]())).eval()
    x = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        want = model(x)
        clone = pickle.loads(pickle.dumps(model, protocol))
        assert torch.equal(clone(x), want)


def test_whole_module_is_saved_and_loaded(tmp_path) -> None:
    model = fastconv.convert(NETWORKS["lenet"]()).eval()
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))


def test_shared_memory_between_processes() -> None:
    model = fastconv.convert(NETWORKS["lenet"]()).share_memory()
    assert all(p.is_shared() for p in model.parameters())
    assert model(torch.randn(1, 3, 32, 32)).shape == (1, 10)


def test_fused_with_its_batch_norm_in_a_traced_graph() -> None:
    """torch.fx's optimizer matches Conv2d by its exact type: revert first, as its error says."""
    from torch.fx.experimental.optimization import fuse

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    converted = fastconv.convert(model)
    fused = fastconv.convert(fuse(fastconv.revert(converted)))
    assert [type(m) for m in fused.modules()][1:] == [fastconv.nn.Conv2d, nn.ReLU]
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(fused(x), model(x), rtol=1e-4, atol=1e-5)


def test_symbolic_trace_keeps_layers_whole() -> None:
    model = fastconv.convert(NETWORKS["resnet"]()).eval()
    traced = torch.fx.symbolic_trace(model)
    x = torch.randn(1, 3, 32, 32)
    assert torch.equal(traced(x), model(x))
    assert {n.op for n in traced.graph.nodes} >= {"call_module"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_training_with_autocast_and_a_scaled_loss(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = NETWORKS["resnet"]()
    histories = []
    for candidate in (copy.deepcopy(model), fastconv.convert(model)):
        torch.manual_seed(1)
        optimizer = torch.optim.SGD(candidate.parameters(), lr=0.01)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=2)
        history = []
        for step in range(4):
            x, target = torch.randn(4, 3, 32, 32), torch.randint(0, 10, (4,))
            if step == 2:
                x[0, 0, 0, 0] = torch.inf  # the step is skipped and the scale halved
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=dtype):
                loss = nn.functional.cross_entropy(candidate(x), target)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            history.append((scaler.get_scale(), loss.item()))
        histories.append(history)
    ours, theirs = histories[1], histories[0]
    assert (
        [scale for scale, _ in ours] == [scale for scale, _ in theirs] == [4096, 8192, 4096, 4096]
    )
    for (_, a), (_, b) in zip(ours[:2], theirs[:2], strict=True):
        assert abs(a - b) <= 0.05 * abs(b)


def test_autocast_leaves_double_alone() -> None:
    x, weight = torch.randn(1, 3, 6, 6).double(), torch.randn(4, 3, 3, 3).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = fastconv.conv2d(x, weight), torch.conv2d(x, weight)
    assert ours.dtype == theirs.dtype == torch.float64
    torch.testing.assert_close(ours, theirs)


def test_autocast_caches_nothing_stale() -> None:
    """A weight that changes between two autocast regions is cast anew in the second."""
    layer, x = fastconv.nn.Conv2d(3, 4, 3, bias=False), torch.randn(1, 3, 6, 6)
    outputs = []
    for _ in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
            outputs.append(layer(x))
        layer.weight.data.mul_(2)
    assert torch.equal(outputs[1], outputs[0] * 2)
