"""Which algorithm computes which layer, and what speaks against the others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fastconv import _cuda_loader, _ops
from fastconv._layout import conv2d_is_channels_last
from fastconv._ops import _C
from fastconv._table import render
from fastconv.functional import conv2d

__all__ = ["Explanation", "Row", "explain"]

_KERNEL_DTYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}


@dataclass(frozen=True)
class Row:
    """One direction of one call of an operator."""

    name: str
    """The module that made the call, by its name in ``model.named_modules()``."""
    op: str
    direction: str
    problem: str
    algorithm: str | None
    """What computes it; None where it is torch's own kernel."""
    rejected: dict[str, str] = field(default_factory=dict)
    """What cannot compute it: the algorithm's name (or ``fastconv``) and the reason."""
    workspace_bytes: int = 0
    """Scratch memory during the call, with the present number of threads."""
    packed_bytes: int = 0
    """What the module keeps of this weight in the algorithm's own form."""
    estimated_seconds: dict[str, float] = field(default_factory=dict)
    """What the dispatcher thinks the algorithms take that have a model of their own time."""


@dataclass(frozen=True)
class Explanation:
    """What :func:`explain` found; ``str()`` is the table."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return render(
            (
                "layer",
                "operator",
                "problem",
                "algorithm",
                "workspace",
                "packed",
                "estimates",
                "against the others",
            ),
            [
                (
                    row.name or "(root)",
                    f"{row.op} {row.direction}",
                    row.problem,
                    row.algorithm or "torch's own",
                    f"{row.workspace_bytes:,} B",
                    f"{row.packed_bytes:,} B",
                    "; ".join(
                        f"{name}: {1e6 * seconds:,.0f} us"
                        for name, seconds in row.estimated_seconds.items()
                    ),
                    "; ".join(f"{name}: {reason}" for name, reason in row.rejected.items()),
                )
                for row in self.rows
            ],
        )


def explain(target: Any, *inputs: Any, backward: bool = False, **parameters: Any) -> Explanation:
    """Say which algorithm computes each convolution and max pooling, and why not the others.

    ``explain(model, *inputs)`` runs the model once on the inputs, without gradients, and reports
    every call that it makes, functional ones and those of torch's own kernels too; its buffers and
    the random state are as before afterwards. ``explain(input, weight, bias, stride, ...)`` reports
    one call of :func:`fastconv.conv2d` with these arguments.

    Args:
        target: a module, or the input of a convolution.
        inputs: the model's inputs, or the other arguments of the convolution.
        backward: add a row for each gradient, of input and of weight.
        parameters: keyword arguments of the model or of the convolution.

    Returns:
        An object with ``.rows`` (see :class:`Row`), whose ``str()`` is a table.
    """
    if isinstance(target, torch.nn.Module):
        calls = _calls_of_model(target, inputs, parameters)
    else:
        with torch.no_grad(), _Recorder() as recorder:
            conv2d(target, *inputs, **parameters)
        calls = recorder.calls
    return Explanation(tuple(row for call in calls for row in _rows(call, backward)))


@dataclass(frozen=True)
class _Call:
    module: str
    operator: Any
    args: tuple[Any, ...]
    result: Any


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the calls of convolutions and max poolings, and which module made them."""

    shows_packed_weights = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []
        self.modules: list[str] = [""]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _EXPLAINERS:
            self.calls.append(_Call(self.modules[-1], func, args, result))
        return result


@contextlib.contextmanager
def _named_calls(model: torch.nn.Module, recorder: _Recorder) -> Iterator[None]:
    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: recorder.modules.append(name)

    def leave(*_: Any) -> None:
        recorder.modules.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name), prepend=True))
        handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def _buffers_kept(model: torch.nn.Module) -> Iterator[None]:
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


def _calls_of_model(
    model: torch.nn.Module, inputs: tuple[Any, ...], parameters: dict[str, Any]
) -> list[_Call]:
    recorder = _Recorder()
    with (
        torch.no_grad(),
        torch.random.fork_rng(devices=[]),
        _buffers_kept(model),
        _named_calls(model, recorder),
        recorder,
    ):
        model(*inputs, **parameters)
    return recorder.calls


def _rows(call: _Call, backward: bool) -> list[Row]:
    return _EXPLAINERS[call.operator](call, backward)


def _with_defaults(call: _Call) -> list[Any]:
    """All arguments; the dispatcher leaves off those that have their default value."""
    defaults = [argument.default_value for argument in call.operator._schema.arguments]
    return [*call.args, *defaults[len(call.args) :]]


def _strides4(tensor: Tensor) -> tuple[int, ...]:
    return tensor.stride() if tensor.dim() == 4 else (0, *tensor.stride())


def _by(sizes: Any) -> str:
    return "x".join(map(str, sizes))


def _row(
    call: _Call,
    op: str,
    direction: str,
    problem: str,
    explanation: _C.Explanation,
    packed_bytes: int = 0,
) -> Row:
    opinions = {opinion.algorithm: opinion for opinion in explanation.opinions}
    chosen = opinions[explanation.chosen]
    rejected = {name: opinion.reason for name, opinion in opinions.items() if opinion.reason}
    seconds = {name: opinion.seconds for name, opinion in opinions.items() if opinion.seconds >= 0}
    return Row(
        call.module,
        op,
        direction,
        problem,
        chosen.algorithm,
        rejected,
        chosen.workspace_bytes,
        packed_bytes,
        seconds,
    )


