"""Weights that a module keeps in the form that an algorithm makes of them.

Transforming or reordering a weight takes as long as a good part of a small convolution, so a module
keeps the result between calls. Nothing about a tensor proves that its content is what it was
(``.data`` edits, fused optimizers and numpy views leave ``_version`` alone), so before each use the
content is fingerprinted, at memory speed, and what takes less time to pack than to fingerprint is
not kept. :func:`fastconv.freeze` is the caller's promise that makes the check unnecessary.
"""

from __future__ import annotations

import os
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastconv import _ops
from fastconv._fakes import conv2d_without_data
from fastconv._ops import _C

__all__ = ["SMALLEST_KEPT", "PackedWeights", "packed_memory"]

_DTYPE_NAMES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}

# Smaller weights are packed in less time than it takes to look for what was kept of them.
SMALLEST_KEPT = 4096
# Bytes a second of one thread that checks: it fingerprints 12 to 20 GB/s, but then the packed
# weight has to come from memory as well. And what the looking costs in seconds.
_CHECK_RATE = 8e9
_OVERHEAD = 3e-6
# Input sizes, layouts and settings for which a module remembers the choice.
_MOST_CHOICES = 16

_Choice = str | None  # the algorithm to pack for, None where packing does not pay


def _limit() -> int:
    return int(float(os.environ.get("FASTCONV_PACK_LIMIT_MB", "1024")) * 2**20)


@dataclass(frozen=True)
class _Kept:
    """Packed forms of one content of one weight, replaced as a whole: readers need no lock."""

    identity: Any
    blobs: dict[str, Tensor]


_NOTHING = _Kept(None, {})
_all: weakref.WeakSet[PackedWeights] = weakref.WeakSet()


def packed_memory() -> int:
    """Bytes of packed weights that all modules of this process keep."""
    return sum(kept.nbytes for kept in list(_all))


class PackedWeights:
    """What one module keeps. A copy or a pickle of it is empty: neither carries packed data."""

    recent: tuple[Tensor, Tensor | None] | None
    """Of the last call that :meth:`find` was asked about: a memo by which the operator knows the
    same call again, and the packed weight for it if there is one."""

    def __init__(self, frozen: bool = False) -> None:
        self.frozen = frozen
        self.recent = None
        self._kept = _NOTHING
        self._choices: dict[Any, _Choice] = {}
        _all.add(self)

    def __reduce__(self) -> Any:
        return PackedWeights, ()

    @property
    def nbytes(self) -> int:
        return sum(blob.numel() for blob in self._kept.blobs.values())

    def find(
        self,
        input: Tensor,
        weight: Tensor,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Tensor | None:
        """The packed weight to convolve `input` with, or None where it is better taken as it is."""
        if input.dim() != 4:
            return None
        blob, fingerprint = self._find(input, weight, stride, padding, dilation, groups)
        if len(padding) == 2:
            geometry = (*stride, *padding, *dilation, groups)
            memo = _ops.conv2d_memo_eager(input, weight, fingerprint, *geometry)
            self.recent = (memo, blob)
        return blob

    def _find(
        self,
        input: Tensor,
        weight: Tensor,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> tuple[Tensor | None, int | None]:
        """The packed weight, and the fingerprint that it stands for unless that is promised."""
        key = (
            input.shape,
            input.stride(),
            weight.dtype,
            torch._C._get_fp32_precision_getter("mkldnn", "conv"),
            torch.get_num_threads(),
            stride,
            padding,
            dilation,
            groups,
        )
        if key in self._choices:
            algorithm = self._choices[key]
        else:
            algorithm = self._choose(input, weight, stride, padding, dilation, groups, key[3])
            choices = dict(self._choices) if len(self._choices) < _MOST_CHOICES else {}
            self._choices = {**choices, key: algorithm}
        if algorithm is None:
            return None, None
        fingerprint = None if self.frozen else _ops.weight_fingerprint_eager(weight)
        identity = (weight.data_ptr(), weight.shape, weight.stride(), weight.dtype, fingerprint)
        kept = self._kept
        if kept.identity != identity:
            kept = _Kept(identity, {})
        blob = kept.blobs.get(algorithm)
        if blob is None:
            blob = _ops.conv2d_pack_weight(
                weight,
                input.shape,
                stride,
                padding,
                dilation,
                groups,
                _is_channels_last(input),
                algorithm,
            )
            assert isinstance(blob, Tensor)
            if packed_memory() + blob.numel() > _limit():
                self._choices = {**self._choices, key: None}
                return None, None
            self._kept = _Kept(identity, {**kept.blobs, algorithm: blob})
        return blob, fingerprint

    def _choose(
        self,
        input: Tensor,
        weight: Tensor,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        precision: str,
    ) -> _Choice:
        """Asks the dispatcher twice, and keeps what it would choose if that gains enough."""
        plain = input.is_contiguous() or _is_channels_last(input)
        if not plain or not (
            weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
        ):
            return None
        # Not by torch's dispatcher, where explain() would take it for a call of the model's.
        output = conv2d_without_data(
            input.to("meta"), weight.to("meta"), None, stride, padding, dilation, groups
        )

        def ask(weight_is_packed: bool) -> Any:
            explanation = _C.explain_conv2d(
                direction="fprop",
                dtype=_DTYPE_NAMES[input.dtype],
                input_size=input.shape,
                input_stride=input.stride(),
                weight_size=weight.shape,
                weight_stride=weight.stride(),
                output_stride=output.stride(),
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=groups,
                threads=torch.get_num_threads(),
                precision=precision,
                weight_is_packed=weight_is_packed,
            )
            return next(o for o in explanation.opinions if o.algorithm == explanation.chosen)

        packed = ask(True)
        if packed.packed_weight_bytes == 0 or packed.packed_weight_bytes > _limit():
            return None
        check = 0.0 if self.frozen else weight.numel() * weight.itemsize / _CHECK_RATE
        saved = ask(False).seconds - packed.seconds
        algorithm: str = packed.algorithm
        return algorithm if saved > check + (0 if self.frozen else _OVERHEAD) else None


def _is_channels_last(input: Tensor) -> bool:
    return not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last)
