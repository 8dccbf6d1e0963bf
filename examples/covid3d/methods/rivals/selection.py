"""Self-training on confident pseudo-labels, after Chen et al. 2020.

Table 4 of Hussain et al. has a row for Z. Chen, R. Zhang, G. Zhang, Z. Ma & T. Lei, "Digging into
pseudo label: a low-budget approach for semi-supervised semantic segmentation", IEEE Access 8,
41830-41837, with the Dice that Ma et al. 2020 measured for it. No public code of it was found; what
is taken from it is the scheme of its title, in its common form: train on the few labelled images,
label the others, learn from those labels, and repeat. All of the
following is left open and chosen here:

- which voxels are learnt from: those whose predicted class has at least a given probability
  (:func:`confident`), one threshold for all, or one for each class so that the same share of either
  is kept (:func:`class_thresholds`, as in Zou et al. 2018), for lesions are rare and less certain;
- soft labels: the teacher's probability at a temperature (:func:`sharpen`);
- when labels are renewed: at the start of each of a few rounds of equal length, by the network as
  it is then, which goes on training (:func:`renews_labels`);
- voxels that are not confident are left out of the loss, whatever the loss (:func:`leave_out`).
"""

from __future__ import annotations

import torch
from torch import Tensor

# The other class then has a probability of 4e-44: 0 in all but the last digits of float32.
_CERTAIN = 100.0


def confident(probability: Tensor, threshold: float | tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Hard labels, and which of them to trust.

    Args:
        probability: Of the foreground, in [0, 1], any shape.
        threshold: The least probability of the predicted class, in [0.5, 1]; or one for background
            and one for foreground. At 0.5 all labels are trusted.

    Returns:
        Labels 0 or 1, uint8 (1 where the probability is 0.5 or more); and a boolean mask of those
        that are trusted. Both of the shape of ``probability``.

    Raises:
        ValueError: If a threshold is out of range.
    """
    background, foreground = threshold if isinstance(threshold, tuple) else (threshold, threshold)
    if not (0.5 <= background <= 1 and 0.5 <= foreground <= 1):
        raise ValueError(f"threshold {threshold} is not in [0.5, 1]")
    lesion = probability >= 0.5
    trusted = torch.where(lesion, probability >= foreground, 1 - probability >= background)
    return lesion.to(torch.uint8), trusted


def class_thresholds(
    probability: Tensor, share: float, *, at_most: float = 0.95
) -> tuple[float, float]:
    """Thresholds at which the same share of either class is trusted.

    Args:
        probability: Of the foreground, in [0, 1], any shape, all of a scan or of several.
        share: The share of the voxels predicted as a class to trust, in (0, 1].
        at_most: No threshold is higher: a voxel this certain is always trusted.

    Returns:
        Thresholds for background and foreground, as :func:`confident` takes them; ``at_most`` for a
        class that nowhere is predicted. At a tie more than the share is trusted.

    Raises:
        ValueError: If ``share`` or ``at_most`` is out of range.
    """
    if not (0 < share <= 1 and 0.5 <= at_most <= 1):
        raise ValueError(f"share {share} is not in (0, 1], or at_most {at_most} not in [0.5, 1]")
    lesion = probability >= 0.5
    limits = []
    for certainty in (1 - probability[~lesion], probability[lesion]):
        if certainty.numel() == 0:
            limits.append(at_most)
            continue
        rank = max(1, round(share * certainty.numel()))
        least = certainty.kthvalue(certainty.numel() - rank + 1).values
        limits.append(min(at_most, max(0.5, float(least))))
    return limits[0], limits[1]


def sharpen(probability: Tensor, temperature: float) -> Tensor:
    """Makes probabilities more or less certain: σ(logit(p) / temperature).

    That is p^(1/T) / (p^(1/T) + (1 - p)^(1/T)).

    Args:
        probability: In [0, 1], any shape.
        temperature: Below 1 sharpens, 1 changes nothing, above 1 softens.

    Returns:
        Same shape; 0, 0.5 and 1 stay as they are.

    Raises:
        ValueError: If ``temperature`` is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature} is not positive")
    return torch.sigmoid(torch.logit(probability) / temperature)


def round_of(step: int, steps: int, rounds: int) -> int:
    """Which round of self-training a step is in, from 0 to ``rounds`` - 1, all equally long.

    Raises:
        ValueError: If ``step`` is not in [0, steps) or there is not at least one round.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} is not in [0, {steps})")
    if rounds < 1:
        raise ValueError(f"{rounds} rounds: at least one is needed")
    return step * rounds // steps


def renews_labels(step: int, steps: int, rounds: int) -> bool:
    """Whether the network labels the unlabelled scans anew before this step.

    True at the first step of every round but the first, whose labels are the teacher's.
    """
    current = round_of(step, steps, rounds)
    return step > 0 and current != round_of(step - 1, steps, rounds)


def leave_out(logits: Tensor, labels: Tensor, trusted: Tensor) -> tuple[Tensor, Tensor]:
    """Makes voxels count for nothing in a loss that knows of no mask.

    Where a label is not trusted, prediction and label become certain background: its cross-entropy
    is 0, it adds nothing to a foreground Dice, and no gradient passes. The means of the loss are
    still over all voxels, so a sample with few trusted labels counts less.

    Args:
        logits: (C, 2, *S).
        labels: 0 or 1, (C, *S).
        trusted: Boolean, (C, *S).

    Returns:
        New logits and labels of the same shapes.
    """
    background = logits.new_tensor([_CERTAIN, 0.0]).reshape(1, 2, *[1] * (logits.ndim - 2))
    kept = torch.where(trusted[:, None], logits, background)
    return kept, torch.where(trusted, labels, torch.zeros_like(labels))
