"""Which way CUDA tensors go, as far as a machine without a GPU can show it: fake tensors know a
device without having it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import fastconv
from fastconv import _cuda_loader, _ops

ON_CUDA = torch._C.DispatchKeySet(torch._C.DispatchKey.CUDA)


class Calls(TorchDispatchMode):
    """The operators of fastconv that reach a device, and any of torch's that compute the same."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name()
        if name.startswith("fastconv::") or "conv" in name or "pool" in name:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_forward_and_gradients_are_ours(dtype: torch.dtype, channels_last: bool) -> None:
    """The gradients by their operators: a torch without CUDA aborts where it records fake CUDA
    tensors, whosever Function it is."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    with FakeTensorMode(), Calls() as calls:
        x = torch.empty(2, 4, 8, 8, device="cuda", dtype=dtype).to(memory_format=layout)
        weight = torch.empty(6, 2, 3, 3, device="cuda", dtype=dtype)
        bias = torch.empty(6, device="cuda", dtype=dtype)
        y = fastconv.conv2d(x, weight, bias, stride=2, padding=1, groups=2)
        pooled, indices = fastconv.max_pool2d(y, 2, return_indices=True)
        rest = ([2, 2], [1, 1], [1, 1], 2, channels_last)
        gradients = (
            _ops.max_pool2d_backward(pooled, indices, y.shape, channels_last),
            _ops.conv2d_grad_input(y, weight, x.shape, *rest),
            _ops.conv2d_grad_weight(y, x, weight.shape, *rest),
            _ops.conv2d_grad_bias(y),
        )
    assert y.shape == (2, 6, 4, 4)
    assert pooled.shape == indices.shape == (2, 6, 2, 2)
    assert [g.shape for g in gradients] == [y.shape, x.shape, weight.shape, bias.shape]
    for tensor in (y, pooled, indices, *gradients):
        assert tensor.device.type == "cuda"
    for tensor in (y, pooled, *gradients[:3]):
        assert tensor.is_contiguous(memory_format=layout)
    assert calls.names[0] == "fastconv::conv2d"
    assert all(name.startswith("fastconv::") for name in calls.names)


def test_a_converted_model_is_ours() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.MaxPool2d(2), nn.Conv2d(64, 64, 3))
    fastconv.convert(model, inplace=True)
    with FakeTensorMode(), Calls() as calls, torch.no_grad():
        for layer in (model[0], model[2]):
            for name, parameter in list(layer.named_parameters()):
                fake = torch.empty(parameter.shape, device="cuda")
                setattr(layer, name, nn.Parameter(fake))
        model(torch.empty(1, 3, 20, 20, device="cuda"))
    assert calls.names == ["fastconv::conv2d", "fastconv::max_pool2d", "fastconv::conv2d"]


def test_autocast_chooses_the_dtype() -> None:
    # Asking for CUDA's autocast on a machine without CUDA warns and turns it off again.
    if not torch.cuda.is_available():
        torch.set_autocast_enabled("cuda", True)
        try:
            out = cast_and_convolve()
        finally:
            torch.set_autocast_enabled("cuda", False)
    else:
        with torch.autocast("cuda"):
            out = cast_and_convolve()
    assert out.dtype is torch.get_autocast_dtype("cuda")


def cast_and_convolve() -> torch.Tensor:
    with FakeTensorMode():
        x = torch.empty(1, 3, 8, 8, device="cuda")
        return fastconv.conv2d(x, torch.empty(4, 3, 3, 3, device="cuda"))


def test_two_devices_are_refused() -> None:
    with FakeTensorMode():
        x = torch.empty(1, 3, 8, 8, device="cuda")
        with pytest.raises(RuntimeError, match="same device"):
            fastconv.conv2d(x, torch.empty(4, 3, 3, 3))


def test_the_gradient_of_pooling_is_told_the_window() -> None:
    """Which is what the gather needs."""
    told = []

    class Arguments(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is _ops.max_pool2d_backward:
                told.append(args[5:])
            return func(*args, **(kwargs or {}))

    with Arguments():
        x = torch.randn(1, 3, 9, 9, requires_grad=True)
        pooled = fastconv.max_pool2d(x, (3, 2), stride=2, padding=1, ceil_mode=True)
        pooled.sum().backward()
    assert told == [([3, 2, 2, 2, 1, 1, 1, 1, 1],)]


@pytest.mark.skipif(_cuda_loader.loaded, reason="the CUDA kernels are built and loaded")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("conv2d", (torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2))),
        ("_conv2d", (torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2), None, 1, 1, 0, 0, 1, 1, 1)),
        ("max_pool2d", (torch.ones(1, 1, 3, 3), [2, 2])),
    ],
)
def test_without_the_library_one_sentence_says_so(name: str, arguments: tuple) -> None:
    operator = getattr(torch.ops.fastconv, name).default
    with pytest.raises(RuntimeError, match="built without its CUDA kernels: rebuild it") as caught:
        operator.redispatch(ON_CUDA, *arguments)
    assert str(caught.value).count(". ") == 0


def test_every_operator_of_a_tensor_has_its_way_to_cuda() -> None:
    """Those that keep packed weights are of the CPU alone."""
    of_the_cpu = ("conv2d_pack_weight", "conv2d_packed", "weight_fingerprint")
    of_the_cpu += ("_conv2d_memo", "_conv2d_kept")
    for name in torch._C._dispatch_get_registrations_for_dispatch_key("CPU"):
        operator = name.removeprefix("fastconv::")
        if operator != name and operator not in (*of_the_cpu, "conv2d_packed_algorithm"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(name, "CUDA"), name


def test_names_of_two_devices_do_not_displace_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = fastconv._algorithms._JOBS
    monkeypatch.setitem(jobs, "on_gpu", ("cuda", "conv2d", "fprop"))
    monkeypatch.setitem(jobs, "also_on_gpu", ("cuda", "conv2d", "fprop"))
    with fastconv.use_algorithm("conv2d_fprop_reference"), fastconv.use_algorithm("on_gpu"):
        assert fastconv._algorithms.requested_algorithms() == "conv2d_fprop_reference,on_gpu"
        with fastconv.use_algorithm("also_on_gpu"):
            names = fastconv._algorithms.requested_algorithms()
            assert names == "conv2d_fprop_reference,also_on_gpu"