def _library(tensor: Tensor) -> Any:
    """What knows the algorithms of a tensor's device."""
    if tensor.is_cuda:
        if _cuda_loader.library is None:
            raise RuntimeError(_cuda_loader.NOT_BUILT)
        return _cuda_loader.library
    return _C


def _resource(tensor: Tensor) -> dict[str, Any]:
    """What beside the problem decides on a device."""
    if not tensor.is_cuda:
        return {"threads": torch.get_num_threads()}
    facts = torch.cuda.get_device_properties(tensor.device)
    return {"device": (10 * facts.major + facts.minor, facts.multi_processor_count)}


def _precision(tensor: Tensor) -> str:
    backend = "cudnn" if tensor.is_cuda else "mkldnn"
    setting: str = torch._C._get_fp32_precision_getter(backend, "conv")
    return setting if tensor.dtype is torch.float32 else "none"


def _explain_conv2d(call: _Call, backward: bool) -> list[Row]:
    return _conv2d_rows(call, backward, *_with_defaults(call))


def _explain_conv2d_packed(call: _Call, backward: bool) -> list[Row]:
    input, weight, bias, packed, stride, padding, dilation, groups = _with_defaults(call)
    parameters = (stride, padding, dilation, groups, _ops.conv2d_packed_algorithm(packed))
    return _conv2d_rows(call, backward, input, weight, bias, *parameters, packed.numel())


def _conv2d_rows(
    call: _Call,
    backward: bool,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    requested: str,
    packed_bytes: int = 0,
) -> list[Row]:
    problem = f"{_by(input.shape)} * {_by(weight.shape)}"
    details = {"stride": stride, "padding": padding, "dilation": dilation}
    for name, value in details.items():
        if list(value) != [1 if name != "padding" else 0] * len(value):
            problem += f" {name} {_by(value)}"
    if groups != 1:
        problem += f" groups {groups}"
    problem += f" {_KERNEL_DTYPES[input.dtype]}"
    if conv2d_is_channels_last(input, weight):
        problem += " channels_last"
    rows = []
    for direction in ("fprop", "dgrad", "wgrad") if backward else ("fprop",):
        explanation = _library(input).explain_conv2d(
            direction=direction,
            dtype=_KERNEL_DTYPES[input.dtype],
            input_size=input.shape,
            input_stride=_strides4(input),
            weight_size=weight.shape,
            weight_stride=weight.stride(),
            output_stride=_strides4(call.result),
            **details,
            groups=groups,
            **_resource(input),
            requested=requested,
            precision=_precision(input),
            weight_is_packed=packed_bytes > 0 and direction == "fprop",
        )
        kept = packed_bytes if direction == "fprop" else 0
        rows.append(_row(call, "conv2d", direction, problem, explanation, kept))
    return rows


def _explain_max_pool2d(call: _Call, backward: bool) -> list[Row]:
    input, kernel_size, stride, padding, dilation, ceil_mode, requested = _with_defaults(call)
    values = call.result[0] if isinstance(call.result, (tuple, list)) else call.result
    step = list(stride) or kernel_size
    problem = f"{_by(input.shape)} window {_by(kernel_size)} stride {_by(step)}"
    problem += f" {_KERNEL_DTYPES[input.dtype]}"
    rows = []
    for direction in ("forward", "backward") if backward else ("forward",):
        explanation = _library(input).explain_max_pool2d(
            direction=direction,
            dtype=_KERNEL_DTYPES[input.dtype],
            input_size=input.shape,
            input_stride=_strides4(input),
            output_stride=_strides4(values),
            kernel_size=kernel_size,
            stride=step,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            **_resource(input),
            requested=requested,
        )
        rows.append(_row(call, "max_pool2d", direction, problem, explanation))
    return rows


def _explain_torch_convolution(call: _Call, backward: bool) -> list[Row]:
    input, weight, transposed = call.args[0], call.args[1], call.args[6]
    if transposed or weight.dim() != 4:
        return []
    return [_torch_row(call, "conv2d", f"{_by(input.shape)} * {_by(weight.shape)}", input)]


def _explain_torch_pooling(call: _Call, backward: bool) -> list[Row]:
    input, kernel_size = call.args[:2]
    return [_torch_row(call, "max_pool2d", f"{_by(input.shape)} window {_by(kernel_size)}", input)]


def _torch_row(call: _Call, op: str, problem: str, input: Tensor) -> Row:
    if input.dtype not in _KERNEL_DTYPES:
        reason = f"has no kernel for {input.dtype}"
    elif not (input.is_cpu or input.is_cuda):
        reason = f"has no kernel for {input.device.type}"
    else:
        reason = "was not called: fastconv.convert the module, or call it in fastconv.patch()"
    direction = "fprop" if op == "conv2d" else "forward"
    return Row(call.module, op, direction, problem, None, {"fastconv": reason})


_EXPLAINERS: dict[Any, Callable[[_Call, bool], list[Row]]] = {
    _ops.conv2d: _explain_conv2d,
    _ops.conv2d_packed: _explain_conv2d_packed,
    _ops.max_pool2d: _explain_max_pool2d,
    _ops.max_pool2d_with_indices: _explain_max_pool2d,
    torch.ops.aten.convolution.default: _explain_torch_convolution,
    torch.ops.aten.max_pool2d_with_indices.default: _explain_torch_pooling,
}
