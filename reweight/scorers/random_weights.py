"""Random weights, the control that a reweighting method has to beat."""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from reweight._step.context import ScoringContext
from reweight.scorers.mixture import Scorer


class RandomWeights(Scorer):
    """Score each sample by a rectified normal number, max(0, N(0, 1)).

    The random baseline of Ren et al. 2018 (section 4.1). The numbers come from a generator of
    its own on the CPU, so that the global random number streams stay as they are.

    Args:
        seed: Seed of the generator.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator: torch.Generator = torch.Generator(device="cpu").manual_seed(seed)

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return rectified normal numbers in the shape of the losses."""
        losses = context.losses
        numbers = torch.randn(losses.shape, generator=self.generator, device="cpu")
        return numbers.clamp(min=0).to(losses)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the generator's state, for a checkpoint."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.generator.set_state(state["generator"])
