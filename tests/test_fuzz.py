"""Every public and raw operator on problems that hypothesis draws, sound ones and spoilt ones.

Against torch where torch can be asked, otherwise against the definition. A call that takes the
process down takes the test run with it, so nothing here needs to look for that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _fuzzing import examples
from _problems import LAYOUTS, Conv, Pool, operands, pair, small_integers
from _reference import reference, relative_error
from hypothesis import assume, given
from hypothesis import strategies as st
from test_random_problems import Setting, convs, drawn_values, pools, settings_of_a_call
from torch import Tensor

import fastconv
from fastconv._sizes import conv2d_output_size, max_pool2d_output_size

ops = torch.ops.fastconv
ALGORITHMS = {
    direction: [a for a in fastconv.algorithms() if (a.device, a.direction) == ("cpu", direction)]
    for direction in ("fprop", "dgrad", "wgrad", "forward", "backward")
}
any_algorithm = st.fixed_dictionaries(
    {
        direction: st.one_of(st.none(), st.sampled_from(list_of_one))
        for direction, list_of_one in ALGORITHMS.items()
    }
)


def is_as_exact_as_promised(
    result: Tensor, want: Tensor, algorithm: fastconv.Algorithm | None
) -> bool:
    """Bit for bit, but for what adds fractions (Winograd), which keeps to its stated error."""
    if torch.equal(result, want.to(result.dtype)):
        return True
    fractions = algorithm is None or "winograd" in algorithm.name
    return fractions and relative_error(result, want) <= (algorithm.error if algorithm else 2e-6)


def raw_geometry(conv: Conv) -> tuple[list[int], list[int], list[int], int]:
    """As the operators take it; padding by name has been turned into numbers by functional."""
    assert not isinstance(conv.padding, str)
    return list(pair(conv.stride)), list(pair(conv.padding)), list(pair(conv.dilation)), conv.groups


def named(algorithm: fastconv.Algorithm | None) -> str:
    return "" if algorithm is None else algorithm.name


def computed(algorithm: fastconv.Algorithm | None, operator: Any, *args: Any) -> Any:
    """The operator's result, or None where that algorithm cannot do the problem and says so."""
    try:
        return operator(*args, named(algorithm))
    except RuntimeError as error:
        if algorithm is None or algorithm.name not in str(error):
            raise
        return None


@pytest.mark.kernels
@examples(150)
@given(conv=convs(), how=settings_of_a_call, by=any_algorithm, flag=st.booleans())
def test_raw_convolutions(conv: Conv, how: Setting, by: Any, flag: bool) -> None:
    assume(not isinstance(conv.padding, str))
    x = operands(conv, small_integers).to(how.dtype)
    input, weight = LAYOUTS[how.input](x.input), LAYOUTS[how.weight](x.weight)
    gradient = LAYOUTS[how.grad_output](x.grad_output)
    geometry = raw_geometry(conv)
    want = reference(replace(x, input=input, weight=weight, grad_output=gradient))
    results = {
        "output": ("fprop", ops.conv2d, (input, weight, x.bias, *geometry)),
        "grad_input": (
            "dgrad",
            ops.conv2d_grad_input,
            (gradient, weight, list(conv.input), *geometry, flag),
        ),
        "grad_weight": (
            "wgrad",
            ops.conv2d_grad_weight,
            (gradient, input, list(conv.weight), *geometry, flag),
        ),
    }
    for name, (direction, operator, args) in results.items():
        result = computed(by[direction], operator, *args)
        if result is not None:
            assert result.dtype == how.dtype
            assert is_as_exact_as_promised(result, getattr(want, name), by[direction]), name
    if want.grad_bias is not None:
        assert torch.equal(ops.conv2d_grad_bias(gradient), want.grad_bias.to(how.dtype))


