"""Training on weighted losses with Lightning: a mixin for a ``LightningModule``.

Works with the package ``lightning`` and with ``pytorch_lightning``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reweight.integrations._lightning_callback import ReweightCallback
from reweight.meta_reweighter import MetaReweighter
from reweight.paired import Paired
from reweight.step import ReweightedStep

__all__ = ["ReweightedModule"]

_REASON = (
    "a step takes scores eagerly beside the compiled training pass. Leave fullgraph=True out, or "
    "compile the network inside the module: self.net = torch.compile(self.net, fullgraph=True)"
)


class ReweightedModule:
    """A ``LightningModule`` whose training step weighs its samples.

    Write ``class Mine(ReweightedModule, LightningModule)``, this class first, and
    :meth:`sample_losses` in place of ``training_step``; options of the :class:`MetaReweighter` are
    what :meth:`configure_reweighter` returns. Train on
    ``trainer.fit(model, {"noisy": noisy_loader, "trusted": trusted_loader})`` or on
    ``paired(noisy_loader, trusted_loader)``. A ``training_step`` of your own calls
    :meth:`reweight`; under manual optimisation it hands ``step.loss`` to ``manual_backward``.

    The reweighter is built when a fit begins, on the model as the strategy has wrapped it. Its
    state is in every checkpoint and comes back with ``ckpt_path=``. Where no sample survives
    selection, a step still has a loss, so that no rank waits for another, and an optimiser whose
    gradients are all zero for it does not move. ``step.summary()`` is logged every
    ``log_every_n_steps`` steps. Validation, test and prediction are left alone.

    Raises:
        TypeError: If a class names this one after ``LightningModule``.

    Example::

        class Classifier(ReweightedModule, LightningModule):
            def __init__(self):
                super().__init__()
                self.net = nn.Linear(8, 3)

            def forward(self, x):
                return self.net(x)

            def configure_reweighter(self):
                return {"trusted_coefficient": 0.1}

            def sample_losses(self, batch):
                x, y = batch
                return F.cross_entropy(self(x), y, reduction="none")

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        names = [base.__name__ for base in cls.__mro__]
        if "LightningModule" in names[: names.index("ReweightedModule")]:
            raise TypeError(
                f"{cls.__name__} names LightningModule before ReweightedModule, whose training "
                f"step would then be Lightning's, which does nothing. Write class "
                f"{cls.__name__}(ReweightedModule, LightningModule)."
            )

    def sample_losses(self, batch: Any) -> Any:
        """Return the losses of a batch, noisy or trusted, one a sample; to be overridden.

        It runs several times a step, so count and log nothing in it.

        Args:
            batch: As its loader gives it, on the module's device.

        Returns:
            What ``forward=`` of a :class:`MetaReweighter` may: losses ``(C,)`` or ``(C, ...)``,
            a pair of them and of which count, or :class:`SampleLosses`.

        Raises:
            NotImplementedError: If it is not overridden.
        """
        raise NotImplementedError(
            f"{type(self).__name__} needs sample_losses(self, batch), which returns one loss a "
            f"sample, such as F.cross_entropy(self(x), y, reduction='none'); "
            f"it takes the place of training_step."
        )

    def configure_reweighter(self) -> Mapping[str, Any]:
        """Return options of :class:`MetaReweighter`, by name; none by default.

        It is called when a fit begins. ``self.optimizers()`` is there by then, for a look-ahead.
        """
        return {}

    def batch_ids(self, noisy: Any) -> Any:
        """Return the place in the data set of each sample, integers ``(C,)``, or ``None``.

        By default what a noisy batch that is a mapping has under ``"ids"``. Where your data set
        returns ``(x, y, index)``, override it: ``return noisy[2]``.

        Args:
            noisy: A noisy batch.
        """
        return noisy.get("ids") if isinstance(noisy, Mapping) else None

    def batch_groups(self, noisy: Any) -> Any:
        """Return the number of the source of each sample, ``(C,)``, or ``None``: as batch_ids.

        Args:
            noisy: A noisy batch.
        """
        return noisy.get("groups") if isinstance(noisy, Mapping) else None

    @property
    def reweighter(self) -> MetaReweighter:
        """The reweighter of the running or the last fit.

        Raises:
            RuntimeError: Before the first fit.
        """
        return _callback_of(self).reweighter(self)

    # The training step may be compiled around it (torch.compile(module)). Scoring passes must
    # be eager, and what the losses call (self(x)) stays compiled all the same.
    @torch.compiler.disable(reason=_REASON)
    def reweight(
        self, batch: Any, trusted: Any = None, *, ids: Any = None, groups: Any = None
    ) -> ReweightedStep:
        """Weigh a batch, log what the step says every so often, and return the step.

        Args:
            batch: What a training step is given: ``{"noisy": ..., "trusted": ...}``, or a pair
                where the loader is a ``paired``. Or, where ``trusted`` is given, or nothing asks
                for it, the noisy batch.
            trusted: The trusted batch, if it is not in ``batch``.
            ids: In place of what :meth:`batch_ids` returns.
            groups: In place of what :meth:`batch_groups` returns.

        Returns:
            The step: return ``step.loss`` from ``training_step``, or hand it to
            ``manual_backward``.

        Raises:
            ValueError: If a trusted batch is needed and there is none, and as
                :meth:`MetaReweighter.__call__`.
        """
        noisy = batch
        if trusted is None:
            noisy, trusted = _split(batch, _trainer_of(self).train_dataloader)
        step = self.reweighter(
            noisy,
            trusted,
            ids=self.batch_ids(noisy) if ids is None else ids,
            groups=self.batch_groups(noisy) if groups is None else groups,
        )
        callback = _callback_of(self)
        callback.note(step)
        if callback.logs_now(_trainer_of(self)):
            log: Any = self
            log.log_dict(step.summary(), on_step=True, on_epoch=False)
        return step

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:  # noqa: ARG002
        """Return the weighted loss of a batch; of your own, it is to call :meth:`reweight`."""
        return self.reweight(batch).loss

    def configure_callbacks(self) -> Any:
        """Add what builds, saves and restores the reweighter; call it if you override it."""
        parent: Any = super()
        given = parent.configure_callbacks()
        given = [*given] if isinstance(given, list | tuple) else [given]
        known = _of(_trainer_of(self))
        # One that is there already goes on: Lightning asks anew for every fit and validation.
        return given if known is not None and known.module is self else [*given, ReweightCallback(self)]


