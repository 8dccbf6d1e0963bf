"""What a scorer may ask about the batch it scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from reweight._derivative.methods import Method
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._step.losses import Granularity
from reweight._step.noisy_passes import NoisyPasses
from reweight.errors import check_finite


class ScoringContext:
    """One noisy batch, the trusted batch it is judged by, and the model as it stands.

    Attributes:
        model: The model, without ``DistributedDataParallel`` or ``torch.compile`` around it.
        trusted: The trusted batch, or ``None``.
        objective: The losses as a pure function of the model's parameters.
        granularity: Whether samples or elements of the loss map are weighed.
        passes: The forward passes of the noisy batch.
        training: Whether the step trains, or only scores.
        full_trusted_gradient: Whether the step needs ∇L_v by every trainable parameter anyway.
        trusted_loss: Mean trusted loss, once something computed it: at θ where that was asked for,
            else at the look-ahead.
    """

    def __init__(
        self,
        objective: Objective,
        noisy: Any,
        trusted: Any,
        *,
        granularity: Granularity,
        training: bool,
        full_trusted_gradient: bool = False,
    ) -> None:
        self.objective = objective
        self.granularity = granularity
        self.model = objective.module
        self.trusted = trusted
        self.trusted_loss: Tensor | None = None
        self.passes = NoisyPasses(objective, noisy, training=training)
        self.training = training
        self.full_trusted_gradient = full_trusted_gradient
        self._gradients: dict[frozenset[str], Parameters] = {}

    @property
    def noisy(self) -> Any:
        """The noisy batch, as it came."""
        return self.passes.noisy

    @property
    def losses(self) -> Tensor:
        """Unweighted losses of the noisy batch, ``(C,)`` or the loss map, detached."""
        return self.passes.for_scores().losses.detach()

    @property
    def counted(self) -> Tensor | None:
        """Which losses count, bool, in their shape; ``None``: all. Ignored targets do not."""
        return self.passes.for_scores().counted

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name."""
        return self.objective.trainable()

    def require_trusted(self) -> None:
        """Raise a ``ValueError`` that says how to give one, if there is no trusted batch."""
        if self.trusted is None:
            raise ValueError(
                "this scorer (or trusted_coefficient) judges by a trusted batch: call "
                "reweighter(noisy, trusted)."
            )

    def trusted_gradient(
        self, names: Iterable[str] | None = None, at: Parameters | None = None
    ) -> Parameters:
        """Return ∇L_v, L_v the mean trusted loss.

        Args:
            names: The parameters wanted; ``None``: all trainable ones. The backward pass stops
                at the earliest of them.
            at: Where to take the gradient, if not at θ: values by parameter name.

        Returns:
            A tensor per parameter name, parameters that L_v does not depend on left out.

        Raises:
            ValueError: If no trusted batch was given.
            NonFiniteError: If a trusted loss is not finite.
        """
        trainable = self.trainable()
        wanted = list(trainable) if names is None else list(names)
        if at is not None:
            return self._trusted_gradient(trainable, wanted, at)
        computed = list(trainable) if self.full_trusted_gradient else wanted
        key = frozenset(computed)
        if key not in self._gradients:
            self._gradients[key] = self._trusted_gradient(trainable, computed, {})
        found = self._gradients[key]
        return {name: found[name] for name in wanted if name in found}

    def _trusted_gradient(
        self, trainable: dict[str, nn.Parameter], names: list[str], at: Parameters
    ) -> Parameters:
        self.require_trusted()
        leaves = {n: at.get(n, trainable[n]).detach().requires_grad_() for n in names}

        def differentiate(losses: Losses) -> Parameters:
            check_finite(losses.values, "loss", "trusted")
            mean = losses.mean()
            if not at or self.trusted_loss is None:
                self.trusted_loss = mean.detach()
            if not mean.requires_grad:
                return {}
            found = torch.autograd.grad(mean, list(leaves.values()), allow_unused=True)
            # An embedding may give a sparse gradient, which has no forward-mode rules.
            return {
                name: gradient.to_dense()
                for name, gradient in zip(leaves, found, strict=True)
                if gradient is not None
            }

        return self.objective.evaluate(leaves, self.trusted, differentiate, self.passes.start)

    def directional_derivative(self, direction: Parameters, method: Method = "forward") -> Tensor:
        """Return ⟨∇L_i(θ), v⟩ for every loss of the noisy batch, detached.

        Args:
            direction: v by parameter name; a missing parameter counts as zero.
            method: See :func:`reweight._derivative.methods.directional_derivative`.
        """
        return self.passes.directional_derivative(direction, method)
