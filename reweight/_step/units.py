"""The losses of a batch that count, in one line, and back in their place."""

from __future__ import annotations

import torch
from torch import Tensor

from reweight._isolation.predictions import Supervised


class Units:
    """Takes tensors in the shape of the losses to ``(N,)``, N of which count, and back.

    Args:
        losses: ``(C,)`` or the loss map.
        counted: Which of them count, bool, in their shape; ``None``: all.
    """

    def __init__(self, losses: Tensor, counted: Tensor | None) -> None:
        self._shape = losses.shape
        self._counted = counted

    def flat(self, values: Tensor) -> Tensor:
        """Return those of ``values``, in the shape of the losses, that count: ``(N,)``."""
        return values.reshape(-1) if self._counted is None else values[self._counted]

    def spread(self, values: Tensor) -> Tensor:
        """Return ``(N,)`` values in the shape of the losses, 0 where one does not count."""
        if self._counted is None:
            return values.reshape(self._shape)
        whole = values.new_zeros(self._shape)
        whole[self._counted] = values
        return whole

    def labels_and_margins(self, source: Supervised | None) -> tuple[Tensor, Tensor] | None:
        """Return the class given and its margin for each loss, ``(N,)``; ``None`` if not known.

        The margin of a sample with several labels is the mean over them; its class is -1.
        """
        predictions = None if source is None else source.predictions()
        if predictions is None:
            return None
        labels, margins = predictions.labels, predictions.margins()
        if labels.shape == self._shape:
            return self.flat(labels), self.flat(margins)
        if len(self._shape) > 1 or labels.shape[:1] != self._shape:
            return None
        margins = margins.flatten(start_dim=1).nanmean(dim=1)
        return self.flat(torch.full_like(labels.flatten(1)[:, 0], -1)), self.flat(margins)

    def label_scores(self, values: Tensor | None) -> Tensor | None:
        """Return the scores under every label for each loss, ``(N, K)``; ``None`` if not known."""
        if values is None or values.shape[:-1] != self._shape:
            return None
        return values.flatten(end_dim=-2) if self._counted is None else values[self._counted]

    def logits(self, source: Supervised | None) -> Tensor | None:
        """Return the logits for each loss, ``(N, K)``, detached; ``None`` if not known."""
        predictions = None if source is None else source.predictions()
        if predictions is None or predictions.labels.shape != self._shape:
            return None
        logits = predictions.classes_last()
        return logits.flatten(end_dim=-2) if self._counted is None else logits[self._counted]
