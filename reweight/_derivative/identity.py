"""Whether directional derivatives add up: Σ r_i ⟨∇L_i, v⟩ = ⟨∇ Σ r_i L_i, v⟩.

The right side is one ordinary backward pass, which is what training is made of. A way to take the
left side that loses a part of the model (a backward pass without a graph, a hook that forward mode
does not run, code that drops tangents) does not add up.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reweight._derivative.per_sample import inner_product
from reweight._isolation.losses import Losses
from reweight._isolation.objective import Objective, Parameters
from reweight._isolation.start import Start
from reweight._isolation.wrappers import whole

# Of float64, float32, and half precision: how far the two sides may be apart, and how much of the
# two gradients' lengths may be lost to rounding.
_TOLERANCES = {8: (1e-6, 1e-12), 4: (1e-3, 2e-5), 2: (5e-2, 2e-2)}


def adds_up(
    objective: Objective, batch: Any, direction: Parameters, start: Start, derivative: Tensor
) -> bool:
    """Whether ``derivative`` fulfils the identity, at the price of a forward and a backward pass.

    Args:
        objective: The losses as a function of the parameters.
        batch: The noisy batch.
        direction: v by parameter name.
        start: What the pass starts from.
        derivative: ⟨∇L_i, v⟩ in the shape of the losses, as some way gave it.

    Raises:
        UnknownParametersError: If the losses depend on parameters of which nothing is known.
    """

    def differentiate(losses: Losses, leaves: Parameters) -> tuple[Tensor, float]:
        values = losses.values
        total = (_shares(values) * values).sum()
        if not total.requires_grad:
            return torch.zeros_like(values).sum(), 0.0
        objective.known_leaves.look(values, leaves.values(), start.trainable)
        found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
        gradients = dict(zip(leaves, found, strict=True))
        lengths = [whole(torch.linalg.vector_norm(_dense(g))) for g in found if g is not None]
        length = float(torch.stack([x.double().cpu() for x in lengths]).norm()) if lengths else 0.0
        return inner_product(objective, gradients, direction, start, values), length

    right, length = objective.evaluate(
        lambda: objective.leaves(direction, start), batch, differentiate, start, first_order=True
    )
    parts = (_shares(derivative) * derivative).detach().double().cpu()
    left, right = parts.sum(), right.double().cpu()
    if not (left.isfinite() and right.isfinite()):
        return True  # refused elsewhere, by the samples at fault
    relative, rounding = _tolerance(direction)
    reach = float(torch.stack([_length(v) for v in direction.values()]).norm()) * length
    allowed = relative * float(parts.abs().sum() + right.abs()) + rounding * reach
    return abs(float(left - right)) <= allowed


def _shares(losses: Tensor) -> Tensor:
    """r: no two alike among neighbours, so that a mix-up of samples shows."""
    numbers = torch.arange(losses.numel(), device=losses.device, dtype=losses.dtype)
    return (0.5 + (numbers * 0.6180339887).frac()).reshape(losses.shape)


def _tolerance(direction: Parameters) -> tuple[float, float]:
    narrowest = min(v.dtype.itemsize for v in direction.values())
    relative, rounding = _TOLERANCES[min(8, max(2, narrowest))]
    on_cuda = any(v.device.type == "cuda" for v in direction.values())
    if on_cuda and narrowest == 4 and _short_products():
        return 5e-2, 2e-3
    return relative, rounding


def _short_products() -> bool:
    """Whether CUDA may round the factors of float32 products to ten bits."""
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def _dense(x: Tensor) -> Tensor:
    return x if x.layout == torch.strided else x.to_dense()


def _length(v: Tensor) -> Tensor:
    length: Tensor = whole(torch.linalg.vector_norm(v)).double().cpu()
    return length


def does_not_add_up(method: str) -> RuntimeError:
    """Return the error that refuses a method asked for by name."""
    return RuntimeError(
        f'method="{method}" loses a part of this model\'s derivatives: they do not add up to those '
        f"of an ordinary backward pass. Usual causes are a backward pass that keeps no graph (a "
        f"Triton or CUDA kernel, NumPy, once_differentiable) and hooks that change gradients. Use "
        f'method="auto" or "per_sample".'
    )
