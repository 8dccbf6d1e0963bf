"""The tensors that one training learns from and is judged on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

Labelled = tuple[Tensor, Tensor]
Metric = Callable[[Tensor, Tensor], float]


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Return the share of predictions that are right."""
    return float((predicted == labels).double().mean())


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs are ``(n, ...)``, whatever the network takes; labels are ``(n,)``.

    Attributes:
        pool: Inputs and the labels given.
        truth: True labels of the pool; ``None`` where nobody knows them.
        trusted: Inputs and true labels; empty where there is no trusted set.
        validation: Inputs and true labels.
        test: Inputs and true labels.
        classes: Number of classes.
        network: A network with the initial weights of a seed and a purpose.
        optimizer: What it is trained with.
        groups: ``(n,)`` the source of each sample of the pool; ``None``: its label is its source.
        sources: Their names.
        items: ``(n,)`` which text or image a sample of the pool is of, where several samples are
            of one; ``None``: each is of its own.
        rare: ``(n,)`` whether a sample of the pool is of the rarer half of the classes; ``None``
            if all are as frequent.
        rare_classes: Those classes; empty if all are as frequent.
        balanced: Whether a trusted batch has of each class as many, however rare it is.
        metric: What a prediction is worth, from 0 to 1, of predicted and true labels.
        teacher: The test accuracy of the teacher who gave the labels.
    """

    pool: Labelled
    truth: Tensor | None
    trusted: Labelled
    validation: Labelled
    test: Labelled
    classes: int
    network: Callable[[int, str], nn.Module]
    optimizer: Literal["sgd", "adam"] = "sgd"
    groups: Tensor | None = None
    sources: tuple[str, ...] = ()
    items: Tensor | None = None
    rare: Tensor | None = None
    rare_classes: tuple[int, ...] = ()
    balanced: bool = False
    metric: Metric = field(default=accuracy)
    teacher: float | None = None
