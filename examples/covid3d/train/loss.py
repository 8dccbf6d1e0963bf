"""The combo loss (Eq. 1), one value per sample."""

from __future__ import annotations

import torch
from torch import Tensor


def combo_loss(
    logits: Tensor, target: Tensor, *, literal: bool = False, smooth: float = 1.0
) -> Tensor:
    """Combo loss of each sample: 1 - Dice + cross-entropy (Eq. 1 of Hussain et al.).

    Eq. 1 sums the Dice over both classes within numerator and denominator. As the softmax sums to
    one, that "Dice" is exactly the mean probability of the true class, and it does nothing against
    class imbalance. So the default is the Dice of the foreground; ``literal=True`` is Eq. 1 as
    printed.

    Half-precision input is reduced in float32, for a sum over a volume overflows it. Only ordinary
    operations are used: forward-mode differentiation and double backward work.

    Args:
        logits: Scores of background and foreground, (C, 2, *S).
        target: Labels 0 or 1, or probabilities of the foreground, (C, *S).
        literal: Use Eq. 1 as printed.
        smooth: Voxels added to numerator and denominator of the foreground Dice, so that an empty
            scan rightly called empty has Dice 1 rather than 0 / 0.

    Returns:
        Losses, (C,), float32 or float64.

    Raises:
        ValueError: If the shapes disagree.
    """
    if (
        logits.ndim < 3
        or logits.shape[1] != 2
        or logits.shape[:1] + logits.shape[2:] != target.shape
    ):
        raise ValueError(
            f"logits {tuple(logits.shape)} and target {tuple(target.shape)} disagree: expected "
            "(C, 2, *S) and (C, *S)"
        )
    log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    log_p = log_p.flatten(2)
    true = target.to(log_p.dtype).flatten(1)
    log_p_true = true * log_p[:, 1] + (1 - true) * log_p[:, 0]
    cross_entropy = -log_p_true.mean(1)
    if literal:
        p_true = true * log_p[:, 1].exp() + (1 - true) * log_p[:, 0].exp()
        return 1 - p_true.mean(1) + cross_entropy
    foreground = log_p[:, 1].exp()
    overlap = (foreground * true).sum(1)
    total = foreground.sum(1) + true.sum(1)
    return 1 - (2 * overlap + smooth) / (total + smooth) + cross_entropy


def voxel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each voxel, for weights per voxel; a Dice is of a whole sample.

    Args:
        logits: Scores of background and foreground, (C, 2, *S).
        target: Labels 0 or 1, or probabilities of the foreground, (C, *S).

    Returns:
        Losses, (C, *S), float32 or float64.
    """
    log_p = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=1)
    true = target.to(log_p.dtype)
    return -(true * log_p[:, 1] + (1 - true) * log_p[:, 0])
