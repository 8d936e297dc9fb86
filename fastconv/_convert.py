"""From torch's modules to fastconv's and back, by changing their class in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.pooling import _MaxPoolNd

from fastconv import nn
from fastconv._table import render

__all__ = ["ModuleReport", "Report", "convert", "report", "revert"]

Model = TypeVar("Model", bound=torch.nn.Module)
Filter = Callable[[str, torch.nn.Module], bool]

_TO_FASTCONV: Mapping[type[torch.nn.Module], type[torch.nn.Module]] = {
    torch.nn.Conv2d: nn.Conv2d,
    torch.nn.LazyConv2d: nn.LazyConv2d,
    torch.nn.MaxPool2d: nn.MaxPool2d,
}
_TO_TORCH = {ours: theirs for theirs, ours in _TO_FASTCONV.items()}


def convert(model: Model, inplace: bool = False, *, filter: Filter | None = None) -> Model:
    """Let fastconv compute a model's 2-D convolutions and max poolings.

    Modules keep their identity and only change class, so that parameters, hooks, sharing, training
    state and an optimizer's references survive. Only modules whose type *is* ``torch.nn.Conv2d``,
    ``LazyConv2d`` or ``MaxPool2d`` change; subclasses may do anything and stay as they are
    (:func:`report` says so). What a forward calls from ``torch.nn.functional`` by itself is
    :class:`fastconv.patch`'s business.

    Args:
        model: any module; it may be such a layer itself.
        inplace: change the model itself instead of a deep copy.
        filter: ``filter(name, module) -> bool``, asked about every module that could be converted,
            by its name in ``model.named_modules()``; False leaves it as it is.

    Returns:
        The converted model, which is ``model`` itself with ``inplace=True``, otherwise a copy.
    """
    return _swap(model, inplace, _TO_FASTCONV, filter)


def revert(model: Model, inplace: bool = False) -> Model:
    """Give a model its plain ``torch.nn`` modules back: the inverse of :func:`convert`.

    Modules that were parametrized after it stay parametrized. So does what torch's tools look for
    by its exact type, such as ``torch.ao.quantization.prepare_qat``, find it again.
    """
    return _swap(model, inplace, _TO_TORCH, None)


def _swap(
    model: Model,
    inplace: bool,
    classes: Mapping[type[torch.nn.Module], type[torch.nn.Module]],
    filter: Filter | None,
) -> Model:
    if not inplace:
        model = copy.deepcopy(model)
    for name, module in model.named_modules():
        replacement = _replacement(type(module), classes)
        if replacement is not None and (filter is None or filter(name, module)):
            module.__dict__.pop("_packed", None)
            module.__class__ = replacement
    return model


def _replacement(
    kind: type[torch.nn.Module], classes: Mapping[type[torch.nn.Module], type[torch.nn.Module]]
) -> type[torch.nn.Module] | None:
    (base, *others) = kind.__bases__
    if base in _TO_TORCH and base in classes and not others and _is_by_parametrization(kind):
        # A class of its module alone, or of copies of it: these keep theirs.
        own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
        return type(kind.__name__, (classes[base],), own)
    return classes.get(kind)


def _is_by_parametrization(kind: type[torch.nn.Module]) -> bool:
    return kind.__module__ == torch.nn.utils.parametrize.__name__


@dataclass(frozen=True)
class ModuleReport:
    """What :func:`fastconv.report` says about one module."""

    name: str
    module: torch.nn.Module
    converted: bool
    reason: str
    """Why it is not converted; empty where it is."""


@dataclass(frozen=True)
class Report:
    """The rows of :func:`fastconv.report`; ``str()`` is a table of them."""

    rows: tuple[ModuleReport, ...]

    def __iter__(self) -> Iterator[ModuleReport]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return render(
            ("module", "type", "fastconv"),
            [
                (
                    row.name or "(root)",
                    type(row.module).__name__,
                    "yes" if row.converted else f"no: {row.reason}",
                )
                for row in self.rows
            ],
        )


def report(model: torch.nn.Module) -> Report:
    """Every convolution and max pooling module of a model: converted, or why not."""
    rows = []
    for name, module in model.named_modules():
        if isinstance(module, (_ConvNd, _MaxPoolNd)):
            converted = isinstance(module, tuple(_TO_TORCH))
            reason = "" if converted else _reason_against(module)
            rows.append(ModuleReport(name, module, converted, reason))
    return Report(tuple(rows))


def _reason_against(module: torch.nn.Module) -> str:
    kind = type(module)
    if kind in _TO_FASTCONV:
        return "not converted yet"
    if torch.nn.utils.parametrize.is_parametrized(module):
        return "parametrized before it was converted: convert first, then parametrize"
    if isinstance(module, tuple(_TO_FASTCONV)):
        return f"{kind.__qualname__} is a subclass that may compute something else"
    return f"fastconv has no {kind.__name__}"