@pytest.mark.kernels
@examples(100)
@given(conv=convs(), how=settings_of_a_call, needs=st.tuples(*[st.booleans()] * 3))
def test_operators_of_the_usual_call(
    conv: Conv, how: Setting, needs: tuple[bool, bool, bool]
) -> None:
    assume(not isinstance(conv.padding, str))
    x = operands(conv, small_integers).to(how.dtype)
    input, weight = LAYOUTS[how.input](x.input), LAYOUTS[how.weight](x.weight)
    gradient = LAYOUTS[how.grad_output](x.grad_output)
    stride, padding, dilation, groups = raw_geometry(conv)
    numbers = (*stride, *padding, *dilation, groups)
    want = reference(replace(x, input=input, weight=weight, grad_output=gradient))
    output = ops._conv2d(input, weight, x.bias, *numbers)
    assert is_as_exact_as_promised(output, want.output, None)
    lists = (stride, padding, dilation, False, [], groups)
    with torch.no_grad():
        gradients = torch.ops.aten.convolution_backward_overrideable(
            gradient, input, weight, *lists, needs
        )
    wanted = (want.grad_input, want.grad_weight, gradient.double().sum(dim=(-2, -1)))
    if len(conv.input) == 4:
        wanted = (*wanted[:2], wanted[2].sum(0))
    for needed, result, exact in zip(needs, gradients, wanted, strict=True):
        assert (result is not None) == needed
        assert result is None or is_as_exact_as_promised(result, exact, None)


@pytest.mark.kernels
@examples(100)
@given(conv=convs(), how=settings_of_a_call)
def test_packed_convolutions(conv: Conv, how: Setting) -> None:
    assume(not isinstance(conv.padding, str) and len(conv.input) == 4)
    x = operands(conv, small_integers).to(how.dtype)
    input, weight = LAYOUTS[how.input](x.input), LAYOUTS[how.weight](x.weight)
    geometry = raw_geometry(conv)
    lies = input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()
    mark = ops.weight_fingerprint(x.weight)
    try:
        packed = ops.conv2d_pack_weight(weight, list(conv.input), *geometry, lies)
    except RuntimeError as error:
        assert str(error).strip()  # noqa: PT017  what the chosen algorithm does not pack, it says
        return
    if packed.numel() == 0:
        return  # the chosen algorithm takes the weight as it is
    name = ops.conv2d_packed_algorithm(packed)
    algorithm = next(a for a in fastconv.algorithms() if a.name == name)
    want = reference(replace(x, input=input, weight=weight)).output
    numbers = (*geometry[0], *geometry[1], *geometry[2], geometry[3])
    memo = ops._conv2d_memo(input, weight, None, *numbers)
    for output in (
        ops.conv2d_packed(input, weight, x.bias, packed, *geometry),
        ops._conv2d_kept(input, weight, x.bias, memo, packed, *numbers),
    ):
        assert is_as_exact_as_promised(output, want, algorithm)
    assert ops.weight_fingerprint(x.weight.clone()) == mark


def scattered(gradient: Tensor, indices: Tensor, size: tuple[int, ...]) -> Tensor:
    """The gradient of a pooling by its definition: each element added where its index points."""
    plane = size[-2] * size[-1]
    flat = torch.zeros(*size[:-2], plane, dtype=torch.float64)
    flat.scatter_add_(-1, indices.flatten(-2), gradient.double().flatten(-2))
    return flat.view(size)


