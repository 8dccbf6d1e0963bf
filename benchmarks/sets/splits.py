"""Which training images are validation, noisy pool and trusted set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.seeding import generator


@dataclass(frozen=True, eq=False)
class Split:
    """Indices into the training images, disjoint.

    Attributes:
        validation: As many of each class.
        pool: The images whose labels become noisy.
        trusted: As many of each class; empty if no trusted set is asked for.
    """

    validation: Tensor
    pool: Tensor
    trusted: Tensor


def per_class(what: str, count: int, classes: int) -> int:
    """Return ``count / classes``.

    Raises:
        UserError: If it is not a whole number.
    """
    if count % classes:
        raise UserError(
            f"{what} {count} cannot be spread evenly over {classes} classes; give a multiple of "
            f"{classes}."
        )
    return count // classes


def split(
    labels: Tensor, pool: Sequence[int], validation: int, trusted: int | None, seed: int
) -> Split:
    """Draw a split, in which each set is a stratified sample.

    Validation and pool are taken from the front of each class's order and the trusted set from
    its end: they are the same whatever the trusted size, and a small trusted set lies in the large.

    Args:
        labels: ``(N,)`` true labels.
        pool: Pool images of each class.
        validation: Validation images in all.
        trusted: Trusted images in all.
        seed: What the order depends on.

    Raises:
        UserError: If a class has too few images, or a size is not a multiple of the classes.
    """
    classes = len(pool)
    for_validation = per_class("--validation", validation, classes)
    for_trusted = per_class("--trusted", trusted or 0, classes)
    stream = generator(seed, "split")
    parts: list[list[Tensor]] = [[], [], []]
    for c, in_pool in enumerate(pool):
        members = (labels == c).nonzero().flatten()
        needed = for_validation + in_pool + for_trusted
        if needed > len(members):
            raise UserError(
                f"class {c} has {len(members)} training images, but {needed} are needed: "
                f"{in_pool} for the pool, {for_validation} for validation and {for_trusted} "
                f"trusted. Lower --pool, --validation or --trusted."
            )
        order = members[torch.randperm(len(members), generator=stream)]
        parts[0].append(order[:for_validation])
        parts[1].append(order[for_validation : for_validation + in_pool])
        parts[2].append(order[len(order) - for_trusted :])
    return Split(*(torch.cat(part) for part in parts))
