"""design.md section 7 for max_pool2d: what is refused, by which error, in which words."""

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
from torch import zeros

import fastconv

HUGE = 2**62


@dataclass(frozen=True)
class Row:
    why: str
    message: str  # a regular expression
    kwargs: dict[str, Any] = field(default_factory=dict)
    input: tuple[int, ...] = (1, 4, 6, 6)

    def call(self, max_pool2d: Callable[..., Any]) -> Any:
        return max_pool2d(zeros(self.input), **({"kernel_size": 2} | self.kwargs))


STRIDE_ZERO = "stride should not be zero"
STRIDE = "stride should be greater than zero, but got dH: "
KERNEL = "kernel size should be greater than zero, but got kH: "
DILATION = "dilation should be greater than zero, but got dilationH: "
PAD = "pad must be non-negative, but got pad: -1"
HALF = "pad should be at most half of effective kernel size, but got pad="
UNDILATED_HALF = "pad should be smaller than or equal to half of kernel size"
SMALL = r"Output size is too small"
RANK = re.escape("non-empty 3D or 4D (batch mode) tensor expected for input")
EMPTY = re.escape("Expected 3D or 4D (batch mode) tensor with optional 0 dim batch size for input")

ROWS = [
    Row("kernel 0", STRIDE_ZERO, {"kernel_size": 0}),
    Row("kernel 0 with a stride", KERNEL, {"kernel_size": 0, "stride": 1}),
    Row("kernel 0 in one", KERNEL, {"kernel_size": (2, 0), "stride": 1}),
    Row("kernel negative", KERNEL, {"kernel_size": -1}),
    Row("stride 0", STRIDE_ZERO, {"stride": 0}),
    Row("stride 0 in one", STRIDE_ZERO, {"stride": (1, 0)}),
    Row("stride negative", STRIDE, {"stride": -1}),
    Row("padding negative", PAD, {"padding": -1}),
    Row("padding negative in one", PAD, {"padding": (0, -1)}),
    Row("padding over half", HALF + "2, kernel_size=2 and dilation=1", {"padding": 2}),
    Row("padding over half of 3", HALF, {"kernel_size": 3, "padding": 2}),
    Row("padding over half in one", HALF, {"kernel_size": (2, 4), "padding": (1, 3)}),
    Row("padding over half undilated", UNDILATED_HALF, {"padding": 2, "dilation": 3}),
    Row("dilation 0", DILATION, {"dilation": 0}),
    Row("dilation negative", DILATION, {"dilation": -1}),
    Row("dilation 0 in one", DILATION, {"dilation": (1, 0)}),
    Row("window beyond the plane", re.escape(
        "Given input size: (4x6x6). Calculated output size: (4x0x0). Output size is too small"),
        {"kernel_size": 7}),
    Row("window beyond one side", re.escape("(4x0x3)"), {"kernel_size": (7, 2)}),
    Row("dilated window beyond the plane", SMALL, {"dilation": 7}),
    Row("window beyond an empty batch", SMALL, {"kernel_size": 9}, (0, 4, 6, 6)),
    Row("window beyond unbatched", SMALL, {"kernel_size": 7}, (4, 6, 6)),
    Row("no dimensions", RANK, input=()),
    Row("one dimension", RANK, input=(6,)),
    Row("two dimensions", RANK, input=(6, 6)),
    Row("five dimensions", RANK, input=(1, 1, 4, 6, 6)),
    Row("no channels", EMPTY, input=(1, 0, 6, 6)),
    Row("no rows", EMPTY, input=(1, 4, 0, 6)),
    Row("no columns", EMPTY, input=(1, 4, 6, 0)),
    Row("no rows but padding", EMPTY, {"padding": 1}, (1, 4, 0, 6)),
    Row("no rows in an empty batch", EMPTY, input=(0, 4, 0, 6)),
    Row("no channels unbatched", EMPTY, input=(0, 6, 6)),
    Row("no rows unbatched", EMPTY, input=(4, 0, 6)),
    Row("three kernels", "kernel_size must either be a single int", {"kernel_size": (2, 2, 2)}),
    Row("no kernels", "kernel_size must either be a single int", {"kernel_size": ()}),
    Row("three strides", "stride must either be omitted, a single int", {"stride": (1, 2, 3)}),
    Row("three paddings", "padding must either be a single int", {"padding": (1, 1, 1)}),
    Row("no paddings", "padding must either be a single int", {"padding": ()}),
    Row("three dilations", "dilation must be either a single int", {"dilation": (1, 1, 1)}),
    Row("no dilations", "dilation must be either a single int", {"dilation": ()}),
    # several at once: torch's first complaint
    Row("stride before padding", STRIDE_ZERO, {"stride": 0, "padding": -1}),
    Row("stride before dilation", STRIDE_ZERO, {"stride": 0, "dilation": 0}),
    Row("padding before dilation", PAD, {"padding": -1, "dilation": 0}),
    Row("rank before stride", RANK, {"stride": 0}, (6, 6)),
    Row("padding before emptiness", HALF, {"padding": 2}, (1, 4, 0, 6)),
    Row("list before rank", "kernel_size must either", {"kernel_size": (2, 2, 2)}, (6, 6)),
]  # fmt: skip


