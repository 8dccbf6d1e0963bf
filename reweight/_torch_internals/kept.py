"""What operators keep for their backward pass, by the names of the graph's nodes.

A node of another name (another device's, or a release's, own kernel) keeps what is not known here:
every function returns ``None`` for it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd.graph import Node


def batch_norm_statistics(node: Node | None) -> tuple[Tensor, Tensor] | None:
    """Return the mean and the inverse deviation that a batch norm in train mode worked with.

    ``None`` for the node of anything but PyTorch's own kernel (cuDNN and MIOpen keep others).
    """
    return _two_results(node) if by_own_batch_norm(node) else None


def by_own_batch_norm(node: Node | None) -> bool:
    """Whether ``node`` is that of a batch norm by PyTorch's own kernel, in train or eval mode."""
    return _is(node, "NativeBatchNormBackward0")


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
    kept: Any = node
    if node is not None and node.name() == "MulBackward0":
        mask = kept._saved_other
        kept = node = node.next_functions[0][0]
    return (kept._saved_result, mask) if _is(node, "SafeSoftmaxBackward0") else None


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
