"""The methods compared, one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from benchmarks.label_noise.seeding import seed_for
from reweight import (
    GradientSimilarity,
    KeepAll,
    LastLayerGradient,
    MetaReweighter,
    RandomWeights,
    Rectify,
    Uniform,
)

Build = Callable[[nn.Module, int], MetaReweighter]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Attributes:
        name: In tables and file names.
        what: One line for the report.
        needs_trusted: Whether its result depends on the trusted set.
        build: Makes its reweighter from a model and a seed; ``None`` for ordinary training.
        trains_on: Which set ordinary training draws its batches from.
        only: The noises it is run under; all if empty.
    """

    name: str
    what: str
    needs_trusted: bool
    build: Build | None = None
    trains_on: str = "pool"
    only: tuple[str, ...] = ()


def _loss() -> nn.CrossEntropyLoss:
    return nn.CrossEntropyLoss(reduction="none")


def _random(model: nn.Module, seed: int) -> MetaReweighter:
    scorer = RandomWeights(seed_for(seed, "random weights"))
    return MetaReweighter(model, _loss(), scorer=scorer, selector=KeepAll())


def _mixed(model: nn.Module, seed: int) -> MetaReweighter:  # noqa: ARG001
    return MetaReweighter(
        model, _loss(), scorer=Uniform(), selector=KeepAll(), trusted_coefficient=1.0
    )


def _mixture(similarity: float, *, rectify: bool, beta: float = 0.0) -> Build:
    """Return a builder: a share of gradient similarity, the rest last-layer gradient."""

    def build(model: nn.Module, seed: int) -> MetaReweighter:  # noqa: ARG001
        return MetaReweighter(
            model,
            _loss(),
            scorer=similarity * GradientSimilarity() + (1 - similarity) * LastLayerGradient(),
            selector=Rectify() if rectify else KeepAll(),
            trusted_coefficient=beta,
        )

    return build


_ALL = (
    Method("plain", "equal weights, ordinary training on the pool", False),
    Method("random", "random weights max(0, N(0, 1))", False, _random),
    Method("trusted", "ordinary training on the trusted set alone", True, trains_on="trusted"),
    Method("mixed", "equal weights plus the mean loss of a trusted batch", True, _mixed),
    Method("rgm", "last-layer gradient, rectified", False, _mixture(0, rectify=True)),
    Method("rgm-all", "last-layer gradient", False, _mixture(0, rectify=False)),
    Method("rgs", "gradient similarity, rectified", True, _mixture(1, rectify=True)),
    Method(
        "rgs-all",
        "gradient similarity (learning to reweight, Ren et al. 2018)",
        True,
        _mixture(1, rectify=False),
    ),
    Method(
        "rgsm",
        "both, half and half, rectified (Hussain et al.)",
        True,
        _mixture(0.5, rectify=True),
    ),
    Method("rgsm-all", "both, half and half", True, _mixture(0.5, rectify=False)),
    Method(
        "rgs-all+trusted",
        "gradient similarity, plus the trusted loss",
        True,
        _mixture(1, rectify=False, beta=1.0),
    ),
    Method(
        "rgsm+trusted",
        "both, rectified, plus the trusted loss",
        True,
        _mixture(0.5, rectify=True, beta=1.0),
    ),
    Method(
        "rgsm-all+trusted",
        "both, plus the trusted loss",
        True,
        _mixture(0.5, rectify=False, beta=1.0),
    ),
    Method(
        "rgsm-0.25",
        "a quarter similarity, rectified",
        True,
        _mixture(0.25, rectify=True),
        only=("symmetric-40",),
    ),
    Method(
        "rgsm-0.75",
        "three quarters similarity, rectified",
        True,
        _mixture(0.75, rectify=True),
        only=("symmetric-40",),
    ),
)
METHODS = {method.name: method for method in _ALL}
