"""Convolutions and poolings picked by hand, and the memory layouts they are run in."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Conv:
    """One convolution: `input` is (N, C, H, W) or (C, H, W)."""

    why: str
    input: tuple[int, ...]
    out_channels: int
    kernel: Pair = 3
    stride: Pair = 1
    padding: Pair | str = 0
    dilation: Pair = 1
    groups: int = 1
    bias: bool = True

    @property
    def weight(self) -> tuple[int, ...]:
        return (self.out_channels, self.input[-3] // self.groups, *pair(self.kernel))

    @property
    def kwargs(self) -> dict[str, Any]:
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def output(self) -> tuple[int, ...]:
        with torch.device("meta"):
            input, weight = torch.empty(self.input), torch.empty(self.weight)
        return tuple(torch.conv2d(input, weight, **self.kwargs).shape)

    @property
    def multiplications(self) -> int:
        return math.prod(self.output) * math.prod(self.weight[1:])

    def __str__(self) -> str:
        return self.why.replace(" ", "_")


@dataclass(frozen=True)
class Pool:
    why: str
    input: tuple[int, ...]
    kernel_size: Pair
    stride: Pair | None = None
    padding: Pair = 0
    dilation: Pair = 1
    ceil_mode: bool = False

    @property
    def kwargs(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return self.why.replace(" ", "_")


def _pointwise(channels: int, out_channels: int, width: int) -> Conv:
    """A GEMM in disguise: reduction `channels`, `out_channels` rows, `width` columns."""
    why = f"1x1 of {channels} to {out_channels} over {width}"
    return Conv(why, (1, channels, 1, width), out_channels, kernel=1)


# Register tiles are 6 to 48 wide or tall, sums come in blocks of 128 and packed panels 256 deep, so
# tails are where a GEMM goes wrong: one less, as many, one more.
GEMM_TAILS = [
    *[_pointwise(c, 9, 11) for c in (1, 2, 15, 16, 17, 127, 128, 129, 255, 256, 257, 385, 513)],
    *[_pointwise(19, k, 10) for k in (1, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33)],
    *[_pointwise(19, k, 10) for k in (47, 48, 49, 127, 128, 129, 257)],
    *[_pointwise(13, 7, w) for w in (1, 2, 7, 8, 9, 13, 14, 15, 16, 17, 31, 32, 33, 47, 48, 49)],
    *[_pointwise(13, 7, w) for w in (63, 64, 65, 511, 512, 513, 1025)],
    _pointwise(385, 49, 49),
    _pointwise(40, 197, 600),
    _pointwise(600, 33, 130),
]

WINDOWS = [
    Conv("3x3", (2, 5, 9, 11), 7),
    Conv("3x3 padded", (2, 5, 9, 11), 7, padding=1),
    Conv("3x3 of one channel", (2, 1, 9, 8), 4, padding=1),
    Conv("3x3 to one channel", (2, 4, 9, 8), 1, padding=1),
    Conv("3x3 of a whole block of sums", (1, 43, 6, 7), 17, padding=1),
    Conv("3x3 over many rows", (1, 3, 40, 35), 16, padding=1),
    Conv("3x3 on one pixel", (3, 6, 1, 1), 5, padding=1),
    Conv("3x3 stride 2", (2, 6, 11, 12), 9, stride=2, padding=1),
    Conv("3x3 stride 2 with a row never read", (1, 4, 8, 10), 6, stride=2),
    Conv("3x3 stride 3 by 2", (1, 4, 11, 12), 6, stride=(3, 2), padding=(0, 2)),
    Conv("stride beyond the kernel", (1, 3, 13, 14), 5, kernel=2, stride=5, padding=1),
    Conv("5x5", (1, 4, 12, 9), 6, kernel=5, padding=2),
    Conv("5x5 of whole vectors", (2, 8, 9, 13), 16, kernel=5, padding=2),
    Conv("5x5 valid, tails of vectors", (1, 9, 10, 11), 17, kernel=5),
    Conv("5x5 dilated", (2, 6, 14, 17), 7, kernel=5, padding=4, dilation=2),
    Conv("5x5 padded past the kernel", (1, 2, 6, 5), 3, kernel=5, padding=7),
    Conv("7x7 stride 2", (1, 3, 23, 21), 16, kernel=7, stride=2, padding=3),
    Conv("11x11 stride 4", (1, 3, 31, 35), 8, kernel=11, stride=4, padding=2),
    Conv("1x7", (1, 6, 8, 15), 5, kernel=(1, 7), padding=(0, 3)),
    Conv("7x1", (1, 6, 15, 8), 5, kernel=(7, 1), padding=(3, 0)),
    Conv("2x3 kernel", (2, 5, 7, 8), 4, kernel=(2, 3), padding=(1, 0)),
    Conv("4x4 same", (2, 5, 7, 8), 4, kernel=4, padding="same"),
    Conv("2x4 same dilated", (1, 3, 9, 10), 4, kernel=(2, 4), padding="same", dilation=(3, 1)),
    Conv("3x3 valid", (1, 3, 6, 7), 4, padding="valid"),
    Conv("3x3 dilated", (1, 5, 11, 13), 6, padding=2, dilation=2),
    Conv("3x3 dilated by 3 and 1 with stride 2", (1, 4, 15, 12), 5, stride=2, dilation=(3, 1)),
    Conv("dilation past the plane, taps in the padding", (1, 3, 4, 5), 4, padding=6, dilation=6),
    Conv("kernel as large as the plane", (2, 7, 5, 6), 9, kernel=(5, 6)),
    Conv("1x1 stride 2", (2, 6, 9, 8), 7, kernel=1, stride=2),
    Conv("1x1 padded", (2, 6, 5, 4), 7, kernel=1, padding=1),
    Conv("1x1 over a batch", (5, 17, 6, 7), 33, kernel=1),
    Conv("without bias", (2, 5, 8, 7), 6, padding=1, bias=False),
    Conv("unbatched", (4, 9, 8), 6, padding=1),
    Conv("batch of nine", (9, 3, 5, 6), 4, padding=1),
    Conv("one of everything", (1, 1, 1, 1), 1, kernel=1),
    Conv("empty batch", (0, 4, 6, 7), 5, padding=1),
    Conv("empty batch and rows that are only padding", (0, 4, 0, 7), 5, padding=2),
]

GROUPED = [
    Conv("two groups", (2, 6, 8, 9), 10, padding=1, groups=2),
    Conv("two groups of 17 to 13", (1, 34, 6, 5), 26, padding=1, groups=2),
    Conv("three groups of one output", (2, 6, 7, 8), 3, padding=1, groups=3),
    Conv("32 groups of 4", (1, 128, 5, 6), 128, padding=1, groups=32),
    Conv("grouped 1x1 stride 2", (2, 12, 7, 6), 8, kernel=1, stride=2, groups=4),
    Conv("depthwise", (2, 19, 9, 17), 19, padding=1, groups=19),
    Conv("depthwise stride 2", (2, 16, 11, 34), 16, stride=2, padding=1, groups=16),
    Conv("depthwise wide", (1, 3, 5, 70), 3, padding=1, groups=3),
    Conv("depthwise 5x5", (1, 33, 9, 8), 33, kernel=5, padding=2, groups=33),
    Conv("depthwise 7x7 dilated", (1, 4, 19, 20), 4, kernel=7, padding=6, dilation=2, groups=4),
    Conv("depthwise without padding", (1, 8, 6, 33), 8, groups=8),
    Conv("depthwise same 2x2", (1, 5, 6, 7), 5, kernel=2, padding="same", groups=5),
    Conv("depthwise of two outputs each", (2, 7, 8, 9), 14, padding=1, groups=7),
    Conv("depthwise 3x3 on one pixel", (2, 17, 1, 1), 17, padding=1, groups=17),
    Conv("depthwise small planes", (3, 72, 7, 7), 72, padding=1, groups=72),
    Conv("depthwise small planes, stride 2", (9, 40, 10, 14), 40, 5, 2, 2, groups=40),
    Conv("depthwise empty batch", (0, 6, 5, 5), 6, padding=1, groups=6),
]

FEW_PIXELS = [
    Conv("squeeze and excitation", (1, 240, 1, 1), 10, kernel=1),
    Conv("two pixels, 3x3 padded", (2, 33, 1, 1), 21, padding=1),
    Conv("a whole plane", (1, 130, 7, 7), 19, kernel=7),
    Conv("three pixels in groups", (3, 24, 1, 1), 18, kernel=1, groups=3),
    Conv("four pixels", (1, 50, 3, 3), 13, kernel=2),
]
CONVS = {
    "gemm_tails": GEMM_TAILS,
    "windows": WINDOWS,
    "grouped": GROUPED,
    "few_pixels": FEW_PIXELS,
}

POOLS = [
    Pool("2x2", (2, 3, 8, 10), 2),
    Pool("2x2 stride 2 odd plane", (2, 3, 9, 11), 2, 2),
    Pool("2x2 stride 1", (1, 3, 6, 7), 2, 1),
    Pool("3x3 stride 2 padded", (2, 3, 12, 15), 3, 2, 1),
    Pool("3x3 stride 2 padded wide", (1, 2, 9, 70), 3, 2, 1),
    Pool("2x2 wide", (1, 2, 6, 131), 2),
    *[Pool(f"2x2 with {w} outputs", (1, 2, 4, 2 * w), 2) for w in (1, 7, 8, 9, 15, 16, 17, 33)],
    *[Pool(f"3x3 s2 over {w}", (1, 2, 7, w), 3, 2, 1) for w in (1, 2, 15, 16, 30, 31, 32, 33, 34)],
    Pool("3x3 stride 2 ceil", (2, 3, 12, 14), 3, 2, 0, 1, True),
    Pool("3x3 stride 1 padded", (1, 4, 7, 9), 3, 1, 1),
    Pool("3x3 stride 3", (1, 4, 10, 11), 3),
    Pool("5x5 padded", (1, 3, 9, 8), 5, 1, 2),
    Pool("13x13 padded", (1, 2, 13, 14), 13, 1, 6),
    Pool("1x1", (1, 3, 4, 5), 1),
    Pool("1x1 stride 2", (1, 3, 5, 6), 1, 2),
    Pool("2x3 stride 1x2", (1, 3, 8, 9), (2, 3), (1, 2), (1, 0)),
    Pool("dilated", (2, 3, 9, 10), 3, 1, 1, 2),
    Pool("dilated 1x3", (1, 3, 9, 12), (2, 3), 2, (1, 1), (1, 3)),
    Pool("dilated with stride and ceil", (1, 3, 11, 12), 3, 2, 1, 2, True),
    Pool("ceil drops a window that starts in the padding", (1, 2, 5, 5), 2, 3, 1, 1, True),
    Pool("ceil keeps a window that hangs over", (1, 2, 7, 8), 3, 2, 1, 1, True),
    Pool("stride beyond the kernel", (1, 2, 11, 12), 2, 4),
    Pool("whole plane", (3, 5, 6, 7), (6, 7)),
    Pool("one pixel", (2, 3, 1, 1), 1),
    Pool("unbatched", (3, 8, 9), 3, 2, 1),
    Pool("empty batch", (0, 3, 8, 9), 3, 2, 1),
    Pool("many channels", (2, 37, 6, 6), 2),
]


def _poisoned(like: Tensor) -> Tensor:
    """Values that no kernel may let into a result: NaN, or for indices a wild number."""
    fill = math.nan if like.is_floating_point() else 2**62
    return torch.full_like(like, fill)


def contiguous(x: Tensor) -> Tensor:
    return x.contiguous()


def channels_last(x: Tensor) -> Tensor:
    if x.dim() == 3:
        return x.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def transposed(x: Tensor) -> Tensor:
    """Columns of the plane lie where rows should."""
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def sliced(x: Tensor) -> Tensor:
    """Every second element of a larger tensor, off its start, with poison all around."""
    larger = _poisoned(torch.empty([2 * size + 3 for size in x.shape], dtype=x.dtype))
    view = larger[tuple(slice(2, 2 + 2 * size, 2) for size in x.shape)]
    return view.copy_(x)


def expanded(x: Tensor) -> Tensor:
    """Stride 0 over the batch, or over the rows of what has no batch."""
    if x.numel() == 0:
        return x
    return x[:1].expand(x.shape) if x.dim() == 4 else x[..., :1, :].expand(x.shape)


Layout = Callable[[Tensor], Tensor]
LAYOUTS: dict[str, Layout] = {
    f.__name__: f for f in (contiguous, channels_last, transposed, sliced, expanded)
}


@dataclass
class Operands:
    """The tensors of one convolution, forward and backward."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    grad_output: Tensor
    kwargs: dict[str, Any] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> Operands:
        bias = None if self.bias is None else self.bias.to(dtype)
        return Operands(
            self.input.to(dtype).contiguous(),
            self.weight.to(dtype).contiguous(),
            bias,
            self.grad_output.to(dtype).contiguous(),
            self.kwargs,
        )

    def laid_out(self, layout: Layout) -> Operands:
        bias = self.bias if self.bias is None or layout is not sliced else sliced(self.bias)
        return Operands(
            layout(self.input), layout(self.weight), bias, layout(self.grad_output), self.kwargs
        )


Fill = Callable[[tuple[int, ...], torch.Generator], Tensor]


def small_integers(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Whose products and sums are exact in every algorithm that adds no fractions."""
    return torch.randint(-3, 4, shape, generator=generator).double()


def normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def operands(conv: Conv, fill: Fill) -> Operands:
    """In float64, the same for the same convolution at every call."""
    generator = torch.Generator().manual_seed(zlib.crc32(repr(conv).encode()))
    return Operands(
        fill(conv.input, generator),
        fill(conv.weight, generator),
        fill((conv.out_channels,), generator) if conv.bias else None,
        fill(conv.output, generator),
        conv.kwargs,
    )
