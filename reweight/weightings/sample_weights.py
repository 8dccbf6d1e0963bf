"""One remembered weight a sample of the data set."""

from __future__ import annotations

from typing import ClassVar, Literal

from reweight.weightings.remembered import RememberedLogits


class SampleWeights(RememberedLogits):
    """Remember one number φ for each sample: φ_i += rate · z_i, and w ∝ σ(prior + φ_i).

    z_i is the standardised score of a step. One batch says little of a sample (two trusted batches
    agree on its score with a rank correlation of 0.6); their sum over a training says much.

    Args:
        num_samples: How many ids there are: ``ids=`` in each call are below it.
        rate: How fast φ moves.
        prior: How far a sample is believed before anything is known of it: σ(2) is 0.88. At 0 one
            step may halve or double a weight: a hot learning rate and few trusted samples then
            end, now and then, in no training at all.

    Raises:
        ValueError: If one is out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, SampleWeights
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> weighting = SampleWeights(len(x))
        >>> reweighter = MetaReweighter(model, loss, weighting=weighting)
        >>> for _ in range(5):
        ...     reweighter((x, y), trusted, ids=torch.arange(4)).loss.backward()
        >>> (weighting.weights > 0.5).tolist()
        [True, False, True, True]
    """

    rows: ClassVar[Literal["ids", "groups"]] = "ids"

    def __init__(self, num_samples: int, *, rate: float = 1.0, prior: float = 2.0) -> None:
        super().__init__(num_samples, rate, prior)
        self.num_samples = num_samples

    def __repr__(self) -> str:
        return f"SampleWeights({self.num_samples}, rate={self.rate:g}, prior={self.prior:g})"