@pytest.mark.kernels
@examples(150)
@given(
    pool=pools(),
    how=settings_of_a_call,
    by=any_algorithm,
    distinct=st.sampled_from([1, 3, 200]),
    flag=st.booleans(),
    wild=st.booleans(),
)
def test_raw_poolings(
    pool: Pool, how: Setting, by: Any, distinct: int, flag: bool, wild: bool
) -> None:
    x = LAYOUTS[how.input](drawn_values(pool, how.dtype, distinct))
    stride = [] if pool.stride is None else list(pair(pool.stride))
    window = (list(pair(pool.kernel_size)), stride, list(pair(pool.padding)),
              list(pair(pool.dilation)), pool.ceil_mode)  # fmt: skip
    want, want_indices = F.max_pool2d(x, **pool.kwargs, return_indices=True)
    values = computed(by["forward"], ops.max_pool2d, x, *window)
    if values is not None:
        torch.testing.assert_close(values, want, rtol=0, atol=0, equal_nan=True)
    both = computed(by["forward"], ops.max_pool2d_with_indices, x, *window)
    if both is not None:
        assert torch.equal(both[1], want_indices)
    numbers = (*window[0], *(stride or window[0]), *window[2], *window[3], pool.ceil_mode)
    values, indices = ops._max_pool2d_with_indices(x, *numbers)
    torch.testing.assert_close(values, want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(indices, want_indices)
    gradient = LAYOUTS[how.grad_output](torch.randint(-3, 4, want.shape).to(how.dtype))
    if wild:  # any cell of the plane, whatever the window
        indices = torch.randint(0, x.shape[-2] * x.shape[-1], want.shape)
    exact = scattered(gradient, indices, pool.input).to(how.dtype)
    grad = computed(
        by["backward"], ops.max_pool2d_backward, gradient, indices, list(pool.input), flag
    )
    assert grad is None or torch.equal(grad, exact)
    if not wild:
        arguments = (gradient, indices, *x.shape[-2:], flag, *numbers)
        grad = computed(by["backward"], ops._max_pool2d_backward, *arguments)
        assert grad is None or torch.equal(grad, exact)


# Beyond what can be allocated, so that a size that is believed fails at once.
FAR = (2**40, 2**62, 2**63 - 1, -(2**63))
spoilt_numbers = st.one_of(st.sampled_from([-2, -1, 0, 4, 7]), st.sampled_from(FAR))
spoilt_sizes = st.lists(st.integers(0, 5), min_size=1, max_size=5)


@dataclass
class Call:
    """Arguments of a convolution or pooling that need not fit."""

    sizes: dict[str, tuple[int, ...] | None]
    dtypes: dict[str, torch.dtype]
    numbers: dict[str, Any]

    def tensors(self) -> list[Tensor | None]:
        return [
            None if size is None else small_integers(size, torch.Generator()).to(self.dtypes[name])
            for name, size in self.sizes.items()
        ]

    def is_far(self) -> bool:
        leaves = torch.utils._pytree.tree_leaves(self.numbers)
        return any(isinstance(n, int) and abs(n) >= 2**31 for n in leaves)


@st.composite
def spoilt(draw: st.DrawFn, sound: Call) -> Call:
    """One to three arguments replaced."""
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["size", "dimension", "dtype", "number", "part", "length"]))
        tensors = [name for name, size in sound.sizes.items() if size is not None]
        name = draw(st.sampled_from(tensors))
        size = sound.sizes[name]
        number = draw(st.sampled_from(list(sound.numbers)))
        value = sound.numbers[number]
        if kind == "size":
            sound.sizes[name] = tuple(draw(spoilt_sizes))
        elif kind == "dimension" and size:
            at = draw(st.integers(0, len(size) - 1))
            sound.sizes[name] = (*size[:at], draw(st.integers(0, 6)), *size[at + 1 :])
        elif kind == "dtype":
            sound.dtypes[name] = draw(st.sampled_from([torch.float32, torch.float64, torch.half]))
        elif kind == "number":
            sound.numbers[number] = draw(spoilt_numbers)
        elif kind == "part" and isinstance(value, tuple) and value:
            at = draw(st.integers(0, len(value) - 1))
            sound.numbers[number] = (*value[:at], draw(spoilt_numbers), *value[at + 1 :])
        elif kind == "length" and isinstance(value, tuple):
            sound.numbers[number] = (*value, 1, 1, 1)[: draw(st.integers(0, 4))]
    return sound


@st.composite
def spoilt_convs(draw: st.DrawFn) -> Call:
    conv = draw(convs())
    assume(conv.multiplications < 2**22)
    names = ("input", "weight", "bias")
    sizes = (conv.input, conv.weight, (conv.out_channels,) if conv.bias else None)
    return draw(
        spoilt(
            Call(
                dict(zip(names, sizes, strict=True)),
                dict.fromkeys(names, torch.float32),
                dict(conv.kwargs),
            )
        )
    )


def outcome(function: Any, tensors: list[Any], numbers: dict[str, Any]) -> Any:
    """The result, or the error: any other than these would be no validator's."""
    try:
        return function(*tensors, **numbers)
    except (RuntimeError, ValueError, TypeError) as error:
        assert str(error).strip()  # noqa: PT017
        return error


def torchs_outcome(tensors: list[Any], numbers: dict[str, Any]) -> Any:
    try:
        return outcome(F.conv2d, tensors, numbers)
    except IndexError as error:  # of a window without elements on an empty batch
        return error


def refused_of_one_image(call: Call, tensors: list[Any]) -> bool:
    """Does torch refuse a batch of one where it lets the empty batch of this call pass?"""
    size = call.sizes["input"]
    if size is None or len(size) != 4 or size[0] != 0:
        return False
    one = tensors[0].new_zeros(1, *size[1:])
    return isinstance(torchs_outcome([one, *tensors[1:]], call.numbers), Exception)


