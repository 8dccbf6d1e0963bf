"""What operators keep for their backward pass, by the names of the graph's nodes.

A node of another name (another device's, or a release's, own kernel) keeps what is not known here:
every function returns ``None`` for it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node


def batch_norm_statistics(node: Node | None) -> tuple[Tensor, Tensor] | None:
    """Return the mean and the inverse deviation that a batch norm in train mode worked with.

    ``None`` for the node of anything but PyTorch's own kernel and cuDNN's (MIOpen keeps others).
    """
    return _two_results(node) if by_known_batch_norm(node) else None


def by_known_batch_norm(node: Node | None) -> bool:
    """Whether ``node`` is that of PyTorch's own batch norm, or cuDNN's, in train or eval mode."""
    return _is(node, "NativeBatchNormBackward0") or _is(node, "CudnnBatchNormBackward0")


def layer_norm_statistics(node: Node | None) -> tuple[Tensor, Tensor] | None:
    """Return the mean and the inverse deviation of each row that a layer norm worked with."""
    return _two_results(node) if _is(node, "NativeLayerNormBackward0") else None


def group_norm_statistics(node: Node | None) -> tuple[Tensor, Tensor] | None:
    """Return the mean and the inverse deviation of each sample's groups in a group norm."""
    return _two_results(node) if _is(node, "NativeGroupNormBackward0") else None


def dropout_mask(node: Node | None) -> tuple[Tensor, bool] | None:
    """Return what a dropout has multiplied by, and whether it is scaled, or booleans."""
    kept: Any = node
    if _is(node, "MulBackward0"):
        return kept._saved_other, True
    if _is(node, "NativeDropoutBackward0"):
        return kept._saved_result1, False
    return None


def attention_weights(node: Node | None) -> tuple[Tensor, Tensor | None] | None:
    """Return what attention without a fused kernel has weighed the values by, and its dropout.

    The weights are as before the dropout, whose mask, scaled, is ``None`` where there was none.
    """
    for name in ("UnsafeViewBackward0", "BmmBackward0", "ViewBackward0", "ExpandBackward0"):
        if node is None or node.name() != name:
            return None
        node = node.next_functions[0][0]
    mask: Tensor | None = None
    factor, dropped = 1.0, dropout_mask(node)
    kept: Any = node
    if node is not None and dropped is not None:
        mask, scaled = dropped
        factor = 1.0 if scaled else _factor(kept._saved_p)
        kept = node = node.next_functions[0][0]
    if not _is(node, "SafeSoftmaxBackward0"):
        return None
    weights: Tensor = kept._saved_result
    if mask is not None and mask.dtype == torch.bool:  # times a number it would be in float32
        mask = mask.to(weights.dtype) * factor
    return weights, mask


def attention_dropout(node: Node | None, like: Tensor, queries: int, keys: int) -> Tensor | None:
    """Return the mask, scaled, of the dropout within attention by the memory-efficient kernel.

    The kernel keeps no mask but the numbers that it drew it from, of which PyTorch can draw it
    again (as its own tests of that kernel do).

    Args:
        node: Of the attention.
        like: The result, ``(samples, heads, queries, features)``, whose device and type to take.
        queries: How many there are.
        keys: How many there are.

    Returns:
        ``(samples, heads, queries, keys)``, ``None`` for the node of another kernel.
    """
    if not _is(node, "ScaledDotProductEfficientAttentionBackward0"):
        return None
    kept: Any = node
    p: float = kept._saved_dropout_p
    drawn = torch.empty((*like.shape[:2], queries, keys), dtype=torch.float32, device=like.device)
    seed, offset = kept._saved_philox_seed, kept._saved_philox_offset
    torch.ops.aten._fill_mem_eff_dropout_mask_(drawn, p, int(seed), int(offset))
    return (drawn > p).to(like.dtype).mul_(_factor(p))


def _factor(p: float) -> float:
    return 0.0 if p == 1 else 1 / (1 - p)


def pooled_from(node: Node | None) -> Tensor | None:
    """Return which numbers a pooling by maximum has taken."""
    kept: Any = node
    if _is(node, "MaxPool2DWithIndicesBackward0") or _is(node, "MaxPool3DWithIndicesBackward0"):
        found: Tensor = kept._saved_result1
        return found
    return None


def saved_input(node: Node | None) -> Tensor | None:
    """Return what an activation was given, as it was before one in place wrote over it."""
    kept: Any = node
    if node is None or node.name() not in _KEEP_THEIR_INPUT:
        return None
    found: Tensor = kept._saved_self
    return found


_KEEP_THEIR_INPUT = (
    "HardsigmoidBackward0",
    "HardswishBackward0",
    "MishBackward0",
    "SiluBackward0",
)


def _is(node: Node | None, name: str) -> bool:
    return node is not None and node.name() == name


def _two_results(node: Any) -> tuple[Tensor, Tensor]:
    return node._saved_result1, node._saved_result2
