"""``python -m fastconv``: what it prints, its exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import errno
import importlib.util
import itertools
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _subprocess import ROOT

import fastconv
from fastconv.__main__ import main


def outcome(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    try:
        code = main(arguments)
    except SystemExit as exit:  # argparse's own
        code = int(exit.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_info_is_what_a_bug_report_needs(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, "info")
    assert (code, err) == (0, "")
    for fact in (f"fastconv: {fastconv.__version__}", "torch: ", "compiler: ", "CUDA: "):
        assert fact in out
    assert "instruction set: " in out
    assert all(algorithm.name in out for algorithm in fastconv.algorithms())


@pytest.mark.parametrize("command", [[], ["info"], ["explain"], ["bench"]], ids=str)
def test_help(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    code, out, err = outcome(capsys, *command, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: python -m fastconv")


def test_explain_a_network_of_the_bench(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, "explain", "lenet-5", "--frozen")
    assert (code, err) == (0, "")
    assert "total: 4 layers" in out
    assert "conv2d_fprop_reference" in out.split("against the others")[1]


def test_explain_a_convolution(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(
        capsys, "explain", "--input", "2x8x20x20", "--weight", "16x4x3x3", "--groups", "2",
        "--padding", "1", "--stride", "2x1", "--dtype", "bfloat16", "--channels-last",
        "--backward", "--threads", "1",
    )  # fmt: skip
    assert code == 0
    table = out.split("\n\n")[0]
    assert "2x8x20x20 * 16x4x3x3 stride 2x1 padding 1x1 groups 2 bfloat16 channels_last" in table
    for direction in ("fprop", "dgrad", "wgrad"):
        assert f"conv2d {direction}" in table
    assert "2x16x10x20" in table


def test_explain_a_pooling(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(
        capsys, "explain", "--input", "1x8x20x20", "--window", "3x2", "--stride", "2"
    )
    assert code == 0
    assert "max_pool2d forward  1x8x20x20 window 3x2 stride 2x2" in out


MODELS = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(2))

def broken():
    raise OSError("no weights here")

def number():
    return 3

def leaves():
    raise SystemExit(0)

class Leaves(torch.nn.Module):
    def forward(self, x):
        raise SystemExit

constant = 4
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    path = tmp_path / "some_models.py"
    path.write_text(MODELS)
    return path


def test_explain_a_model_of_ones_own(
    capsys: pytest.CaptureFixture[str], models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = outcome(capsys, "explain", f"{models}:build", "--input", "2x3x9x9")
    assert code == 0
    assert "total: 2 layers, 224 parameters" in out
    monkeypatch.chdir(models.parent)
    code, again, _ = outcome(capsys, "explain", "some_models:build", "--input", "2x3x9x9")
    assert (code, again) == (0, out)
    assert str(models.parent) not in sys.path


@pytest.mark.parametrize("name", ["types.py", "my-model.v2.py"])
def test_a_file_is_found_by_its_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    """Its name may be another module's, or none that can be imported."""
    (tmp_path / "beside.py").write_text("channels = 3")
    (tmp_path / name).write_text(
        "from __future__ import annotations\nimport beside, dataclasses\n"
        "@dataclasses.dataclass\nclass Config:\n    out: int = 8\n" + MODELS
    )
    code, out, err = outcome(capsys, "explain", f"{tmp_path / name}:build", "--input", "2x3x9x9")
    assert (code, err) == (0, "")
    assert "total: 2 layers, 224 parameters" in out


