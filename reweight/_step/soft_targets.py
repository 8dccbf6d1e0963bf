"""Training on a distribution over the labels in place of the label given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reweight._dtypes import at_least_float32
from reweight._isolation.cross_entropy import CrossEntropy
from reweight._isolation.predictions import Predictions, Supervised
from reweight._step.losses import per_unit
from reweight._step.noisy_passes import ForwardPass


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


def softened(made: ForwardPass, q: Tensor) -> Tensor:
    """Return the losses of a pass with Σ_k q_k L(k) for that of the label given.

    The output of the pass is there, with its graph: no further pass is made.

    Args:
        made: A pass of which label scores are known.
        q: For each label, in their order, ``(..., K)``.

    Returns:
        In the shape of the losses; 0 where they do not count.
    """
    source = made.made_from
    found = None if source is None else source.predictions()
    assert source is not None
    assert found is not None
    losses, q = made.losses, q.reshape(*found.labels.shape, found.num_classes)
    known = CrossEntropy.of(source.loss)
    soft = _one_by_one(source, found, q) if known is None else _in_one(known, found, q)
    if source.adds:
        hard = CrossEntropy(ignored=-1)(_classes_second(found), found.labels)
        soft = soft - hard  # and what else a forward= has made of its losses stays
    given = found.labels >= 0
    soft = torch.where(given, soft, torch.zeros_like(soft))
    if soft.numel() != losses.numel():
        soft = per_unit(soft, "sample", given).values
    soft = soft.reshape(losses.shape)
    total = losses + soft if source.adds else soft
    return (
        total if made.counted is None else torch.where(made.counted, total, torch.zeros_like(total))
    )


def _classes_second(found: Predictions) -> Tensor:
    return at_least_float32(found.logits).movedim(found.class_dim, 1)


def _in_one(known: CrossEntropy, found: Predictions, q: Tensor) -> Tensor:
    if 0 <= known.ignored < found.num_classes:  # that class has no loss
        q = q.index_fill(-1, torch.tensor(known.ignored, device=q.device), 0.0)
        q = q / q.sum(dim=-1, keepdim=True)
    return known.soft(_classes_second(found), q)


def _one_by_one(source: Supervised, found: Predictions, q: Tensor) -> Tensor:
    assert isinstance(source.output, Tensor)
    each = [
        source.losses_under(label, found.labels, source.output)
        for label in range(found.num_classes)
    ]
    losses = torch.stack(each, dim=-1)
    return (q.to(losses) * losses).sum(dim=-1)
