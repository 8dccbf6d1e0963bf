"""The noisy batch of a step once its losses and scores are known, and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

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


class Dynamics(Protocol):
    """What remembers how the training of each sample goes."""

    def learn(self, context: WeightingContext, weights: Tensor) -> None:
        """Take in a step, and its weights over what equal ones would be."""
        ...


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
    def _joint(self) -> tuple[Joint, WeightingContext]:
        own = self.own
        numbers = {"ids": own.ids, "groups": own.groups}
        named = {name: rows for name, rows in numbers.items() if rows is not None}
        joint, (losses, *columns) = self.ranks.joint(
            [own.losses, *own.scores.values(), *named.values()]
        )
        scores, rows = columns[: len(own.scores)], columns[len(own.scores) :]
        numbers |= zip(named, rows, strict=True)
        return joint, WeightingContext(
            losses=losses,
            scores=dict(zip(own.scores, scores, strict=True)),
            mixture=self.mixture,
            ids=numbers["ids"],
            groups=numbers["groups"],
            training=self.training,
            _labelled=partial(_labels_and_margins_of_all, own, joint),
            _logits=partial(_logits_of_all, own, joint),
            _label_scores=partial(_label_scores_of_all, own, joint),
        )

    @property
    def all(self) -> WeightingContext:
        """The losses of all ranks."""
        return self.own if self.ranks.group is None else self._joint[1]

    def weigh(
        self,
        weighting: Weighting,
        selector: Selector,
        *,
        together: bool,
        uniform: bool,
        remembers: bool = False,
        dynamics: Dynamics | None = None,
        at_once: bool = True,
    ) -> Weights:
        """Return the weights, after the weighting has learnt of the step, if it trains.

        Args:
            weighting: From scores, and what is remembered, to weights.
            selector: Sets some of them to zero.
            together: Whether the batches of all ranks are weighed as one.
            uniform: Whether equal weights stand in where none is left.
            remembers: Whether something will ask for the losses of all ranks.
            dynamics: Is told of the step and its weights, if it trains.
            at_once: Whether weights are looked at now, whoever gave them.
        """
        together = together and self.ranks.group is not None
        if self.training:
            if remembers:
                _ = self.all  # at once: the ranks bring their rows together before they count
            weighting.learn(self.all if weighting.learns else self.own)
        selected, refused = weigh(
            weighting, selector, self.all if together else self.own, at_once=at_once
        )
        survived = (selected > 0).sum()
        empty = survived == 0
        kept = survived
        if uniform:  # equal weights are kept, too
            kept = torch.where(empty, selected.numel(), survived)
            selected = torch.where(empty, 1 / max(selected.numel(), 1), selected)
        if not together:
            kept = self.ranks.sum_of_kept(kept)
        if dynamics is not None and self.training:
            dynamics.learn(self.all, self._of_all(selected * selected.numel(), together=together))
        own = self._joint[0].own(selected) if together else selected
        of_all = selected if together else None
        return Weights(self.units.spread(own), empty, kept, of_all, refused)

    def _of_all(self, weights: Tensor, *, together: bool) -> Tensor:
        if together or self.ranks.group is None:
            return weights
        (found,) = self._joint[0].all([weights])
        return found

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
        _, found = self.ranks.joint([own.ids, own.labels, own.scores, own.logits])
        return Labelled(*found)

    def _rows(self, name: str) -> Tensor | None:
        found = self.rows.like(name, self.losses)
        return None if found is None else self.units.flat(found)


# No method or function of the batch's own, for that would be a reference in a circle.
def _labels_and_margins_of_all(own: WeightingContext, joint: Joint) -> tuple[Tensor, Tensor] | None:
    labels, margins = own.labels, own.margins
    known = None if labels is None or margins is None else [labels, margins]
    found = joint.all_if_known(known)
    return None if found is None else (found[0], found[1])


def _logits_of_all(own: WeightingContext, joint: Joint) -> Tensor | None:
    found = joint.all_if_known(None if own.logits is None else [own.logits])
    return None if found is None else found[0]


def _label_scores_of_all(own: WeightingContext, joint: Joint) -> Tensor | None:
    found = joint.all_if_known(None if own.label_scores is None else [own.label_scores])
    return None if found is None else found[0]


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a batch.

    Attributes:
        values: In the shape of the losses; 0 where one does not count.
        empty: Whether no weight survived selection: a scalar on the device.
        kept: How many did, on all ranks: a scalar on the device.
        of_all: ``(N,)``, those of all ranks where they were weighed together.
        refused: Whether they were none, and zeros stand for them: a scalar, where it is not known.
    """

    values: Tensor
    empty: Tensor
    kept: Tensor
    of_all: Tensor | None
    refused: Tensor | None = None
