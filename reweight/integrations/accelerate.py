"""Training on weighted losses with accelerate: everything prepared, in the right order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from accelerate import Accelerator  # type: ignore[import-untyped]
from torch import nn
from torch.optim import Optimizer

from reweight._step.batches import Loss
from reweight.integrations._resting import Resting
from reweight.meta_reweighter import MetaReweighter
from reweight.paired import Paired, paired
from reweight.scorers import GradientSimilarity, LastLayerGradient
from reweight.step import ReweightedStep

__all__ = ["Prepared", "prepare"]


class Prepared(NamedTuple):
    """What a training loop needs, in the order it is unpacked in.

    Attributes:
        model: As ``accelerator.prepare`` returned it.
        optimizer: The same.
        batches: Pairs ``(noisy batch, trusted batch)``, one pass over the noisy loader an
            iteration, on the device; the trusted loader is endless.
        reweighter: The reweighter of the prepared model.
    """

    model: nn.Module
    optimizer: Optimizer
    batches: Paired[Any, Any]
    reweighter: MetaReweighter


def prepare(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: Optimizer,
    noisy_loader: Iterable[Any],
    trusted_loader: Iterable[Any],
    loss: Loss | None = None,
    *,
    lookahead: bool = False,
    **options: Any,
) -> Prepared:
    """Prepare model, optimiser and loaders, and build the reweighter on what comes of them.

    The loop is the usual one of accelerate, ``accelerator.accumulate`` included: accumulation ends
    with the noisy loader, however often the trusted one begins again. Each rank is given its share
    of both. Always call ``backward`` and ``optimizer.step()``: where no sample is kept, in a step
    or in all that are accumulated, the optimiser stays where it is by itself.

    The reweighter and the pair of loaders are registered for checkpointing, so that
    ``accelerator.save_state`` and ``load_state`` take them along, in the middle of an epoch too.

    Args:
        accelerator: Any that trains replicas of the model (one process or DDP).
        model: Not prepared yet; nor is anything else.
        optimizer: Of the model's parameters.
        noisy_loader: Batches to be weighed and trained on.
        trusted_loader: Batches that judge them. It is begun again whenever it ends.
        loss: As for :class:`MetaReweighter`; or give ``forward=``.
        lookahead: Whether scores look ahead by this very optimiser's rule and state (SGD, Adam or
            AdamW), in place of plain SGD.
        options: Further ones of :class:`MetaReweighter`.

    Returns:
        ``model, optimizer, batches, reweighter``.

    Raises:
        TypeError: If ``lookahead`` is asked for beside a ``scorer=`` of your own.
        ValueError: If the reweighter refuses the model (FSDP, DeepSpeed, Megatron).

    Example::

        model, optimizer, batches, reweighter = prepare(
            accelerator, model, optimizer, noisy_loader, trusted_loader,
            nn.CrossEntropyLoss(reduction="none"),
        )
        for noisy, trusted in batches:
            with accelerator.accumulate(model):
                step = reweighter(noisy, trusted)
                accelerator.backward(step.loss)
                optimizer.step()
                optimizer.zero_grad()
    """
    if lookahead and "scorer" in options:
        raise TypeError(
            "lookahead=True is of the default scorer. With one of your own prepare first, and give "
            "GradientSimilarity(lookahead=optimizer) the optimiser."
        )
    prepared = accelerator.prepare(model, optimizer, noisy_loader, trusted_loader)
    model, optimizer = prepared[:2]
    noisy, trusted = map(_Loader, prepared[2:])
    trusted.unheard()
    if lookahead:
        options["scorer"] = GradientSimilarity(lookahead=optimizer) / LastLayerGradient()
    reweighter = _Noting(model, loss, **options)
    inside: Optimizer = getattr(optimizer, "optimizer", optimizer)
    inside.register_step_pre_hook(lambda stepping, *_: reweighter.resting.before(stepping))
    batches = paired(noisy, trusted)
    accelerator.register_for_checkpointing(reweighter, batches)
    return Prepared(model, optimizer, batches, reweighter)


class _Noting(MetaReweighter):
    """One that tells its optimiser when to rest."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.resting: Resting = Resting()

    def __call__(self, *args: Any, **rows: Any) -> ReweightedStep:
        step = super().__call__(*args, **rows)
        self.resting.note(step)
        return step


class _Loader:
    """A prepared loader, which tells the random numbers that its order is from."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        if name == "_loader":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self._loader, name)

    @property
    def generator(self) -> Any:
        """On several ranks the sampler's, hidden behind what divides its batches."""
        own = getattr(self._loader, "synchronized_generator", None)
        return getattr(self._loader, "generator", None) if own is None else own

    def unheard(self) -> None:
        """Let the loader's end be no end of accumulation, nor of an epoch.

        accelerate takes the loader that was begun last for the one that is gone through.
        """
        self._loader.gradient_state = _Unheard()


class _Unheard:
    """Stands where a loader tells accelerate that it begins and ends."""

    def _add_dataloader(self, dataloader: Any) -> None:
        pass

    def _remove_dataloader(self, dataloader: Any) -> None:
        pass