def _trainer_of(module: Any) -> Any:
    return module.trainer


def _callback_of(module: Any) -> ReweightCallback:
    known = _of(_trainer_of(module))
    if known is None or known.module is not module:
        raise RuntimeError(
            f"the trainer does not know the reweighter of {type(module).__name__}. If "
            f"configure_callbacks is overridden, have it return "
            f"[*super().configure_callbacks(), ...]; call trainer.fit with this module."
        )
    return known


def _of(trainer: Any) -> ReweightCallback | None:
    found = [known for known in trainer.callbacks if isinstance(known, ReweightCallback)]
    return found[-1] if found else None


def _split(batch: Any, loader: Any) -> tuple[Any, Any]:
    """Return the noisy and the trusted batch; ``None`` for the latter where there is none."""
    if isinstance(loader, Paired):
        return batch[0], batch[1]
    if not isinstance(batch, Mapping) or not {"noisy", "trusted"} <= batch.keys():
        return batch, None
    missing = [name for name in ("noisy", "trusted") if batch[name] is None]
    if missing:
        raise ValueError(
            f"the {missing[0]} loader has ended before the other, and a step needs a batch of "
            f'each. Pass the loaders as a dict, or as CombinedLoader(..., mode="max_size_cycle"), '
            f"which begins the shorter one again."
        )
    return batch["noisy"], batch["trusted"]
