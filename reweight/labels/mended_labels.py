"""The label given for a share that is learnt, the model's remembered prediction for the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from reweight._dtypes import at_least_float32
from reweight._memory import RunningMean, Table
from reweight._step.soft_targets import Labelled
from reweight.errors import check_number
from reweight.labels.remembered import (
    RememberedLabels,
    of_the_given,
    standardised,
)


class MendedLabels(RememberedLabels):
    """Train on the label given as far as it is trusted, and on the model's prediction for the rest.

    For each sample the mean q of the model's predictions is remembered, and one number φ; for each
    pair of a label given and a likeliest prediction one number B. A step adds ``rate · z`` to φ and
    ``pair_rate · z`` to B, z the standardised score of the sample under the label given, over the
    length of its gradient at the logits. It trains on the label given at the weight
    ``w = σ(prior + φ_i + B[y_i, argmax q_i])`` and on q at ``(1 − w) · max q``. So a label that
    harms the trusted batch gives way to what the model has long predicted, as far as it is sure,
    where a weight would throw the sample away; B tells of classes that are mistaken for one
    another. (After bootstrapping, Reed et al. 2015, its shares learnt by the meta-gradient.)

    Give it to ``MetaReweighter(..., labels=MendedLabels(len(dataset), num_classes))`` and ``ids=``
    to each call, on the same terms as :class:`SoftLabels`.

    Args:
        num_samples: How many ids there are.
        num_classes: K.
        prior: How far labels are trusted at first: w = σ(2) is 0.88.
        rate: How fast φ moves.
        pair_rate: How fast B moves, for each sample; 0 leaves it out.
        memory: Share of the past in a remembered prediction, once that often seen.
        shape: As for :class:`SoftLabels`.
        max_gib: The most memory that may be taken: 4 bytes a class and 16 more for each label.

    Raises:
        ValueError: If one is out of range, or more memory than ``max_gib`` would be taken.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MendedLabels, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> labels = MendedLabels(len(x), num_classes=2)
        >>> reweighter = MetaReweighter(model, loss, labels=labels, trusted_coefficient=0.1)
        >>> for _ in range(5):
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        >>> (labels.trust > 0.5).tolist()
        [True, False, True, True]
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        prior: float = 2.0,
        rate: float = 1.0,
        pair_rate: float = 0.03,
        memory: float = 0.9,
        shape: Sequence[int] = (),
        max_gib: float = 4.0,
    ) -> None:
        check_number("prior", prior)
        check_number("rate", rate)
        check_number("pair_rate", pair_rate)
        if not 0 <= memory < 1:
            raise ValueError(f"memory must be a share >= 0 and < 1, got {memory!r}.")
        super().__init__(num_samples, num_classes, shape, max_gib, extra=8)
        self.prior: float = prior
        self.rate: float = rate
        self.pair_rate: float = pair_rate
        self.memory: float = memory
        self._trust = Table(num_samples, self.shape)
        self._times = Table(num_samples, self.shape)
        self._predicted = RunningMean(self._table, self._times, memory)
        self._pairs = Table(num_classes, (num_classes,), what="classes")

    @override
    def believed(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Return w · y + u · q for each of ``labels``; y where no prediction is known."""
        q = self._table.read(ids)
        w = self._trust_in(ids, labels, q)
        w = torch.where(self._times.read(ids) > 0, w, torch.ones_like(w))
        u = (1 - w) * q.amax(dim=-1)
        return w.unsqueeze(-1) * self._one_hot(labels) + u.unsqueeze(-1) * q

    @property
    def trust(self) -> Tensor:
        """``(num_samples, *shape)``: w, how far the label given is trusted; NaN where unseen."""
        q = self._table.values
        every = torch.arange(self.num_samples, device=q.device)
        given = self._given.to(q.device)
        w = self._trust_in(every, given, q)
        return torch.where(given >= 0, w, torch.full_like(w, float("nan")))

    def _trust_in(self, ids: Tensor, labels: Tensor, q: Tensor) -> Tensor:
        cells = self._pairs.on(ids.device)[labels.clamp(min=0), q.argmax(dim=-1)]
        return torch.sigmoid(self.prior + self._trust.read(ids) + cells)

    @override
    def learn(self, found: Labelled) -> None:
        """Take in what a step says of its labels, and what it predicts."""
        super().learn(found)
        ids, known = found.ids, found.labels >= 0
        self._predicted.add(ids, at_least_float32(found.logits).softmax(dim=-1), known)
        z = of_the_given(standardised(found, by_length=True), found.labels)
        self._trust.add(ids, self.rate * z)
        likeliest = self._table.read(ids).argmax(dim=-1)
        cells = torch.zeros_like(found.scores, dtype=z.dtype)
        cells.scatter_(-1, likeliest.unsqueeze(-1), self.pair_rate * z.unsqueeze(-1))
        self._pairs.add(found.labels.clamp(min=0).flatten(), cells.reshape(-1, self.num_classes))

    @override
    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered, as tensors."""
        parts = {"trust": self._trust, "times": self._times, "pairs": self._pairs}
        return {**super().state_dict(), **{k: part.values for k, part in parts.items()}}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is of other samples or classes.
        """
        super().load_state_dict(state)
        self._trust.load_state_dict({"values": state.get("trust")})
        self._times.load_state_dict({"values": state.get("times")})
        self._pairs.load_state_dict({"values": state.get("pairs")})

    def __repr__(self) -> str:
        return (
            f"MendedLabels({self._about()}, prior={self.prior:g}, rate={self.rate:g}, "
            f"pair_rate={self.pair_rate:g})"
        )
