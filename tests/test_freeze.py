"""Packed weights that modules keep: never stale, never shared by accident, never unbounded."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from _algorithms import fp32_precision
from torch import Tensor

import fastconv
from fastconv._packed import PackedWeights, packed_memory


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.no_grad():
        yield


def layer(channels: int = 128) -> fastconv.nn.Conv2d:
    torch.manual_seed(0)
    return fastconv.nn.Conv2d(channels, channels, 3, padding=1)


def image(channels: int = 128, size: int = 20) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(1, channels, size, size)


def kept_by(module: torch.nn.Module) -> int:
    packed = module._packed
    return packed.nbytes if isinstance(packed, PackedWeights) else 0


def plain(module: torch.nn.Conv2d, x: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x, module.weight, module.bias, padding=1)


def needs_packing(module: fastconv.nn.Conv2d) -> None:
    module(image(module.in_channels))
    if kept_by(module) == 0:
        pytest.skip("no algorithm here gains by keeping this weight")


@pytest.mark.kernels
@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "frozen"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["nchw", "channels_last"])
def test_same_numbers_and_layout(frozen: bool, channels_last: bool) -> None:
    module = layer()
    if frozen:
        fastconv.freeze(module)
    for size in (20, 7, 33, 20):
        x = image(size=size)
        if channels_last:
            x = x.to(memory_format=torch.channels_last)
        ours, theirs = module(x), plain(module, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert ours.stride() == theirs.stride()


def in_place(module: fastconv.nn.Conv2d) -> None:
    module.weight.mul_(2)


def data_edit(module: fastconv.nn.Conv2d) -> None:
    module.weight.data[5, 7, 1, 1] += 1


def numpy_view(module: fastconv.nn.Conv2d) -> None:
    module.weight.detach().numpy()[0, 0, 0, 0] += 1


def last_bit(module: fastconv.nn.Conv2d) -> None:
    module.weight.view(-1)[-1].view(torch.int32).bitwise_xor_(1)


def fused_step(module: fastconv.nn.Conv2d) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, fused=True)
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def load(module: fastconv.nn.Conv2d) -> None:
    module.load_state_dict({k: v + 1 for k, v in module.state_dict().items()})


def channels_last(module: fastconv.nn.Conv2d) -> None:
    module.to(memory_format=torch.channels_last)


def new_parameter(module: fastconv.nn.Conv2d) -> None:
    module.weight = torch.nn.Parameter(module.weight + 1)


@pytest.mark.parametrize(
    "edit",
    [in_place, data_edit, numpy_view, last_bit, fused_step, load, channels_last, new_parameter],
)
def test_never_stale(edit: Callable[[fastconv.nn.Conv2d], None]) -> None:
    module, x = layer(), image()
    needs_packing(module)
    for _ in range(2):
        edit(module)
        again = fastconv.nn.Conv2d(128, 128, 3, padding=1)
        again.load_state_dict(module.state_dict())
        again.to(memory_format=torch.channels_last if edit is channels_last else None)
        assert torch.equal(module(x), again(x))
        assert module(x).stride() == plain(module, x).stride()


def test_a_cast_module_computes_in_its_new_dtype() -> None:
    module = fastconv.freeze(layer())
    needs_packing(module)
    for dtype in (torch.float64, torch.bfloat16, torch.float32):
        module.to(dtype)
        x = image().to(dtype)
        torch.testing.assert_close(module(x), plain(module, x), rtol=2e-2, atol=2e-2)


def test_frozen_does_not_look_and_unfrozen_does() -> None:
    module, x = fastconv.freeze(layer()), image()
    before = module(x)
    if kept_by(module) == 0:
        pytest.skip("no algorithm here keeps this weight")
    module.weight.mul_(2)
    bias = module.bias
    assert bias is not None
    assert torch.equal(module(x), before)  # the promise was broken, and believed
    with torch.enable_grad():
        recorded = module(x)
    torch.testing.assert_close(recorded, plain(module, x), rtol=1e-4, atol=1e-5)
    assert kept_by(fastconv.unfreeze(module)) == 0
    torch.testing.assert_close(module(x), plain(module, x), rtol=1e-4, atol=1e-5)


def test_training_a_frozen_module_uses_the_weight_as_it_is() -> None:
    module, x = fastconv.freeze(layer()), image()
    module(x)
    with torch.enable_grad():
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = module(x).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[0] > losses[1] > losses[2]


def test_packed_data_goes_nowhere() -> None:
    module = fastconv.freeze(layer())
    needs_packing(module)
    assert list(module.state_dict()) == ["weight", "bias"]
    assert kept_by(copy.deepcopy(module)) == 0
    pickled = pickle.dumps(module)
    assert len(pickled) < 1.1 * len(pickle.dumps(torch.nn.Conv2d(128, 128, 3))) + 2000
    loaded = pickle.loads(pickled)
    assert kept_by(loaded) == 0
    assert torch.equal(loaded(image()), module(image()))
    file = io.BytesIO()
    torch.save(module, file)
    assert file.tell() < 1.1 * module.weight.numel() * 4 + 10_000
    reverted = fastconv.revert(module)
    assert type(reverted) is torch.nn.Conv2d
    assert "_packed" not in reverted.__dict__


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = layer(), image()
    needs_packing(module)
    before = packed_memory()
    assert before >= kept_by(module)
    monkeypatch.setenv("FASTCONV_PACK_LIMIT_MB", "0")
    other = fastconv.freeze(layer())
    assert torch.equal(other(x), other(x))
    assert kept_by(other) == 0
    monkeypatch.setenv("FASTCONV_PACK_LIMIT_MB", str((before + 1000) / 2**20))
    assert torch.equal(other(image(size=21)), other(image(size=21)))
    assert kept_by(other) == 0
    del module
    assert packed_memory() < before


def test_many_sizes_share_what_is_kept() -> None:
    module = fastconv.freeze(layer())
    for size in range(8, 48):
        module(image(size=size))
    packed = module._packed
    assert packed is not None
    assert len(packed._choices) <= 16
    assert len(packed._kept.blobs) <= 4


def test_eight_threads_serve_one_module() -> None:
    module = layer()
    images = [image(size=size) for size in (12, 20, 29, 33)]
    expected = [plain(module, x) for x in images]
    failures: list[BaseException] = []

    def serve(seed: int) -> None:
        try:
            with torch.no_grad():
                for i in range(40):
                    which = (i + seed) % len(images)
                    torch.testing.assert_close(
                        module(images[which]), expected[which], rtol=1e-4, atol=1e-5
                    )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=serve, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def nothing_is_looked_for(*_: object) -> None:
    raise AssertionError("the memo of the last call was for this one")


@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "frozen"])
@pytest.mark.parametrize("channels", [64, 128])
def test_the_same_call_again_is_known(
    frozen: bool, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = layer(channels), image(channels)
    if frozen:
        fastconv.freeze(module)
    before = module(x)
    monkeypatch.setattr(PackedWeights, "find", nothing_is_looked_for)
    assert torch.equal(module(x), before)
    assert torch.equal(module(x.clone()), before)
    with pytest.raises(AssertionError, match="the memo"):
        module(image(channels, size=21))


def wider(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return image(size=23)


def in_channels_last(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


def two_images(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return torch.cat([x, x])


def without_batch(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return x[0]


def with_gaps(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return image(size=40)[:, :, ::2, ::2]


def more_stride(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    module.stride = (2, 1)
    return x


def more_padding(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    module.padding = (2, 0)
    return x


def no_bias(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    module.bias = None
    return x


def of_doubles(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    module.double()
    return x.double()


def other_values(module: fastconv.nn.Conv2d, x: Tensor) -> Tensor:
    return x + 1


@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "frozen"])
@pytest.mark.parametrize(
    "change",
    [
        wider, in_channels_last, two_images, without_batch, with_gaps, more_stride, more_padding,
        no_bias, of_doubles, other_values,
    ],
)  # fmt: skip
def test_another_call_is_noticed(
    frozen: bool, change: Callable[[fastconv.nn.Conv2d, Tensor], Tensor]
) -> None:
    module, x = layer(), image()
    if frozen:
        fastconv.freeze(module)
    module(x)
    other = change(module, x)
    for call in (other, other) if change in (of_doubles, more_stride) else (other, x, other):
        theirs = torch.nn.functional.conv2d(
            call, module.weight, module.bias, module.stride, module.padding
        )
        ours = module(call)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        assert ours.stride() == theirs.stride()


@pytest.mark.parametrize("frozen", [False, True], ids=["plain", "frozen"])
def test_another_weight_is_noticed(frozen: bool) -> None:
    """Of another kernel size, with gaps, expanded: not for what was chosen for the first."""
    module, x = layer(), image()
    if frozen:
        fastconv.freeze(module)
    module(x)
    big = torch.randn(128, 256, 3, 3) / 30
    for weight in (
        big[:, :128], big[::2, :128], big[:1, :128].expand(128, 128, 3, 3),
        torch.randn(128, 128, 1, 1), torch.randn(64, 128, 5, 5) / 30,
    ):  # fmt: skip
        module.weight = torch.nn.Parameter(weight)
        module.bias = None
        ours, theirs = module(x), plain(module, x)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(module(x), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [32, 64, 128, 256])
def test_a_promise_does_not_pass_to_another_weight_in_the_same_place(channels: int) -> None:
    """Memory that is given back is what the next allocation of that size gets."""
    x = image(channels)
    module = fastconv.freeze(layer(channels))
    for _ in range(10):
        module(x)
        del module.weight
        module.weight = torch.nn.Parameter(torch.randn(channels, channels, 3, 3) / 30)
        theirs = plain(module, x)
        torch.testing.assert_close(module(x), theirs, rtol=1e-4, atol=1e-4)
        module.bfloat16()
        module.float()
        theirs = plain(module, x)
        torch.testing.assert_close(module(x), theirs, rtol=1e-4, atol=1e-4)


def test_a_promise_ends_with_its_memory() -> None:
    module = fastconv.freeze(layer())
    module(image())
    weight = weakref.ref(module.weight.untyped_storage())
    fastconv.unfreeze(module)
    del module.weight
    gc.collect()
    assert weight() is None


def test_threads_that_start_to_keep_at_once() -> None:
    """The list of all that is kept grows while another thread adds it up."""
    failures: list[BaseException] = []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(10):
            net = torch.nn.Sequential(*[fastconv.nn.Conv2d(32, 32, 3) for _ in range(60)])

            def serve(net: torch.nn.Module = net) -> None:
                try:
                    for module in net:
                        PackedWeights()
                        module._packed_weights()
                        packed_memory()
                except BaseException as error:
                    failures.append(error)

            threads = [threading.Thread(target=serve) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures


def test_a_forward_of_the_modules_own_is_called() -> None:
    """Known as seamless tiling: the instance gets a _conv_forward of its own."""

    def circular(
        self: torch.nn.Conv2d, input: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        padded = torch.nn.functional.pad(input, (1, 1, 1, 1), mode="circular")
        return torch.nn.functional.conv2d(padded, weight, bias)

    module = torch.nn.Conv2d(8, 8, 3, padding=1)
    module._conv_forward = circular.__get__(module)  # type: ignore[method-assign]
    converted = fastconv.convert(copy.deepcopy(module))
    for _ in range(3):
        torch.testing.assert_close(converted(image(8)), module(image(8)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [np.int64(2), torch.tensor(2), 2])
def test_groups_of_any_integer_type(groups: Any) -> None:
    module = fastconv.nn.Conv2d(128, 128, 3, padding=1, groups=2)
    module.groups = groups
    theirs = torch.nn.functional.conv2d(image(), module.weight, module.bias, padding=1, groups=2)
    for _ in range(2):
        torch.testing.assert_close(module(image()), theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("groups", [True, 1.0, None, (1,)])
def test_groups_that_are_none_are_refused_as_torch_does(groups: Any) -> None:
    ours, theirs = layer(), torch.nn.Conv2d(128, 128, 3, padding=1)
    ours.groups = theirs.groups = groups
    with pytest.raises(Exception) as wanted:  # noqa: PT011  whatever torch raises
        theirs(image())
    with pytest.raises(type(wanted.value)):
        ours(image())


ONES = (1, 1, 1, 1, 1, 1, 1)


def test_a_memo_is_of_one_call() -> None:
    x, weight = image(), layer().weight.detach()
    kept, memo_of = torch.ops.fastconv._conv2d_kept, torch.ops.fastconv._conv2d_memo
    memo = memo_of(x, weight, torch.ops.fastconv.weight_fingerprint(weight), *ONES)
    assert kept(x, weight, None, memo, None, *ONES) is not None
    assert kept(x, weight.clone(), None, memo, None, *ONES) is None
    assert kept(x.double(), weight.double(), None, memo, None, *ONES) is None
    assert kept(x[0], weight, None, memo, None, *ONES) is None
    assert kept(x, weight, None, memo, None, *ONES[:-2], 2, 1) is None
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        assert kept(x, weight, None, memo, None, *ONES) is None
    finally:
        torch.set_num_threads(threads)
    with fp32_precision("tf32"):
        assert kept(x, weight, None, memo, None, *ONES) is None
    weight[3, 5, 1, 2] += 1
    assert kept(x, weight, None, memo, None, *ONES) is None
    promised = memo_of(x, weight, None, *ONES)
    weight[3, 5, 1, 2] += 1
    assert kept(x, weight, None, promised, None, *ONES) is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda memo: memo[:-8], lambda memo: memo[:0], lambda memo: torch.zeros_like(memo),
        lambda memo: memo.float(), lambda memo: memo.view(2, -1),
        lambda memo: memo.repeat_interleave(2)[::2],
    ],
    ids=["short", "empty", "zeros", "float", "matrix", "strided"],
)  # fmt: skip
def test_a_spoilt_memo_is_refused(spoil: Callable[[Tensor], Tensor]) -> None:
    x, weight = image(), layer().weight.detach()
    memo = torch.ops.fastconv._conv2d_memo(x, weight, None, *ONES)
    with pytest.raises(RuntimeError, match="Expected memo to be"):
        torch.ops.fastconv._conv2d_kept(x, weight, None, spoil(memo), None, *ONES)


def test_explain_shows_what_is_kept() -> None:
    module = fastconv.freeze(layer())
    needs_packing(module)
    row = fastconv.explain(module, image()).rows[0]
    assert row.packed_bytes == kept_by(module) > 0
    assert row.algorithm is not None
    assert f"{row.packed_bytes:,} B" in str(fastconv.explain(module, image()))


def test_padding_by_name_and_by_mode() -> None:
    for options in ({"padding": "same"}, {"padding": 1, "padding_mode": "circular"}):
        torch.manual_seed(0)
        ours = fastconv.nn.Conv2d(64, 64, 3, **options)
        theirs = torch.nn.Conv2d(64, 64, 3, **options)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(ours(image(64)), theirs(image(64)), rtol=1e-4, atol=1e-5)


def test_flops_are_counted_as_ever() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    counts = []
    for module in (fastconv.freeze(layer()), torch.nn.Conv2d(128, 128, 3, padding=1)):
        module(image())
        with FlopCounterMode(display=False) as counter:
            module(image())
        counts.append(counter.get_total_flops())
    assert counts[0] == counts[1] > 0


def test_wrong_input_is_refused_in_torchs_words() -> None:
    module = fastconv.freeze(layer())
    module(image())
    with pytest.raises(RuntimeError, match=r"expected input.* to have 128 channels"):
        module(torch.randn(1, 64, 20, 20))
    with pytest.raises(RuntimeError, match="should be the same"):
        module(image().double())


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "channels_last"])
def test_fingerprint_reads_every_byte_once(layout: str) -> None:
    weight = torch.arange(7 * 5 * 3 * 3, dtype=torch.float32).reshape(7, 5, 3, 3)
    if layout == "transposed":
        weight = weight.transpose(0, 1)
    elif layout == "channels_last":
        weight = weight.to(memory_format=torch.channels_last)
    fingerprint = torch.ops.fastconv.weight_fingerprint
    seen = {fingerprint(weight)}
    for i in range(weight.numel()):
        index = torch.unravel_index(torch.tensor(i), weight.shape)
        changed = weight.clone()
        changed[index] += 0.5
        seen.add(fingerprint(changed))
    assert len(seen) == weight.numel() + 1
    assert fingerprint(weight) == fingerprint(weight.clone())
    with pytest.raises(RuntimeError, match="without gaps"):
        fingerprint(weight[..., ::2])
