"""What a weighting may ask about the batch it weighs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor


class Mix(Protocol):
    """What a mixture of scorers makes of its scores."""

    @property
    def signed(self) -> bool:
        """Whether a score says by its sign if the sample helps or harms."""
        ...

    def mix(self, scores: Sequence[Tensor]) -> Tensor:
        """Return weights by g and mix."""
        ...

    def standardise(self, scores: Sequence[Tensor]) -> Tensor:
        """Return standardised scores."""
        ...


def _not_known() -> None:
    return None


@dataclass(frozen=True, eq=False)
class WeightingContext:
    """The N losses of one batch that are to be weighed, and what is known of each.

    N is the number of samples, or of elements of the loss map; those that do not count (ignored
    targets) are not among them. Under ``sync="global"`` they are those of all ranks.

    Attributes:
        losses: ``(N,)``, unweighted, detached, in float32 or wider.
        scores: By scorer name, ``(N,)`` each, raw.
        ids: ``(N,)`` int64, the row of the data set each comes from, or ``None``.
        groups: ``(N,)`` int64, its source, or ``None``.
        training: Whether the step trains; one that only scores must not leave a trace.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> def small_losses(context):
        ...     return (context.losses <= context.losses.median()).float() * (context.score > 0)
        >>> step = MetaReweighter(model, loss, weighting=small_losses)((x, y), trusted)
        >>> float(step.weights.sum()), float(step.weights[1])
        (1.0, 0.0)
    """

    losses: Tensor
    scores: Mapping[str, Tensor]
    mixture: Mix
    ids: Tensor | None
    groups: Tensor | None
    training: bool
    _labelled: Callable[[], tuple[Tensor, Tensor] | None] = _not_known
    _logits: Callable[[], Tensor | None] = _not_known
    _label_scores: Callable[[], Tensor | None] = _not_known

    @cached_property
    def mixed(self) -> Tensor:
        """``(N,)``: each scorer's scores normalised by g, and mixed (Eq. 8). Sums to at most 1."""
        return self.mixture.mix(list(self.scores.values()))

    @cached_property
    def score(self) -> Tensor:
        """``(N,)``: the standardised score z, in [-3, 3]; above 0 where the sample helps."""
        return self.mixture.standardise(list(self.scores.values()))

    @cached_property
    def _labels_and_margins(self) -> tuple[Tensor, Tensor] | None:
        return self._labelled()

    @cached_property
    def logits(self) -> Tensor | None:
        """``(N, K)``: the model's output for each loss, detached; ``None`` if not known."""
        return self._logits()

    @cached_property
    def label_scores(self) -> Tensor | None:
        """``(N, K)``: the raw score under every label, where asked for and known, else ``None``.

        ``None`` too where a sample that is weighed as one has a map of labels.
        """
        return self._label_scores()

    @property
    def labels(self) -> Tensor | None:
        """``(N,)`` int64: the class given, -1 where there is none; ``None`` if not known."""
        found = self._labels_and_margins
        return None if found is None else found[0]

    @property
    def margins(self) -> Tensor | None:
        """``(N,)``: the logit of the class given less the largest other; ``None`` if not known."""
        found = self._labels_and_margins
        return None if found is None else found[1]
