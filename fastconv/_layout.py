"""Which memory format a result takes: torch's own rule, read from sizes and strides."""

from __future__ import annotations

from torch import Tensor


def suggests_channels_last(tensor: Tensor) -> bool:
    """c10's ``suggest_memory_format`` == channels_last, which Python cannot ask for.

    An unbatched image counts as a batch of one, as torch's convolution takes it. Dimensions of
    size 1 are the trap: their strides are free, and where they leave both readings open the answer
    is no.
    """
    sizes: tuple[int, ...] = tensor.shape
    strides = tensor.stride()
    if len(sizes) == 3:
        sizes, strides = (1, *sizes), (sizes[0] * strides[0], *strides)
    elif len(sizes) != 4:
        return False
    if strides[1] == 0:
        return False
    smallest = 0
    for dim in (1, 3, 2, 0):
        if sizes[dim] == 0 or strides[dim] < smallest:
            return False
        if dim == 0 and smallest == strides[1]:
            return False
        smallest = strides[dim]
        if sizes[dim] > 1:
            smallest = smallest * sizes[dim]
    return True


def conv2d_is_channels_last(input: Tensor, weight: Tensor) -> bool:
    """The layout of conv2d's output and of both its gradients."""
    return suggests_channels_last(input) or suggests_channels_last(weight)
