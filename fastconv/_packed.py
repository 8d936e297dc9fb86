"""Weights that a module keeps in the form that an algorithm makes of them.

Transforming or reordering a weight takes as long as a good part of a small convolution, so a module
keeps the result between calls. Nothing about a tensor proves that its content is what it was
(``.data`` edits, fused optimizers and numpy views leave ``_version`` alone), so before each use the
content is fingerprinted, at memory speed, and what takes less time to pack than to fingerprint is
not kept. :func:`fastconv.freeze` is the caller's promise that makes the check unnecessary.
"""

from __future__ import annotations

import os
import threading
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
    # A promise is about memory, which another weight must not come to lie in.
    memory: Tensor | None


_NOTHING = _Kept(None, {}, None)
_all: weakref.WeakSet[PackedWeights] = weakref.WeakSet()
_changing_all = threading.Lock()


def packed_memory() -> int:
    """Bytes of packed weights that all modules of this process keep."""
    with _changing_all:
        return sum(kept.nbytes for kept in _all)


class PackedWeights:
    """What one module keeps. A copy or a pickle of it is empty: neither carries packed data."""

    recent: tuple[Tensor, Tensor | None, Tensor | None] | None
    """Of the last call that :meth:`find` was asked about: a memo by which the operator knows the
    same call again, the packed weight for it if there is one, and what holds the memory that a
    promise is about."""

    def __init__(self, frozen: bool = False) -> None:
        self.frozen = frozen
        self.recent = None
        self._kept = _NOTHING
        self._choices: dict[Any, _Choice] = {}
        with _changing_all:
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
        window = (stride, padding, dilation, groups)
        precision = torch._C._get_fp32_precision_getter("mkldnn", "conv")
        weight_lies = (weight.shape, weight.stride(), weight.dtype)
        key = (
            (input.shape, input.stride()),
            weight_lies,
            window,
            (precision, torch.get_num_threads()),
        )
        if key not in self._choices:
            self._choose_for(key, self._choose(input, weight, *window, precision))
        algorithm = self._choices.get(key)
        blob, fingerprint, memory = None, None, None
        if algorithm is not None:
            fingerprint = None if self.frozen else _ops.weight_fingerprint_eager(weight)
            memory = weight.detach() if self.frozen else None
            kept = self._kept
            identity = (weight.data_ptr(), *weight_lies, fingerprint)
            if kept.identity != identity:
                kept = _Kept(identity, {}, memory)
            blob = kept.blobs.get(algorithm)
            if blob is None:
                lies = _is_channels_last(input)
                blob = _ops.conv2d_pack_weight(weight, input.shape, *window, lies, algorithm)
                assert isinstance(blob, Tensor)
                if packed_memory() + blob.numel() <= _limit():
                    self._kept = _Kept(identity, {**kept.blobs, algorithm: blob}, kept.memory)
                else:
                    self._choose_for(key, None)
                    blob, fingerprint, memory = None, None, None
        if len(padding) == 2:
            geometry = (*stride, *padding, *dilation, groups)
            memo = _ops.conv2d_memo_eager(input, weight, fingerprint, *geometry)
            self.recent = (memo, blob, memory)
        return blob

    def _choose_for(self, key: Any, choice: _Choice) -> None:
        choices = dict(self._choices) if len(self._choices) < _MOST_CHOICES else {}
        self._choices = {**choices, key: choice}

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
