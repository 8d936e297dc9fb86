"""A converted model leaves as standard ONNX: Conv and MaxPool nodes that another runtime runs."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from _networks import NETWORKS
from torch import Tensor, nn

import fastconv

pytest.importorskip("onnxscript", reason="what torch.onnx.export needs; it is in dev.txt")
onnxruntime = pytest.importorskip("onnxruntime")


def exported(model: Any, *inputs: Tensor, **kwargs: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's own use of its pytree
        return torch.onnx.export(model, inputs, dynamo=True, verbose=False, **kwargs)


def node_types(program: Any) -> Counter[str]:
    return Counter(node.op_type for node in program.model_proto.graph.node)


def run(program: Any, *inputs: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
    names = [argument.name for argument in session.get_inputs()]
    feed = {name: np.asarray(x) for name, x in zip(names, inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, feed)]


@pytest.mark.parametrize("name", ["resnet", "lenet"])
def test_a_network_has_the_nodes_that_torchs_has(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    x = torch.randn(2, 3, 32, 32)
    ours, theirs = exported(fastconv.convert(model), x), exported(model, x)
    assert all(node.domain in ("", "ai.onnx") for node in ours.model_proto.graph.node)
    for kind in ("Conv", "MaxPool"):
        assert node_types(ours)[kind] == node_types(theirs)[kind] > 0
    torch.testing.assert_close(run(ours, x)[0], model(x), rtol=1e-4, atol=1e-5)


class Everything(nn.Module):
    """Padding that differs from side to side, and the indices of a pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, (2, 4), padding="same", dilation=(1, 2), groups=2)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True, return_indices=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values, indices = self.pool(self.conv(x))
        return values, indices


def test_from_an_exported_program_with_free_sizes() -> None:
    torch.manual_seed(0)
    model = fastconv.convert(Everything()).eval()
    free = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        model, (torch.randn(2, 4, 9, 8),), dynamic_shapes=[{0: free, 2: free, 3: free}]
    )
    onnx_program = exported(program)
    assert {"Conv", "MaxPool"} <= node_types(onnx_program).keys()
    x = torch.randn(3, 4, 12, 15)
    values, indices = run(onnx_program, x)
    want_values, want_indices = model(x)
    torch.testing.assert_close(values, want_values)
    # ONNX counts indices over the whole tensor, torch in each plane
    plane = torch.arange(3 * 6).view(3, 6, 1, 1) * 12 * 15
    assert torch.equal(indices, want_indices) or torch.equal(indices, want_indices + plane)