@examples(300)
@given(call=spoilt_convs())
def test_a_spoilt_convolution_is_refused_where_torch_refuses(call: Call) -> None:
    """And nowhere else, except where torch itself is lax: with an empty batch it looks at neither
    dilation nor dtypes, and by the name of a padding it takes a bias of another dtype if there is
    one image, but not if there are two. Of a weight without channels it forgets the filters."""
    tensors = call.tensors()
    ours = outcome(fastconv.conv2d, tensors, call.numbers)
    if call.is_far():
        return  # torch is wrong about some of these (design): that ours came back is all
    theirs = torchs_outcome(tensors, call.numbers)
    if isinstance(ours, Exception) and isinstance(theirs, Tensor):
        dtypes = {t.dtype for t in tensors if t is not None}
        by_name = isinstance(call.numbers["padding"], str)
        assert (by_name and len(dtypes) > 1) or refused_of_one_image(call, tensors), ours
        return
    assert isinstance(ours, Exception) == isinstance(theirs, Exception), (ours, theirs)
    if isinstance(theirs, Tensor):
        assert isinstance(ours, Tensor)
        weight = tensors[1]
        if weight.shape[1] > 0:
            torch.testing.assert_close(ours, theirs)
        else:
            assert (ours.shape[-3], ours.shape[-2:]) == (weight.shape[0], theirs.shape[-2:])


@st.composite
def spoilt_pools(draw: st.DrawFn) -> Call:
    pool = draw(pools())
    return draw(spoilt(Call({"input": pool.input}, {"input": torch.float32}, dict(pool.kwargs))))


@examples(300)
@given(call=spoilt_pools())
def test_a_spoilt_pooling_is_refused_where_torch_refuses(call: Call) -> None:
    tensors = call.tensors()
    ours = outcome(fastconv.max_pool2d, tensors, call.numbers)
    if call.is_far():
        return
    theirs = outcome(F.max_pool2d, tensors, call.numbers)
    assert isinstance(ours, Exception) == isinstance(theirs, Exception), (ours, theirs)
    if isinstance(theirs, Tensor):
        assert torch.equal(ours, theirs)


def as_list(value: Any) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def as_numbers(value: Any) -> list[int]:
    """The pair that an operator of plain integers takes, however long the list became."""
    numbers = as_list(value) or [0]
    return [numbers[0], numbers[-1]]


Sizes = list[Sequence[int]]
# Arguments, and the sizes that an answer has: asked for only where there is one.
RawCall = tuple[Sequence[Any], Callable[[], Sizes]]

PACKED = ops.conv2d_pack_weight(torch.ones(64, 64, 3, 3), [1, 64, 14, 14], [1], [1])


