"""⟨∇L_i, v⟩ as it would be under every label, from the tangent of the model's output."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn

from reweight._isolation.cross_entropy import CrossEntropy, is_binary
from reweight._isolation.predictions import Predictions, Supervised
from reweight._isolation.random_state import RandomState
from reweight._isolation.scoring_pass import scoring_pass
from reweight.errors import NOT_THE_USERS

TakeOutput: TypeAlias = Callable[[Supervised, Tensor], None]
"""Is given what a pass computed its losses from, detached, and the tangent of its output."""


class NoLabelScores(ValueError):  # noqa: N818 - nothing went wrong, unless someone needs them
    """The scores under other labels are not known; the message says why."""


def under_every_label(source: Supervised, tangent: Tensor, random: RandomState) -> Tensor:
    """Return ⟨∇L_i, v⟩ for every label, ``(*labels.shape, K)``, 0 where none is given.

    In closed form for cross-entropy. Any other loss is differentiated once for each label, which
    is exact if each of its values is a function of its own logits and label alone.

    Args:
        source: The model's output, the target and the loss.
        tangent: ⟨∇output, v⟩, in the output's shape.
        random: The random numbers that the loss sees.

    Raises:
        NoLabelScores: If it is no classification, or the loss is not of that kind.
    """
    found = source.predictions()
    if found is None:
        raise NoLabelScores(
            "the model's output and the target are not known to be logits, (C, K, ...), and class "
            "indices, (C, ...). With forward=, return SampleLosses(losses, logits=..., labels=...)."
        )
    known = CrossEntropy.of(source.loss)
    if known is not None:
        values = known.along(found.classes_last(), found.classes_last(tangent))
    else:
        values = _one_by_one(source, tangent, random, found)
    return torch.where(found.labels.unsqueeze(-1) >= 0, values, torch.zeros_like(values))


def _one_by_one(
    source: Supervised, tangent: Tensor, random: RandomState, found: Predictions
) -> Tensor:
    loss, output = source.loss, source.output
    assert isinstance(source.target, Tensor)
    assert isinstance(output, Tensor)
    if source.target.is_floating_point() and not is_binary(loss):
        raise NoLabelScores("the targets are probabilities, and the loss is no cross-entropy.")
    if isinstance(loss, nn.Module):
        if any(p.requires_grad for p in loss.parameters()):
            raise NoLabelScores("the loss has parameters of its own, whose share is not known.")
        if any(True for _ in loss.buffers()):
            source = replace(source, loss=copy.deepcopy(loss))  # what it keeps is training's
    columns = []
    try:
        with scoring_pass(random), torch.enable_grad():
            leaf = output.detach().requires_grad_()
            for label in range(found.num_classes):
                losses = source.losses_under(label, found.labels, leaf)
                (gradient,) = torch.autograd.grad(losses.sum(), leaf)
                moved = gradient * tangent
                if moved.shape != found.labels.shape:  # of a logit a class
                    moved = moved.sum(dim=moved.dim() - 1 if is_binary(loss) else found.class_dim)
                columns.append(moved)
    except NOT_THE_USERS as error:
        raise NoLabelScores(
            f"the loss has no value for each label of shape {tuple(found.labels.shape)}, or no "
            f"derivative: {str(error).strip().partition(chr(10))[0][:160]}"
        ) from error
    return torch.stack(columns, dim=-1)
