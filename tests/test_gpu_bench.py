"""The GPU bench, as far as it goes without one: on the CPU, by a stopwatch that counts calls."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import gpu
from fastconv._bench.layers import Conv, Pool

LAYERS = [
    Conv("net", "conv", 4, (6, 6), 8, (3, 3), padding=(1, 1)),
    Pool("net", "pool", 4, (6, 6), (2, 2), (2, 2)),
]


def stopwatch(call: gpu.Call, cold: bool) -> float:
    call()
    return 2.0 if cold else 1.0


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("direction", ["forward", "input gradient"])
def test_a_warm_and_a_cold_row(layer: Conv | Pool, direction: str) -> None:
    warm, cold = gpu.measure(layer, direction, "float32", 3, stopwatch, device="cpu")
    assert (warm.cold, warm.fastconv_ms, warm.ratio) == (False, 1.0, 1.0)
    assert (cold.cold, cold.fastconv_ms, cold.ratio) == (True, 2.0, 1.0)
    assert warm.error < 1e-6
    if isinstance(layer, Conv):
        assert warm.tflops == pytest.approx(2 * 3 * 36 * 8 * 4 * 9 / 1e-3 / 1e12)


def test_bytes_are_those_of_every_tensor_once() -> None:
    conv, pool = LAYERS
    assert gpu.bytes_moved(conv, "forward", 2, 4) == 4 * (2 * 4 * 36 + 2 * 8 * 36 + 8 * 4 * 9)
    assert gpu.bytes_moved(pool, "forward", 2, 4) == 4 * (2 * 4 * 36 + 2 * 4 * 9)
    assert gpu.bytes_moved(pool, "input gradient", 2, 4) == 4 * (288 + 72) + 8 * 72


def test_rows_and_their_summary_are_written(tmp_path: Path) -> None:
    rows = gpu.measure(LAYERS[0], "forward", "float32", 1, stopwatch, device="cpu")
    facts = {"gpu": "Some GPU", "date": "2026-11-21T10:00:00"}
    path = gpu.write(rows, facts, tmp_path)
    assert path.name == "some-gpu-2026-11-21.json"
    assert len(json.loads(path.read_text())["rows"]) == 2
    assert "1.00 (net conv)" in path.with_suffix(".txt").read_text()
