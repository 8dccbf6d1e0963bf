"""The losses of a batch, and what the model made of it in the training pass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reweight._step.sample_losses import SampleLosses
from reweight.integrations._per_sample import per_sample


class Captured:
    """Losses for :class:`~reweight.MetaReweighter`, by which the model's output is kept.

    Batches are ``(inputs, targets, args, kwargs)``. What a scoring pass keeps is put back after
    it, as all that passes write into; what is left after a step is of its training pass.

    Args:
        loss: One value a sample; or a number for a batch, of which :func:`per_sample` is taken.
        run: ``(inputs, model, *args, **kwargs) -> output``, as MONAI's inferers.

    Attributes:
        forward: The ``forward=``. A partial function, whose arguments the library looks into for
            what a loss or an inferer of the user's own keeps.
    """

    def __init__(self, loss: Callable[..., Any], run: Callable[..., Any]) -> None:
        each = loss if getattr(loss, "reduction", None) == "none" else per_sample(loss)
        self._kept: list[Any] = []
        self.forward = functools.partial(_losses, each=each, run=run, kept=self._kept, own=loss)

    def take(self) -> Any:
        """Return the output of the last training pass, and let go of it."""
        (output,) = self._kept
        self._kept.clear()
        return output


def _losses(
    model: nn.Module,
    batch: Any,
    *,
    each: Callable[..., Any],
    run: Callable[..., Any],
    kept: list[Any],
    own: Any,  # noqa: ARG001 - to be looked into
) -> SampleLosses:
    inputs, targets, args, kwargs = batch
    output = run(inputs, model, *args, **kwargs)
    kept[:] = [output]
    logits, labels = _classes(each, output, targets)
    return SampleLosses(each(output, targets), logits=logits, labels=labels)


def _classes(loss: Any, output: Any, target: Any) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Return logits and class indices where a cross-entropy of them is in the loss."""
    parts = list(loss.modules()) if isinstance(loss, nn.Module) else [loss]
    if not isinstance(output, Tensor) or not isinstance(target, Tensor) or output.dim() < 2:
        return None, None
    if output.shape[1] == 1 and target.shape == output.shape:
        if not any(isinstance(part, nn.BCEWithLogitsLoss) for part in parts):
            return None, None
        return torch.cat([torch.zeros_like(output), output], 1), (target[:, 0] > 0.5).long()
    if output.shape[1] == 1 or not any(isinstance(part, nn.CrossEntropyLoss) for part in parts):
        return None, None
    if target.shape == output.shape:
        return output, target.argmax(dim=1)
    if target.shape == (len(output), 1, *output.shape[2:]):
        target = target[:, 0]
    if target.shape != (len(output), *output.shape[2:]):
        return None, None
    return output, target.long()
