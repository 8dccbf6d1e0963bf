"""What a ``forward=`` may return: losses, and what they were computed from."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from reweight._isolation.cross_entropy import CrossEntropy
from reweight._isolation.predictions import Supervised
from reweight._step.ignored import ignored_values


@dataclass(frozen=True, eq=False)
class SampleLosses:
    """The losses of a batch, which of them count, and the logits and labels they are of.

    With logits and labels a ``forward=`` knows margins, training dynamics, label scores and soft
    labels, as a ``loss=`` does. For the last two the losses are taken to be the cross-entropy of
    the logits and labels, averaged over those of a sample where they are one a sample; the first
    steps check that.

    Attributes:
        losses: ``(C,)`` or ``(C, ...)``.
        counted: Which of them count, bool, in their shape or ``(C,)``; ``None``: all whose label
            is not -100.
        logits: ``(C, K, *S)`` or ``(C, *S, K)``.
        labels: Class indices, ``(C, *S)``; -100: none. Of a language model shift both yourself:
            ``logits[:, :-1]`` and ``labels[:, 1:]``.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reweight import MetaReweighter, SampleLosses
        >>> def forward(model, batch):
        ...     logits = model(batch["pixels"])
        ...     losses = nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        ...     return SampleLosses(losses, logits=logits, labels=batch["label"])
        >>> reweighter = MetaReweighter(nn.Linear(4, 3), forward=forward, label_scores=True)
        >>> batch = {"pixels": torch.randn(8, 4), "label": torch.randint(3, (8,))}
        >>> reweighter(batch, batch).label_scores.shape
        torch.Size([8, 3])
    """

    losses: Tensor
    counted: Tensor | None = None
    logits: Tensor | None = None
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse one of logits and labels without the other.

        Raises:
            ValueError: If only one of them is given.
        """
        if (self.logits is None) != (self.labels is None):
            raise ValueError(
                "SampleLosses takes logits and labels together: the one says nothing without the "
                "other."
            )

    def source(self) -> Supervised | None:
        """Return what the losses are of, where it was said."""
        if self.logits is None:
            return None
        return Supervised(self.logits, self.labels, ignored_values(None), CrossEntropy(), adds=True)
