"""The bench's arithmetic and its command line. Nothing here is timed."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from _subprocess import output_of
from torch import nn

from fastconv._bench import command, shape_files
from fastconv._bench.catalogue import all_layers, every_layer, layers_of
from fastconv._bench.changes import changes
from fastconv._bench.compare import WrongResultError, judge
from fastconv._bench.layers import Conv, Pool, distinct, input_of, spread
from fastconv._bench.networks import NETWORKS, Network
from fastconv._bench.passes import prepare
from fastconv._bench.results import BadResultsError, Regret, Results, Row, geometric_mean, load
from fastconv._bench.settings import Setting
from fastconv._bench.subjects import can_have, work_of

BY_NAME = {network.name: network for network in NETWORKS}

# Parameters and multiply-adds (convolutions and linear layers, one image) as published with
# torchvision's weights; LeNet-5, CIFAR-10 quick and ResNet-20 from their papers' layer tables.
PUBLISHED = {
    "LeNet-5": (61_706, 416_520),
    "CIFAR-10 quick": (145_578, 12_354_176),
    "ResNet-20": (269_722, 40_551_040),
    "AlexNet": (61_100_840, 714e6),
    "VGG-16": (138_357_544, 15.470e9),
    "GoogLeNet": (6_624_904, 1.498e9),
    "ResNet-18": (11_689_512, 1.814e9),
    "ResNet-50": (25_557_032, 4.089e9),
    "ResNeXt-50": (25_028_904, 4.230e9),
    "DenseNet-121": (7_978_856, 2.834e9),
    "MobileNetV2": (3_504_872, 0.301e9),
    # torchvision's 42,004,074 have an auxiliary classifier of 2,365,205; output stride 8 there
    "DeepLabv3": (39_638_869, None),
}


def on_meta(network: Network) -> nn.Module:
    with torch.device("meta"):
        return network.build().eval()


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_networks_are_the_published_ones(network: Network) -> None:
    parameters, work = PUBLISHED[network.name]
    model = on_meta(network)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    output = model(torch.empty(2, network.channels, network.size, network.size, device="meta"))
    assert output.shape[0] == 2
    if work is not None:
        linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))
        convolutions = sum(la.work for la in every_layer(network) if isinstance(la, Conv))
        assert convolutions + linear == pytest.approx(work, rel=5e-4 if work < 1e8 else 2e-3)


def test_each_network_ends_in_its_classes() -> None:
    for network in NETWORKS:
        images = torch.empty(1, network.channels, network.size, network.size, device="meta")
        output = on_meta(network)(images)
        classes = {32: (10,), 224: (1000,), 513: (21, 513, 513)}[network.size]
        assert output.shape[1:] == classes


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_layers_are_each_shape_once_with_its_count(network: Network) -> None:
    every, listed = every_layer(network), layers_of(network)
    bare = [replace(layer, network="", name="", count=1) for layer in listed]
    assert len(set(bare)) == len(bare)
    if network.dilated_only:
        assert all(max(layer.dilation) > 1 for layer in listed)
    else:
        assert sum(layer.count for layer in listed) == len(every)
        assert sum(layer.work * layer.count for layer in listed) == sum(la.work for la in every)


def test_output_plane_is_torchs() -> None:
    for layer in all_layers():
        with torch.device("meta"):
            output = layer.module()(torch.empty(1, layer.channels, *layer.plane))
        assert output.numel() > 0
        if isinstance(layer, Conv):
            assert output.shape[-2:] == layer.output_plane


def test_a_shape_of_two_networks_is_listed_once() -> None:
    layers = all_layers()
    stems = [la for la in layers if isinstance(la, Conv) and la.kernel == (7, 7)]
    assert [(la.network, la.count) for la in stems] == [("GoogLeNet", 1)]
    assert all_layers("DenseNet")[0].network == "DenseNet-121"
    assert len(distinct(layers)) == len(layers) > 200


def test_kinds_cover_what_the_targets_are_stated_for() -> None:
    kinds = {layer.kind for layer in all_layers()}
    assert kinds >= {
        *("1x1", "3x3", "3x3 strided", "first layer", "grouped", "dilated", "depthwise 3x3"),
        "max pool",
    }


def test_spread_is_even_and_keeps_the_order() -> None:
    layers = all_layers()[:100]
    assert spread(layers, None) == layers
    assert spread(layers, 1000) == layers
    assert spread(layers, 4) == [layers[0], layers[25], layers[50], layers[75]]


CSV = """suite,network,layer,N,C,H,W,K,R,S,stride_h,stride_w,pad_h,pad_w,dil_h,dil_w,groups
a,net,one,4,8,9,7,6,3,1,2,1,1,0,1,1,2
a,net,two,8,8,9,7,6,3,1,2,1,1,0,1,1,2
a,net,three,8,8,9,7,6,3,1,2,1,1,0,2,1,1
"""


def test_shape_files(tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text(CSV)
    first, second = shape_files.read(path)
    assert first == Conv(
        "net", "one", 8, (9, 7), 6, (3, 1), (2, 1), (1, 0), (1, 1), groups=2, count=2
    )
    assert first.module()(input_of(first, 4)).shape == (4, 6, *first.output_plane)
    assert (second.name, second.kind, second.count) == ("three", "dilated", 1)


def test_pooling_files_leave_averages_out(tmp_path: Path) -> None:
    path = tmp_path / "pools.csv"
    path.write_text(
        "network,layer,C,H,W,R,S,stride_h,stride_w,pad_h,pad_w,dil_h,dil_w,ceil_mode,kind\n"
        "net,p1,8,9,7,3,3,2,2,0,0,1,1,1,max\nnet,p2,8,9,7,2,2,2,2,0,0,1,1,0,avg\n"
    )
    assert shape_files.read(path) == [Pool("net", "p1", 8, (9, 7), (3, 3), (2, 2), ceil_mode=True)]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("network,layer\n", "no column C, H, R"),
        (CSV.replace("net,two,8,8", "net,two,8,x"), "line 3: C is 'x', not a number"),
        (CSV.splitlines()[0], "lists no layer"),
    ],
)
def test_bad_shape_files(text: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "shapes.csv"
    path.write_text(text)
    with pytest.raises(shape_files.BadShapeFileError, match=complaint):
        shape_files.read(path)


def row(name: str = "a", ours: float = 1.0, theirs: float = 2.0, **setting: object) -> Row:
    return Row(
        network="net",
        name=name,
        kind="3x3",
        shape="8x9x9 3x3 -> 4",
        count=3,
        setting=replace(Setting(threads=1), **setting),  # type: ignore[arg-type]
        work=1000,
        seconds={
            "torch": {"NCHW": 1.5 * theirs, "NHWC": theirs},
            "fastconv": {"NCHW": ours, "NHWC": 3 * ours},
        },
        spread={"torch": {"NCHW": 0.1, "NHWC": 0.1}, "fastconv": {"NCHW": 0.1, "NHWC": 0.1}},
        error={"torch": 1e-7, "fastconv": 2e-7, "allowed": 2e-6},
        algorithms={"NCHW": "x", "NHWC": "y"},
        peak_bytes={"torch": {"NCHW": 1, "NHWC": 2}, "fastconv": {"NCHW": 3, "NHWC": 4}},
    )


def regret(chosen: str, **seconds: float) -> Regret:
    setting = Setting(threads=1)
    return Regret("net", "a", "3x3", "8x9x9 3x3 -> 4", 1, setting, "NCHW", chosen, seconds)


MACHINE = {
    "cpu": "CPU",
    "cores": "2",
    "instruction set": "avx2 (this CPU has avx2)",
    "python": "3",
    "torch": "2",
    "fastconv": "0",
    "date": "2026-11-21T00:00:00",
}


def test_each_side_is_judged_by_its_faster_layout() -> None:
    measured = row(ours=1.0, theirs=2.0)
    assert measured.best("torch") == ("NHWC", 2.0)
    assert measured.best("fastconv") == ("NCHW", 1.0)
    assert measured.ratio == 2.0
    assert measured.algorithm == "x"
    assert measured.rate("fastconv") == 2000.0


def test_regret_is_the_time_lost_by_the_choice() -> None:
    assert regret("a", a=1.0, b=2.0).regret == 0.0
    assert regret("a", a=1.5, b=1.0, c=2.0).regret == pytest.approx(0.5)
    assert regret("a", a=1.5, b=1.0, c=2.0).best == "b"


def test_geometric_mean() -> None:
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


def test_results_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.json"
    results = Results(
        MACHINE,
        {"limit": "1"},
        {"float32, 1": 1e11},
        [row(), row("b", precision="tf32", frozen=True)],
        [regret("a", a=1.0, b=2.0)],
        ["wrong"],
    )
    results.save(path)
    assert load(path) == results
    assert len(results.settings()) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 0}',
        '{"format": 1}',
        '{"format": 1, "rows": [{}], "regrets": []}',
    ],
)
def test_what_is_no_result_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(BadResultsError, match=re.escape(str(path))):
        load(path)


def test_changes_are_of_the_ratios_and_the_worst_comes_first() -> None:
    before = Results(MACHINE, rows=[row("a", 1, 2), row("b", 1, 2), row("gone")])
    after = Results(MACHINE, rows=[row("a", 2, 8), row("b", 4, 2), row("new"), row("a", batch=16)])
    found = changes(before, after)
    assert [(change.after.name, change.factor) for change in found.common] == [
        ("b", pytest.approx(0.25)),
        ("a", pytest.approx(2.0)),
    ]
    assert [r.name for r in found.only_before] == ["gone"]
    assert [(r.name, r.setting.batch) for r in found.only_after] == [("new", 1), ("a", 16)]


def test_a_wrong_result_is_not_within_its_bound() -> None:
    exact = (torch.ones(4, dtype=torch.float64),)
    right, wrong = (torch.ones(4),), (torch.ones(4) * 1.001,)
    assert judge(right, right, exact, 0.0).ok
    assert not judge(wrong, right, exact, 1e-4).ok
    assert not judge((torch.ones(4) * torch.nan,), right, exact, 1.0).ok
    with pytest.raises(WrongResultError, match="fastconv gives"):
        judge((torch.ones(2),), right, exact, 1.0)


def test_passes_compute_what_their_names_say() -> None:
    layer = nn.Conv2d(3, 4, 3)
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(prepare(layer, x, "forward")()[0], layer(x))
    (grad_input,) = prepare(layer, x.clone(), "input gradient")()
    (grad_weight,) = prepare(layer, x.clone(), "weight gradient")()
    assert grad_input.shape == x.shape
    assert grad_weight.shape == layer.weight.shape
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 10))
    shapes = [gradient.shape for gradient in prepare(model, x, "training step")()]
    assert shapes == [parameter.shape for parameter in model.parameters()]


def test_settings_come_into_force_and_go() -> None:
    switch = torch.backends.mkldnn.conv
    before = switch.fp32_precision
    with Setting(precision="ieee", threads=1).in_force():
        assert switch.fp32_precision == "ieee"
    assert switch.fp32_precision == before


def test_which_setting_is_for_what() -> None:
    pool = Pool("net", "p", 8, (9, 9), (2, 2), (2, 2))
    conv = Conv("net", "c", 8, (9, 9), 4, (3, 3))
    resnet = BY_NAME["ResNet-50"]
    for direction, wanted in {
        "forward": (pool, conv, resnet),
        "input gradient": (pool, conv),
        "weight gradient": (conv,),
        "training step": (resnet,),
    }.items():
        setting = Setting(direction=direction, threads=1)  # type: ignore[arg-type]
        assert tuple(s for s in (pool, conv, resnet) if can_have(s, setting)) == wanted
    assert not can_have(pool, Setting(precision="tf32"))
    step = Setting(direction="training step", batch=8)
    assert work_of(resnet, step) == pytest.approx(8 * 3 * 4.087e9, rel=1e-3)


def run(*arguments: str) -> int:
    """The exit code, of argparse's own errors too."""
    try:
        return command.main(arguments)
    except SystemExit as stopped:
        return int(stopped.code or 0)