def ids(rows: list[Row]) -> list[str]:
    return [row.why.replace(" ", "_") for row in rows]


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
@pytest.mark.parametrize("return_indices", [False, True], ids=["values", "indices"])
def test_function_refuses(row: Row, return_indices: bool) -> None:
    for max_pool2d in (F.max_pool2d, fastconv.max_pool2d, fastconv.functional.max_pool2d):
        with pytest.raises(RuntimeError, match=row.message):
            row.call(lambda *a, f=max_pool2d, **k: f(*a, **k, return_indices=return_indices))


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_operators_refuse(row: Row) -> None:
    def raw(name: str) -> Callable[..., Any]:
        def call(x: torch.Tensor, **kwargs: Any) -> Any:
            lists = {k: [v] if isinstance(v, int) else v for k, v in kwargs.items()}
            return getattr(torch.ops.fastconv, name)(x, **lists)

        return call

    for name in ("max_pool2d", "max_pool2d_with_indices"):
        with pytest.raises(RuntimeError, match=row.message):
            row.call(raw(name))


@pytest.mark.parametrize("row", ROWS, ids=ids(ROWS))
def test_module_refuses(row: Row) -> None:
    module = fastconv.nn.MaxPool2d(2)
    if "kernel_size" in row.kwargs:
        module.stride = row.kwargs["kernel_size"]  # as the constructor would have
    for name, value in row.kwargs.items():
        setattr(module, name, value)
    with pytest.raises(RuntimeError, match=row.message):
        module(zeros(row.input))


WRONG_TYPES = [
    {"kernel_size": 2.0}, {"kernel_size": (2, 2.0)}, {"kernel_size": (2.0, 2)},
    {"kernel_size": True}, {"kernel_size": None}, {"kernel_size": "2"},
    {"stride": 1.0}, {"stride": True}, {"stride": (1, None)}, {"stride": "1"},
    {"padding": 1.0}, {"padding": None}, {"padding": "same"}, {"padding": True},
    {"dilation": 1.0}, {"dilation": None}, {"dilation": True},
    {"ceil_mode": 1}, {"ceil_mode": None}, {"ceil_mode": "x"}, {"mode": "max"},
]  # fmt: skip


@pytest.mark.parametrize("kwargs", WRONG_TYPES, ids=str)
@pytest.mark.parametrize("return_indices", [False, True], ids=["values", "indices"])
def test_wrong_types_are_type_errors(kwargs: dict[str, Any], return_indices: bool) -> None:
    arguments = {"kernel_size": 2, "return_indices": return_indices} | kwargs
    for max_pool2d in (F.max_pool2d, fastconv.max_pool2d):
        with pytest.raises(TypeError):
            max_pool2d(zeros(1, 4, 6, 6), **arguments)


def test_operands_that_are_no_tensors() -> None:
    for max_pool2d in (F.max_pool2d, fastconv.max_pool2d):
        for operand in (None, [[1.0]], 1.0):
            with pytest.raises(TypeError):
                max_pool2d(operand, 2)
        with pytest.raises(TypeError):
            max_pool2d(zeros(1, 4, 6, 6))


@pytest.mark.parametrize("flag", [0, 1, None, "yes"])
def test_return_indices_is_read_as_a_truth_value(flag: Any) -> None:
    for max_pool2d in (F.max_pool2d, fastconv.max_pool2d):
        result = max_pool2d(zeros(1, 4, 6, 6), 2, return_indices=flag)
        assert isinstance(result, tuple) == bool(flag)


