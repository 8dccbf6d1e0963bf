"""The kinds of noise: which label each image of the pool gets."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.seeding import generator
from benchmarks.sets.splits import per_class

NOISES = (
    "symmetric-40",
    "symmetric-20",
    "symmetric-60",
    "asymmetric-40",
    "imbalance-100",
    "teacher",
    "sources-10-70",
)

# What annotators, and networks, mix up: T-shirt and shirt, pullover and coat, sneaker and ankle
# boot, each both ways, and sandals with sneakers. Trousers, dresses and bags keep their labels.
FASHION = {0: 6, 6: 0, 2: 4, 4: 2, 7: 9, 9: 7, 5: 7}
_IMBALANCE = 100


def confusions(classes: int) -> dict[int, int]:
    """Return what each source class is mistaken for: look-alikes of Fashion-MNIST, or the next."""
    return dict(FASHION) if classes == 10 else {c: (c + 1) % classes for c in range(classes)}


def sources_of(noise: str, count: int, seed: int) -> tuple[Tensor | None, tuple[str, ...]]:
    """Return the source of each image, ``(count,)``, and the sources' names; ``None`` without."""
    if not noise.startswith("sources-"):
        return None, ()
    shares = _shares(noise)
    order = torch.randperm(count, generator=generator(seed, "sources"))
    return order % len(shares), tuple(f"{share:.0%} wrong" for share in shares)


def pool_counts(noise: str, labels: Tensor, pool: int, reserved: int, seed: int) -> list[int]:
    """Return how many images of each class the pool has.

    As many of each, but under imbalance: frequencies then fall exponentially, the largest class
    has exactly 100 times the images of the smallest, which classes are rare is drawn per seed, and
    the total is as near to ``pool`` as the data and that ratio allow.

    Args:
        noise: Its name.
        labels: ``(N,)`` true labels of all training images.
        pool: Images in all.
        reserved: Images of each class that the pool must leave to other sets.
        seed: What the order of the classes depends on.

    Raises:
        UserError: If a class has too few images for the ratio.
    """
    classes = int(labels.max()) + 1
    if noise != f"imbalance-{_IMBALANCE}":
        return [per_class("--pool", pool, classes)] * classes
    shares = [_IMBALANCE ** (1 - k / (classes - 1)) for k in range(classes)]
    available = int(torch.bincount(labels).min()) - reserved
    smallest = min(max(1, round(pool / sum(shares))), available // _IMBALANCE)
    if smallest < 1:
        raise UserError(
            f"imbalance-{_IMBALANCE} needs at least {_IMBALANCE} images of each class for the "
            f"pool, and these data leave {available}. Choose other --tasks."
        )
    ranked = [round(smallest * share) for share in shares]
    order = torch.randperm(classes, generator=generator(seed, "rare classes")).tolist()
    return [ranked[rank] for rank in order]


def corrupt(
    noise: str,
    truth: Tensor,
    classes: int,
    pairs: Mapping[int, int],
    seed: int,
    groups: Tensor | None = None,
) -> Tensor:
    """Return labels with the noise in them; ``truth`` is left as it is.

    Args:
        noise: ``symmetric-P``: P % of the labels are another class, drawn uniformly.
            ``asymmetric-P``: P % of the labels of each class in ``pairs`` are its partner.
            ``sources-P-Q-...``: ``symmetric-P`` in the first of ``groups``, ``symmetric-Q`` in the
            second, and so on. ``imbalance-R``: true labels.
        truth: ``(N,)`` true labels.
        classes: Number of classes.
        pairs: What each source class is mistaken for.
        seed: What the choice depends on.
        groups: ``(N,)`` the source of each image.

    Raises:
        ValueError: If there is no such noise.
    """
    if not re.fullmatch(r"(symmetric|asymmetric|imbalance)-\d+|sources(-\d+)+", noise):
        raise ValueError(f"no such noise: {noise!r}.")
    kind, shares = noise.partition("-")[0], _shares(noise)
    labels, stream = truth.clone(), generator(seed, f"noise {noise}")
    if kind == "asymmetric":
        for source, target in pairs.items():
            labels[_some((truth == source).nonzero().flatten(), shares[0], stream)] = target
    elif kind != "imbalance":
        for source, share in enumerate(shares):
            of = torch.arange(len(truth)) if groups is None else (groups == source).nonzero()
            wrong = _some(of.flatten(), share, stream)
            shift = torch.randint(1, classes, (len(wrong),), generator=stream)
            labels[wrong] = (truth[wrong] + shift) % classes
    return labels


def _shares(noise: str) -> list[float]:
    return [int(percent) / 100 for percent in noise.split("-")[1:]]


def rarer_half(counts: Sequence[int]) -> list[int]:
    """Return the classes with the fewest images, ⌊classes / 2⌋ of them."""
    return sorted(range(len(counts)), key=lambda c: counts[c])[: math.floor(len(counts) / 2)]


def _some(indices: Tensor, share: float, stream: torch.Generator) -> Tensor:
    order = torch.randperm(len(indices), generator=stream)
    return indices[order[: round(share * len(indices))]]
