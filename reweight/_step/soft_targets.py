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
from reweight._step.ranks import Ranks


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


def softened(made: ForwardPass, believed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the losses of a pass with Σ_k q_k L(k) for that of the label given.

    The output of the pass is there, with its graph: no further pass is made.

    Args:
        made: A pass of which label scores are known.
        believed: For each label, in their order, ``(..., K)``: a distribution q times how much it
            is to count.

    Returns:
        Losses, 0 where they do not count, and how much each is to count, both in their shape. What
        a sample's several labels count is in its loss, relative to their mean.
    """
    source = made.made_from
    found = None if source is None else source.predictions()
    assert source is not None
    assert found is not None
    losses, given = made.losses, found.labels >= 0
    believed = believed.reshape(*found.labels.shape, found.num_classes)
    each = believed.sum(dim=-1)
    each = torch.where(given, each, torch.ones_like(each))
    mass = _per_loss(each, losses, given)
    q = believed / each.clamp(min=torch.finfo(each.dtype).tiny).unsqueeze(-1)
    known = CrossEntropy.of(source.loss)
    soft = _one_by_one(source, found, q) if known is None else _in_one(known, found, q)
    soft = torch.where(given, soft, torch.zeros_like(soft))
    soft = _per_loss(soft * each.to(soft), losses, given) / mass.to(soft)
    if source.adds:  # what else a forward= has made of its losses stays
        hard = CrossEntropy(ignored=-1)(_classes_second(found), found.labels)
        soft = losses + soft - _per_loss(hard, losses, given)
    if made.counted is not None:
        soft = torch.where(made.counted, soft, torch.zeros_like(soft))
    return soft, mass


def counting(weights: Tensor, mass: Tensor, ranks: Ranks) -> Tensor:
    """Return ``weights`` times ``mass``, with the sum of ``weights`` over all ``ranks``."""
    weighed = weights * mass.to(weights)
    before, after = ranks.sum(weights.sum()), ranks.sum(weighed.sum())
    return weighed * (before / torch.where(after > 0, after, torch.ones_like(after)))


def _per_loss(values: Tensor, losses: Tensor, given: Tensor) -> Tensor:
    """Return values of labels in the shape of the losses, averaged over those of a sample."""
    if values.numel() != losses.numel():
        values = per_unit(values, "sample", given).values
    return values.reshape(losses.shape)


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
