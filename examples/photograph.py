"""Real photographs through real networks: layer by layer and whole, torch and fastconv."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.progress import track
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional

import fastconv
from examples.claims import Claims
from fastconv._bench.catalogue import describe
from fastconv._bench.compare import FP32_ERROR, Comparison, WrongResultError, compare
from fastconv._bench.networks import calibrate
from fastconv._bench.tables import comparison_row, comparison_table
from fastconv._bench.timing import clock_name

# ImageNet's channel statistics, which every network of its kind is fed with.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
DEVIATION = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)

# Each layer is held to 2e-6 or twice torch's own error. Through a network those errors add up, and
# a ReLU or a maximum near a tie may fall the other way.
NETWORK_ERROR = 1e-5


@dataclass(frozen=True)
class LayerResult:
    name: str
    comparison: Comparison


def photographs() -> torch.Tensor:
    """scikit-learn's two photographs, a temple and a flower, as a batch of 2 x 3 x 224 x 224."""
    batch = []
    for picture in load_sample_images().images:
        image = torch.tensor(picture).permute(2, 0, 1).float() / 255
        height, width = image.shape[-2:]
        scale = 256 / min(height, width)
        size = (round(height * scale), round(width * scale))
        image = functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        top, left = (size[0] - 224) // 2, (size[1] - 224) // 2
        batch.append((image[:, top : top + 224, left : left + 224] - MEAN) / DEVIATION)
    return torch.stack(batch)


def layer_inputs(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """The activations that reach each convolution and pooling."""
    inputs: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[torch.Tensor]], None]:
        def hook(module: nn.Module, arguments: tuple[torch.Tensor]) -> None:
            inputs[name] = arguments[0].clone()

        return hook

    hooks = [
        module.register_forward_pre_hook(keep(name))
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.MaxPool2d))
    ]
    with torch.no_grad():
        network(images)
    for handle in hooks:
        handle.remove()
    return inputs


def run(title: str, network: nn.Module, claims: Claims, console: Console) -> list[LayerResult]:
    """Compare every layer on its real activations, then the whole network; print both."""
    images = photographs()
    calibrate(network, images)
    inputs = layer_inputs(network, images)

    table = comparison_table(
        f"{title}, two photographs, fp32, {torch.get_num_threads()} thread(s)", clock_name()
    )
    results = []
    try:
        for name in track(inputs, f"{title}: layers", console=console, transient=True):
            layer = network.get_submodule(name)
            comparison = compare(layer, inputs[name])
            shape = describe(title, name, layer, inputs[name]).shape
            comparison_row(table, name, shape, comparison, comparison.errors.fastconv)
            results.append(LayerResult(name, comparison))
        whole = compare(network, images, floor=NETWORK_ERROR, budget=4)
    except WrongResultError as error:
        claims.check(False, f"{title}: {error}")
        return results
    table.add_section()
    plane = "x".join(map(str, images.shape[1:]))
    comparison_row(table, "whole network", plane, whole, whole.errors.fastconv)
    console.print(table)

    worst = max((result.comparison.errors for result in results), key=lambda e: e.fastconv)
    claims.check(
        all(result.comparison.errors.ok for result in results),
        f"{title}: each of {len(results)} layers within the larger of {FP32_ERROR:.0e} and twice "
        f"torch's\n          (worst: {worst.fastconv:.1e}, torch there {worst.torch:.1e})",
    )
    claims.check(
        whole.errors.ok,
        f"{title}: output within {NETWORK_ERROR:.0e} of float64 (fastconv "
        f"{whole.errors.fastconv:.1e}, torch {whole.errors.torch:.1e})",
    )
    converted = fastconv.convert(network)
    report = fastconv.report(converted)
    claims.check(
        len(report) == len(inputs) and all(row.converted for row in report),
        f"{title}: fastconv.convert() took all {len(report)} layers",
    )
    with torch.no_grad():
        theirs, ours = network(images), converted(images)
    claims.check(
        bool((theirs.argmax(1) == ours.argmax(1)).all()),
        f"{title}: both photographs get the same class from both",
    )
    return results