@pytest.mark.parametrize(
    "kwargs",
    [{"kernel_size": numpy.int64(2)}, {"kernel_size": [2]}, {"kernel_size": torch.tensor(2)},
     {"kernel_size": (torch.tensor(2), 3)}, {"stride": ()}, {"stride": []}, {"stride": (1,)},
     {"stride": None}, {"padding": (1,)}, {"dilation": [2]}, {"kernel_size": torch.Size([2, 3])}],
    ids=str,
)  # fmt: skip
def test_spellings_that_torch_takes(kwargs: dict[str, Any]) -> None:
    x = torch.randn(2, 3, 8, 9)
    arguments = {"kernel_size": 2, "return_indices": True} | kwargs
    torch.testing.assert_close(fastconv.max_pool2d(x, **arguments), F.max_pool2d(x, **arguments))


# Torch refuses all beyond 32 bits; the right answer will do as well.
HUGE_ROWS = [
    ({"kernel_size": HUGE}, "RuntimeError: "),
    ({"kernel_size": 2**63 - 1}, "RuntimeError: "),
    ({"kernel_size": 2**31}, "RuntimeError: "),
    ({"kernel_size": 2**32 + 2}, "RuntimeError: "),
    ({"kernel_size": 2**64}, "(ValueError|RuntimeError|TypeError): "),
    ({"stride": HUGE}, r"returned \[\(1, 4, 1, 1\)\]|RuntimeError: "),
    ({"stride": 2**31 - 1}, r"returned \[\(1, 4, 1, 1\)\]"),
    ({"stride": HUGE, "ceil_mode": True}, r"returned \[\(1, 4, 1, 1\)\]|RuntimeError: "),
    ({"stride": 2**63 - 1, "ceil_mode": True}, r"returned \[\(1, 4, 1, 1\)\]|RuntimeError: "),
    ({"padding": HUGE}, "RuntimeError: "),
    ({"padding": 2**63 - 1}, "RuntimeError: "),
    ({"padding": 2**32 + 1}, "RuntimeError: "),
    ({"dilation": HUGE}, "RuntimeError: "),
    ({"dilation": 2**63 - 1}, "RuntimeError: "),
    ({"dilation": 2**32 + 1}, "RuntimeError: "),
    ({"kernel_size": 1, "dilation": 2**31 - 1}, r"returned \[\(1, 4, 6, 6\)\]"),
    ({"kernel_size": 1, "dilation": HUGE}, r"returned \[\(1, 4, 6, 6\)\]|RuntimeError: "),
    ({"kernel_size": 2**30, "padding": 2**29, "stride": 2**29},
     r"returned \[\(1, 4, 1, 1\)\]|RuntimeError: "),
    ({"kernel_size": HUGE, "padding": HUGE // 2}, r"returned|RuntimeError: "),
]  # fmt: skip


@pytest.mark.parametrize(("kwargs", "expected"), HUGE_ROWS, ids=str)
def test_huge_numbers(kwargs: dict[str, Any], expected: str) -> None:
    x = torch.randn(1, 4, 6, 6)
    arguments = {"kernel_size": 2} | kwargs
    result = outcome(lambda: fastconv.max_pool2d(x, **arguments, return_indices=True)[0])
    assert re.match(expected, result), result


def test_huge_stride_gives_the_first_window() -> None:
    x = torch.randn(1, 4, 6, 6)
    far = fastconv.max_pool2d(x, 2, 2**31 - 1)
    assert torch.equal(far, F.max_pool2d(x, 2, 2)[..., :1, :1])


STRANGERS = {
    "sparse": lambda x: x.to_sparse(),
    "nested": lambda x: torch.nested.nested_tensor([x[0], x[0]]),
    "bool": lambda x: x.bool(),
    "complex": lambda x: x.to(torch.complex64),
    "float8": lambda x: x.to(torch.float8_e4m3fn),
}


@pytest.mark.parametrize("name", STRANGERS)
@pytest.mark.parametrize("raw", [False, True], ids=["function", "operator"])
def test_strangers(name: str, raw: bool) -> None:
    x = STRANGERS[name](zeros(1, 4, 6, 6))
    max_pool2d = torch.ops.fastconv.max_pool2d if raw else fastconv.max_pool2d
    result = outcome(lambda: max_pool2d(x, [2]))
    assert re.match(r"(RuntimeError|NotImplementedError): \S", result), result


def test_constructor_takes_what_torchs_takes() -> None:
    """torch.nn.MaxPool2d checks nothing before the call, and neither do we."""
    assert repr(fastconv.nn.MaxPool2d(0)) == repr(torch.nn.MaxPool2d(0))
    with pytest.raises(RuntimeError, match=STRIDE_ZERO):
        fastconv.nn.MaxPool2d(0)(zeros(1, 4, 6, 6))
