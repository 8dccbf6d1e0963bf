"""First derivatives by one backward pass, also through reentrant checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reweight._isolation.verdicts import Verdicts


def first_derivatives(
    verdicts: Verdicts, value: Tensor, leaves: Sequence[Tensor], *, retain_graph: bool = False
) -> list[Tensor | None]:
    """Return the gradient of ``value`` by each of ``leaves``; ``None`` where it has none.

    A reentrant checkpoint hides the parameters inside it from the graph, and gives them their
    gradients only in a backward pass that accumulates: asked for them by name, PyTorch raises, or
    says that there are none.

    Args:
        verdicts: Whether such a checkpoint was seen.
        value: A scalar, computed from leaves of this pass alone.
        leaves: Of this pass alone.
        retain_graph: Whether the graph is needed again.
    """
    if not verdicts.reentrant:
        return list(
            torch.autograd.grad(value, leaves, retain_graph=retain_graph, allow_unused=True)
        )
    for leaf in leaves:
        leaf.grad = None
    torch.autograd.backward(value, retain_graph=retain_graph)
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    return found