@dataclass
class RawConv:
    """The arguments of every operator of one convolution, which need not fit one another."""

    call: Call
    channels_last: bool = False
    needs: tuple[bool, bool, bool] = (True, True, True)
    bytes: str = "own"
    by: dict[str, fastconv.Algorithm | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grad, self.input, self.weight, self.bias = self.call.tensors()
        numbers = {name: as_list(value) for name, value in self.call.numbers.items()}
        self.input_size, self.weight_size = numbers["input_size"], numbers["weight_size"]
        window = [numbers[name] for name in ("stride", "padding", "dilation")]
        self.groups = numbers["groups"][0]
        self.lists = (*window, self.groups)
        self.pairs = [as_numbers(value) for value in window]
        self.numbers = (*itertools.chain(*self.pairs), self.groups)

    def output(self) -> Sizes:
        return [conv2d_output_size(self.input.shape, self.weight.shape, *self.lists)]

    def output_of_numbers(self) -> Sizes:
        return [conv2d_output_size(self.input.shape, self.weight.shape, *self.pairs, self.groups)]

    def gradients(self) -> Sizes:
        sizes = (self.input.shape, self.weight.shape, self.weight.shape[:1])
        return [size for size, needed in zip(sizes, self.needs, strict=True) if needed]

    def made(self, what: Any, another: Tensor, *arguments: Any) -> Tensor:
        """Bytes of this very call, of another one, or of neither."""
        if self.bytes == "own":
            result = outcome(what, list(arguments), {})
            return another if isinstance(result, Exception) else result
        return another if self.bytes == "another's" else another[:100].clone().zero_()

    def packed(self) -> Tensor:
        arguments = (self.weight, self.input_size, *self.lists, self.channels_last)
        return self.made(ops.conv2d_pack_weight, PACKED, *arguments)

    def memo(self) -> Tensor:
        ones = torch.ones(1, 1, 3, 3)
        another = ops._conv2d_memo(ones, ones, None, 1, 1, 0, 0, 1, 1, 1)
        return self.made(ops._conv2d_memo, another, self.input, self.weight, None, *self.numbers)


CONVOLUTIONS: dict[str, Callable[[RawConv], RawCall]] = {
    "conv2d": lambda c: ((c.input, c.weight, c.bias, *c.lists, named(c.by.get("fprop"))), c.output),
    "conv2d_grad_input": lambda c: (
        (c.grad, c.weight, c.input_size, *c.lists, c.channels_last, named(c.by.get("dgrad"))),
        lambda: [c.input_size],
    ),
    "conv2d_grad_weight": lambda c: (
        (c.grad, c.input, c.weight_size, *c.lists, c.channels_last, named(c.by.get("wgrad"))),
        lambda: [c.weight_size],
    ),
    "conv2d_grad_bias": lambda c: ((c.grad,), lambda: [c.grad.shape[-3:-2]]),
    "_conv2d": lambda c: ((c.input, c.weight, c.bias, *c.numbers), c.output_of_numbers),
    "_conv2d_backward": lambda c: ((c.grad, c.input, c.weight, *c.lists, *c.needs), c.gradients),
    "_conv2d_gradients": lambda c: ((c.grad, c.input, c.weight, *c.lists, *c.needs), c.gradients),
    "aten::convolution_overrideable": lambda c: (
        (c.input, c.weight, c.bias, *c.lists[:3], False, [], c.groups),
        c.output,
    ),
    "aten::convolution_backward_overrideable": lambda c: (
        (c.grad, c.input, c.weight, *c.lists[:3], False, [], c.groups, c.needs),
        c.gradients,
    ),
    "conv2d_pack_weight": lambda c: (
        (c.weight, c.input_size, *c.lists, c.channels_last, named(c.by.get("fprop"))),
        lambda: [],
    ),
    "conv2d_packed": lambda c: ((c.input, c.weight, c.bias, c.packed(), *c.lists), c.output),
    "_conv2d_memo": lambda c: ((c.input, c.weight, 1, *c.numbers), lambda: []),
    "_conv2d_kept": lambda c: (
        (
            c.input, c.weight, c.bias, c.memo(),
            c.packed() if c.channels_last else None, *c.numbers,
        ),
        c.output_of_numbers,
    ),
    "conv2d_packed_algorithm": lambda c: ((c.packed(),), lambda: []),
    "weight_fingerprint": lambda c: ((c.weight,), lambda: []),
}  # fmt: skip


@dataclass
class RawPool:
    """The same of one pooling; `known`: the backward is told the window."""

    call: Call
    channels_last: bool = False
    known: bool = False
    wild: bool = False
    by: dict[str, fastconv.Algorithm | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.grad, self.input, self.indices = self.call.tensors()
        numbers = {name: as_list(value) for name, value in self.call.numbers.items()}
        self.ceil_mode = bool(numbers["ceil_mode"][0])
        self.input_size = numbers["input_size"]
        window = [numbers[name] for name in ("kernel_size", "stride", "padding", "dilation")]
        self.lists = (*window, self.ceil_mode)
        pairs = [as_numbers(value) for value in window]
        self.numbers = (*itertools.chain(*pairs), self.ceil_mode)
        self.pairs = (*pairs, self.ceil_mode)
        self.plane = (self.input_size or [0])[-2:][0], (self.input_size or [0])[-1]
        if not self.wild:  # a forward's, where it answers
            forward = outcome(ops._max_pool2d_with_indices, [self.input, *self.numbers], {})
            if not isinstance(forward, Exception):
                self.indices = forward[1]

    def output(self) -> Sizes:
        return [max_pool2d_output_size(self.input.shape, *self.lists)]

    def output_of_numbers(self) -> Sizes:
        return [max_pool2d_output_size(self.input.shape, *self.pairs)]


POOLINGS: dict[str, Callable[[RawPool], RawCall]] = {
    "max_pool2d": lambda p: ((p.input, *p.lists, named(p.by.get("forward"))), p.output),
    "max_pool2d_with_indices": lambda p: (
        (p.input, *p.lists, named(p.by.get("forward"))),
        lambda: p.output() * 2,
    ),
    "max_pool2d_backward": lambda p: (
        (
            p.grad, p.indices, p.input_size, p.channels_last, named(p.by.get("backward")),
            [int(n) for n in p.numbers] if p.known else [],
        ),
        lambda: [p.input_size],
    ),
    "_max_pool2d": lambda p: ((p.input, *p.numbers), p.output_of_numbers),
    "_max_pool2d_with_indices": lambda p: (
        (p.input, *p.numbers),
        lambda: p.output_of_numbers() * 2,
    ),
    "_max_pool2d_backward": lambda p: (
        (p.grad, p.indices, *p.plane, p.channels_last, *p.numbers, named(p.by.get("backward"))),
        lambda: [(*p.grad.shape[:-2], *p.plane)],
    ),
}  # fmt: skip


def test_every_operator_is_called_with_spoilt_arguments() -> None:
    names = torch._C._dispatch_get_all_op_names()
    ours = {name.removeprefix("fastconv::") for name in names if name.startswith("fastconv::")}
    checked = CONVOLUTIONS.keys() | POOLINGS.keys()
    assert ours == {name for name in checked if not name.startswith("aten::")}


def answer(name: str, call: RawCall) -> Any:
    """The operator's, of the sizes that it should have, or its error."""
    arguments, sizes = call
    namespace, _, plain_name = name.rpartition("::")
    operator = getattr(getattr(torch.ops, namespace or "fastconv"), plain_name)
    with torch.no_grad():
        result = outcome(operator, list(arguments), {})
    wanted = [] if isinstance(result, Exception) or result is None else sizes()
    if wanted:
        results = result if isinstance(result, (tuple, list)) else (result,)
        got = [tuple(t.shape) for t in results if t is not None]
        assert got == [tuple(size) for size in wanted], name
    return result


def sound_conv(conv: Conv) -> Call:
    assume(not isinstance(conv.padding, str) and conv.multiplications < 2**22)
    names = ("grad", "input", "weight", "bias")
    sizes = (conv.output, conv.input, conv.weight, (conv.out_channels,) if conv.bias else None)
    numbers = {**conv.kwargs, "input_size": conv.input, "weight_size": conv.weight}
    return Call(dict(zip(names, sizes, strict=True)), dict.fromkeys(names, torch.float32), numbers)


def sound_pool(pool: Pool) -> Call:
    numbers = {**pool.kwargs, "stride": pool.stride or pool.kernel_size, "input_size": pool.input}
    given = [numbers[name] for name in ("kernel_size", "stride", "padding", "dilation")]
    output = tuple(max_pool2d_output_size(pool.input, *map(as_list, given), pool.ceil_mode))
    return Call(
        {"grad": output, "input": pool.input, "indices": output},
        {"grad": torch.float32, "input": torch.float32, "indices": torch.int64},
        numbers,
    )


raw_convs = st.builds(
    RawConv,
    convs().map(sound_conv).flatmap(spoilt),
    st.booleans(),
    st.tuples(*[st.booleans()] * 3),
    st.sampled_from(["own", "another's", "neither's"]),
    any_algorithm,
)
raw_pools = st.builds(
    RawPool,
    pools().map(sound_pool).flatmap(spoilt),
    *[st.booleans()] * 3,
    any_algorithm,
)


@examples(300)
@given(conv=raw_convs, pool=raw_pools)
def test_raw_operators_survive_anything(conv: RawConv, pool: RawPool) -> None:
    """An answer of the right size or an error, from sizes that were never a forward's."""
    for name, of_conv in CONVOLUTIONS.items():
        answer(name, of_conv(conv))
    for name, of_pool in POOLINGS.items():
        answer(name, of_pool(pool))


@examples(50)
@given(conv=convs(), pool=pools())
def test_the_raw_calls_work_before_they_are_spoilt(conv: Conv, pool: Pool) -> None:
    """An error would be of how they are written here, and spoiling them would show nothing."""
    sound, sound_pooling = RawConv(sound_conv(conv)), RawPool(sound_pool(pool))
    refusing = set() if len(conv.input) == 4 else {"_conv2d_memo", "_conv2d_kept"}
    if sound.packed().numel() == 0:  # the chosen algorithm takes the weight as it is
        refusing |= {"conv2d_packed", "conv2d_packed_algorithm"}
    for name, of_conv in CONVOLUTIONS.items():
        result = answer(name, of_conv(sound))
        refused = result is None or isinstance(result, Exception)
        assert refused == (name in refusing), (name, result)
    for name, of_pool in POOLINGS.items():
        result = answer(name, of_pool(sound_pooling))
        assert not isinstance(result, Exception), (name, result)
