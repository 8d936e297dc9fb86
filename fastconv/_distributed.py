"""DTensors: each rank computes its share of the batch, whatever else is sharded is gathered first.

The operators themselves see plain local tensors only; torch turns the gradients back into DTensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["are_dtensors", "conv2d_of_dtensors", "max_pool2d_of_dtensors"]


def are_dtensors(*tensors: Any) -> bool:
    """Is there any, and are all of them? A mixture is for torch to refuse."""
    given = [type(tensor) for tensor in tensors if tensor is not None]
    # By name: torch.distributed.tensor takes half a second to import.
    return bool(given) and all(
        kind.__name__ == "DTensor" and kind.__module__.startswith("torch.distributed.")
        for kind in given
    )


def _by_batch(images: Any) -> tuple[Any, ...]:
    """The placements of `images` with nothing but the batch sharded."""
    from torch.distributed.tensor import Replicate, Shard

    return tuple(
        placement if placement == Shard(0) and images.dim() == 4 else Replicate()
        for placement in images.placements
    )


def _local(tensor: Any, placements: Any, grad_placements: Any) -> Tensor:
    redistributed = tensor.redistribute(placements=placements)
    local: Tensor = redistributed.to_local(grad_placements=grad_placements)
    return local


def _like(images: Any, local: Tensor, placements: Any) -> Any:
    """The DTensor of which `local` is this rank's part, its batch as large as that of `images`."""
    from torch.distributed.tensor import DTensor

    batch = images.shape[: images.dim() - 3]
    return DTensor.from_local(
        local,
        images.device_mesh,
        placements,
        run_check=False,
        shape=torch.Size(
            (*batch, *local.shape[-3:])
        ),  # else it takes the ranks to have equal parts
        stride=local.stride(),
    )


def conv2d_of_dtensors(
    conv2d: Callable[..., Tensor], input: Any, weight: Any, bias: Any, *parameters: Any
) -> Any:
    from torch.distributed.tensor import Partial, Replicate

    images = _by_batch(input)
    # Each rank's gradient of the weight comes from its own images: they are yet to be summed.
    whole = (Replicate(),) * len(images)
    summed = tuple(Replicate() if p.is_replicate() else Partial() for p in images)
    output = conv2d(
        _local(input, images, images),
        _local(weight, whole, summed),
        None if bias is None else _local(bias, whole, summed),
        *parameters,
    )
    return _like(input, output, images)


def max_pool2d_of_dtensors(max_pool2d: Callable[..., Any], input: Any, *parameters: Any) -> Any:
    images = _by_batch(input)
    pooled = max_pool2d(_local(input, images, images), *parameters)
    if isinstance(pooled, tuple):
        return tuple(_like(input, each, images) for each in pooled)
    return _like(input, pooled, images)
