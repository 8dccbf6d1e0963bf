"""Ordinary training: the mean loss of a batch."""

from __future__ import annotations

import torch
from torch import nn

from examples.covid3d.train.loader import Ahead
from examples.covid3d.train.loss import combo_loss
from examples.covid3d.train.training import Outcome, Recipe


class Supervised(Recipe):
    """The mean combo loss over batches of one or more samplers, summed.

    Args:
        model: What is trained.
        device: Where it is.
        samplers: Each adds the mean loss of its batch, from a forward pass of its own: batch
            normalisation never mixes samplers.
    """

    def __init__(self, model: nn.Module, device: torch.device, *samplers: Ahead) -> None:
        self._model, self._device, self._samplers = model, device, samplers

    def __call__(self, step: int) -> Outcome:
        """Draws batch ``step`` of every sampler."""
        losses = []
        for sampler in self._samplers:
            images, masks = sampler.draw(step).pair(self._device)
            losses.append(combo_loss(self._model(images), masks).mean())
        self.waited = sum(sampler.waited for sampler in self._samplers)
        loss = torch.stack(losses).sum()
        return Outcome(loss, row={"mean_loss": float(losses[0].detach())})
