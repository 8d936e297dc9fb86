from collections.abc import Callable, Sequence
from typing import Any, TypedDict

class Surroundings(TypedDict):
    tensor: type
    parameter: type
    dtypes: frozenset[Any]
    forward_ad: Any
    has_torch_function: Callable[..., bool]
    profiler: Any
    watchers: Sequence[Callable[[], Any]]
    obstacles: Sequence[Callable[[], Any]]

class AlgorithmFact(TypedDict):
    name: str
    op: str
    direction: str
    isa: str
    dtypes: tuple[str, ...]
    error: float
    note: str

class Opinion:
    algorithm: str
    reason: str
    workspace_bytes: int
    seconds: float
    packed_weight_bytes: int

class Explanation:
    chosen: str
    opinions: list[Opinion]

def algorithms() -> list[AlgorithmFact]: ...
def build_info() -> dict[str, str | int]: ...
def isa() -> dict[str, str]: ...
def explain_conv2d(
    *,
    direction: str,
    dtype: str,
    input_size: Sequence[int],
    input_stride: Sequence[int],
    weight_size: Sequence[int],
    weight_stride: Sequence[int],
    output_stride: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    threads: int,
    requested: str = "",
    precision: str = "none",
    weight_is_packed: bool = False,
) -> Explanation: ...
def explain_max_pool2d(
    *,
    direction: str,
    dtype: str,
    input_size: Sequence[int],
    input_stride: Sequence[int],
    output_stride: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
    threads: int,
    requested: str = "",
) -> Explanation: ...
def eager_conv2d(
    surroundings: Surroundings,
    run: Callable[..., Any],
    run_kept: Callable[..., Any],
    record: Callable[..., Any],
) -> Callable[..., Any]: ...
def eager_max_pool2d(
    surroundings: Surroundings,
    run: Callable[..., Any],
    record: Callable[..., Any],
    with_indices: bool,
) -> Callable[..., Any]: ...
def watch_backward(surroundings: Surroundings) -> None: ...