def test_dry_run_says_what_would_be_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dry-run", "--network", "alexnet", "--pass", "all", "--batch", "1", "16") == 0
    lines = capsys.readouterr().out.splitlines()
    # 5 convolutions with three passes and 3 poolings with two, at two batch sizes
    assert lines[-1].startswith("42 comparisons")
    assert any("conv1: 3x224x224 11x11/4 -> 64; weight gradient" in line for line in lines)


def test_sixteen_bit_types_have_no_precision(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--dtype", "float32", "bfloat16", "--precision", "none", "tf32", "--limit", "1")
    assert run("--dry-run", "--kind", "3x3", *options) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("3 comparisons")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--network", "nonsense"], "no layer"),
        (["--kind", "max pool", "--pass", "wgrad"], "no layer has that pass"),
        (["--models", "--network", "LeNet-5"], "no network has 'LeNet-5'"),
        (["--models", "--pass", "dgrad"], "a whole network has no input gradient"),
        (["--pass", "training"], "add --models"),
        (["--models", "--pass", "training", "--freeze"], "--freeze"),
        (["--models", "--pass", "training", "--dtype", "bfloat16"], "float32 alone"),
        (["--algorithm", "nonsense"], "no algorithm is called 'nonsense'"),
        (["--algorithm", "conv2d_fprop_reference", "--pass", "dgrad"], "computes the forward"),
        (["--regret", "--freeze"], "--regret"),
        (["--csv", "/nonexistent.csv"], "cannot be read"),
        (["--load", "/nonexistent.json"], "cannot be read"),
        (["--compare", "/nonexistent.json", "/nonexistent.json"], "cannot be read"),
        (["--json", "/proc/nonexistent/a.json"], "cannot be written"),
        (["--seconds", "-1"], "no length of time"),
        (["--batch", "0"], "'0' is not a positive number"),
        (["--batch", "many"], "'many' is not a positive number"),
        (["--threads", "99999999999"], "is not a positive number"),
        (["--seconds", "long"], "'long' is no length of time"),
        (["--dtype", "int8"], "int8"),
        (["--threads", "many"], "many"),
    ],
)
def test_wishes_that_cannot_be_met(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert complaint in captured.err
    assert "Traceback" not in captured.err
    assert not captured.out


@pytest.mark.parametrize("library", ["rich", "matplotlib"])
def test_missing_libraries_are_named(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    if library == "matplotlib":
        known = {"rich": object()}
        monkeypatch.setattr(command.importlib.util, "find_spec", known.get)
    assert run("--dry-run", "--plot", "a.png") == 2
    assert f"{library} " in capsys.readouterr().err


def test_a_run_ends_in_a_file_and_two_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The smallest layers, as few rounds as there are: what comes out, not how fast."""
    path, picture = tmp_path / "a.json", tmp_path / "a.png"
    options = ("--network", "LeNet-5", "--seconds", "0", "--pass", "all")
    assert run(*options, "--json", str(path), "--plot", str(picture)) == 0
    results = load(path)
    assert len(results.rows) == 10
    assert not results.failures
    assert {row.setting.direction for row in results.rows} == {
        *("forward", "input gradient", "weight gradient")
    }
    for measured in results.rows:
        assert measured.error["fastconv"] <= measured.error["allowed"]
        assert set(measured.algorithms) == {"NCHW", "NHWC"}
        assert measured.ratio > 0
    names = sorted(file.name for file in tmp_path.glob("*.png"))
    assert len(names) == 6
    assert sum(name.endswith("-gflops.png") for name in names) == 3
    capsys.readouterr()
    assert run("--compare", str(path), str(path)) == 0
    assert "10 comparisons, geometric mean of the changes 1.000x" in capsys.readouterr().out
    assert run("--load", str(path)) == 0
    assert capsys.readouterr().out.count("LeNet-5 conv1") >= 3


def test_regret_run(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    options = ("--regret", "--network", "LeNet-5", "--seconds", "0", "--json", str(path))
    assert run(*options, "--pass", "fprop", "dgrad") == 0
    entries = load(path).regrets
    assert len(entries) == 16
    for entry in entries:
        assert entry.chosen in entry.seconds
        assert entry.regret >= 0
    assert max(len(entry.seconds) for entry in entries) > 1


def test_memory_of_a_call_holds_its_output_at_least(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    options = ("--network", "VGG", "--layers", "conv1_1", "--memory", "--seconds", "0")
    assert run(*options, "--layout", "NHWC", "--json", str(path)) == 0
    (measured,) = load(path).rows
    output = 64 * 224 * 224 * 4
    for side in ("torch", "fastconv"):
        assert 0.9 * output < measured.peak_bytes[side]["NHWC"] < 20 * output


def test_wrong_results_are_reported_and_not_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs_and_ours = itertools.cycle([0.0, 1e-3])
    monkeypatch.setattr("fastconv._bench.compare.relative_error", lambda *_: next(theirs_and_ours))
    path = tmp_path / "a.json"
    options = ("--network", "LeNet-5", "--layers", "conv1", "--seconds", "0", "--json", str(path))
    assert run(*options) == 1
    assert "FAILED LeNet-5 conv1" in capsys.readouterr().out
    saved = json.loads(path.read_text())
    assert len(saved["failures"]) == 1
    assert saved["rows"] == []


def test_importing_fastconv_loads_no_bench() -> None:
    code = "import sys, fastconv; print([n for n in sys.modules if n.startswith('fastconv._b')])"
    assert output_of(code).strip() == "[]"


def test_both_command_lines_are_one() -> None:
    code = """
        import subprocess, sys
        for module in (["bench"], ["fastconv", "bench"]):
            command = [sys.executable, "-m", *module, "--dry-run", "--network", "LeNet-5"]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        """
    first, second = output_of(code).strip().split("\n\n")
    assert first == second.strip()
    assert "4 comparisons" in first


def test_what_a_call_costs(tmp_path: Path) -> None:
    path = tmp_path / "calls.json"
    code = f"""
        import sys
        from bench.calls import main
        sys.argv[1:] = ["--seconds", "0.01", "--json", {str(path)!r}]
        raise SystemExit(main())
        """
    table = output_of(code).splitlines()
    calls = json.loads(path.read_text(encoding="utf-8"))["calls"]
    assert len(calls) == len(table) - 3 == 6
    assert all(call["torch"] > 0 and call["fastconv"] > 0 for call in calls)
