"""The sample losses of a model, as a pure function of its parameters.

Everything that differentiates goes through here, so that what a scoring pass must leave as it
found it is guarded in one place: parameters, gradients, buffers, random numbers, modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from reweight.batches import Forward, fresh
from reweight.constant_under_no_grad import ConstantUnderNoGrad
from reweight.guards import Snapshot, attributes_restored, scoring_pass
from reweight.sample_losses import Granularity, per_unit

Parameters = dict[str, Tensor]
T = TypeVar("T")


def unwrapped(model: nn.Module) -> list[nn.Module]:
    """Return ``model``, what its outermost wrapper holds, and so on to the bare module.

    Wrappers are ``DistributedDataParallel``, ``DataParallel`` and ``torch.compile``'s.
    """
    found = [model]
    while True:
        inner = getattr(found[-1], "_orig_mod", None)
        if inner is None and isinstance(
            found[-1], nn.parallel.DistributedDataParallel | nn.DataParallel
        ):
            inner = found[-1].module
        if not isinstance(inner, nn.Module):
            return found
        found.append(inner)


class Objective:
    """Losses of ``forward(model, batch)`` as a function of the model's trainable parameters.

    Attributes:
        model: The model as the user gave it, wrappers included; training runs through it.
        module: The module inside the wrappers; scoring runs through it.
        granularity: Whether samples or elements of the loss map are weighed.
        can_be_followed: Whether tangents may be computed beside the training pass; false from the
            first pass on in which they could not.
    """

    def __init__(self, model: nn.Module, forward: Forward, granularity: Granularity) -> None:
        self.model = model
        self.module = unwrapped(model)[-1]
        self.granularity: Granularity = granularity
        self.can_be_followed = True
        self._forward = forward
        self._program = _Program(self.module, forward, granularity)

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that require a gradient now, each once, by name.

        Raises:
            ValueError: If there is none.
        """
        found = {name: p for name, p in self.module.named_parameters() if p.requires_grad}
        if not found:
            raise ValueError(
                "the model has no parameter that requires a gradient; there is nothing to train. "
                "Set requires_grad_(True) on some."
            )
        return found

    def training_losses(self, batch: Any) -> Tensor:
        """Run the ordinary training forward pass and return its losses with their graph."""
        return per_unit(self._forward(self.model, batch), self.granularity)

    def evaluate(
        self,
        parameters: Mapping[str, Tensor],
        batch: Any,
        then: Callable[[Tensor], T],
        start: Snapshot,
        *,
        fused_attention: bool = False,
    ) -> T:
        """Return ``then(losses)`` at ``parameters``, leaving the model as it is.

        Whatever is differentiated must be so within ``then``: a backward pass may run the model
        again (activation checkpointing), and has to find the same parameters and buffers there.

        Args:
            parameters: Values for some or all trainable parameters, by name. The others keep
                their values and are constants.
            batch: A batch as ``forward`` takes it.
            then: Takes the losses, ``(C,)`` or the loss map, differentiable by ``parameters``.
            start: Buffers and random numbers to start from.
            fused_attention: See :func:`~reweight.guards.scoring_pass`.
        """
        values = {name: p.detach() for name, p in self.trainable().items()}
        values.update(parameters)
        # In train mode BatchNorm writes into the buffers it is given.
        values.update((name, buffer.clone()) for name, buffer in start.buffers.items())
        substituted = {f"module.{name}": value for name, value in values.items()}
        with (
            scoring_pass(start, fused_attention=fused_attention),
            attributes_restored(self.module),
        ):
            result: T = functional_call(self._program, substituted, (fresh(batch), then))
        return result


class _Program(nn.Module):
    """The user's forward function as a module, so that ``functional_call`` can substitute in it."""

    def __init__(self, module: nn.Module, forward: Forward, granularity: Granularity) -> None:
        super().__init__()
        self.module = module
        self._run = forward
        self._granularity: Granularity = granularity

    def forward(self, batch: Any, then: Callable[[Tensor], T]) -> T:
        with ConstantUnderNoGrad():
            losses = per_unit(self._run(self.module, batch), self._granularity)
        return then(losses)
