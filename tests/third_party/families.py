"""Published models as others wrote them: converted, compiled and trained as torch does.

`make test-families` runs this: it needs timm and torchvision (requirements/models.txt) and some
minutes, so `make test` leaves it out.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastconv

# torchvision's wheel brings operators built for one release of torch. Its models need none of them,
# only its import wants these two to be known.
_torchvision = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _torchvision.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import timm
    import torchvision

CLASSES = 7


def from_torchvision(name: str) -> nn.Module:
    extra = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, num_classes=CLASSES, **extra)


def from_timm(name: str) -> nn.Module:
    return timm.create_model(name, num_classes=CLASSES)


# One or two of each family, the small ones; with the image size that they can do.
FAMILIES: dict[str, tuple[Callable[[str], nn.Module], int]] = {
    "alexnet": (from_torchvision, 64),
    "vgg11_bn": (from_torchvision, 32),
    "googlenet": (from_torchvision, 64),
    "resnet18": (from_torchvision, 64),
    "densenet121": (from_torchvision, 64),
    "squeezenet1_1": (from_torchvision, 64),
    "mobilenet_v2": (from_torchvision, 64),
    "mobilenet_v3_small": (from_torchvision, 64),
    "shufflenet_v2_x0_5": (from_torchvision, 64),
    "mnasnet0_5": (from_torchvision, 64),
    "efficientnet_b0": (from_torchvision, 64),
    "regnet_y_400mf": (from_torchvision, 64),
    "hrnet_w18_small": (from_timm, 64),
    "dla34": (from_timm, 64),
    "res2net50_14w_8s": (from_timm, 64),
    "ghostnet_050": (from_timm, 64),
    "mixnet_s": (from_timm, 64),
    "repvgg_a0": (from_timm, 64),
    "xception41p": (from_timm, 64),
    "skresnet18": (from_timm, 64),
    "vit_tiny_patch16_224": (from_timm, 224),
    "pvt_v2_b0": (from_timm, 64),
    "tf_efficientnet_b0": (from_timm, 64),
    "nf_resnet26": (from_timm, 64),
}

# Convolutions of a class of their own, which convert() leaves alone and report() names.
SUBCLASSES = {"tf_efficientnet_b0": {"Conv2dSame"}, "nf_resnet26": {"ScaledStdConv2d"}}


@cache
def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    build, _ = FAMILIES[name]
    return build(name).double()


def batch(name: str) -> tuple[Tensor, Tensor]:
    size = FAMILIES[name][1]
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, size, size, dtype=torch.float64, generator=generator)
    return images, torch.randint(0, CLASSES, (2,), generator=generator)


def converted(name: str) -> nn.Module:
    return fastconv.convert(built(name))


def in_float32(name: str, train: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """torch's model in float32, whose convolutions have more algorithms than those of float64."""
    images, target = batch(name)
    return copy.deepcopy(built(name)).float().train(train), images.float(), target


def assert_close(ours: Tensor, theirs: Tensor, what: str) -> None:
    error, scale = (ours - theirs).norm(), theirs.norm()
    assert error <= 1e-6 * scale + 1e-9, f"{what}: {error} of {scale}"


@pytest.mark.parametrize("name", FAMILIES)
def test_converts(name: str) -> None:
    rows = list(fastconv.report(converted(name)))
    assert any(row.converted for row in rows)
    left = {type(row.module).__name__ for row in rows if not row.converted}
    assert left == SUBCLASSES.get(name, set())
    assert all(row.reason for row in rows if not row.converted)


def trained(model: nn.Module, name: str) -> dict[str, Any]:
    """Two steps, so that the second sees what the first one changed."""
    torch.manual_seed(2)  # dropout and stochastic depth draw the same
    images, target = batch(name)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    results: dict[str, Any] = {}
    for step in range(2):
        optimizer.zero_grad()
        output = model(images)
        nn.functional.cross_entropy(output, target).backward()
        results[f"output of step {step}"] = output.detach()
        if step == 0:
            for parameter, p in model.named_parameters():
                if p.grad is not None:
                    results[f"gradient of {parameter}"] = p.grad.clone()
        optimizer.step()
    return results


