"""torch-ignite: an update function that weighs each batch by a trusted one.

With MONAI's trainers use :class:`reweight.integrations.monai.ReweightedTrainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from reweight._step.batches import describe
from reweight.integrations._ignite import Accumulation, Reweighting, from_key
from reweight.integrations._ignite.keys import Key
from reweight.integrations._ignite.reweighting import without_graph
from reweight.meta_reweighter import MetaReweighter
from reweight.step import ReweightedStep

__all__ = ["ReweightedUpdate", "reweighted_update"]


class ReweightedUpdate:
    """The update function that :func:`reweighted_update` makes, for ``Engine(update)``.

    Attributes:
        reweighting: The reweighter and its trusted batches; it has a state.
        step: What the last call returned, without a graph; ``None`` before the first.
    """

    step: ReweightedStep | None

    def __init__(
        self,
        reweighting: Reweighting,
        optimizer: Optimizer,
        prepare: Callable[[Any], Any],
        output_transform: Callable[..., Any],
        accumulation: Accumulation,
        autocast: Callable[[], AbstractContextManager[Any]],
        scaler: Any,
        keys: tuple[Key, Key],
    ) -> None:
        self.reweighting: Reweighting = reweighting
        self.step = None
        self._optimizer = optimizer
        self._prepare = prepare
        self._output_transform = output_transform
        self._accumulation = accumulation
        self._autocast = autocast
        self._scaler = scaler
        self._keys = keys

    @property
    def reweighter(self) -> MetaReweighter:
        """The reweighter."""
        return self.reweighting.reweighter

    def __call__(self, engine: Any, batch: Any) -> Any:
        """Train on a batch, and return what ``output_transform`` makes of it."""
        weighs, group = self.reweighting, self._accumulation
        group.at(engine.state.iteration)
        if group.first:
            self._optimizer.zero_grad()
        weighs.model.train()
        noisy, trusted = self._prepare(batch), self._prepare(next(weighs.trusted))
        ids = from_key(batch, self._keys[0], "ids")
        groups = from_key(batch, self._keys[1], "groups")
        with self._autocast():
            step, output = weighs.step(noisy, trusted, ids, groups)
        loss = step.loss / group.steps
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()
        if group.moves(weighs.has_gradient(step)):
            if self._scaler is None:
                self._optimizer.step()
            else:
                self._scaler.step(self._optimizer)
                self._scaler.update()
        self.step = without_graph(step)
        return self._output_transform(*noisy, output, step.loss)

    def state_dict(self) -> dict[str, Any]:
        """Return what is remembered of samples, and where the trusted loader stands."""
        return self.reweighting.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is no such state, or of another model or other scorers.
        """
        self.reweighting.load_state_dict(state)


def reweighted_update(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: Callable[[Any, Any], Tensor],
    trusted_loader: Iterable[Any],
    *,
    reweighter: Mapping[str, Any] | None = None,
    ids_key: Key = None,
    groups_key: Key = None,
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    prepare_batch: Callable[..., tuple[Any, Any]] | None = None,
    model_fn: Callable[[nn.Module, Any], Any] = lambda model, x: model(x),
    model_transform: Callable[[Any], Any] = lambda output: output,
    output_transform: Callable[[Any, Any, Any, Tensor], Any] = lambda x, y, y_pred, loss: (  # noqa: ARG005
        loss.item()
    ),
    gradient_accumulation_steps: int = 1,
    amp_mode: str | None = None,
    scaler: Any = False,
) -> ReweightedUpdate:
    """Return an update function for ``ignite.engine.Engine``, as ``supervised_training_step`` does.

    The optimiser stays where it is after a step, or a group of accumulated ones, in which no
    sample was kept and no trusted term pulls.

    Args:
        model: The model to train, wrapped in ``DistributedDataParallel`` if it is to be.
        optimizer: Its optimiser.
        loss_fn: ``loss_fn(y_pred, y)``; one that reduces over the batch is taken one sample at a
            time (:func:`~reweight.integrations.monai.per_sample`).
        trusted_loader: Batches like those of the engine's data; begun again whenever it ends.
        reweighter: What else :class:`~reweight.MetaReweighter` takes, such as ``{"weighting":
            SampleWeights(len(dataset))}``.
        ids_key: Where a batch has the rows of the data set that its samples are: a key, a place
            (2 for ``(x, y, ids)``), or a function of the batch. By default a batch has none.
        groups_key: The same of the number of each sample's source.
        device: Where batches go; the model is not moved.
        non_blocking: As ``Tensor.to`` takes it.
        prepare_batch: ``(batch, device=, non_blocking=) -> (x, y)``, for both kinds of batches;
            by default the first two parts of a batch.
        model_fn: ``(model, x) -> output``.
        model_transform: ``output -> y_pred``.
        output_transform: ``(x, y, y_pred, loss)`` to what the engine keeps as output.
        gradient_accumulation_steps: How many batches are added up for a step of the optimiser.
        amp_mode: ``"amp"`` trains under autocast (bfloat16 on a CPU).
        scaler: A ``GradScaler``; ``True`` makes one.

    Raises:
        TypeError: If ``reweighter`` is no dict, or holds the model, a loss or a forward function.
        ValueError: If the number of steps is below 1, there is a scaler and no ``amp_mode``, or
            something is remembered by ids or groups and a batch is said to have none.

    Example::

        update = reweighted_update(model, optimizer, nn.CrossEntropyLoss(), trusted_loader)
        Engine(update).run(loader, max_epochs=10)
    """
    if gradient_accumulation_steps < 1:
        raise ValueError(
            f"gradient_accumulation_steps must be at least 1, got {gradient_accumulation_steps}."
        )
    if amp_mode not in (None, "amp"):
        raise ValueError(f'amp_mode must be "amp" or None, got {amp_mode!r}.')
    if scaler and amp_mode is None:
        raise ValueError('scaler= scales gradients of half precision: give amp_mode="amp" too.')
    kind = torch.device(device if device is not None else _device_of(model)).type

    def prepare(batch: Any) -> Any:
        if prepare_batch is not None:
            return tuple(prepare_batch(batch, device=device, non_blocking=non_blocking))
        if not isinstance(batch, tuple | list) or len(batch) < 2:
            raise TypeError(
                f"a batch must begin with (x, y), and this is {describe(batch)}. Give "
                f"prepare_batch=, a function (batch, device=, non_blocking=) -> (x, y)."
            )
        return tuple(_moved(part, device, non_blocking) for part in batch[:2])

    def run(x: Any, model: nn.Module) -> Any:
        return model_transform(model_fn(model, x))

    reweighting = Reweighting(model, loss_fn, run, trusted_loader, reweighter or {})
    reweighting.check_keys(ids=ids_key, groups=groups_key)
    return ReweightedUpdate(
        reweighting,
        optimizer,
        prepare,
        output_transform,
        Accumulation(gradient_accumulation_steps),
        nullcontext if amp_mode is None else lambda: torch.autocast(kind),
        (torch.amp.GradScaler(kind) if scaler is True else scaler) if scaler else None,
        (ids_key, groups_key),
    )


def _device_of(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _moved(value: Any, device: Any, non_blocking: bool) -> Any:
    if isinstance(value, Tensor):
        return value if device is None else value.to(device, non_blocking=non_blocking)
    if isinstance(value, Mapping):
        return {key: _moved(each, device, non_blocking) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_moved(each, device, non_blocking) for each in value]
    return value
