"""The sample losses of a model, as a pure function of its parameters.

Everything that differentiates goes through here, so that what a scoring pass must leave as it
found it is guarded in one place: parameters, gradients, buffers, random numbers, modes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.func import functional_call

from reweight._isolation.attributes import attributes_restored
from reweight._isolation.batches import fresh
from reweight._isolation.constant_under_no_grad import ConstantUnderNoGrad
from reweight._isolation.losses import Losses
from reweight._isolation.scoring_pass import scoring_pass
from reweight._isolation.start import Snapshot

Parameters = dict[str, Tensor]
LossFunction = Callable[[nn.Module, Any], Losses]
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
    """Losses of a batch as a function of the model's trainable parameters.

    Attributes:
        model: The model as the user gave it, wrappers included; training runs through it.
        module: The module inside the wrappers; scoring runs through it.
        can_be_followed: Whether tangents may be computed beside the training pass; false from the
            first pass on in which they could not.
    """

    def __init__(self, model: nn.Module, losses: LossFunction) -> None:
        self.model = model
        self.module = unwrapped(model)[-1]
        self.can_be_followed = True
        self._losses = losses
        self._program = _Program(self.module, losses)

    def state_dict(self) -> dict[str, Any]:
        """Return what earlier passes found out, as plain containers and numbers."""
        return {"can_be_followed": self.can_be_followed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what :meth:`state_dict` returned.

        Raises:
            ValueError: If something is missing.
        """
        if "can_be_followed" not in state:
            raise ValueError("the state of the objective has no 'can_be_followed'.")
        self.can_be_followed = bool(state["can_be_followed"])

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return all parameters, trainable or not, under each of their names."""
        return list(self.module.named_parameters(remove_duplicate=False))

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

    def training_losses(self, batch: Any) -> Losses:
        """Run the ordinary training forward pass and return its losses with their graph."""
        return self._losses(self.model, batch)

    def evaluate(
        self,
        parameters: Mapping[str, Tensor],
        batch: Any,
        then: Callable[[Losses], T],
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
            batch: A batch as the losses take it.
            then: Takes the losses, ``(C,)`` or the loss map, differentiable by ``parameters``.
            start: Buffers and random numbers to start from.
            fused_attention: See :func:`~reweight._isolation.scoring_pass.scoring_pass`.
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

    def __init__(self, module: nn.Module, losses: LossFunction) -> None:
        super().__init__()
        self.module = module
        self._run = losses

    def forward(self, batch: Any, then: Callable[[Losses], T]) -> T:
        with ConstantUnderNoGrad():
            losses = self._run(self.module, batch)
        return then(losses)
