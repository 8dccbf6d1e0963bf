"""The noisy batch of a step once its losses and scores are known, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from reweight._isolation.predictions import Supervised
from reweight._step.ranks import Joint, Ranks
from reweight._step.rows import Rows
from reweight._step.soft_targets import Labelled
from reweight._step.units import Units
from reweight._step.weighing import weigh
from reweight.scorers import Mixture
from reweight.selectors import Selector
from reweight.weightings import Weighting, WeightingContext


@dataclass(frozen=True, eq=False)
class NoisyBatch:
    """What is known of one rank's noisy batch, and through it of the others'.

    Attributes:
        losses: ``(C,)`` or the loss map, detached.
        counted: Which of them count, bool, in their shape; ``None``: all.
        scores: By scorer name, in the shape of the losses.
        rows: Ids and groups.
        made_from: What the losses were computed from, where that is known.
        mixture: The scorers.
        ranks: Who trains along.
        training: Whether the step trains.
        label_scores: Under every label, ``(*labels.shape, K)``; ``None`` if not known.
    """

    losses: Tensor
    counted: Tensor | None
    scores: Mapping[str, Tensor]
    rows: Rows
    made_from: Supervised | None
    mixture: Mixture
    ranks: Ranks
    training: bool
    label_scores: Tensor | None = None

    @cached_property
    def units(self) -> Units:
        """Takes tensors in the shape of the losses to ``(N,)``, and back."""
        return Units(self.losses, self.counted)

    @cached_property
    def own(self) -> WeightingContext:
        """This rank's losses."""
        return WeightingContext(
            losses=self.units.flat(self.losses),
            scores={name: self.units.flat(values) for name, values in self.scores.items()},
            mixture=self.mixture,
            ids=self._rows("ids"),
            groups=self._rows("groups"),
            training=self.training,
            _labelled=partial(self.units.labels_and_margins, self.made_from),
            _logits=partial(self.units.logits, self.made_from),
            _label_scores=partial(self.units.label_scores, self.label_scores),
        )

    @cached_property
    def joint(self) -> Joint:
        """Puts the ranks' rows one after another."""
        return self.ranks.joint(self.own.losses.numel(), self.losses.device)

    @cached_property
    def all(self) -> WeightingContext:
        """The losses of all ranks."""
        if self.ranks.group is None:
            return self.own
        own, joint = self.own, self.joint

        return WeightingContext(
            losses=joint.all(own.losses),
            scores={name: joint.all(values) for name, values in own.scores.items()},
            mixture=self.mixture,
            ids=None if own.ids is None else joint.all(own.ids),
            groups=None if own.groups is None else joint.all(own.groups),
            training=self.training,
            _labelled=partial(_labels_and_margins_of_all, own, joint),
            _logits=partial(_logits_of_all, own, joint),
            _label_scores=partial(_label_scores_of_all, own, joint),
        )

    def weigh(
        self, weighting: Weighting, selector: Selector, *, together: bool, uniform: bool
    ) -> Weights:
        """Return the weights, after the weighting has learnt of the step, if it trains.

        Args:
            weighting: From scores, and what is remembered, to weights.
            selector: Sets some of them to zero.
            together: Whether the batches of all ranks are weighed as one.
            uniform: Whether equal weights stand in where none is left.
        """
        if self.training:
            weighting.learn(self.all if weighting.learns else self.own)
        selected = weigh(weighting, selector, self.all if together else self.own)
        empty = not bool(selected.any())
        if empty and uniform:
            selected = torch.full_like(selected, 1 / max(selected.numel(), 1))
        kept = (selected > 0).sum()
        if together:
            selected = self.joint.own(selected)
        elif self.training:  # a rank may well look at weights alone
            kept = self.ranks.sum(kept)
        return Weights(self.units.spread(selected), empty, kept)

    @cached_property
    def labelled(self) -> Labelled:
        """What the step says of this rank's labels, one row an id.

        Those are not what is weighed: the voxels of a mask are labelled, samples weighed.
        """
        assert self.made_from is not None
        assert self.label_scores is not None
        found = self.made_from.predictions()
        assert found is not None
        if isinstance(self.made_from.target, Tensor) and (
            self.made_from.target.shape == found.logits.shape
        ):
            raise ValueError(
                "labels= needs class indices for target, (C, ...), and was given probabilities."
            )
        ids = self.rows.named["ids"].to(self.losses.device, non_blocking=True)
        rows, places = ids.numel(), found.labels.shape[ids.dim() :]
        return Labelled(
            ids.flatten(),
            found.labels.reshape(rows, *places),
            self.label_scores.reshape(rows, *places, found.num_classes),
            found.classes_last().reshape(rows, *places, found.num_classes),
        )

    def labelled_of_all(self) -> Labelled:
        """Return the same of all ranks."""
        own = self.labelled
        joint = self.ranks.joint(own.ids.numel(), self.losses.device)
        return Labelled(*map(joint.all, (own.ids, own.labels, own.scores, own.logits)))

    def _rows(self, name: str) -> Tensor | None:
        found = self.rows.like(name, self.losses)
        return None if found is None else self.units.flat(found)


# No method or function of the batch's own, for that would be a reference in a circle.
def _labels_and_margins_of_all(own: WeightingContext, joint: Joint) -> tuple[Tensor, Tensor] | None:
    labels, margins = own.labels, own.margins
    if labels is None or margins is None:
        return None
    return joint.all(labels), joint.all(margins)


def _logits_of_all(own: WeightingContext, joint: Joint) -> Tensor | None:
    return None if own.logits is None else joint.all(own.logits)


def _label_scores_of_all(own: WeightingContext, joint: Joint) -> Tensor | None:
    return None if own.label_scores is None else joint.all(own.label_scores)


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a batch.

    Attributes:
        values: In the shape of the losses; 0 where one does not count.
        empty: Whether no weight survived selection.
        kept: How many did, on all ranks: a scalar on the device.
    """

    values: Tensor
    empty: bool
    kept: Tensor
