"""Random weights, the control that a reweighting method has to beat."""

from __future__ import annotations

from collections.abc import Mapping

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

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, RandomWeights
        >>> x = torch.tensor([[1.0], [2.0], [-1.0], [-2.0]])
        >>> y = torch.tensor([1, 0, 0, 0])  # 1 where x > 0, but for the second, which is wrong
        >>> trusted = torch.tensor([[1.0], [-1.0]]), torch.tensor([1, 0])
        >>> model, loss = nn.Linear(1, 2, bias=False), nn.CrossEntropyLoss(reduction="none")
        >>> step = MetaReweighter(model, loss, scorer=RandomWeights(seed=1))((x, y))
        >>> bool(step.weights.min() >= 0), round(float(step.weights.sum()), 4)
        (True, 1.0)
    """

    signed = False

    def __init__(self, seed: int = 0) -> None:
        self.generator: torch.Generator = torch.Generator(device="cpu").manual_seed(seed)

    @override
    def __repr__(self) -> str:
        seed = self.generator.initial_seed()
        return f"RandomWeights({'' if seed == 0 else f'seed={seed}'})"

    @override
    def __call__(self, context: ScoringContext) -> Tensor:
        """Return rectified normal numbers in the shape of the losses."""
        losses = context.losses
        numbers = torch.randn(losses.shape, generator=self.generator, device="cpu")
        return numbers.clamp(min=0).to(losses)

    def state_dict(self) -> dict[str, Tensor]:
        """Return where the generator stands, as ``uint8`` numbers."""
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from where :meth:`state_dict` found the generator.

        Raises:
            ValueError: If ``state`` is not of a generator.
        """
        numbers = state.get("generator")
        try:
            # A checkpoint may have been loaded onto an accelerator; the generator is on the CPU.
            self.generator.set_state(numbers.cpu())  # type: ignore[union-attr]
        except (AttributeError, TypeError, RuntimeError) as error:
            raise ValueError(
                "the state of RandomWeights must hold under 'generator' what "
                "torch.Generator.get_state() of a CPU generator returned."
            ) from error
