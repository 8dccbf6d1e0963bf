"""Look-ahead with any functional optimiser of TorchOpt, its state fresh at every call."""

from __future__ import annotations

from typing import Any

from torch import nn

from reweight._isolation.objective import Parameters


class TorchOptLookahead:
    """A TorchOpt gradient transformation as a look-ahead, starting from its initial state.

    Args:
        optimizer: ``torchopt.sgd(...)``, ``torchopt.adam(...)`` or any other
            ``torchopt.base.GradientTransformation``. For Adam and its kin give ``eps_root > 0``:
            at zero gradient the derivative of their square root is infinite without it.

    Example:
        >>> import torch, torchopt
        >>> from torch import nn
        >>> from reweight import GradientSimilarity, MetaReweighter
        >>> model, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(reduction="none")
        >>> noisy, trusted = [(torch.randn(6, 4), torch.randint(3, (6,))) for _ in range(2)]
        >>> scorer = GradientSimilarity(lookahead=torchopt.adam(lr=1e-3, eps_root=1e-8))
        >>> MetaReweighter(model, loss, scorer=scorer)(noisy, trusted).weights.shape
        torch.Size([6])
    """

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def start(self, parameters: dict[str, nn.Parameter]) -> Any:
        """Return the optimiser's initial state."""
        return self.optimizer.init({name: p.detach() for name, p in parameters.items()})

    def update(
        self, parameters: Parameters, gradients: Parameters, state: Any
    ) -> tuple[Parameters, Any]:
        """Return the parameters and the state after one TorchOpt step."""
        import torchopt  # here: most users never need it

        updates, state = self.optimizer.update(gradients, state, params=parameters, inplace=False)
        return torchopt.apply_updates(parameters, updates, inplace=False), state
