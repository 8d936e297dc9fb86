"""torch's own ways to use many processes: what they compute is what one process computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

import fastconv

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this torch is not distributed")

RANKS = 2


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return fastconv.convert(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            nn.Conv2d(8, 8, 3, groups=2, stride=2, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        ).double()
    )


def examples(count: int = 8) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(count, 3, 17, 16, dtype=torch.float64), torch.randint(0, 5, (count,))


def gradients_of_one_process() -> list[Tensor]:
    x, target = examples()
    model = network()
    return list(torch.autograd.grad(cross_entropy(model(x), target), list(model.parameters())))


def my_share(rank: int) -> tuple[Tensor, Tensor]:
    return tuple(t.chunk(RANKS)[rank] for t in examples())


class WithOneMore(nn.Module):
    """A convolution that takes no part in what comes out."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.unused = layers, fastconv.nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def data_parallel(rank: int) -> None:
    """In one bucket and in many, with a layer that takes no part, compiled."""
    x, target = my_share(rank)
    for options in (
        {},
        {"bucket_cap_mb": 0.0001, "gradient_as_bucket_view": True},
        {"find_unused_parameters": True},
        {"static_graph": True},
    ):
        layers = network()
        module = WithOneMore(layers) if "find_unused_parameters" in options else layers
        model = nn.parallel.DistributedDataParallel(module, **options)
        compiled = [] if options else [torch.compile(model, backend="aot_eager")]
        for call in (model, model, *compiled):
            model.zero_grad()
            cross_entropy(call(x), target).backward()
            gradients = [p.grad for p in layers.parameters()]
            torch.testing.assert_close(gradients, gradients_of_one_process())


def fully_sharded(rank: int) -> None:
    from torch.distributed.fsdp import fully_shard

    mesh = dist.init_device_mesh("cpu", (RANKS,))
    model = network()
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    x, target = my_share(rank)
    for _ in range(2):  # the second time the weights have been gathered and let go once
        model.zero_grad()
        cross_entropy(model(x), target).backward()
    gradients = [p.grad.full_tensor() for p in model.parameters()]
    torch.testing.assert_close(gradients, gradients_of_one_process())
    with torch.no_grad():  # where modules keep packed weights
        torch.testing.assert_close(model(x), network()(x))


def batch_of_dtensors(rank: int) -> None:
    from torch.distributed.tensor import Shard, distribute_module, distribute_tensor

    mesh = dist.init_device_mesh("cpu", (RANKS,))
    model = distribute_module(network(), mesh)
    x, target = (distribute_tensor(t, mesh, [Shard(0)]) for t in examples())
    for layer in model[:4]:
        x = layer(x)
        assert x.placements == (Shard(0),)
        assert x.to_local().shape[0] == 8 // RANKS
    cross_entropy(model[4:](x), target).backward()
    gradients = [p.grad.full_tensor() for p in model.parameters()]
    torch.testing.assert_close(gradients, gradients_of_one_process())


def dtensors_of_any_placement(rank: int) -> None:
    """Batches that do not divide, other dimensions sharded, gradients and indices of them all."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    mesh = dist.init_device_mesh("cpu", (RANKS,))
    torch.manual_seed(2)
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)
    for batch in ((3,), (1,), ()):
        for placement in (Shard(0), Shard(1), Replicate()):
            tensors = [torch.randn(*batch, 3, 9, 8), weight, bias]
            whole = [t.clone().requires_grad_() for t in tensors]
            parts = [
                distribute_tensor(t, mesh, [p]).requires_grad_()
                for t, p in zip(tensors, (placement, Shard(0), Replicate()), strict=True)
            ]
            got, want = (fastconv.conv2d(*ts, stride=2, padding=1) for ts in (parts, whole))
            assert got.shape == want.shape
            torch.testing.assert_close(got.full_tensor(), want)
            values, indices = fastconv.max_pool2d(got, 2, return_indices=True)
            want_values, want_indices = fastconv.max_pool2d(want, 2, return_indices=True)
            assert torch.equal(indices.full_tensor(), want_indices)
            values.square().sum().backward()
            want_values.square().sum().backward()
            for part, one in zip(parts, whole, strict=True):
                torch.testing.assert_close(part.grad.full_tensor(), one.grad)
    with pytest.raises(RuntimeError, match="mixed"):
        fastconv.conv2d(parts[0], weight)


WORK: tuple[Callable[[int], None], ...] = (
    data_parallel,
    fully_sharded,
    batch_of_dtensors,
    dtensors_of_any_placement,
)


def run(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS
    )
    for work in WORK:
        work(rank)
    dist.destroy_process_group()


def test_two_processes_do_as_one(tmp_path: Path) -> None:
    """One pair of processes for all WORK: each takes seconds to import torch."""
    mp.spawn(run, (tmp_path,), nprocs=RANKS)


class Blurred(Dataset[Tensor]):
    """Convolves in whichever process reads from it."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.images = torch.randn(8, 3, 20, 20)
        self.blur = fastconv.nn.Conv2d(3, 16, 3, padding=1).requires_grad_(False)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return fastconv.max_pool2d(self.blur(self.images[index]), 2)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start: str) -> None:
    data = Blurred()
    want = torch.stack([data[i] for i in range(len(data))])  # the parent's threads have worked
    loader = DataLoader(
        copy.deepcopy(data), 2, num_workers=2, multiprocessing_context=start, timeout=120
    )
    assert torch.equal(torch.cat(list(loader)), want)
