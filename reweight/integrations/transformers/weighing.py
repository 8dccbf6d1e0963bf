"""What a weighing trainer holds: the reweighter, its trusted batches, what was seen of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from reweight.integrations.transformers.building import (
    Forward,
    Options,
    build,
    check_needs,
    losses_of,
    places,
    trl_kind,
)
from reweight.integrations.transformers.losses import ModelLosses
from reweight.integrations.transformers.pairs import with_reference
from reweight.integrations.transformers.rows import GROUP, ROW
from reweight.integrations.transformers.seen import SeenWeights
from reweight.integrations.transformers.trusted import TrustedBatches, moved
from reweight.meta_reweighter import MetaReweighter
from reweight.step import ReweightedStep

_VERSION = 1


class Weighing:
    """The weighing of one trainer, whose reweighter is built in its first training step.

    Args:
        options: Settings of a reweighter, or a function that builds one.
        owner: The class whose ``compute_loss`` the trainer would run without weights.
        given: The ``train_dataset`` as it was given.
        batch_size: Of trusted batches; ``None``: that of the noisy ones.

    Attributes:
        reweighter: ``None`` before the first training step.
        last: The last training step, its loss detached.
        seen: The mean weight of each row, where rows are known.
        trusted: The trusted data set, as the trainer's own preparation left it.
        names: The names of the groups, in the order of our numbers.
        loss_function: The user's ``compute_loss_func``.
        loaded: The state to go on from in the next step.
        weighs: Whether a training step is under way; its loss is to be weighed.
        done: Whether it was.
    """

    def __init__(self, options: Options, owner: type, given: Any, batch_size: int | None) -> None:
        self.options = options
        self.owner = owner
        self.given = given
        self.batch_size = batch_size
        self.reweighter: MetaReweighter | None = None
        self.last: ReweightedStep | None = None
        self.seen: SeenWeights | None = None
        self.trusted: Any = None
        self.names: list[str] | None = None
        self.loss_function: Callable[..., Any] | None = None
        self.loaded: dict[str, Any] | None = None
        self.weighs = False
        self.done = False
        self._batches: TrustedBatches | None = None
        self._places: list[int] | None = None
        self._own: Forward | None = None
        self._kept: Tensor | None = None

    def losses(self, trainer: Any) -> Forward:
        """Return the losses that the trainer takes the mean of, as a ``forward=``."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._own = losses_of(trainer, self.owner, base, self.loss_function)
        return self._own

    def loss(self, trainer: Any, model: nn.Module, inputs: Mapping[str, Any]) -> Tensor:
        """Return the weighted loss of a batch."""
        batch = dict(inputs)
        rows, groups = batch.pop(ROW, None), batch.pop(GROUP, None)
        if self._packs(trainer):
            rows = groups = None  # of what is packed no row of the batch is one of the data set
        pairs = trl_kind(self.owner) == "DPOTrainer"
        if pairs:
            batch = with_reference(trainer, batch)
        reweighter = self._built(trainer, model, batch, rows=rows, groups=groups)
        trusted = None
        if self._batches is not None:
            trusted = moved(next(self._batches), trainer.args.device)
            trusted.pop(ROW, None)
            trusted.pop(GROUP, None)
            if pairs:
                trusted = with_reference(trainer, trusted)
        if groups is not None and self._places is not None:
            groups = [self._places[group] for group in groups]
        step = reweighter(batch, trusted, ids=rows, groups=groups)
        if rows is not None and self.seen is not None:
            self.seen.add(rows, step, batch.get("attention_mask"))
        kept = (step.weights > 0).sum() if step.kept_by_all is None else step.kept_by_all
        self._kept = kept if self._kept is None else self._kept + kept
        self.last = replace(step, loss=step.loss.detach())
        self.done = True
        return step.loss

    def empty(self) -> bool:
        """Whether nothing at all was to be learnt of the batches since this was last asked."""
        kept, self._kept = self._kept, None
        if kept is None or self.reweighter is None or self.reweighter.trusted_coefficient > 0:
            return False
        return int(kept) == 0

    def _built(
        self, trainer: Any, model: nn.Module, batch: Mapping[str, Any], *, rows: Any, groups: Any
    ) -> MetaReweighter:
        found = self.reweighter
        if found is None or found.model is not model:
            if found is not None:
                self._refuse_memories_of(found)
            found = self._build(trainer, model)
            check_needs(
                found,
                trusted=self.trusted is not None,
                rows=rows is not None,
                groups=groups is not None,
                packed=self._packs(trainer),
            )
            if isinstance(self._own, ModelLosses):
                self._own.check(trainer.accelerator.unwrap_model(model), batch)
            if self.names is not None:
                self._places = places(self.names, found.weighting)
            if self.trusted is not None and self._batches is None:
                self._batches = self._stream(trainer)
            if rows is not None and self.seen is None:
                self.seen = SeenWeights(len(self.given))
            self.reweighter = found
        if self.loaded is not None:
            state, self.loaded = self.loaded, None
            self._load(found, state)
        return found

    def _build(self, trainer: Any, model: nn.Module) -> MetaReweighter:
        self._own = None
        return build(self.options, model, lambda: self.losses(trainer))

    def _refuse_memories_of(self, before: MetaReweighter) -> None:
        remembers = (before.weighting.learns, before.labels, before.dynamics)
        if not callable(self.options) and any(remembers):
            raise ValueError(
                "the trainer trains another model now (model_init makes a new one in each "
                "train()), and what was remembered of the samples belongs to the one before. Give "
                "reweighter= as a function model -> MetaReweighter that makes all of it anew."
            )

    def _packs(self, trainer: Any) -> bool:
        """Whether SFTTrainer puts several samples into one row of a batch."""
        asked = any(getattr(trainer.args, name, False) for name in ("packing", "padding_free"))
        return asked and trl_kind(self.owner) == "SFTTrainer"

    def _stream(self, trainer: Any) -> TrustedBatches:
        args = trainer.args
        # The Trainer's own way from a data set to batches: its collator, its unused columns gone.
        made = trainer.get_test_dataloader(self.trusted)
        seed = args.seed if args.data_seed is None else args.data_seed
        return TrustedBatches(
            made.dataset,
            made.collate_fn,
            self.batch_size or args.per_device_train_batch_size,
            seed + args.process_index,  # each rank draws its own
            num_workers=args.dataloader_num_workers,
            pin_memory=made.pin_memory and torch.accelerator.is_available(),
        )

    def state_dict(self) -> dict[str, Any] | None:
        """Return what a checkpoint must hold; ``None`` before the first step."""
        if self.reweighter is None:
            return None
        return {
            "version": _VERSION,
            "reweighter": self.reweighter.state_dict(),
            "trusted": None if self._batches is None else self._batches.state_dict(),
            "seen": None if self.seen is None else self.seen.state_dict(),
        }

    def _load(self, reweighter: MetaReweighter, state: Mapping[str, Any]) -> None:
        if state.get("version") != _VERSION:
            raise ValueError(
                f"the checkpoint's reweighter is of version {state.get('version')!r}, and this is "
                f"version {_VERSION}."
            )
        parts = {"trusted": self._batches, "seen": self.seen}
        for name, part in parts.items():
            if (state[name] is None) != (part is None):
                raise ValueError(
                    f"the checkpoint was saved {'without' if part else 'with'} "
                    f"{'a trusted_dataset' if name == 'trusted' else 'row numbers'}. Make the "
                    f"trainer as it was made then."
                )
        reweighter.load_state_dict(state["reweighter"])
        if self._batches is not None:
            self._batches.load_state_dict(state["trusted"])
        if self.seen is not None:
            self.seen.load_state_dict(state["seen"])
