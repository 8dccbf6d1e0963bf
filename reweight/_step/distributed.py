"""What of the other ranks a reweighter cannot do with, and what it looks like without them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from reweight._isolation.wrappers import (
    data_parallel_wrappers,
    has_dtensors,
    refuse_sharded,
    refuse_spread,
    several_ranks,
    sharding,
)
from reweight._warnings import warn


def refuse_what_cannot_be_scored(
    model: nn.Module,
    *,
    differentiates: bool,
    methods: Iterable[str] = (),
    drops: bool = False,
    together: bool = False,
) -> None:
    """Refuse, when a reweighter is built, what it could not do with ``model`` in a step.

    Args:
        model: The model as it was given.
        differentiates: Whether a scorer, or a trusted term, needs a gradient.
        methods: How scorers were told to take derivatives.
        drops: Whether a batch may be run again without its non-finite samples.
        together: Whether all ranks are weighed as one, or what is remembered is of all.

    Raises:
        ValueError: If there is something.
    """
    if drops and _works_with_other_ranks(model):
        raise ValueError(
            'on_nonfinite="drop" runs a batch again without its bad samples, which leaves the '
            "other ranks of a model that is distributed (DistributedDataParallel, FSDP, tensor "
            "parallelism, DeepSpeed) waiting. Filter such samples in the data loader."
        )
    if differentiates:
        refuse_sharded(model)
    what = sharding(model) if together else None
    if what is not None:
        raise ValueError(
            f'sync="global", and weightings that remember, bring the ranks\' rows together under '
            f"DistributedDataParallel alone, and {what} has split this model: wrap it in "
            f'DistributedDataParallel, or leave sync at "local" and weighting at PerBatch().'
        )
    for method in methods:
        if method in ("forward", "double_backward", "unrolled"):
            refuse_spread(model, method)
    if any(getattr(ddp, "mixed_precision", None) for ddp in data_parallel_wrappers(model)):
        raise ValueError(
            "DistributedDataParallel(mixed_precision=...) swaps the parameters under every pass, "
            "scoring passes too: leave it out and train under torch.autocast."
        )


def warn_if_alone(model: nn.Module) -> bool:
    """Warn if several ranks run and ``model`` knows nothing of the others.

    Returns:
        Whether there was something to warn of.
    """
    if not several_ranks() or _works_with_other_ranks(model):
        return False
    warn(
        f"torch.distributed runs {torch.distributed.get_world_size()} ranks, but the model the "
        f"reweighter was given ({type(model).__name__}) is not wrapped, so that every rank trains "
        f"on its own. Most likely the reweighter was built before accelerator.prepare(model) or "
        f"DistributedDataParallel(model): build it afterwards, around what they return.",
    )
    return True


def _works_with_other_ranks(model: nn.Module) -> bool:
    return bool(data_parallel_wrappers(model)) or sharding(model) is not None or has_dtensors(model)
