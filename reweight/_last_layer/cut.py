"""Σ w_i L_i as a scalar whose backward pass begins at the layer's output, or behind it.

Where each loss depends on its own rows of such an output z alone, and on nothing else that is
learnt, ∂ΣwL/∂z is w_i ∂L_i/∂z_i: what the scores were taken from. So the way from the losses to z,
which for a large vocabulary is a good part of a backward pass, is not gone twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

# In half precision to weigh last rounds otherwise than to weigh first.
_CUTS = (torch.float32, torch.float64)


class _Anchor(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:  # noqa: ARG004
        return torch.empty((), dtype=z.dtype, device=z.device).expand(z.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient


@dataclass(frozen=True, eq=False)
class Place:
    """Where a tensor stands in the graph.

    Attributes:
        edge: Where.
        shape: Of the tensor.
        anchor: Stands there too, in the tensor's shape, without its memory.
    """

    edge: GradientEdge
    shape: torch.Size
    anchor: Tensor


def place_of(z: Tensor) -> Place | None:
    """Return where ``z``, which requires a gradient, stands.

    ``None`` where the graph is not to be cut: for subclasses, and in half precision.
    """
    if type(z) is not Tensor or z.dtype not in _CUTS:
        return None
    return Place(get_gradient_edge(z), z.shape, _Anchor.apply(z))  # type: ignore[no-untyped-call]


@dataclass(frozen=True, eq=False)
class Cut:
    """A graph cut at z.

    Attributes:
        losses: ``(C,)``, with their graph.
        rows: ∂L_i/∂z_i, in the shape of z.
        place: Where z stands in the graph.
    """

    losses: Tensor
    rows: Tensor
    place: Place

    def fits(self, losses: Tensor, weights: Tensor) -> bool:
        """Whether :meth:`weighted` is the sum of ``weights`` times ``losses``."""
        return (
            self.losses is losses
            and weights.shape == losses.shape
            and not weights.requires_grad
            and weights.device == losses.device
            and not weights.is_complex()
        )

    def weighted(self, weights: Tensor) -> Tensor:
        """Return Σ w_i L_i, a scalar that back-propagates.

        Args:
            weights: ``(C,)``.
        """
        loss: Tensor = _WeightedLoss.apply(self.place.anchor, weights, self)  # type: ignore[no-untyped-call]
        return loss


def cut_at(place: Place | None, losses: Tensor, rows: Tensor | None) -> Cut | None:
    """Return the graph of ``losses`` cut at ``place``, if that goes.

    Args:
        place: Where all that is learnt passes.
        losses: ``(C,)``, with their graph.
        rows: ∂L_i/∂z_i there.
    """
    if place is None or rows is None:
        return None
    goes = rows.is_contiguous() and rows.dtype == place.anchor.dtype and rows.grad_fn is None
    return Cut(losses, rows, place) if goes else None


class _WeightedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, weights: Tensor, cut: Cut) -> Tensor:  # noqa: ARG004
        # What is saved this way is freed by backward, as every other part of a graph.
        ctx.save_for_backward(cut.rows, weights, cut.losses)
        ctx.edge = cut.place.edge
        return (weights * cut.losses).sum()

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, losses = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the whole graph has a second derivative
            total = (weights * losses).sum() * scale
            (gradient,) = torch.autograd.grad(total, [ctx.edge], create_graph=True)
            return gradient, None, None
        factors = weights * scale
        if factors.dtype != rows.dtype:
            factors = factors.to(rows.dtype)
        return _by_sample(rows, factors), None, None


def _by_sample(rows: Tensor, factors: Tensor) -> Tensor:
    """Return the rows of sample i times ``factors[i]``; each sample has as many."""
    count = len(factors)
    if len(rows) == count:
        return rows * factors.view([count] + [1] * (rows.dim() - 1))
    parts = rows.view(count, -1, *rows.shape[1:])
    return (parts * factors.view([count] + [1] * rows.dim())).view(rows.shape)
