"""The caller's promise that a model's weights stay as they are."""

from __future__ import annotations

from typing import TypeVar

import torch

from fastconv import nn
from fastconv._packed import PackedWeights

__all__ = ["freeze", "unfreeze"]

Model = TypeVar("Model", bound=torch.nn.Module)


def freeze(model: Model) -> Model:
    """Promise that the weights of a model's convolutions no longer change.

    Each :class:`fastconv.nn.Conv2d` then keeps its weight in the form that its algorithm makes of
    it, and uses that without looking at the weight again, wherever nothing records gradients. A
    weight edited in place afterwards is **not** noticed there; one that is replaced, moved or cast
    is, at the next call, and until then its memory is held. Calls that record gradients always use
    the weight as it is. :func:`unfreeze` ends it, and a deep copy or a pickle of the model is not
    frozen.

    The first call with each input size packs; what is kept is bounded by the environment's
    ``FASTCONV_PACK_LIMIT_MB`` (1024; 0 keeps nothing), for all modules together.

    Args:
        model: any module; it is changed in place. What is not fastconv's is left alone:
            :func:`fastconv.convert` it first.

    Returns:
        The model itself.
    """
    return _set(model, frozen=True)


def unfreeze(model: Model) -> Model:
    """Take the promise of :func:`freeze` back, and drop what was kept; returns the model itself."""
    return _set(model, frozen=False)


def _set(model: Model, frozen: bool) -> Model:
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.__dict__["_packed"] = PackedWeights(frozen)
    return model