MISTAKES = {
    "nothing asked": ([], "give a model"),
    "two things asked": (["LeNet-5", "--weight", "1x1x1x1"], "one of them"),
    "no such network": (["ResNet-5000"], "no network is called 'ResNet-5000'"),
    "no such module": (["nowhere:build"], "nowhere cannot be imported: ModuleNotFoundError"),
    "no such file": (["nowhere.py:build"], "there is no file nowhere.py"),
    "no such function": (["{models}:missing"], "has no missing"),
    "not callable": (["{models}:constant"], "cannot be called"),
    "a model that fails": (["{models}:broken"], "raised OSError: no weights here"),
    "a model that ends the process": (["{models}:leaves"], "raised SystemExit: 0"),
    "a forward that does": (["{models}:Leaves", "--input", "1x4x9x9"], "refuses images of 1x4x9x9"),
    "no model": (["{models}:number"], "returns int, not a torch.nn.Module"),
    "no input": (["{models}:build"], "--input is needed"),
    "wrong channels": (["{models}:build", "--input", "1x4x9x9"], "refuses images of 1x4x9x9"),
    "too small": (["LeNet-5", "--input", "1x1x2x2"], "refuses images of 1x1x2x2"),
    "option of a problem": (["LeNet-5", "--stride", "2"], "--stride belongs to a single problem"),
    "option of a model": (["--weight", "1x1x1x1", "--frozen"], "--frozen is for a model"),
    "no input of a problem": (["--weight", "1x1x1x1"], "--input is needed"),
    "does not fit": (["--input", "1x4x9x9", "--weight", "8x5x3x3"], "5 channels"),
    "groups of a pooling": (
        ["--input", "1x4x9x9", "--window", "2", "--groups", "2"],
        "a pooling has no --groups",
    ),
    "padding of a pooling": (
        ["--input", "1x4x9x9", "--window", "2", "--padding", "2"],
        "pad should be at most half",
    ),
    "not a size": (["--input", "1x4xbig"], "'1x4xbig' is not a size"),
    "not a pair": (["--input", "1x4x9x9", "--window", "1x2x3"], "neither a number nor a pair"),
    "too large": (["--input", "999999x999999x999999x9", "--window", "2"], "--input 999999x"),
    "no threads": (["LeNet-5", "--threads", "0"], "'0' is not a number of threads"),
    "too many threads": (["LeNet-5", "--threads", "99999999999"], "is not a number of threads"),
    "no such dtype": (["LeNet-5", "--dtype", "int8"], "invalid choice"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered_in_a_sentence(
    capsys: pytest.CaptureFixture[str], models: Path, mistake: str
) -> None:
    arguments, answer = MISTAKES[mistake]
    code, out, err = outcome(capsys, "explain", *(a.format(models=models) for a in arguments))
    assert code == 2
    assert out == ""
    assert answer in err
    assert "python -m fastconv explain: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["info", "explain LeNet-5"])
def test_a_bad_setting_of_the_environment_is_a_sentence(command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fastconv", *command.split()],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
        env={**os.environ, "FASTCONV_MAX_ISA": "sse2"},
    )  # fmt: skip
    assert (result.returncode, result.stdout) == (2, "")
    assert "FASTCONV_MAX_ISA is 'sse2'; it takes one of scalar, avx2" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "fastconv", "info"],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, cwd=ROOT,
        )  # fmt: skip
    assert result.returncode == 1
    assert result.stderr == (
        "python -m fastconv: the output cannot be written: No space left on device\n"
    )


def test_a_closed_pipe_is_no_error() -> None:
    result = subprocess.run(
        f"{sys.executable} -m fastconv info | head -1",
        shell=True, capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert result.stdout == f"fastconv: {fastconv.__version__}\n"
    assert result.stderr == ""


def takes_interrupts() -> None:
    """For what a shell has in the background, where SIGINT is ignored and Python leaves it so."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupted_explain_ends_without_a_traceback(tmp_path: Path) -> None:
    """With the code of a shell's own Ctrl-C."""
    (tmp_path / "slow.py").write_text(
        "import time\ndef build():\n    print('begun', flush=True)\n    time.sleep(100)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv", "explain", f"{tmp_path}/slow.py:build"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        preexec_fn=takes_interrupts,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


needs_the_bench = pytest.mark.skipif(
    any(importlib.util.find_spec(library) is None for library in ("rich", "matplotlib")),
    reason="needs fastconv[bench]",
)


def on_a_terminal(*arguments: str, interrupt_at: str = "") -> tuple[int, str]:
    """The exit code of a bench, and what the terminal was sent; Ctrl-C once that is on it."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fastconv", "bench", *arguments],
        stdin=its, stdout=its, stderr=its, cwd=ROOT, env={**os.environ, "TERM": "xterm"},
        preexec_fn=takes_interrupts,
    )  # fmt: skip
    os.close(its)
    shown = b""
    try:
        while True:
            waiting = bool(interrupt_at) and interrupt_at.encode() not in shown
            try:
                shown += os.read(ours, 65536)
            except OSError as error:  # how a terminal ends that nobody writes to any more
                assert error.errno == errno.EIO  # noqa: PT017
                return process.wait(60), shown.decode()
            if waiting and interrupt_at.encode() in shown:
                process.send_signal(signal.SIGINT)
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@needs_the_bench
def test_an_interrupted_bench_keeps_what_it_has_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    options = ("--network", "LeNet-5", "--seconds", "100", "--json", str(path))
    code, shown = on_a_terminal(*options, interrupt_at="LeNet-5 conv1")
    assert "interrupted: what was measured so far is kept" in shown
    assert "Traceback" not in shown
    assert path.exists()
    assert code == 130


@needs_the_bench
def test_a_bench_counts_its_layers_on_a_terminal_alone() -> None:
    options = ("--network", "LeNet-5", "--seconds", "0")
    code, shown = on_a_terminal(*options)
    counts = re.findall(r" (\d)/4 ", re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown))
    assert code == 0
    assert (counts[0], counts[-1]) == ("0", "4")
    assert sum(b < a for a, b in itertools.pairwise(counts)) <= 1  # drawn late, by another thread
    piped = subprocess.run(
        [sys.executable, "-m", "fastconv", "bench", *options],
        capture_output=True, text=True, timeout=120, cwd=ROOT,
    )  # fmt: skip
    assert (piped.returncode, piped.stderr) == (0, "")
    assert "LeNet-5 conv1" in piped.stdout
    assert not re.search(r"\d/4\b|[\x1b\r\u2501]", piped.stdout)
