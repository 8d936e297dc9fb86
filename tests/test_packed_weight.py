"""Weights packed once, by every algorithm that packs; and what Winograd's may never get wrong."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _algorithms import admitting_precision, fp32_precision, taps_of, usable_algorithms
from _subprocess import output_of
from torch import Tensor

import fastconv
from fastconv._ops import _C

FPROP = usable_algorithms("conv2d", "fprop")
pack = torch.ops.fastconv.conv2d_pack_weight
conv2d_packed = torch.ops.fastconv.conv2d_packed

Sizes = tuple[int, int, int, int, int]
# N, C, K, H, W
SIZES: list[Sizes] = [(1, 1, 1, 1, 1), (2, 3, 5, 9, 7), (1, 17, 33, 14, 30), (2, 300, 20, 6, 5)]


def problem(sizes: Sizes, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    n, c, k, h, w = sizes
    torch.manual_seed(0)
    return (
        torch.randn(n, c, h, w).to(dtype),
        (torch.randn(k, c, 3, 3) / math.sqrt(9 * c)).to(dtype),
        torch.randn(k).to(dtype),
    )


def opinion(algorithm: str, x: Tensor, weight: Tensor) -> Any:
    explained = _C.explain_conv2d(
        direction="fprop",
        dtype=str(x.dtype).removeprefix("torch."),
        input_size=x.shape,
        input_stride=x.stride(),
        weight_size=weight.shape,
        weight_stride=weight.stride(),
        output_stride=x.new_empty(x.shape[0], weight.shape[0], *x.shape[2:]).stride(),
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
        groups=1,
        threads=1,
    )
    return next(o for o in explained.opinions if o.algorithm == algorithm)


@pytest.mark.kernels
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_packed_and_not_are_the_same_bits(
    algorithm: fastconv.Algorithm, channels_last: bool
) -> None:
    packed_any = False
    for sizes in SIZES:
        x, weight, bias = problem(sizes, algorithm.dtypes[0])
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        asked = opinion(algorithm.name, x, weight)
        if asked.reason or asked.packed_weight_bytes == 0:
            continue
        packed_any = True
        blob = pack(weight, x.shape, (1, 1), (1, 1), (1, 1), 1, channels_last, algorithm.name)
        assert torch.ops.fastconv.conv2d_packed_algorithm(blob) == algorithm.name
        again = pack(weight, x.shape, (1, 1), (1, 1), (1, 1), 1, channels_last, algorithm.name)
        assert torch.equal(again, blob)
        with fastconv.use_algorithm(algorithm.name):
            plain = fastconv.conv2d(x, weight, bias, padding=1)
        assert torch.equal(conv2d_packed(x, weight, bias, blob, (1, 1), (1, 1)), plain)
        # The packed form does not depend on the size of the image.
        other = torch.randn_like(x.repeat(2, 1, 2, 2))
        with fastconv.use_algorithm(algorithm.name):
            plain = fastconv.conv2d(other, weight, padding=1)
        assert torch.equal(conv2d_packed(other, weight, None, blob, (1, 1), (1, 1)), plain)
    if not packed_any:
        pytest.skip("keeps no weights")


@pytest.mark.kernels
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("value", [math.inf, math.nan, 3e38, 1e-40], ids=str)
@pytest.mark.parametrize("algorithm", FPROP, ids=lambda a: a.name)
def test_what_is_left_to_others_is_the_weight_itself(
    algorithm: fastconv.Algorithm, value: float, channels_last: bool
) -> None:
    """Numbers that an algorithm hands on to another one, which must not take its packed weight."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(2, 32, 11, 13).to(memory_format=layout)
    x[1, 3, 5, 6] = value
    packed_any = False
    for dtype, groups in itertools.product(algorithm.dtypes, (1, 2, 8)):
        weight = torch.randn(48, 32 // groups, 3, 3, dtype=dtype).to(memory_format=layout)
        image, geometry = x.to(dtype), ((1, 1), (1, 1), (1, 1), groups)
        with fp32_precision("bf16"):
            try:
                blob = pack(weight, x.shape, *geometry, channels_last, algorithm.name)
            except RuntimeError:
                continue
            if blob.numel() == 0:
                continue
            packed_any = True
            with fastconv.use_algorithm(algorithm.name):
                plain = fastconv.conv2d(image, weight, padding=1, groups=groups)
            packed = conv2d_packed(image, weight, None, blob, *geometry)
        torch.testing.assert_close(packed, plain, rtol=0, atol=0, equal_nan=True)
    if not packed_any:
        pytest.skip("keeps no weights")


def a_blob() -> tuple[Tensor, Tensor, Tensor]:
    x, weight, _ = problem((1, 64, 64, 56, 56))
    blob = pack(weight, x.shape, (1, 1), (1, 1))
    if blob.numel() == 0:
        pytest.skip("no algorithm here packs")
    return x, weight, blob


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: blob[:-64],
        lambda blob: blob[:8],
        lambda blob: blob[:0],
        lambda blob: torch.cat([blob, blob[:64]]),
        lambda blob: torch.cat([blob[:1], blob])[1:],
        lambda blob: torch.zeros_like(blob),
        lambda blob: blob.float(),
        lambda blob: blob.view(2, -1),
        lambda blob: blob.repeat_interleave(2)[::2],
    ],
    ids=[
        "short", "stub", "empty", "long", "misaligned", "zeros", "float", "matrix", "strided",
    ],
)  # fmt: skip
def test_a_spoilt_blob_is_refused(spoil: Any) -> None:
    x, weight, blob = a_blob()
    with pytest.raises(RuntimeError, match="Expected packed to be"):
        conv2d_packed(x, weight, None, spoil(blob), (1, 1), (1, 1))


