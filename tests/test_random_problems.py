"""Rung 1 once more, on problems that nobody thought of: hypothesis draws every parameter."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from _fuzzing import examples
from _problems import DTYPES, LAYOUTS, Conv, Pool, operands, small_integers
from _reference import reference, run
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

import fastconv

pytestmark = pytest.mark.kernels


def pairs(least: int, most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(least, most), st.integers(least, most))


@dataclass(frozen=True)
class Setting:
    dtype: torch.dtype
    input: str
    weight: str
    grad_output: str


settings_of_a_call = st.builds(
    Setting, st.sampled_from(DTYPES), *[st.sampled_from(list(LAYOUTS))] * 3
)


@st.composite
def convs(draw: st.DrawFn) -> Conv:
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 8, 17]))
    depthwise = draw(st.booleans())
    channels = groups * (1 if depthwise else draw(st.integers(1, 20)))
    out_channels = groups * draw(st.integers(1, 20))
    kernel, dilation = draw(pairs(1, 5)), draw(pairs(1, 3))
    batch = draw(st.sampled_from([(), (0,), (1,), (1,), (2,), (5,)]))
    if draw(st.integers(0, 4)) == 0:
        padding: str | tuple[int, int] = draw(st.sampled_from(["same", "valid"]))
        stride = (1, 1) if padding == "same" else draw(pairs(1, 4))
    else:
        padding, stride = draw(pairs(0, 4)), draw(pairs(1, 4))
    around = (0, 0) if isinstance(padding, str) else padding
    # large enough for one window at least, and for a tail of any width
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for k, d, p in zip(kernel, dilation, around, strict=True)
    ]
    height = least[0] + draw(st.integers(0, 9))
    width = least[1] + draw(st.integers(0, 40))
    return Conv(
        "drawn",
        (*batch, channels, height, width),
        out_channels,
        kernel,
        stride,
        padding,
        dilation,
        groups,
        draw(st.booleans()),
    )


@examples(250)
@given(conv=convs(), how=settings_of_a_call)
@example(Conv("", (1, 3, 4, 4), 2, 3, 1, 0), Setting(torch.float32, *["contiguous"] * 3))
def test_conv2d_is_exact(conv: Conv, how: Setting) -> None:
    x = operands(conv, small_integers).to(how.dtype)
    x.input = LAYOUTS[how.input](x.input)
    x.weight = LAYOUTS[how.weight](x.weight)
    x.grad_output = LAYOUTS[how.grad_output](x.grad_output)
    expected = reference(x)
    for name, result in run(fastconv.conv2d, x).items():
        want = getattr(expected, name).to(how.dtype)
        assert torch.equal(result, want), name


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    kernel, dilation = draw(pairs(1, 5)), draw(pairs(1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    # a window of which some cell lies inside, wherever it starts: see test_window_wholly_in_padding
    least = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    return Pool(
        "drawn",
        (
            *draw(st.sampled_from([(), (0,), (1,), (2,), (3,)])),
            draw(st.integers(1, 40)),
            least[0] + draw(st.integers(0, 10)),
            least[1] + draw(st.integers(0, 40)),
        ),
        kernel,
        draw(st.one_of(st.none(), pairs(1, 5))),
        padding,
        dilation,
        draw(st.booleans()),
    )


def drawn_values(pool: Pool, dtype: torch.dtype, distinct: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(pool.input))
    x = torch.randint(-distinct, distinct + 1, pool.input, generator=generator).to(dtype)
    strange = torch.rand(pool.input, generator=generator)
    x[strange < 0.02] = float("nan")
    x[strange > 0.97] = float("-inf")
    return x


@examples(250)
@given(
    pool=pools(),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(LAYOUTS)),
    distinct=st.sampled_from([1, 3, 200]),
)
def test_max_pool2d_is_torchs(pool: Pool, dtype: torch.dtype, layout: str, distinct: int) -> None:
    x = LAYOUTS[layout](drawn_values(pool, dtype, distinct)).requires_grad_()
    values, indices = fastconv.max_pool2d(x, **pool.kwargs, return_indices=True)
    want, want_indices = F.max_pool2d(x.detach(), **pool.kwargs, return_indices=True)
    torch.testing.assert_close(values, want, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(indices, want_indices)
    gradient = torch.randint(-3, 4, values.shape).to(dtype)
    (grad,) = torch.autograd.grad(values, x, LAYOUTS[layout](gradient))
    exact = x.detach().double().requires_grad_()
    (want_grad,) = torch.autograd.grad(
        F.max_pool2d(exact, **pool.kwargs), exact, LAYOUTS[layout](gradient).double()
    )
    assert torch.equal(grad, want_grad.to(dtype))
