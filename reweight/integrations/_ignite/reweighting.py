"""A reweighter and its trusted batches, and what of both a checkpoint must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from reweight.integrations._ignite.captured import Captured
from reweight.integrations._ignite.endless import Endless
from reweight.integrations._ignite.keys import Key
from reweight.integrations._per_sample.loss import plain
from reweight.meta_reweighter import MetaReweighter
from reweight.step import ReweightedStep


class Reweighting:
    """Weighs the batches of an engine by those of a trusted loader.

    :meth:`state_dict` holds what is remembered of samples and where the trusted loader stands, so
    that it goes into a checkpoint beside the model and the optimiser.

    Attributes:
        reweighter: What weighs them.
        trusted: The trusted batches, without end.
        model: The model that is trained.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any],
        run: Callable[..., Any],
        trusted_loader: Iterable[Any],
        options: Mapping[str, Any],
    ) -> None:
        if not isinstance(options, Mapping):
            raise TypeError(
                f"reweighter must be a dict of what MetaReweighter takes besides model and loss, "
                f'such as {{"trusted_coefficient": 0.1}}; got {type(options).__name__}.'
            )
        for name in {"model", "loss", "forward"} & options.keys():
            raise TypeError(
                f"reweighter options hold {name!r}, which the trainer has already: give it the "
                f"model and the loss, and here what else MetaReweighter takes."
            )
        self.trusted: Endless = Endless(trusted_loader)
        self._captured = Captured(loss, run)
        self.model: nn.Module = model
        self.reweighter: MetaReweighter = MetaReweighter(
            model, forward=self._captured.forward, **options
        )

    def step(
        self, noisy: Any, trusted: Any, ids: Any = None, groups: Any = None
    ) -> tuple[ReweightedStep, Any]:
        """Return the step of two batches, and what the model made of the noisy one.

        Args:
            noisy: ``(inputs, targets, args, kwargs)`` or ``(inputs, targets)``.
            trusted: The same.
            ids: As :class:`~reweight.MetaReweighter` takes them.
            groups: The same.
        """
        step = self.reweighter(whole(noisy), whole(trusted), ids=ids, groups=groups)
        return step, self._captured.take()

    def check_keys(self, **keys: Key) -> None:
        """Refuse to remember by what no batch is said to have.

        Raises:
            ValueError: If ``ids`` or ``groups`` are needed, and the key of them is ``None``.
        """
        for name, key in keys.items():
            if key is None and self.needs(name):
                raise ValueError(
                    f"the reweighter remembers something by {name}: say where a batch has them, "
                    f'{name}_key="{name.rstrip("s")}", a place in the batch or a function of it.'
                )

    def needs(self, what: str) -> bool:
        """Whether what is remembered is by ``"ids"``, or by ``"groups"``."""
        return what in self.reweighter._needs

    def has_gradient(self, step: ReweightedStep) -> bool:
        """Whether something pulls the parameters: a kept sample, or the trusted term."""
        return self.reweighter.trusted_coefficient > 0 or step.kept > 0

    def state_dict(self) -> dict[str, Any]:
        """Return the reweighter's state and where the trusted loader stands."""
        return {"reweighter": self.reweighter.state_dict(), "trusted": self.trusted.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is no such state, or of another model or other scorers.
        """
        if not isinstance(state, Mapping) or not {"reweighter", "trusted"} <= state.keys():
            raise ValueError("this is not what state_dict() of a trainer's reweighting returned.")
        self.reweighter.load_state_dict(state["reweighter"])
        self.trusted.load_state_dict(state["trusted"])


def whole(batch: Any) -> tuple[Any, Any, tuple[Any, ...], dict[str, Any]]:
    """Return ``(inputs, targets, args, kwargs)``, of plain tensors."""
    inputs, targets, *rest = plain(tuple(batch))
    args, kwargs = rest or ((), {})
    return inputs, targets, tuple(args), dict(kwargs)


def without_graph(step: ReweightedStep) -> ReweightedStep:
    """Return the step for those who look at it after its backward pass."""
    return replace(step, loss=step.loss.detach())
