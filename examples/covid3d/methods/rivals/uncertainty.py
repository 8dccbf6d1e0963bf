"""The uncertainty-aware mean teacher, UA-MT (Yu et al. 2019).

The student learns from labelled samples, and on unlabelled ones to agree with its mean teacher
wherever the teacher is certain:

    loss = supervised loss + λ(t) · Σ_v 1[u_v < H(t)] ‖p_v - p'_v‖² / (K Σ_v 1[u_v < H(t)])

with p and p' the softmax outputs of student and teacher, K = 2 classes, and

    μ    = mean of the softmax outputs of T noisy passes of the teacher
    u    = -Σ_k μ_k ln μ_k                      predictive entropy, at most u_max = ln K
    r(t) = exp(-5 (1 - t / t_max)²)             Gaussian ramp-up
    H(t) = (3/4 + r(t) / 4) u_max
    λ(t) = 0.1 r(t)

What the paper leaves open follows its public code: T = 8, noise N(0, 0.1²) clipped to ±0.2, a decay
of 0.99, the teacher in training mode, the target p' from one more noisy pass of its own, and the
consistency on unlabelled samples only. Their images have variance 1; for images in [0, 1] the same
figures are stronger noise, and ``std`` and ``bound`` can be scaled by the images' own standard
deviation. The original's V-Net has dropout; a network without it varies by the input noise alone.
The public code ramps λ up in stairs of 150 steps; here it is smooth.

A step, with the pieces of this file::

    answer = ask(teacher, images, generator)
    certain = answer.uncertainty < uncertainty_threshold(step, steps)
    loss = supervised + consistency_weight(step, steps) * consistency_loss(
        student(images), answer.target, certain)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Answer:
    """What a teacher says of a batch.

    Attributes:
        target: Softmax probabilities of one noisy pass, (C, K, *S).
        uncertainty: Predictive entropy over the other passes, nats, (C, *S).
    """

    target: Tensor
    uncertainty: Tensor


def noisy(images: Tensor, generator: torch.Generator, *, std: float, bound: float) -> Tensor:
    """Adds Gaussian noise, clipped.

    The noise is drawn in float32 on the generator's device: a generator on the CPU gives the same
    noise whatever the device of the images.

    Args:
        images: Any shape.
        generator: Where the noise comes from; its state moves on.
        std: Standard deviation, in units of the images.
        bound: Noise is clipped to [-bound, bound].

    Returns:
        A new tensor of the same shape, dtype and device.
    """
    noise = torch.randn(images.shape, generator=generator, device=generator.device)
    return images + (noise * std).clamp_(-bound, bound).to(images)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy over the classes, -Σ_k p_k ln p_k with 0 ln 0 = 0.

    Args:
        probabilities: (C, K, *S).

    Returns:
        Nats, (C, *S), from 0 to ln K.
    """
    per_class: Tensor = torch.special.entr(probabilities)
    return per_class.sum(1)


@torch.no_grad()
def ask(
    teacher: Callable[[Tensor], Tensor],
    images: Tensor,
    generator: torch.Generator,
    *,
    passes: int = 8,
    std: float = 0.1,
    bound: float = 0.2,
) -> Answer:
    """Asks the teacher for a target, and by repeated noisy passes how certain it is.

    Memory does not grow with the number of passes.

    Args:
        teacher: From images to logits (C, K, *S); its mode is the caller's affair.
        images: (C, 1, *S).
        generator: Source of the input noise. Dropout, if there is any, draws from the global one.
        passes: T, the passes that the uncertainty is made of; one more gives the target.
        std: Standard deviation of the input noise.
        bound: Where the noise is clipped.

    Returns:
        Target and uncertainty, without gradient, in float32 at least.

    Raises:
        ValueError: If ``passes`` is below 1.
    """
    if passes < 1:
        raise ValueError(f"{passes} passes: at least one is needed")

    def probabilities() -> Tensor:
        logits = teacher(noisy(images, generator, std=std, bound=bound))
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)

    target = probabilities()
    mean = probabilities()
    for _ in range(passes - 1):
        mean += probabilities()
    return Answer(target, entropy(mean / passes))


def ramp_up(step: int, steps: int) -> float:
    """Gaussian ramp-up exp(-5 (1 - t / t_max)²), from 0.0067 at step 0 to 1 at ``steps`` and after.

    Raises:
        ValueError: If ``step`` is negative or ``steps`` not positive.
    """
    if step < 0 or steps < 1:
        raise ValueError(f"step {step} of {steps}: expected 0 or more, of 1 or more")
    return math.exp(-5 * (1 - min(step / steps, 1)) ** 2)


def uncertainty_threshold(step: int, steps: int, *, classes: int = 2) -> float:
    """H(t) = (3/4 + r(t) / 4) ln K: voxels less uncertain than this are learnt from."""
    return (0.75 + 0.25 * ramp_up(step, steps)) * math.log(classes)


def consistency_weight(step: int, steps: int, *, coefficient: float = 0.1) -> float:
    """λ(t) = coefficient · r(t)."""
    return coefficient * ramp_up(step, steps)


def consistency_loss(logits: Tensor, target: Tensor, certain: Tensor) -> Tensor:
    """Mean squared difference of the softmax outputs over the certain voxels of the batch.

    Args:
        logits: The student's, (C, K, *S).
        target: The teacher's probabilities, (C, K, *S).
        certain: Which voxels count, boolean, (C, *S).

    Returns:
        Scalar, float32 at least; a zero with a (zero) gradient where no voxel is certain.

    Raises:
        ValueError: If the shapes disagree.
    """
    if logits.shape != target.shape or certain.shape != logits[:, 0].shape:
        raise ValueError(
            f"logits {tuple(logits.shape)}, target {tuple(target.shape)} and certain "
            f"{tuple(certain.shape)} disagree: expected (C, K, *S) twice and (C, *S)"
        )
    p = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(1)
    squared = (p - target.to(p.dtype)).square().mean(1)
    return (squared * certain).sum() / certain.sum().clamp(min=1)
