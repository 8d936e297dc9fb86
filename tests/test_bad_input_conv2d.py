"""design.md section 7 for conv2d: what is refused, by which error, in which words.

Every row goes through the public function and through the raw operator, and, where the words are
torch's, through torch itself: they are not remembered but compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy
import pytest
import torch
import torch.nn.functional as F
from _isolated import outcome
from torch import Tensor, zeros

import fastconv

HUGE = 2**62


@dataclass(frozen=True)
class Row:
    why: str
    message: str  # a regular expression
    kwargs: dict[str, Any] = field(default_factory=dict)
    input: Any = (1, 4, 6, 6)
    weight: Any = (8, 4, 3, 3)
    bias: Any = None
    torchs_words: bool = True

    def call(self, conv2d: Callable[..., Any]) -> Any:
        tensors = [
            zeros(t) if isinstance(t, tuple) else t for t in (self.input, self.weight, self.bias)
        ]
        return conv2d(*tensors, **self.kwargs)


STRIDE = "non-positive stride is not supported"
PADDING = "negative padding is not supported"
DILATION = "dilation should be greater than zero"
GROUPS = "non-positive groups is not supported"
EXPECTED_INPUT = re.escape("Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input")
BIAS = r"expected bias to be 1-dimensional with 8 elements, but got bias of size "
TOO_LARGE = "Kernel size can't be greater than actual input size"


def pairs_of(name: str) -> str:
    return f"expected {name} to be a single integer value or a list of 2 values"


def double(*shape: int) -> Tensor:
    return zeros(shape, dtype=torch.float64)


ROWS = [
    Row("stride 0", STRIDE, {"stride": 0}),
    Row("stride negative", STRIDE, {"stride": -1}),
    Row("stride 0 in one", STRIDE, {"stride": (1, 0)}),
    Row("padding negative", PADDING, {"padding": -1}),
    Row("padding negative in one", PADDING, {"padding": (2, -1)}),
    Row("dilation 0", DILATION, {"dilation": 0}),
    Row("dilation negative", DILATION, {"dilation": -1}),
    Row("dilation 0 in one", DILATION, {"dilation": (1, 0)}),
    Row("groups 0", GROUPS, {"groups": 0}),
    Row("groups negative", GROUPS, {"groups": -1}),
    Row("groups that do not divide", "expected weight to be divisible by 3 at dimension 0",
        {"groups": 3}),
    Row("groups beyond the weight", "Given groups=9, expected weight to be at least 9",
        {"groups": 9}),
    Row("groups beyond everything", f"Given groups={HUGE}, expected weight to be at least",
        {"groups": HUGE}),
    Row("groups for another input", r"expected input\[1, 4, 6, 6\] to have 8 channels",
        {"groups": 2}),
    Row("kernel 0", "kernel size should be greater than zero", weight=(8, 4, 0, 3)),
    Row("kernel 0 by 0", "kernel size should be greater than zero", weight=(8, 4, 0, 0)),
    Row("channels", r"weight of size \[8, 4, 3, 3\], expected input\[1, 5, 6, 6\] to have 4"
        " channels, but got 5 channels instead", input=(1, 5, 6, 6)),
    Row("channels unbatched", "to have 4 channels, but got 5 channels instead", input=(5, 6, 6)),
    Row("channels of an empty batch", "to have 4 channels, but got 5", input=(0, 5, 6, 6)),
    Row("channels 0", "to have 4 channels, but got 0 channels", input=(1, 0, 6, 6)),
    Row("no output channels", "expected weight to be at least 1 at dimension 0",
        weight=(0, 4, 3, 3)),
    Row("bias short", BIAS + r"\[7\]", bias=(7,)),
    Row("bias long", BIAS + r"\[9\]", bias=(9,)),
    Row("bias of one", BIAS + r"\[1\]", bias=(1,)),
    Row("bias empty", BIAS + r"\[0\]", bias=(0,)),
    Row("bias of two dimensions", BIAS + r"\[8, 1\]", bias=(8, 1)),
    Row("bias of no dimension", BIAS + r"\[\]", bias=torch.tensor(1.0)),
    Row("input of no dimension", EXPECTED_INPUT, input=torch.tensor(1.0)),
    Row("input of two dimensions", EXPECTED_INPUT, input=(6, 6)),
    Row("input of five dimensions", EXPECTED_INPUT, input=(1, 1, 4, 6, 6)),
    Row("weight of two dimensions", "weight should have at least three dimensions",
        weight=(8, 4)),
    Row("weight of three dimensions", "weight|expected stride", weight=(8, 4, 3)),
    Row("weight of five dimensions", "weight|expected stride", weight=(8, 4, 1, 3, 3)),
    Row("kernel beyond the input", re.escape(
        "Calculated padded input size per channel: (2 x 9). Kernel size: (3 x 3). "
        + TOO_LARGE), input=(1, 4, 2, 9)),
    Row("kernel beyond the padded input", TOO_LARGE, {"padding": 1}, input=(1, 4, 2, 2),
        weight=(8, 4, 5, 5)),
    Row("dilated kernel beyond the input", re.escape("Kernel size: (5 x 5)"), {"dilation": 2},
        input=(1, 4, 4, 4)),
    Row("kernel beyond an empty batch", TOO_LARGE, input=(0, 4, 2, 2)),
    Row("empty plane", TOO_LARGE, input=(1, 4, 0, 6)),
    Row("empty plane made up of padding", "Only zero batch or zero channel inputs are supported",
        {"padding": 2}, input=(1, 4, 0, 6)),
    Row("weight float64", "expected scalar type Float but found Double|should be the same",
        weight=double(8, 4, 3, 3)),
    Row("input float64", "expected scalar type Double but found Float|should be the same",
        input=double(1, 4, 6, 6)),
    Row("weight bfloat16", "expected scalar type|should be the same",
        weight=zeros(8, 4, 3, 3, dtype=torch.bfloat16)),
    Row("input float16", "expected scalar type|should be the same",
        input=zeros(1, 4, 6, 6, dtype=torch.float16)),
    Row("weight complex", "expected scalar type|should be the same",
        weight=zeros(8, 4, 3, 3, dtype=torch.complex64)),
    Row("input int", "expected scalar type|should be the same|no kernel for dtype Long",
        input=zeros(1, 4, 6, 6, dtype=torch.int64)),
    Row("bias float64", re.escape("Input type (float) and bias type (double) should be the same"),
        bias=double(8)),
    Row("bias bfloat16", r"Input type \(float\) and bias type \(c10::BFloat16\) should be the same",
        bias=zeros(8, dtype=torch.bfloat16)),
    Row("bias complex", "bias type .* should be the same", bias=zeros(8, dtype=torch.complex64)),
    Row("three strides", pairs_of("stride"), {"stride": (1, 2, 3)}),
    Row("three paddings", pairs_of("padding"), {"padding": (1, 2, 3)}),
    Row("three dilations", pairs_of("dilation"), {"dilation": (1, 2, 3)}),
    Row("no strides", pairs_of("stride"), {"stride": ()}),
    Row("no paddings", pairs_of("padding"), {"padding": ()}),
    Row("no dilations", pairs_of("dilation"), {"dilation": ()}),
]  # fmt: skip

# What only Python can get wrong: the dispatcher refuses these by itself.
PYTHON_ROWS = [
    Row("unknown padding", "Invalid padding string: 'full'", {"padding": "full"}),
    Row("same with a stride", "padding='same' is not supported for strided convolutions",
        {"padding": "same", "stride": 2}),
    Row("same with one stride", "padding='same' is not supported for strided convolutions",
        {"padding": "same", "stride": (1, 2)}),
    Row("same with stride 0", "padding='same' is not supported for strided convolutions",
        {"padding": "same", "stride": 0}),
    Row("same with dilation 0", DILATION, {"padding": "same", "dilation": 0}),
    Row("same with three dilations", "dilation", {"padding": "same", "dilation": (1, 1, 1)}),
    Row("same with weight of three dimensions", "Expected 3-dimensional input for 3-dimensional",
        {"padding": "same"}, weight=(8, 4, 3)),
    Row("same with other channels", "to have 5 channels", {"padding": "same"}, weight=(8, 5, 3, 3)),
]  # fmt: skip


def ids(rows: list[Row]) -> list[str]:
    return [row.why.replace(" ", "_") for row in rows]


def refused_by(row: Row, conv2d: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match=row.message):
        row.call(conv2d)


@pytest.mark.parametrize("row", ROWS + PYTHON_ROWS, ids=ids(ROWS + PYTHON_ROWS))
def test_function_refuses(row: Row) -> None:
    refused_by(row, fastconv.conv2d)
    refused_by(row, fastconv.functional.conv2d)


@pytest.mark.parametrize("row", ROWS + PYTHON_ROWS, ids=ids(ROWS + PYTHON_ROWS))
def test_torch_refuses_in_the_same_words(row: Row) -> None:
    refused_by(row, F.conv2d)


def raw_conv2d(*tensors: Tensor | None, **kwargs: Any) -> Tensor:
    lists = {
        name: [value] if isinstance(value, int) and name != "groups" else value
        for name, value in kwargs.items()
    }
    return torch.ops.fastconv.conv2d(*tensors, **lists)


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_operator_refuses(row: Row) -> None:
    refused_by(row, raw_conv2d)


@pytest.mark.parametrize("row", ROWS + PYTHON_ROWS, ids=ids(ROWS + PYTHON_ROWS))
@pytest.mark.parametrize("with_grad", [False, True])
def test_module_refuses(row: Row, with_grad: bool) -> None:
    """Through a module whose attributes were bent afterwards, as a checkpoint might."""
    module = fastconv.nn.Conv2d(4, 8, 3)
    weight = zeros(row.weight) if isinstance(row.weight, tuple) else row.weight
    module.weight = torch.nn.Parameter(
        weight, requires_grad=with_grad and weight.is_floating_point()
    )
    bias = zeros(row.bias) if isinstance(row.bias, tuple) else row.bias
    module.bias = None if bias is None else torch.nn.Parameter(bias)
    for name, value in row.kwargs.items():
        setattr(module, name, value)
    with pytest.raises(RuntimeError, match=row.message):
        module(zeros(row.input) if isinstance(row.input, tuple) else row.input)


# Where several things are wrong, the complaint is torch's first one.
SEVERAL_FAULTS = [
    Row("groups before padding", GROUPS, {"groups": 0, "padding": -1, "stride": 0}),
    Row("padding before stride", PADDING, {"padding": -1, "stride": 0}),
    Row("stride before dilation", STRIDE, {"stride": 0, "dilation": -1}),
    Row("stride before channels", STRIDE, {"stride": 0}, weight=(8, 5, 3, 3)),
    Row("rank before stride", EXPECTED_INPUT, {"stride": 0}, input=(6, 6)),
    Row("stride before dtype", STRIDE, {"stride": 0}, weight=double(8, 4, 3, 3)),
    Row("channels before bias", "channels, but got", input=(1, 5, 6, 6), bias=(7,)),
    Row("channels before kernel", "channels, but got", input=(1, 5, 2, 2)),
    Row("bias before kernel", BIAS, input=(1, 4, 2, 2), bias=(7,)),
    Row("channels before weight dtype", "channels, but got", weight=double(8, 5, 3, 3)),
    Row("bias dtype before channels", "bias type", input=(1, 5, 6, 6), bias=double(8)),
    Row("divisibility before channels", "divisible by 2", {"groups": 2}, weight=(7, 5, 3, 3)),
]


@pytest.mark.parametrize("row", SEVERAL_FAULTS, ids=ids(SEVERAL_FAULTS))
@pytest.mark.parametrize("conv2d", [fastconv.conv2d, F.conv2d], ids=["ours", "torch"])
def test_first_complaint(row: Row, conv2d: Callable[..., Any]) -> None:
    refused_by(row, conv2d)


WRONG_TYPES = [
    {"stride": 1.0}, {"stride": (1, 1.0)}, {"stride": (1.0, 1)}, {"stride": True},
    {"stride": (True, True)}, {"stride": None}, {"stride": (1, None)}, {"stride": "1"},
    {"stride": torch.tensor([2, 2])}, {"stride": torch.tensor(2.0)}, {"stride": {1, 2}},
    {"padding": 1.0}, {"padding": (1, 1.5)}, {"padding": True}, {"padding": None},
    {"dilation": 2.0}, {"dilation": None}, {"dilation": True},
    {"groups": 1.0}, {"groups": True}, {"groups": None}, {"groups": "1"}, {"groups": (1,)},
    {"bais": None}, {"bias": 1.0}, {"bias": [1.0] * 8},
]  # fmt: skip


@pytest.mark.parametrize("kwargs", WRONG_TYPES, ids=str)
def test_wrong_types_are_type_errors(kwargs: dict[str, Any]) -> None:
    for conv2d in (F.conv2d, fastconv.conv2d):
        with pytest.raises(TypeError):
            conv2d(zeros(1, 4, 6, 6), zeros(8, 4, 3, 3), **kwargs)


@pytest.mark.parametrize("args", [(None, zeros(8, 4, 3, 3)), (zeros(1, 4, 6, 6), None), ([[1.0]],)])
def test_operands_that_are_no_tensors(args: tuple[Any, ...]) -> None:
    for conv2d in (F.conv2d, fastconv.conv2d):
        with pytest.raises(TypeError):
            conv2d(*args)


@pytest.mark.parametrize("value", [2**63, 2**64, -(2**70)])
@pytest.mark.parametrize("name", ["stride", "padding", "dilation", "groups"])
def test_numbers_beyond_64_bits(name: str, value: int) -> None:
    for conv2d in (F.conv2d, fastconv.conv2d):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            conv2d(zeros(1, 4, 6, 6), zeros(8, 4, 3, 3), **{name: value})


@pytest.mark.parametrize(
    "stride",
    [2, (2,), [2], (2, 1), torch.Size([2, 2]), numpy.int64(2), (numpy.int64(2), 1),
     torch.tensor(2), (torch.tensor(2), 1)],
    ids=str,
)  # fmt: skip
def test_spellings_that_torch_takes(stride: Any) -> None:
    x, weight = torch.randn(1, 4, 7, 6), torch.randn(8, 4, 3, 3)
    ours, theirs = (conv2d(x, weight, stride=stride) for conv2d in (fastconv.conv2d, F.conv2d))
    torch.testing.assert_close(ours, theirs)


# Far beyond any plane: either the right answer, or an error that names the parameter.
HUGE_ROWS = [
    ({"stride": HUGE}, r"returned \[\(1, 8, 1, 1\)\]"),
    ({"stride": 2**63 - 1}, r"returned \[\(1, 8, 1, 1\)\]"),
    ({"stride": 2**40, "padding": 2**40}, r"returned \[\(1, 8, 3, 3\)\]"),
    ({"padding": HUGE}, "RuntimeError: .*padding"),
    ({"padding": 2**63 - 1}, "RuntimeError: .*padding"),
    ({"padding": (0, HUGE), "stride": HUGE}, "RuntimeError: .*padding"),
    ({"padding": 2**40}, "RuntimeError: "),
    ({"padding": 2**31}, "RuntimeError: "),
    ({"dilation": HUGE}, "RuntimeError: .*([Kk]ernel|dilation)"),
    ({"dilation": 2**63 - 1}, "RuntimeError: .*([Kk]ernel|dilation)"),
    ({"dilation": 2**40}, "RuntimeError: .*Kernel size"),
    ({"dilation": 2**40, "padding": "same"}, r"returned \[\(1, 8, 6, 6\)\]"),
    ({"dilation": HUGE, "padding": "same"}, "RuntimeError: .*(padding|dilation)"),
    ({"dilation": 2**40, "padding": 2**40, "stride": 2**40}, r"returned \[\(1, 8, 1, 1\)\]"),
    ({"dilation": 2**61, "padding": 2**61}, r"returned \[\(1, 8, 6, 6\)\]"),
]  # fmt: skip


@pytest.mark.parametrize(("kwargs", "expected"), HUGE_ROWS, ids=str)
def test_huge_numbers(kwargs: dict[str, Any], expected: str) -> None:
    x, weight = zeros(1, 4, 6, 6), zeros(8, 4, 3, 3)
    assert re.match(expected, outcome(lambda: fastconv.conv2d(x, weight, **kwargs)))


def test_huge_numbers_with_the_right_answer() -> None:
    """All taps but one in the padding; and a 1x1 kernel, for which no dilation is too large."""
    x, weight = torch.randn(1, 4, 6, 6), torch.randn(8, 4, 3, 3)
    far = fastconv.conv2d(x, weight, padding=2**40, dilation=2**40)
    torch.testing.assert_close(far, F.conv2d(x, weight[:, :, 1:2, 1:2]))
    point = weight[:, :, :1, :1]
    torch.testing.assert_close(fastconv.conv2d(x, point, dilation=HUGE), F.conv2d(x, point))
    strided = fastconv.conv2d(x, weight, stride=HUGE)
    torch.testing.assert_close(strided, F.conv2d(x, weight)[..., :1, :1])


def test_more_elements_than_can_be() -> None:
    """2^31 images out of one: an allocation that fails, or the right shape, but nothing else."""
    x = zeros(1, 1, 1, 1).expand(2**40, 1, 1, 1)
    assert outcome(lambda: fastconv.conv2d(x, zeros(1, 1, 1, 1))).startswith("RuntimeError: ")


def quantized(t: Tensor) -> Tensor:
    return torch.quantize_per_tensor(t, 1.0, 0, torch.qint8)


STRANGERS = {
    "sparse input": lambda x, w: (x.to_sparse(), w),
    "sparse weight": lambda x, w: (x, w.to_sparse()),
    "sparse bias": lambda x, w: (x, w, zeros(8).to_sparse()),
    "quantized input": lambda x, w: (quantized(x), w),
    "quantized weight": lambda x, w: (x, quantized(w)),
    "nested input": lambda x, w: (torch.nested.nested_tensor([x[0], x[0]]), w),
    "oneDNN weight": lambda x, w: (x, w.to_mkldnn()),
    "meta input": lambda x, w: (x.to("meta"), w),
    "meta weight": lambda x, w: (x, w.to("meta")),
    "meta bias": lambda x, w: (x, w, zeros(8, device="meta")),
    "real bias": lambda x, w: (x.to("meta"), w.to("meta"), zeros(8)),
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("raw", [False, True], ids=["function", "operator"])
def test_layouts_and_devices_that_do_not_mix(name: str, raw: bool) -> None:
    args = STRANGERS[name](zeros(1, 4, 6, 6), zeros(8, 4, 3, 3))
    conv2d = torch.ops.fastconv.conv2d if raw else fastconv.conv2d
    result = outcome(lambda: conv2d(*args))
    # NotImplementedError is a RuntimeError
    assert re.match(r"(RuntimeError|NotImplementedError): \S", result), result


CONSTRUCTORS = [
    ({"groups": 0}, "groups must be a positive integer"),
    ({"groups": -1}, "groups must be a positive integer"),
    ({"groups": 3}, "in_channels must be divisible by groups"),
    ({"out_channels": 7, "groups": 2}, "out_channels must be divisible by groups"),
    ({"padding": "same", "stride": 2}, "padding='same' is not supported for strided convolutions"),
    ({"padding": "nope"}, "Invalid padding string 'nope'"),
    ({"padding_mode": "nope"}, "padding_mode must be one of"),
]


@pytest.mark.parametrize(("kwargs", "message"), CONSTRUCTORS, ids=str)
def test_constructor_raises_value_errors(kwargs: dict[str, Any], message: str) -> None:
    arguments = {"in_channels": 4, "out_channels": 8, "kernel_size": 3} | kwargs
    for module in (torch.nn.Conv2d, fastconv.nn.Conv2d):
        with pytest.raises(ValueError, match=message):
            module(**arguments)
