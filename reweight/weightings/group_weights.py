"""One remembered weight a source, annotator, rule, scanner or class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from reweight.weightings.remembered import RememberedLogits


class GroupWeights(RememberedLogits):
    """Remember one number φ for each group: φ_g += rate · mean z of the group, and w ∝ σ(φ_g).

    After DoGE (Fan et al. 2024), which weighs the domains of a language model's data so.

    Args:
        groups: How many groups there are, or their names, in the order of their numbers.
        rate: How fast φ moves.

    Raises:
        ValueError: If there is no group, or two have one name, or ``rate`` is out of range.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import GroupWeights, MetaReweighter
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> weighting = GroupWeights(["nurse", "crowd"])
        >>> reweighter = MetaReweighter(model, loss, weighting=weighting)
        >>> reweighter((x, y), trusted, groups=torch.tensor([0, 1, 0, 1])).loss.backward()
        >>> by_name = weighting.by_name()
        >>> by_name["nurse"] > by_name["crowd"]
        True
    """

    rows: ClassVar[Literal["ids", "groups"]] = "groups"

    def __init__(self, groups: int | Sequence[str], *, rate: float = 0.1) -> None:
        names = None if isinstance(groups, int) else list(groups)
        if names is not None and len(set(names)) < len(names):
            raise ValueError(f"two groups have one name: {names}.")
        super().__init__(groups if names is None else len(names), rate)  # type: ignore[arg-type]
        self.names = names

    def by_name(self) -> dict[str, float]:
        """Return σ(φ) by the group's name, or by its number where it has none."""
        names = self.names or map(str, range(len(self._table)))
        return dict(zip(names, self.weights.tolist(), strict=True))

    def __repr__(self) -> str:
        return f"GroupWeights({self.names or len(self._table)}, rate={self.rate:g})"
