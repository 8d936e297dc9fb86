"""Under autocast a convolution runs in autocast's dtype, as torch's does; pooling keeps its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastconv import _ops


def _cast(tensor: Tensor, device_type: str, dtype: torch.dtype) -> Tensor:
    eligible = (
        tensor.device.type == device_type
        and tensor.is_floating_point()
        and tensor.dtype is not torch.float64
    )
    return tensor.to(dtype) if eligible else tensor


def _register(device_type: str, key: str) -> None:
    @_ops.register_kernel("conv2d", key)
    def _conv2d_autocast(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any
    ) -> Any:
        dtype = torch.get_autocast_dtype(device_type)
        key_set = torch._C.DispatchKeySet(torch._C.DispatchKey.__members__[key])
        with torch._C._ExcludeDispatchKeyGuard(key_set):
            return _ops.conv2d(
                _cast(input, device_type, dtype),
                _cast(weight, device_type, dtype),
                None if bias is None else _cast(bias, device_type, dtype),
                *rest,
            )


_register("cpu", "AutocastCPU")
_register("cuda", "AutocastCUDA")
