"""What a reweighter needs of a Lightning trainer: when it is built, saved, restored and skipped."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler

from reweight._warnings import warn
from reweight.meta_reweighter import MetaReweighter
from reweight.paired import Paired
from reweight.step import ReweightedStep

if TYPE_CHECKING:
    from lightning.pytorch import Callback
elif "pytorch_lightning" in sys.modules and "lightning" not in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback

KEY = "reweighter"
"""Under which name its state is in a checkpoint."""


class ReweightCallback(Callback):
    """Keeps the reweighter of a module; ``ReweightedModule`` gives it to the trainer.

    Not in the module itself, whose attributes the library takes for what a model remembers.

    Args:
        module: The module.
    """

    def __init__(self, module: Any) -> None:
        self.module: Any = module
        self._reweighter: MetaReweighter | None = None
        self._loaded: Mapping[str, Any] | None = None
        self._kept: list[Tensor] = []
        self._stepped = False
        self._stood: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint."""
        return KEY

    def reweighter(self, module: Any) -> MetaReweighter:
        """Return the reweighter.

        Raises:
            RuntimeError: Before the first fit.
        """
        if self._reweighter is None:
            raise RuntimeError(
                f"the reweighter of {type(module).__name__} is built when a fit begins, on the "
                f"model as the strategy has wrapped it: there is none before trainer.fit."
            )
        return self._reweighter

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Build the reweighter on the model as it is wrapped now."""
        state = self._loaded
        if self._reweighter is not None and state is None:  # a further fit goes on
            state = self._reweighter.state_dict()
        wrapped: nn.Module = trainer.strategy.model
        if getattr(pl_module, "_compiler_ctx", None) is not None:
            # Lightning has taken a compiled module apart, of which it keeps this. What is made
            # here is never called; it says that the training pass is compiled.
            wrapped = torch.compile(wrapped, backend="eager")
        options = dict(pl_module.configure_reweighter())
        self._reweighter = MetaReweighter(wrapped, forward=_Losses(pl_module), **options)
        if state is not None:
            self._reweighter.load_state_dict(state)
        self._loaded = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002
        """Look at a pair of loaders: whether it divides samples among ranks, and where it stood.

        Raises:
            ValueError: If every rank would be given the same samples.
        """
        loader, stood = trainer.train_dataloader, self._stood
        self._stood = None
        if not isinstance(loader, Paired):
            return
        if trainer.world_size > 1:
            refuse_undivided(loader, trainer.world_size)
        if stood is not None and _has_length(loader):
            # Lightning does so in the middle of an epoch alone, and would begin both loaders anew.
            loader.load_state_dict(stood)

    def note(self, step: ReweightedStep) -> None:
        """Remember how many samples of a step were kept, until an optimiser moves."""
        if self._stepped:
            self._kept.clear()
        self._stepped = False
        kept = step.kept_by_all
        self._kept.append(step.weights.count_nonzero() if kept is None else kept.detach())

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:  # noqa: ARG002
        """Let an optimiser that has nothing to learn from leave all parameters where they are.

        Momentum and weight decay would move them. The gradients are those of all ranks here.
        """
        self._stepped = True
        if not self._kept or int(torch.stack([k.long() for k in self._kept]).min()) > 0:
            return
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not any(_nonzero(gradient) for gradient in gradients):
            for p in parameters:
                p.grad = None

    def logs_now(self, trainer: Any) -> bool:
        """Whether the trainer logs in this step."""
        every = trainer.log_every_n_steps
        if not every:
            return False
        automatic = self.module.automatic_optimization
        # Optimiser steps, which manual optimisation may make several of in a batch.
        done = trainer.global_step if automatic else trainer.fit_loop.total_batch_idx
        return bool((done + 1) % every == 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the reweighter, and of a pair of loaders."""
        if self._reweighter is None:
            return {}
        return {"reweighter": self._reweighter.state_dict(), "paired": _where(self.module.trainer)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take a state, for the reweighter that is there or the one to be built."""
        if not state_dict:
            return
        self._stood = state_dict["paired"]
        if self._reweighter is None:
            self._loaded = state_dict["reweighter"]
        else:
            self._reweighter.load_state_dict(state_dict["reweighter"])

    def on_load_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Say so where a fit is resumed without what was remembered."""
        if trainer.training and KEY not in checkpoint.get("callbacks", {}):
            warn(
                f"the checkpoint has no state of a reweighter: {type(pl_module).__name__} goes on, "
                f"and its weights begin anew. It was saved without ReweightedModule."
            )


class _Losses:
    """The losses of a module, as a function of a model, which is the module, and a batch."""

    def __init__(self, module: Any) -> None:
        self.module: Any = module

    def __call__(self, model: nn.Module, batch: Any) -> Any:  # noqa: ARG002
        # Lightning runs the training step inside the wrapper's forward: not through it again.
        return self.module.sample_losses(batch)


def _where(trainer: Any) -> dict[str, Any] | None:
    """Return where a pair of loaders stands; ``None`` if the trainer has none."""
    loader = trainer.train_dataloader
    if not isinstance(loader, Paired):
        return None
    state = loader.state_dict()
    if state["noisy"] is not None and trainer.is_last_batch:
        # Lightning counts batches, and does not ask for one more to hear that there is none.
        state = {**state, "noisy": {**state["noisy"], "ended": True}}
    return state


def _has_length(loader: Paired[Any, Any]) -> bool:
    """Whether Lightning does not fetch a batch ahead, before anything can be told to the pair."""
    try:
        len(loader)
    except TypeError:
        return False
    return True


def refuse_undivided(loader: Paired[Any, Any], ranks: int) -> None:
    """Refuse a pair whose noisy loader gives every rank all samples.

    Raises:
        ValueError: If it is so.
    """
    noisy = loader._loaders[0]
    if isinstance(noisy, DataLoader) and isinstance(
        noisy.sampler, RandomSampler | SequentialSampler
    ):
        raise ValueError(
            f"every one of {ranks} ranks would train on all noisy samples, for Lightning cannot "
            f'give a DistributedSampler to loaders inside paired(). Pass {{"noisy": noisy_loader, '
            f'"trusted": trusted_loader}} to trainer.fit, or give the noisy loader its own '
            f"sampler=DistributedSampler(dataset)."
        )


def _nonzero(gradient: Tensor) -> bool:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    return bool(values.any())
