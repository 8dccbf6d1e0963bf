"""What a model predicts of a batch, and the labels its losses hold it against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from reweight._isolation.cross_entropy import is_binary


@dataclass(frozen=True, eq=False)
class Supervised:
    """A model's output and the target its losses hold it against, looked into when asked.

    Attributes:
        output: As the model returned it, with the graph of its pass.
        target: As the batch holds it.
        ignored: The targets that the loss ignores.
        loss: The function of output and target that the losses are.
        adds: Whether the losses may be more than that function, which is then a term of them.
    """

    output: object
    target: object
    ignored: tuple[int, ...] = ()
    loss: Any = None
    adds: bool = False

    def predictions(self) -> Predictions | None:
        """Return logits and classes, or ``None`` where that cannot be told.

        An output is ``(C, K, *S)``, or ``(C, *S, K)``; a target class indices ``(C, *S)``, or
        probabilities in the shape of the output, of which the largest is the class given. One
        logit z of a binary cross-entropy is the pair (0, z).
        """
        return self._predictions

    @cached_property
    def _predictions(self) -> Predictions | None:
        output, target = self.output, self.target
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            return None
        if not output.is_floating_point() or output.is_nested or output.dim() < 1:
            return None
        if is_binary(self.loss):
            return _binary(output, target)
        if output.dim() < 2:
            return None
        if target.is_floating_point():
            several = target.shape == output.shape and output.shape[1] > 1
            return Predictions(output, target.detach().argmax(dim=1), 1) if several else None
        if target.is_complex() or target.dtype == torch.bool or target.is_nested:
            return None
        if target.shape == output.shape[:1] + output.shape[2:]:
            dim = 1
        elif target.shape == output.shape[:-1]:
            dim = output.dim() - 1
        else:
            return None
        labels, count = target.detach().long(), output.shape[dim]
        unknown = (labels < 0) | (labels >= count)
        for value in self.ignored:
            unknown |= labels == value
        return Predictions(output, labels.masked_fill(unknown, -1), dim) if count > 1 else None

    def losses_under(self, label: int, labels: Tensor, output: Tensor) -> Tensor:
        """Return the losses of ``output``, in the shape of ``labels``, if ``label`` were given.

        Args:
            label: A class.
            labels: Those given; where one is -1, as of an ignored target, the target stays.
            output: As the model returned it, or in its place.
        """
        target = self.target
        assert isinstance(target, Tensor)
        given = labels.reshape(target.shape) >= 0
        losses: Tensor = self.loss(output, target.masked_fill(given, label))
        return losses.reshape(labels.shape)


def _binary(output: Tensor, target: Tensor) -> Predictions | None:
    if target.shape != output.shape or (output.dim() == 2 and output.shape[1] > 1):
        return None
    labels = (target.detach() > 0.5).long()
    if output.dim() == 2:
        output, labels = output.squeeze(1), labels.squeeze(1)
    return Predictions(
        torch.stack([torch.zeros_like(output), output], dim=-1), labels, labels.dim()
    )


@dataclass(frozen=True, eq=False, slots=True)
class Predictions:
    """Logits of a batch and the class given for each.

    Attributes:
        logits: One number a class, the classes along ``class_dim``; with the graph of their pass.
        labels: The class given, int64, in the shape of ``logits`` without ``class_dim``; -1 where
            there is none, as of an ignored target.
        class_dim: Where the classes are.
    """

    logits: Tensor
    labels: Tensor
    class_dim: int

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self.logits.shape[self.class_dim]

    def classes_last(self, values: Tensor | None = None) -> Tensor:
        """Return the logits, or ``values`` in their shape, detached, the classes last."""
        return (self.logits if values is None else values).detach().movedim(self.class_dim, -1)

    def margins(self) -> Tensor:
        """Return the logit of the class given less the largest other, in the labels' shape.

        NaN where no class is given (Pleiss et al. 2020 average it over training).
        """
        logits = self.classes_last()
        given = self.labels.clamp(min=0).unsqueeze(-1)
        own = logits.gather(-1, given).squeeze(-1)
        others = logits.scatter(-1, given, float("-inf")).amax(dim=-1)
        return torch.where(self.labels >= 0, own - others, torch.full_like(own, float("nan")))
