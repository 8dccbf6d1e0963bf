"""Module, criterion, optimiser and reweighter, from the parameters of the classifier."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reweight.dynamics import TrainingDynamics
from reweight.integrations._sklearn.network import MLP
from reweight.labels import MendedLabels, RememberedLabels, SoftLabels
from reweight.meta_reweighter import MetaReweighter
from reweight.scorers import Uniform
from reweight.weightings import PerBatch, SampleWeights

LABELS: dict[str, type[RememberedLabels]] = {"mended": MendedLabels, "soft": SoftLabels}
WEIGHTINGS: dict[str, Callable[..., Any]] = {"sample": SampleWeights, "per_batch": PerBatch}
_OWN = ("model", "loss", "forward", "dynamics", "labels", "weighting", "trusted_coefficient")


def build_module(
    given: Any, options: Mapping[str, Any], num_features: int, num_classes: int
) -> nn.Module:
    """Return a module of the fit's own.

    An instance is copied, so that each fit begins from it as it was given. A class or function is
    called with the options; if it has parameters ``num_features`` and ``num_classes`` that are not
    given, it is told them.

    Raises:
        TypeError: If it is neither, or options are given with an instance.
    """
    if isinstance(given, nn.Module):
        if options:
            raise TypeError(
                f"module is an instance, which module__{next(iter(options))}= cannot change. Give "
                f"the class in its place: module={type(given).__name__}."
            )
        return copy.deepcopy(given)
    maker: Any = MLP if given is None else given
    if not callable(maker):
        raise TypeError(f"module must be an nn.Module or its class, got {given!r}.")
    known = inspect.signature(maker).parameters
    told = {"num_features": num_features, "num_classes": num_classes}
    module = maker(**{k: v for k, v in told.items() if k in known} | dict(options))
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must make an nn.Module, and made {module!r}.")
    return module


def build_criterion(given: Any, options: Mapping[str, Any]) -> Any:
    """Return a loss with one value a row: of PyTorch's own ``reduction="none"`` is set.

    Raises:
        TypeError: If options are given with an instance.
    """
    if isinstance(given, type):
        reduces = "reduction" in inspect.signature(given).parameters
        return given(**({"reduction": "none"} if reduces else {}) | dict(options))
    if options:
        raise TypeError(
            f"criterion is no class, so criterion__{next(iter(options))}= cannot be handed to it."
        )
    criterion = copy.deepcopy(given)
    if isinstance(getattr(criterion, "reduction", None), str):
        criterion.reduction = "none"
    return criterion


def build_optimizer(
    given: Any, options: Mapping[str, Any], lr: float, parts: list[Any]
) -> torch.optim.Optimizer:
    """Return the optimiser of all that is learnt in ``parts``.

    Raises:
        TypeError: If ``given`` is an instance, which holds parameters of another module.
    """
    if isinstance(given, torch.optim.Optimizer) or not callable(given):
        raise TypeError(
            f"optimizer must be a class such as torch.optim.Adam, with lr= and optimizer__...= "
            f"beside it; got {type(given).__name__}, an instance."
        )
    modules = [part for part in parts if isinstance(part, nn.Module)]
    learnt = dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
    optimizer: torch.optim.Optimizer = given(list(learnt), lr=lr, **options)
    return optimizer


def build_reweighter(
    classifier: Any,
    options: Callable[[str], dict[str, Any]],
    module: nn.Module,
    criterion: Callable[[Any, Any], Tensor],
    sizes: tuple[int, int],
    *,
    judged: bool,
) -> MetaReweighter:
    """Return what weighs the rows, and remembers them.

    Args:
        classifier: It has ``labels``, ``weighting`` and ``trusted_coefficient``.
        options: The options with a prefix.
        module: What is trained.
        criterion: Its loss.
        sizes: How many rows and how many classes there are.
        judged: Whether there are trusted rows; without, all count alike.

    Raises:
        TypeError: If an option is one of the classifier's own parameters.
        ValueError: If a name is not known.
    """
    more = copy.deepcopy(options("reweighter"))
    for name in _OWN:
        if name in more:
            mended = "the classifier's own parameter" if hasattr(classifier, name) else "set by fit"
            raise TypeError(f"reweighter__{name}= cannot be given: {name} is {mended}.")
    dynamics = TrainingDynamics(sizes[0])
    if not judged:
        more["scorer"] = Uniform()
        return MetaReweighter(module, criterion, dynamics=dynamics, **more)
    labels, weighting = classifier.labels, classifier.weighting
    if isinstance(labels, str) and labels == "auto":
        labels = "mended" if weighting is None else None
    reweighter = MetaReweighter(
        module,
        criterion,
        labels=_part("labels", labels, LABELS, sizes, options("labels")),
        weighting=_part("weighting", weighting, WEIGHTINGS, sizes[:1], options("weighting")),
        trusted_coefficient=classifier.trusted_coefficient,
        dynamics=dynamics,
        **more,
    )
    # The ways to take a score differ in rounding: chosen by the clock, no two fits would be alike.
    reweighter._chooses = False
    return reweighter


def _part(
    what: str,
    given: Any,
    names: Mapping[str, Callable[..., Any]],
    sizes: tuple[int, ...],
    options: dict[str, Any],
) -> Any:
    if isinstance(given, str):
        if given not in names:
            known = ", ".join(map(repr, names))
            raise ValueError(f"{what} must be one of {known}, a class or None; got {given!r}.")
        given = names[given]
    if isinstance(given, type):
        takes = inspect.signature(given).parameters
        told = dict(zip(("num_samples", "num_classes"), sizes, strict=False))
        return given(**{k: v for k, v in told.items() if k in takes} | options)
    if options:
        raise TypeError(
            f"{what} is {given!r} and no class, so {what}__{next(iter(options))}= cannot be handed "
            f"to it."
        )
    return copy.deepcopy(given)
