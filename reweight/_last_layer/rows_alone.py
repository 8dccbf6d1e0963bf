"""A proof from the graph alone that no operator behind the layer couples the samples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from reweight._last_layer.gate import LEAF
from reweight._last_layer.trace import LayerTrace
from reweight._torch_internals import output_shape, output_shapes, saved, saved_dimensions

# More nodes than this are not looked at: the walk has to cost less than a backward pass.
_MOST_NODES = 2000
# So many between layer and losses are looked into, and so many names tell graphs apart.
_MOST_BETWEEN = 100
_MOST_NAMES = 100

# Number by number, where operand and result have as many dimensions and the first side in common.
_ELEMENTWISE = frozenset(
    f"{name}Backward{variant}"
    for name in (
        *("Abs", "Add", "Clamp", "Clone", "Div", "Elu", "Erf", "Exp", "Expm1", "Gelu", "Hardtanh"),
        *("Huber", "HuberLoss", "LeakyRelu", "Log", "Log1P", "LogSigmoid", "MaskedFill"),
        *("Maximum", "Minimum", "MseLoss", "Mul", "Neg", "Pow", "Reciprocal", "Relu", "Rsqrt"),
        *("Rsub", "Sgn", "Sigmoid", "Silu", "Sin", "Cos", "SmoothL1Loss", "Softplus", "Sqrt"),
        *("Sub", "Tanh", "Threshold", "ToCopy", "Where", "Xlogy", "BinaryCrossEntropy"),
        *("BinaryCrossEntropyWithLogits", "SoftMarginLoss", "Expand", "Alias"),
    )
    for variant in range(4)
)
# The numbers in the same order, in another shape.
_RESHAPES = frozenset(
    f"{name}Backward{variant}"
    for name in ("View", "UnsafeView", "ReshapeAlias", "Unsqueeze", "Squeeze")
    for variant in range(3)
)
# Along the dimensions that the node holds, which must not be the first.
_ALONG_DIMENSIONS = frozenset(
    {
        "GatherBackward0",
        "LogSoftmaxBackward0",
        "LogsumexpBackward0",
        "MeanBackward1",
        "PermuteBackward0",
        "SafeSoftmaxBackward0",
        "SelectBackward0",
        "SliceBackward0",
        "SoftmaxBackward0",
        "SumBackward1",
        "TransposeBackward0",
    }
)
_CLASS_LOSSES = frozenset({"NllLossBackward0", "NllLoss2DBackward0"})
# Of which operands the i-th part, or row, makes that of the result.
_BY_OPERAND = {
    "MmBackward0": (0,),
    "AddmmBackward0": (1,),
    "BmmBackward0": (0, 1),
    "NativeLayerNormBackward0": (0,),
    "FusedRmsNormBackward0": (0,),  # on GPUs; elsewhere it is made of single operators
    "ScaledDotProductFlashAttentionForCpuBackward0": (0, 1, 2),
    "ScaledDotProductFlashAttentionBackward0": (0, 1, 2),
    "ScaledDotProductEfficientAttentionBackward0": (0, 1, 2),
    "ScaledDotProductCudnnAttentionBackward0": (0, 1, 2),
}
_ROW_NORMS = ("NativeLayerNormBackward0", "FusedRmsNormBackward0")


@dataclass(frozen=True)
class Operators:
    """What lies between the layer and the losses.

    Attributes:
        names: The operators, in the order of the walk; where there are too many, the first ones.
        proven: Whether they cannot couple the samples, whatever the data.
        alone: Whether nothing that is learnt is reached but through the layer's output.
    """

    names: str
    proven: bool
    alone: bool = False


def operators_behind(losses: Tensor, trace: LayerTrace) -> Operators:
    """Walk the graph from ``losses``, ``(C,)``, to the layer's outputs.

    Every tensor on the way must hold the numbers of sample i in the i-th of C equal parts, in
    order. What leads elsewhere than to the layer is a constant to its output.
    """
    count = losses.shape[0]
    ends = {call.edge.node for call in trace.calls if call.edge is not None}
    start = losses.grad_fn
    names: list[str] = []
    users: dict[Node, list[tuple[Node, int, int]]] = {}
    open_nodes: list[Node] = [] if start is None else [start]
    seen: set[Node] = set()
    alone = True
    while open_nodes:
        node = open_nodes.pop()
        if node in seen or node in ends:
            continue
        if len(seen) == _MOST_NODES:
            return Operators(" ".join(names), proven=False)
        seen.add(node)
        name = node.name()
        if len(names) < _MOST_NAMES:
            names.append(name)
        if name == LEAF:
            alone = False
            continue
        for place, (behind, output) in enumerate(node.next_functions):
            if behind is not None:
                users.setdefault(behind, []).append((node, place, output))
                open_nodes.append(behind)
    proven = (
        start is not None
        and all(call.shape and call.shape[0] % count == 0 for call in trace.calls)
        and _proven_from(ends, users, trace, count)
    )
    return Operators(" ".join(names), proven, alone)


def _proven_from(
    ends: set[Node], users: dict[Node, list[tuple[Node, int, int]]], trace: LayerTrace, count: int
) -> bool:
    """Whether all that is computed from the layer's outputs keeps the samples apart."""
    open_nodes, seen = list(ends), set(ends)
    while open_nodes:
        operand = open_nodes.pop()
        given = _shape(operand, trace)
        for node, place, output in users.get(operand, ()):
            if output != 0 or not _keeps_parts(node, place, given, count):
                return False
            if node not in seen:
                seen.add(node)
                open_nodes.append(node)
        if len(seen) > _MOST_BETWEEN + len(ends):
            return False
    return True


def _shape(node: Node, trace: LayerTrace) -> tuple[int, ...] | None:
    # The layer's own node may be an in-place operator's or a view's: its output is known better.
    for call in trace.calls:
        if call.edge is not None and call.edge.node is node:
            return call.shape
    return _made(node)


def _made(node: Node) -> tuple[int, ...] | None:
    if node.name() in _ROW_NORMS:  # beside its result, what it was normalised by
        return output_shapes(node)[0]
    return output_shape(node)


def _keeps_parts(node: Node, place: int, given: tuple[int, ...] | None, count: int) -> bool:
    """Whether ``node`` computes the i-th part of its result from that of an operand."""
    made, name = _made(node), node.name()
    if not given or not made or made[0] % count or given[0] % count:
        return False
    if 0 in (*made, *given):
        return False
    if name in _RESHAPES:
        return True
    if given[0] != made[0]:
        return False
    if name in _ELEMENTWISE:
        return len(given) == len(made)
    if name == "SliceBackward0" and given == made:  # all of it: older releases record z[:] too
        return True
    if name in _BY_OPERAND:
        apart = place in _BY_OPERAND[name] and len(given) == len(made)
        normalised = saved(node, "normalized_shape") if name in _ROW_NORMS else ()
        return apart and normalised is not None and len(normalised) < len(given)
    if name in _CLASS_LOSSES:
        return len(given) == len(made) + 1
    if name not in _ALONG_DIMENSIONS:
        return False
    along = saved_dimensions(node)
    if along is None:
        return False
    if name == "PermuteBackward0":
        return along[0] % len(given) == 0
    return all(d % len(given) != 0 for d in along)
