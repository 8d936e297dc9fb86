"""Which algorithm computes which layer, and what speaks against the others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fastconv import _cuda_loader, _ops
from fastconv._explain_text import describe
from fastconv._layout import conv2d_is_channels_last
from fastconv._ops import _C
from fastconv._recorder import Call, Recorder, calls_of_model
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
    """The reason against each that cannot compute it, by its name or ``fastconv``."""
    workspace_bytes: int = 0
    """Scratch memory during the call, with the present number of threads."""
    packed_bytes: int = 0
    """What the module keeps of this weight in the algorithm's own form."""
    estimated_seconds: dict[str, float] = field(default_factory=dict)
    """What the dispatcher thinks the algorithms take that have a model of their own time."""
    output_size: tuple[int, ...] = ()
    parameters: int = 0
    """Elements of weight and bias."""
    multiply_adds: int = 0
    """As the definition of a convolution has them, padding included; 0 for a pooling."""
    receptive_field: tuple[float, float] = (1, 1)
    """Rows and columns of the model's input that an element of the output sees; inf is all."""


@dataclass(frozen=True)
class Explanation:
    """What :func:`fastconv.explain` found; ``str()`` is the table."""

    rows: tuple[Row, ...]

    def __str__(self) -> str:
        return describe(self.rows)


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
        An object with ``.rows`` (see :class:`fastconv._explain.Row`), whose ``str()`` is a table.
    """
    if isinstance(target, torch.nn.Module):
        calls = calls_of_model(target, inputs, parameters, _EXPLAINERS)
    else:
        with torch.no_grad(), Recorder(_EXPLAINERS) as recorder:
            conv2d(target, *inputs, **parameters)
        calls = recorder.calls
    return Explanation(tuple(row for call in calls for row in _rows(call, backward)))


def _rows(call: Call, backward: bool) -> list[Row]:
    return _EXPLAINERS[call.operator](call, backward)


def _with_defaults(call: Call) -> list[Any]:
    """All arguments; the dispatcher leaves off those that have their default value."""
    defaults = [argument.default_value for argument in call.operator._schema.arguments]
    return [*call.args, *defaults[len(call.args) :]]


def _strides4(tensor: Tensor) -> tuple[int, ...]:
    return tensor.stride() if tensor.dim() == 4 else (0, *tensor.stride())


def _by(sizes: Any) -> str:
    return "x".join(map(str, sizes))


def _output(call: Call) -> Tensor:
    """Of a pooling, its values."""
    output: Tensor = call.result[0] if isinstance(call.result, (tuple, list)) else call.result
    return output


def _facts(call: Call, *parameters: Tensor | None) -> dict[str, Any]:
    """What a row says whatever the algorithm; `parameters` are the weight, if any, and the bias."""
    output = _output(call)
    given = [p for p in parameters if p is not None]
    return {
        "output_size": tuple(output.shape),
        "parameters": sum(p.numel() for p in given),
        "multiply_adds": output.numel() * math.prod(given[0].shape[1:]) if given else 0,
        "receptive_field": call.receptive_field,
    }


def _row(
    call: Call,
    op: str,
    direction: str,
    problem: str,
    explanation: _C.Explanation,
    facts: dict[str, Any],
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
        **facts,
    )


def _library(tensor: Tensor) -> Any:
    """What knows the algorithms of a tensor's device."""
    if tensor.is_cuda:
        if _cuda_loader.library is None:
            raise RuntimeError(_cuda_loader.UNAVAILABLE)
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
    return "none" if tensor.dtype is torch.float64 else setting


def _explain_conv2d(call: Call, backward: bool) -> list[Row]:
    return _conv2d_rows(call, backward, *_with_defaults(call))


def _explain_conv2d_packed(call: Call, backward: bool) -> list[Row]:
    input, weight, bias, packed, stride, padding, dilation, groups = _with_defaults(call)
    parameters = (stride, padding, dilation, groups, _ops.conv2d_packed_algorithm(packed))
    return _conv2d_rows(call, backward, input, weight, bias, *parameters, packed.numel())


def _conv2d_rows(
    call: Call,
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
    facts = _facts(call, weight, bias)
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
        rows.append(_row(call, "conv2d", direction, problem, explanation, facts, kept))
    return rows


def _explain_max_pool2d(call: Call, backward: bool) -> list[Row]:
    input, kernel_size, stride, padding, dilation, ceil_mode, requested = _with_defaults(call)
    step = list(stride) or kernel_size
    problem = f"{_by(input.shape)} window {_by(kernel_size)} stride {_by(step)}"
    problem += f" {_KERNEL_DTYPES[input.dtype]}"
    facts = _facts(call)
    rows = []
    for direction in ("forward", "backward") if backward else ("forward",):
        explanation = _library(input).explain_max_pool2d(
            direction=direction,
            dtype=_KERNEL_DTYPES[input.dtype],
            input_size=input.shape,
            input_stride=_strides4(input),
            output_stride=_strides4(_output(call)),
            kernel_size=kernel_size,
            stride=step,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            **_resource(input),
            requested=requested,
        )
        rows.append(_row(call, "max_pool2d", direction, problem, explanation, facts))
    return rows


def _explain_torch_convolution(call: Call, backward: bool) -> list[Row]:
    input, weight, transposed = call.args[0], call.args[1], call.args[6]
    if transposed or weight.dim() != 4:
        return []
    facts = _facts(call, weight, call.args[2])
    return [_torch_row(call, "conv2d", f"{_by(input.shape)} * {_by(weight.shape)}", input, facts)]


def _explain_torch_pooling(call: Call, backward: bool) -> list[Row]:
    input, kernel_size = call.args[:2]
    problem = f"{_by(input.shape)} window {_by(kernel_size)}"
    return [_torch_row(call, "max_pool2d", problem, input, _facts(call))]


def _torch_row(call: Call, op: str, problem: str, input: Tensor, facts: dict[str, Any]) -> Row:
    if input.dtype not in _KERNEL_DTYPES:
        reason = f"has no kernel for {input.dtype}"
    elif not (input.is_cpu or input.is_cuda):
        reason = f"has no kernel for {input.device.type}"
    else:
        reason = "was not called: fastconv.convert the module, or call it in fastconv.patch()"
    direction = "fprop" if op == "conv2d" else "forward"
    return Row(call.module, op, direction, problem, None, {"fastconv": reason}, **facts)


_EXPLAINERS: dict[Any, Callable[[Call, bool], list[Row]]] = {
    _ops.conv2d: _explain_conv2d,
    _ops.conv2d_packed: _explain_conv2d_packed,
    _ops.max_pool2d: _explain_max_pool2d,
    _ops.max_pool2d_with_indices: _explain_max_pool2d,
    torch.ops.aten.convolution.default: _explain_torch_convolution,
    torch.ops.aten.max_pool2d_with_indices.default: _explain_torch_pooling,
}
