"""Uses of small weights: gains, shifts, slopes, the weights of normalisations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._derivative.layer_products.parts import Tables, summed, tables_of
from reweight._derivative.layer_products.samples import Samples
from reweight._derivative.layer_products.uses import Use
from reweight._long_products import over_places
from reweight._torch_internals import saved


def kept_by(use: Use, name: str) -> Tensor:
    """Return a tensor that the operator kept, without its graph."""
    found: Tensor = saved(use.made.node, name)
    return found.detach()


def addition(use: Use, delta: Tensor) -> Tables:
    """``x + alpha · W``, and what only spreads W."""
    alpha: Any = saved(use.made.node, "alpha")
    sign = -1 if use.made.node.name().startswith("Sub") else 1
    factor = sign * (1 if alpha is None else alpha)
    return tables_of(use, {0: delta, 1: delta if factor == 1 else delta * factor})


def product(use: Use, delta: Tensor) -> Tables:
    """``x · W``."""
    others = {0: "other", 1: "self"}
    return tables_of(use, {k: delta * kept_by(use, others[k]) for k in use.weights})


def slopes(use: Use, delta: Tensor) -> Tables:
    """PReLU."""
    return tables_of(use, {1: delta * kept_by(use, "self").clamp(max=0)})


def layer_norm(use: Use, delta: Tensor) -> Tables:
    """Normalised over the last sides: x̂ · W + b."""
    local = {2: delta}
    if 1 in use.weights:
        mean, inverse = kept_by(use, "result1"), kept_by(use, "result2")
        local[1] = delta * torch.addcmul(-mean * inverse, kept_by(use, "input"), inverse)
    return tables_of(use, local)


def rms_norm(use: Use, delta: Tensor) -> Tables:
    """The same without mean and shift: x̂ · W, where a GPU has one kernel for it."""
    return tables_of(use, {1: delta * kept_by(use, "input") * kept_by(use, "result1")})


def group_norm(use: Use, delta: Tensor) -> Tables:
    """Normalised over groups of channels: sums over places first, as PyTorch's kernel does."""
    node, at, count = use.made.node, use.made.at, use.made.count
    number, channels, groups = (int(saved(node, name)) for name in ("N", "C", "group"))
    sums = delta.reshape(number, channels, -1).sum(2)
    local = {2: sums}
    if 1 in use.weights:
        products = over_places(
            *(x.reshape(number * channels, 1, -1) for x in (delta, kept_by(use, "input")))
        ).reshape(number, groups, -1)
        mean, inverse = (
            kept_by(use, name).reshape(number, groups, 1) for name in ("result1", "result2")
        )
        of_group = sums.reshape(number, groups, -1)
        local[1] = ((products - mean * of_group) * inverse).reshape(number, channels)
    rows = Samples(0, at.within)
    return Tables({k: summed(local[k], rows, (channels,), count) for k in use.weights})


def batch_norm(use: Use, delta: Tensor) -> Tables:
    """Normalised by running statistics."""
    at, count = use.made.at, use.made.count
    local = {2: delta}
    places = [1] * (delta.dim() - 2)
    if 1 in use.weights:
        mean, variance = kept_by(use, "running_mean"), kept_by(use, "running_var")
        inverse = (variance + saved(use.made.node, "eps")).rsqrt().reshape(-1, *places)
        local[1] = delta * (kept_by(use, "input") - mean.reshape(-1, *places)) * inverse
    channels = delta.shape[1]
    return Tables(
        {
            k: summed(local[k], at, (channels, *places), count).reshape(count, channels)
            for k in use.weights
        }
    )
