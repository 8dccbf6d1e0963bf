"""A remembered distribution over the labels of each sample, moved by the label scores."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from typing_extensions import override

from reweight._step.soft_targets import Labelled
from reweight.errors import check_number
from reweight.labels.remembered import RememberedLabels, standardised


class SoftLabels(RememberedLabels):
    """Train on a distribution over the labels of each sample, which the trusted batch mends.

    T, one number for each id and class, starts at ``prior`` for the label given. A step adds
    ``rate · z``, z the score of the sample under each label over the root mean square of the scores
    under the labels given, clipped to ±3, and trains on softmax(T) in the label's place: ascent by
    exponentiated gradients on how much the distribution helps the trusted batch. Scores, margins
    and dynamics go on to speak of the label as given. (EMLC, ICCV 2023,
    takes such products for its own network; MLC and MSLC, AAAI 2021, by double backward.)

    Give it to ``MetaReweighter(..., labels=SoftLabels(len(dataset), num_classes))`` and ``ids=`` to
    each call. It needs :class:`~reweight.GradientSimilarity`, logits ``(C, K, ...)`` and class
    indices ``(C, ...)``. Cross-entropy costs next to nothing more; another loss is computed once a
    class. Targets that the loss ignores stay ignored.

    Args:
        num_samples: How many ids there are.
        num_classes: K.
        prior: What the label given is ahead by at first: 2 believes it exp(2) times as much as any
            other.
        rate: How fast T moves.
        shape: Of the map of labels of one sample, as of a mask; each place is mended by itself. A
            place must be the same in every epoch: no random crops and flips.
        max_gib: The most memory that may be taken: 4 bytes a class and 8 more for each label.

    Raises:
        ValueError: If one is out of range, or more memory than ``max_gib`` would be taken.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, SoftLabels
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> labels = SoftLabels(len(x), num_classes=2)
        >>> reweighter = MetaReweighter(model, loss, labels=labels)
        >>> for _ in range(5):
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        >>> labels.suggested
        tensor([1, 1, 0, 0])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        *,
        prior: float = 2.0,
        rate: float = 0.5,
        shape: Sequence[int] = (),
        max_gib: float = 4.0,
    ) -> None:
        check_number("prior", prior)
        check_number("rate", rate)
        super().__init__(num_samples, num_classes, shape, max_gib, extra=0)
        self.prior: float = prior
        self.rate: float = rate

    @override
    def believed(self, ids: Tensor, labels: Tensor) -> Tensor:
        """Return softmax(T) for each of ``labels``, ``(N, *shape)``."""
        return (self._table.read(ids) + self.prior * self._one_hot(labels)).softmax(dim=-1)

    @override
    def learn(self, found: Labelled) -> None:
        """Add what a step says of its labels."""
        super().learn(found)
        self._table.add(found.ids, self.rate * standardised(found))

    def __repr__(self) -> str:
        return f"SoftLabels({self._about()}, prior={self.prior:g}, rate={self.rate:g})"
