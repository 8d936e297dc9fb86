"""``python -m fastconv explain``: a model or a single problem, read from the command line."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import fastconv
from fastconv._bench.networks import NETWORKS
from fastconv._bench.settings import DTYPES

__all__ = ["DESCRIPTION", "add_options", "run"]

DESCRIPTION = "Say which algorithm computes which layer, and what speaks against the others."

_EPILOG = """\
examples:
  python -m fastconv explain ResNet-50
  python -m fastconv explain torchvision.models:resnet18 --input 1x3x224x224 --frozen
  python -m fastconv explain my_model.py:build --input 8x3x32x32 --backward
  python -m fastconv explain --input 1x64x56x56 --weight 64x64x3x3 --padding 1
  python -m fastconv explain --input 1x64x112x112 --window 3 --stride 2 --padding 1
"""


class UsageError(Exception):
    """What was asked for cannot be done; the message says why, in a sentence for the caller."""


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 1x3x224x224") from None


def _pair(text: str) -> tuple[int, int]:
    sizes = _sizes(text)
    if len(sizes) > 2:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor a pair such as 2x1")
    return sizes[0], sizes[-1]


def _threads(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of threads")
    return int(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "model",
        nargs="?",
        help="a network of the bench by its name, or MODULE:CALLABLE or FILE.py:CALLABLE, which is "
        "called without arguments and returns a torch.nn.Module",
    )
    parser.add_argument("--input", type=_sizes, metavar="NxCxHxW", help="the size of the images")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument(
        "--channels-last", action="store_true", help="images and weights so laid out"
    )
    parser.add_argument("--threads", type=_threads, help="default: torch's own choice")
    parser.add_argument("--backward", action="store_true", help="the gradients' algorithms too")
    parser.add_argument(
        "--frozen", action="store_true", help="freeze the model: keep packed weights"
    )
    problem = parser.add_argument_group("a single convolution or pooling, instead of a model")
    problem.add_argument("--weight", type=_sizes, metavar="KxCxRxS", help="of a convolution")
    problem.add_argument("--window", type=_pair, metavar="R[xS]", help="of a max pooling")
    problem.add_argument("--stride", type=_pair, metavar="N[xM]")
    problem.add_argument("--padding", type=_pair, metavar="N[xM]")
    problem.add_argument("--dilation", type=_pair, metavar="N[xM]")
    problem.add_argument("--groups", type=int, metavar="G")


def run(arguments: argparse.Namespace, program: str) -> int:
    """0: explained; 2: what was asked for cannot be done."""
    threads = torch.get_num_threads()
    try:
        if arguments.threads is not None:
            torch.set_num_threads(arguments.threads)
        print(_explanation(arguments))
    except UsageError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    finally:
        torch.set_num_threads(threads)
    return 0


def _explanation(arguments: argparse.Namespace) -> Any:
    problems = [o for o in ("weight", "window") if getattr(arguments, o) is not None]
    if [arguments.model is not None, *[True] * len(problems)].count(True) != 1:
        raise UsageError(
            "give a model, --weight for a convolution, or --window for a pooling: one of them"
        )
    of_problem = ["stride", "padding", "dilation", "groups"]
    if arguments.model is not None:
        given = [f"--{name}" for name in of_problem if getattr(arguments, name) is not None]
        if given:
            raise UsageError(f"{', '.join(given)} belongs to a single problem, not to a model")
        return _of_model(arguments)
    if arguments.frozen:
        raise UsageError("--frozen is for a model: a single problem has no module to keep a weight")
    parameters = {name: getattr(arguments, name) for name in of_problem}
    return _of_problem(arguments, {k: v for k, v in parameters.items() if v is not None})


def _images(arguments: argparse.Namespace, size: tuple[int, ...] | None) -> torch.Tensor:
    if size is None:
        raise UsageError("--input is needed: the size of the images, such as 1x3x224x224")
    return _tensor(arguments, size, "--input")


def _tensor(arguments: argparse.Namespace, size: tuple[int, ...], option: str) -> torch.Tensor:
    try:
        tensor = torch.zeros(size, dtype=DTYPES[arguments.dtype])
        return _laid_out(arguments, tensor)
    except RuntimeError as error:
        raise UsageError(f"{option} {'x'.join(map(str, size))}: {_first_line(error)}") from error


def _laid_out(arguments: argparse.Namespace, tensor: torch.Tensor) -> torch.Tensor:
    if arguments.channels_last and tensor.dim() == 4:
        return tensor.to(memory_format=torch.channels_last)
    return tensor


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _of_problem(arguments: argparse.Namespace, parameters: dict[str, Any]) -> Any:
    images = _images(arguments, arguments.input)
    try:
        if arguments.window is None:
            weight = _tensor(arguments, arguments.weight, "--weight")
            return fastconv.explain(images, weight, backward=arguments.backward, **parameters)
        if "groups" in parameters:
            raise UsageError("a pooling has no --groups")
        pool = fastconv.nn.MaxPool2d(arguments.window, **parameters)
        return fastconv.explain(pool, images, backward=arguments.backward)
    except (RuntimeError, ValueError, TypeError) as error:
        raise UsageError(_first_line(error)) from error


def _of_model(arguments: argparse.Namespace) -> Any:
    model, size = _model_and_size(arguments.model)
    images = _images(arguments, arguments.input or size)
    model = model.eval().to(DTYPES[arguments.dtype])
    if arguments.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model = fastconv.convert(model, inplace=True)
    try:
        if arguments.frozen:
            fastconv.freeze(model)
        return fastconv.explain(model, images, backward=arguments.backward)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{arguments.model} refuses images of {'x'.join(map(str, images.shape))}: "
            f"{_first_line(error)}"
        ) from error


def _model_and_size(name: str) -> tuple[torch.nn.Module, tuple[int, ...] | None]:
    by_name = {network.name.lower(): network for network in NETWORKS}
    if name.lower() in by_name:
        network = by_name[name.lower()]
        return network.build(), (1, network.channels, network.size, network.size)
    place, colon, attribute = name.rpartition(":")
    if not colon or not place or not attribute:
        known = ", ".join(network.name for network in NETWORKS)
        raise UsageError(f"no network is called {name!r}. There are {known}; or MODULE:CALLABLE")
    build = _found(place, attribute)
    try:
        model = build()
    except (Exception, SystemExit) as error:
        raise UsageError(f"{name}() raised {type(error).__name__}: {_first_line(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{name}() returns {type(model).__name__}, not a torch.nn.Module")
    return model, None


def _module_in(path: Path) -> Any:
    """By its path: its name may be another module's, such as types, or no name at all."""
    spec = importlib.util.spec_from_file_location(f"_explained_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def _found(place: str, attribute: str) -> Callable[[], Any]:
    path = Path(place)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        raise UsageError(f"there is no file {place}")
    folder = str(path.resolve().parent if is_file else Path.cwd())
    sys.path.insert(0, folder)
    try:
        found: Any = _module_in(path) if is_file else importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{place} cannot be imported: {type(error).__name__}: {_first_line(error)}"
        ) from error
    finally:
        sys.path.remove(folder)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{place} has no {attribute}")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{place}:{attribute} cannot be called")
    return found
