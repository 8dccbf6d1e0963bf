"""Losses that are known by name: their value for any label, in closed form."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reweight._dtypes import at_least_float32


@dataclass(frozen=True, eq=False, slots=True)
class CrossEntropy:
    """``F.cross_entropy`` with these settings.

    Attributes:
        weight: ``(K,)``, or ``None``.
        smoothing: Its ``label_smoothing``.
        ignored: Its ``ignore_index``; where it is a class, that class has no loss.
    """

    weight: Tensor | None = None
    smoothing: float = 0.0
    ignored: int = -100

    @classmethod
    def of(cls, loss: Any) -> CrossEntropy | None:
        """Return the settings of ``loss``, or ``None`` if it is not known to be a cross-entropy."""
        if isinstance(loss, CrossEntropy):
            return loss
        if type(loss) is nn.CrossEntropyLoss:
            return cls(loss.weight, loss.label_smoothing, loss.ignore_index)
        args, given = (
            (loss.args, loss.keywords) if isinstance(loss, functools.partial) else ((), {})
        )
        if _function(loss) is not F.cross_entropy or args:
            return None
        return cls(
            given.get("weight"), given.get("label_smoothing", 0.0), given.get("ignore_index", -100)
        )

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return one loss each, ``(C, *S)``, for logits ``(C, K, *S)`` and a target as given."""
        return F.cross_entropy(
            logits,
            target,
            self.weight,
            reduction="none",
            label_smoothing=self.smoothing,
            ignore_index=self.ignored,
        )

    def soft(self, logits: Tensor, q: Tensor) -> Tensor:
        """Return Σ_k q_k L(k), ``(C, *S)``.

        Args:
            logits: ``(C, K, *S)``.
            q: Probabilities ``(C, *S, K)``.
        """
        logits = at_least_float32(logits)
        weight = self._weight(logits)
        return F.cross_entropy(
            logits,
            q.to(logits).movedim(-1, 1),
            weight,
            reduction="none",
            label_smoothing=self.smoothing,
        )

    def along(self, logits: Tensor, tangent: Tensor) -> Tensor:
        """Return the derivative of L(k) for every class k, as the logits move along ``tangent``.

        Of −log p_k it is Σ_j p_j ż_j − ż_k.

        Args:
            logits: ``(..., K)``.
            tangent: ż, in their shape.

        Returns:
            ``(..., K)``, in float32 or wider.
        """
        logits, tangent = at_least_float32(logits), at_least_float32(tangent)
        mean = (logits.softmax(dim=-1) * tangent).sum(dim=-1, keepdim=True)
        each = mean - tangent
        weight = self._weight(logits)
        if weight is not None:
            each = each * weight
        if self.smoothing:
            each = torch.lerp(each, each.mean(dim=-1, keepdim=True), self.smoothing)
        if 0 <= self.ignored < logits.shape[-1]:
            each[..., self.ignored] = 0
        return each

    def _weight(self, like: Tensor) -> Tensor | None:
        return None if self.weight is None else self.weight.to(like)


def is_binary(loss: Any) -> bool:
    """Whether ``loss`` is PyTorch's binary cross-entropy of logits."""
    return (
        type(loss) is nn.BCEWithLogitsLoss or _function(loss) is F.binary_cross_entropy_with_logits
    )


def _function(loss: Any) -> Any:
    return loss.func if isinstance(loss, functools.partial) else loss