def test_the_blob_of_another_weight_is_refused() -> None:
    x, weight, blob = a_blob()
    for other in (weight[:32], weight[:, :32], weight.double()):
        image = x[:, : other.shape[1]].to(other.dtype)
        with pytest.raises(RuntimeError, match="for this weight"):
            conv2d_packed(image, other, None, blob, (1, 1), (1, 1))


def test_a_problem_that_the_packing_algorithm_cannot_do_says_why() -> None:
    x, weight, _ = problem((1, 64, 64, 56, 56))
    names = [a.name for a in FPROP if "winograd" in a.name and admitting_precision(a) == "none"]
    if not names:
        pytest.skip("no Winograd here")
    blob = pack(weight, x.shape, (1, 1), (1, 1), (1, 1), 1, False, names[0])
    with pytest.raises(RuntimeError, match="is for stride 1"):
        conv2d_packed(x, weight, None, blob, (2, 2), (1, 1))
    # A lone tap's dilation may be any number; tiles so far apart cannot be counted.
    with pytest.raises(RuntimeError, match="for this weight"):
        conv2d_packed(x, weight[:, :, :1, :1], None, blob, (1, 1), (0, 0), (2**62, 2**62))


WINOGRAD = [
    a for a in usable_algorithms("conv2d") if "winograd" in a.name and a.direction != "wgrad"
]


def run(algorithm: fastconv.Algorithm, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    if algorithm.direction == "fprop":
        with fastconv.use_algorithm(algorithm.name):
            return fastconv.conv2d(x, weight, padding=padding)
    channels, height, width = weight.shape[1], x.shape[2], x.shape[3]
    around = weight.shape[2] - 1 - 2 * padding
    size = (x.shape[0], channels, height + around, width + around)
    grad_input: Tensor = torch.ops.fastconv.conv2d_grad_input(
        x, weight, size, (1, 1), (padding, padding), (1, 1), 1, False, algorithm.name
    )
    return grad_input


def expected(algorithm: fastconv.Algorithm, x: Tensor, weight: Tensor, padding: int) -> Tensor:
    if algorithm.direction == "fprop":
        return F.conv2d(x.double(), weight.double(), padding=padding)
    return F.conv_transpose2d(x.double(), weight.double(), padding=padding)


@pytest.mark.kernels
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3e38, 1e-40], ids=str)
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_winograd_spreads_nothing_over_its_tiles(
    algorithm: fastconv.Algorithm, value: float
) -> None:
    """One element that the transforms would smear over a tile, or overflow on."""
    torch.manual_seed(1)
    weight = torch.randn(20, 20, taps_of(algorithm), taps_of(algorithm)) / 16
    x = torch.randn(2, 20, 11, 13)
    x[1, 3, 5, 6] = value
    ours, theirs = run(algorithm, x, weight, 1), expected(algorithm, x, weight, 1).float()
    assert torch.equal(ours.isnan(), theirs.isnan())
    assert torch.equal(ours.isinf(), theirs.isinf())
    tolerance = max(1e-4, 20 * algorithm.error)
    torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_winograd_keeps_its_stated_error(algorithm: fastconv.Algorithm, padding: int) -> None:
    for sizes in [
        (1, 256, 40, 23, 19),
        (3, 40, 256, 7, 130),
        (1, 700, 24, 9, 9),
        (1, 512, 4, 7, 7),
    ]:
        n, c, k, h, w = sizes
        torch.manual_seed(2)
        x = torch.randn(n, c if algorithm.direction == "fprop" else k, h, w)
        taps = taps_of(algorithm)
        weight = torch.randn(k, c, taps, taps) / (taps * math.sqrt(c))
        theirs = expected(algorithm, x, weight, padding)
        error = (run(algorithm, x, weight, padding) - theirs).norm() / theirs.norm()
        assert error <= algorithm.error


@pytest.mark.parametrize("algorithm", WINOGRAD, ids=lambda a: a.name)
def test_ieee_refuses_what_is_less_accurate(algorithm: fastconv.Algorithm) -> None:
    x = torch.randn(1, 16, 12, 12)
    weight = torch.randn(16, 16, taps_of(algorithm), taps_of(algorithm))
    with fp32_precision("ieee"):
        if algorithm.error < 1e-6:
            run(algorithm, x, weight, 1)
        else:
            too_few_terms = algorithm.name.endswith("winograd_f2_amx_bf16x3")
            reason = "fp32_precision in force" if too_few_terms else "'ieee'"
            with pytest.raises(RuntimeError, match=reason):
                run(algorithm, x, weight, 1)


def test_the_first_call_imports_nothing_large() -> None:
    """sympy, which torch's own checks of symbolic sizes need, is 36 MB and 0.4 s."""
    code = """
        import sys, torch, fastconv
        loaded = set(sys.modules)
        with torch.no_grad():
            fastconv.nn.Conv2d(64, 64, 3, padding=1)(torch.randn(1, 64, 28, 28))
        print(set(sys.modules) - loaded)
        """
    assert "sympy" not in output_of(code)
