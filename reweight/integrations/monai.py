"""MONAI: a ``SupervisedTrainer`` that weighs each batch by a trusted one; losses one a sample."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from monai.data import MetaTensor
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.handlers import CheckpointLoader, CheckpointSaver
from monai.utils import ensure_tuple
from monai.utils.enums import CommonKeys as Keys

from reweight.check_report import CheckReport
from reweight.integrations._ignite import Accumulation, Reweighting, from_key
from reweight.integrations._ignite.keys import Key
from reweight.integrations._ignite.reweighting import whole, without_graph
from reweight.integrations._per_sample import PerSample, per_sample
from reweight.meta_reweighter import MetaReweighter

__all__ = ["PerSample", "ReweightedTrainer", "per_sample"]


class ReweightedTrainer(SupervisedTrainer):  # type: ignore[misc]
    """MONAI's ``SupervisedTrainer``, its batches weighed by those of a trusted loader.

    Takes what that takes, and does what that does: the inferer, ``prepare_batch``, handlers,
    metrics, post-processing, AMP with its scaler, accumulation, compilation. Images with the data
    of MONAI (``MetaTensor``) are trained on as plain tensors, which saves a forward pass a step;
    outputs and predictions have their data all the same.

    ``FORWARD_COMPLETED`` and ``LOSS_COMPLETED`` are fired one after the other, when predictions,
    weights and loss are known. ``engine.state.output`` has ``"weights"`` besides; the loss is
    the weighted one. ``engine.state.reweighted_step`` is the whole step
    (:class:`~reweight.ReweightedStep`), for loggers. The optimiser stays where it is when no
    sample was kept and no trusted term pulls.

    A ``CheckpointSaver`` or ``CheckpointLoader`` among ``train_handlers`` whose dict holds the
    optimiser is made to hold :attr:`reweighting` too, under ``"reweighting"``: without it, what is
    remembered of samples would be lost.

    Args:
        args: As ``SupervisedTrainer`` takes them.
        trusted_data_loader: Batches like those of ``train_data_loader``; begun again whenever it
            ends.
        reweighter: What else :class:`~reweight.MetaReweighter` takes, such as ``{"weighting":
            SampleWeights(len(dataset)), "trusted_coefficient": 0.1}``.
        ids_key: Where a batch has the rows of the data set that its samples are, for what
            remembers: a key, a place, or a function of the batch. ``"id"``, where batches are
            dicts that have it, if nothing is said; ``None``: nowhere.
        groups_key: The same of the number of each sample's source.
        trusted_prepare_batch: For trusted batches; by default ``prepare_batch`` is for both.
        kwargs: As ``SupervisedTrainer`` takes them. A ``loss_function`` that reduces over the
            batch is taken one sample at a time (:func:`per_sample`).

    Raises:
        TypeError: If ``reweighter`` is no dict, or holds the model, a loss or a forward function;
            if ``iteration_update`` is given.
        ValueError: If the loss is of the batch as a whole, or something is remembered by ids or
            groups and a batch is said to have none.

    Example::

        trainer = ReweightedTrainer(
            device, 10, loader, network, optimizer, DiceCELoss(sigmoid=True),
            trusted_data_loader=trusted_loader,
        )
        trainer.run()
    """

    def __init__(
        self,
        *args: Any,
        trusted_data_loader: Iterable[Any],
        reweighter: Mapping[str, Any] | None = None,
        ids_key: Key = "id",
        groups_key: Key = None,
        trusted_prepare_batch: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> None:
        bound = inspect.signature(SupervisedTrainer).bind(*args, **kwargs).arguments
        if bound.get("iteration_update") is not None:
            raise TypeError(
                "iteration_update would take the place of the weighted step. Give the trainer "
                "prepare_batch, inferer and handlers, or call MetaReweighter in an update of yours."
            )
        super().__init__(*args, **kwargs)
        self.reweighting: Reweighting = Reweighting(
            self.network, self.loss_function, self.inferer, trusted_data_loader, reweighter or {}
        )
        self.ids_key: Key = ids_key
        self.groups_key: Key = groups_key
        self.trusted_prepare_batch: Callable[..., Any] = trusted_prepare_batch or self.prepare_batch
        self.reweighting.check_keys(ids=ids_key, groups=groups_key)
        self._accumulation = Accumulation(getattr(self, "accumulation_steps", 1))
        for handler in ensure_tuple(bound.get("train_handlers")):
            self._keep_reweighting(handler)

    @property
    def reweighter(self) -> MetaReweighter:
        """What weighs the batches, with what it remembers."""
        return self.reweighting.reweighter

    def check(self, noisy: Any, trusted: Any) -> CheckReport:
        """Compare the scores with plain backward passes on two batches of the loaders.

        See :meth:`reweight.MetaReweighter.check`; print the report before a long training.

        Args:
            noisy: A batch of ``train_data_loader``.
            trusted: A batch of ``trusted_data_loader``.
        """
        pair = self._prepared(noisy), self._prepared(trusted, self.trusted_prepare_batch)
        return self.reweighter.check(*map(whole, pair))

    def _keep_reweighting(self, handler: Any) -> None:
        names = {CheckpointSaver: "save_dict", CheckpointLoader: "load_dict"}
        held = getattr(handler, names.get(type(handler), ""), None)
        if not isinstance(held, dict):
            return
        objects = {id(value) for value in held.values()}
        ours = {id(self.reweighting), id(self.reweighter)}
        if id(self.optimizer) in objects and not objects & ours:
            held.setdefault("reweighting", self.reweighting)

    def _prepared(self, batch: Any, prepare: Callable[..., Any] | None = None) -> Any:
        prepare = prepare or self.prepare_batch
        return prepare(batch, self.state.device, self.non_blocking, **self.to_kwargs)

    def _iteration(self, engine: Any, batchdata: Any) -> dict[str, Any]:
        """Train on one batch, as ``SupervisedTrainer`` does, its samples weighed."""
        if batchdata is None:
            raise ValueError("Must provide batch data for current iteration.")
        group, weighs = self._accumulation, self.reweighting
        group.at(engine.state.iteration, engine.state.epoch_length)
        noisy = self._prepared(batchdata)
        trusted = self._prepared(next(weighs.trusted), self.trusted_prepare_batch)
        ids = from_key(batchdata, self._ids_of(batchdata), "ids")
        groups = from_key(batchdata, self.groups_key, "groups")
        scaler = self.scaler if self.amp else None
        output = engine.state.output = {Keys.IMAGE: noisy[0], Keys.LABEL: noisy[1]}
        self.network.train()
        if group.first:
            self.optimizer.zero_grad(set_to_none=self.optim_set_to_none)
        with nullcontext() if scaler is None else self._autocast():
            step, prediction = weighs.step(noisy, trusted, ids, groups)
        output[Keys.PRED] = _as_the_image(prediction, noisy[0])
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        output[Keys.LOSS], output["weights"] = step.loss, step.weights
        engine.state.reweighted_step = without_graph(step)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        loss = step.loss / group.steps
        (loss if scaler is None else scaler.scale(loss)).backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if group.moves(weighs.has_gradient(step)):
            if scaler is None:
                self.optimizer.step()
            else:
                scaler.step(self.optimizer)
                scaler.update()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output  # type: ignore[no-any-return]

    def _ids_of(self, batch: Any) -> Key:
        has_none = not isinstance(batch, Mapping) or "id" not in batch
        unasked = self.ids_key == "id" and not self.reweighting.needs("ids")
        return None if has_none and unasked else self.ids_key

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.state.device.type, **self.amp_kwargs)


def _as_the_image(prediction: Any, image: Any) -> Any:
    """Return the prediction with the data of the image, as a network that is given it returns."""
    if not isinstance(image, MetaTensor) or not isinstance(prediction, torch.Tensor):
        return prediction
    return MetaTensor(prediction).copy_meta_from(image)