@pytest.mark.parametrize("name", FAMILIES)
def test_trains_as_torch(name: str) -> None:
    ours = trained(converted(name).train(), name)
    theirs = trained(copy.deepcopy(built(name)).train(), name)
    assert ours.keys() == theirs.keys()
    largest = max(t.norm().item() for key, t in theirs.items() if key.startswith("gradient"))
    for key, want in theirs.items():
        if want.norm() > 1e-9 * largest:  # a bias in front of a batch norm has none but rounding
            assert_close(ours[key], want, key)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_predicts_as_torch(name: str, layout: torch.memory_format) -> None:
    images = batch(name)[0].to(memory_format=layout)
    model = copy.deepcopy(built(name)).eval().to(memory_format=layout)
    ours = fastconv.freeze(fastconv.convert(model))
    with torch.inference_mode():
        assert_close(ours(images), model(images), "output")


@pytest.mark.parametrize("name", FAMILIES)
def test_compiles_without_a_graph_break(name: str) -> None:
    torch._dynamo.reset()
    model = converted(name).eval()
    images, target = batch(name)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    results = []
    for call in (compiled, model):
        output = call(images)
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(
            nn.functional.cross_entropy(output, target), parameters, materialize_grads=True
        )
        results.append([output, *gradients])
    for ours, theirs in zip(*results, strict=True):
        assert_close(ours, theirs, "compiled")


def output_and_gradients(model: nn.Module, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of all parameters as one vector: single ones may be rounding alone."""
    torch.manual_seed(2)  # dropout and stochastic depth draw the same
    output = model(images)
    parameters = [p for p in model.parameters() if p.requires_grad]
    loss = nn.functional.cross_entropy(output, target)
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    return output.detach().double(), torch.cat([g.flatten() for g in gradients]).double()


def assert_as_close(
    ours: Tensor, theirs: Tensor, exact: Tensor, what: str, spare: float = 2e-6
) -> None:
    """Of a whole network: what one layer rounds, the next ones enlarge."""
    error, allowed = (ours - exact).norm(), 4 * (theirs - exact).norm() + spare * exact.norm()
    assert error <= allowed, f"{what}: error {error}, of torch's {(theirs - exact).norm()}"


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", FAMILIES)
def test_float32_is_as_close_to_exact_as_torch(name: str, train: bool) -> None:
    model, images, target = in_float32(name, train)
    exact = output_and_gradients(copy.deepcopy(built(name)).train(train), images.double(), target)
    theirs = output_and_gradients(copy.deepcopy(model), images, target)
    ours = output_and_gradients(fastconv.convert(model), images, target)
    assert_as_close(ours[0], theirs[0], exact[0], "output")
    # Batch statistics of two images put units so close to zero that rounding switches them on or
    # off: torch's own gradients moved by 1e-2 when the images did by 1e-7, ours by 4e-2.
    spare = 0.1 if train else 2e-6
    assert_as_close(ours[1], theirs[1], exact[1], "gradients", spare)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_float32_predicts_as_torch(name: str, layout: torch.memory_format) -> None:
    model, images, _ = in_float32(name, train=False)
    model, images = model.to(memory_format=layout), images.to(memory_format=layout)
    ours = fastconv.freeze(fastconv.convert(model))
    with torch.inference_mode():
        exact = copy.deepcopy(built(name)).eval()(images.double())
        assert_as_close(ours(images).double(), model(images).double(), exact, "output")


def test_float32_has_algorithms_that_float64_has_not() -> None:
    model, images, _ = in_float32("vgg11_bn", train=False)
    rows = fastconv.explain(fastconv.convert(model), images).rows
    assert any("winograd" in row.algorithm for row in rows)


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_inductor_trains_as_eager(name: str) -> None:
    torch._dynamo.reset()
    model = converted(name).train()
    results = [
        output_and_gradients(call, *batch(name))
        for call in (torch.compile(copy.deepcopy(model), fullgraph=True), model)
    ]
    for what, ours, theirs in zip(("output", "gradients"), *results, strict=True):
        assert_close(ours, theirs, what)
