"""Training on a distribution over the labels in place of the label given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from reweight._isolation.cross_entropy import CrossEntropy
from reweight._isolation.predictions import Predictions, Supervised


@dataclass(eq=False)
class SoftTargets:
    """What is believed of the labels of one batch, from before the step.

    Attributes:
        remembered: ``(C, *S, K)``.
    """

    remembered: Tensor

    def of(self, labels: Tensor, num_classes: int) -> Tensor:
        """Return a distribution for each label, ``(*labels.shape, K)``.

        Args:
            labels: Those given, -1 where there is none.
            num_classes: K.

        Raises:
            ValueError: If it is known of other labels than these.
        """
        if self.remembered.shape != (*labels.shape, num_classes):
            raise ValueError(
                f"what is remembered of this batch's labels has shape "
                f"{tuple(self.remembered.shape)}, and they have shape {tuple(labels.shape)}, of "
                f"{num_classes} classes. Build labels= with that number of classes, with shape= "
                f"where a sample has several labels (a mask), and give one of ids= a sample, or "
                f"one a label."
            )
        given = F.one_hot(labels.clamp(min=0), num_classes) * (labels >= 0).unsqueeze(-1)
        return self._of(given.to(self.remembered.dtype))

    def _of(self, given: Tensor) -> Tensor:
        """Return the distributions, for labels given as ones among zeros."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Labelled:
    """What a step says of N labelled samples, or labelled places.

    Attributes:
        ids: ``(N,)``, int64.
        labels: ``(N, *S)``, int64, those given, -1 where there is none.
        scores: ``(N, *S, K)``, raw, under every label; 0 where none is given.
        logits: ``(N, *S, K)``, detached.
    """

    ids: Tensor
    labels: Tensor
    scores: Tensor
    logits: Tensor


@dataclass(eq=False)
class WithSoftTargets:
    """A batch, and what to hold its losses against.

    Attributes:
        batch: As it came.
        targets: In place of the labels in it.
    """

    batch: Any
    targets: SoftTargets


def as_it_came(batch: Any) -> Any:
    """Return the caller's batch."""
    return batch.batch if isinstance(batch, WithSoftTargets) else batch


def soften(source: Supervised, targets: SoftTargets) -> tuple[Tensor, Supervised]:
    """Return Σ_k q_k L(k) for each label, in the labels' shape, 0 where none is given.

    Args:
        source: Output, target and loss.
        targets: q.

    Returns:
        The losses, and ``source`` with q in it.

    Raises:
        ValueError: If the output is not known to be logits, or the loss has no value a label.
    """
    found = source.predictions()
    known = CrossEntropy.of(source.loss)
    if found is None or _probabilities(source, found):
        raise ValueError(
            "labels= needs logits, (C, K, ...), and class indices, (C, ...), for target."
        )
    q = targets.of(found.labels, found.num_classes)
    if known is not None and 0 <= known.ignored < found.num_classes:
        q = q.index_fill(-1, torch.tensor(known.ignored, device=q.device), 0.0)
        q = q / q.sum(dim=-1, keepdim=True)
    if known is not None:
        losses = known.soft(found.logits.movedim(found.class_dim, 1), q)
    else:
        losses = _one_by_one(source, found, q)
    losses = torch.where(found.labels >= 0, losses, torch.zeros_like(losses))
    return losses, Supervised(source.output, source.target, source.ignored, source.loss, q)


def _one_by_one(source: Supervised, found: Predictions, q: Tensor) -> Tensor:
    assert isinstance(source.output, Tensor)
    each = []
    for label in range(found.num_classes):
        try:
            each.append(source.losses_under(label, found.labels, source.output))
        except RuntimeError as error:
            error.add_note(
                f"labels= needs a loss with one value for each label, {tuple(found.labels.shape)}."
            )
            raise
    losses = torch.stack(each, dim=-1)
    return (q.to(losses) * losses).sum(dim=-1)


def _probabilities(source: Supervised, found: Predictions) -> bool:
    target = source.target
    return isinstance(target, Tensor) and target.shape == found.logits.shape
